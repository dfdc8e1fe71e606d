//! Images: checking whether an engine has one, inspecting and pulling it. The daemon decides when.

use std::collections::BTreeMap;

use bollard::{errors::Error, query_parameters::CreateImageOptionsBuilder};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{
    Docker, HostError,
    call::Call,
    engine::Fault,
    registry::{self, Login, Reference},
};

/// Facts about an image. Without `Debug`: environments of images may contain secrets.
#[derive(Clone, Default)]
pub struct ImageFacts {
    /// Its id; it changes when the image does.
    pub id: String,
    /// All its names on the engine.
    pub references: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// The environment of its containers, `NAME=value` each.
    pub env: Vec<String>,
}

impl Docker {
    /// The id of the image that the engine has under this reference; it changes when the image does.
    pub async fn image(&self, reference: &str) -> Result<Option<String>, HostError> {
        Ok(self.image_facts(reference).await?.map(|facts| facts.id).filter(|id| !id.is_empty()))
    }

    /// Facts about the image with this reference; `None` when the engine does not have it.
    pub async fn image_facts(&self, reference: &str) -> Result<Option<ImageFacts>, HostError> {
        Reference::read(reference)?;
        let reference = reference.to_owned();
        let found = self
            .engine()
            .request(Call::InspectImage, |docker| async move { docker.inspect_image(&reference).await })
            .await;
        match found {
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                Ok(Some(ImageFacts {
                    id: image.id.unwrap_or_default(),
                    references: image.repo_tags.unwrap_or_default(),
                    labels: config.labels.unwrap_or_default().into_iter().collect(),
                    env: config.env.unwrap_or_default(),
                }))
            }
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Pulls the image and returns its id. Credentials are read from the `auths` entries of Docker's
    /// configuration file; credential helpers are not supported.
    ///
    /// A registry's refusal is [`HostError::Refused`] or [`HostError::Failed`] with its message, also
    /// when the engine still has an older image.
    pub async fn pull(&self, reference: &str) -> Result<String, HostError> {
        let parts = Reference::read(reference)?;
        let login = registry::login(&parts)?;
        let helper_only = matches!(login, Login::HelperOnly);
        let credentials = match login {
            Login::With(credentials) => Some(*credentials),
            Login::None | Login::HelperOnly => None,
        };
        let options = CreateImageOptionsBuilder::new().from_image(parts.name).tag(parts.tag).build();
        let silence = self.engine().deadlines.pull_silence;
        let pulled = self
            .engine()
            .request(Call::Pull, |docker| async move {
                let mut messages = docker.create_image(Some(options), None, credentials);
                loop {
                    match timeout(silence, messages.next()).await {
                        Ok(Some(Ok(_))) => {}
                        // A successful pull may end like this (bollard, issue 560).
                        Ok(Some(Err(Error::IOError { err }))) => return Ok(Some(err)),
                        Ok(Some(Err(error))) => return Err(error),
                        Ok(None) => return Ok(None),
                        Err(_) => return Err(Error::RequestTimeoutError),
                    }
                }
            })
            .await;
        match pulled {
            Ok(broken) => match (self.image(reference).await?, broken) {
                (Some(id), _) => Ok(id),
                (None, None) => Err(HostError::ImageMissing(reference.to_owned())),
                (None, Some(error)) => Err(HostError::Failed {
                    detail: format!("the pull of {reference} was interrupted"),
                    source: Some(error.into()),
                }),
            },
            Err(Fault::Said(status, mut message)) => {
                if helper_only {
                    message.push_str(
                        " (Docker's configuration has a credential helper, which is not supported; put the \
                         credentials in its auths, or pull the image in another way)",
                    );
                }
                Err(Fault::Said(status, message).into())
            }
            Err(fault @ Fault::Silent(_)) => Err(fault.into()),
        }
    }
}
