//! The image of the egress proxy on an engine: made of the program that runs now.

use std::time::Duration;

use tracing::debug;

use super::{
    Docker, HostError,
    call::Call,
    own_image::{EGRESS_PROXY, ImageError, running_binary},
};

/// After this time an image of another version is removed.
const OLD: Duration = Duration::from_hours(24);

impl Docker {
    /// The image of the egress proxy. It is made if the engine does not have it, which sends the program to
    /// the engine: some 20 MB, once for each version.
    pub async fn egress_image(&self) -> Result<String, HostError> {
        // Launches at the same time make one image, and its name is a hash of the program, which takes its time.
        let mut made = self.engine().egress_image.lock().await;
        if let Some(reference) = &*made
            && self.image(reference).await?.is_some()
        {
            return Ok(reference.clone());
        }
        let reference = self.make_egress_image().await?;
        Ok(made.insert(reference).clone())
    }

    async fn make_egress_image(&self) -> Result<String, HostError> {
        let client = self.engine().client().await?;
        let made = EGRESS_PROXY.ensure(&client, &running_binary()).await.map_err(|error| match error {
            ImageError::Engine(error) => self.engine().fault(Call::Import, error, &[]).into(),
            error @ ImageError::Architecture { .. } => HostError::Refused(format!(
                "cannot make the image of the egress proxy: {error}; set image in [pool.container.egress] to an \
                 image of Dayfly for that architecture"
            )),
            error => HostError::Failed {
                detail: "cannot make the image of the egress proxy".to_owned(),
                source: Some(error.into()),
            },
        })?;
        // Another installation on this engine may be of another version, and would have to make its own again.
        if let Err(error) = EGRESS_PROXY.remove_older(&client, &made, OLD).await {
            debug!(error = %error, "failed to remove the proxy images of earlier versions");
        }
        Ok(made)
    }
}
