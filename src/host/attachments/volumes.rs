//! The requests for volumes.

use std::collections::HashMap;

use bollard::{
    models::{Volume, VolumeCreateRequest},
    query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions},
};

use super::{Docker, HostError, labels::labels};
use crate::{
    fleet::RunnerName,
    host::{
        call::Call,
        engine::{Fault, boxed},
    },
};

impl Docker {
    /// Makes an empty volume of a runner.
    pub(super) async fn make_volume(&self, runner: &RunnerName, what: &str) -> Result<Volume, HostError> {
        self.create_volume(format!("{runner}-{what}"), labels(runner, what)).await
    }

    /// Creates a volume, or returns the one that exists.
    pub(super) async fn create_volume(
        &self,
        name: String,
        labels: HashMap<String, String>,
    ) -> Result<Volume, HostError> {
        let request =
            VolumeCreateRequest { name: Some(name), labels: Some(labels), ..VolumeCreateRequest::default() };
        Ok(self
            .engine()
            .request(Call::CreateVolume, |docker| boxed(async move { docker.create_volume(request).await }))
            .await?)
    }

    /// The volumes that have all of these labels, each a name or `name=value`.
    pub(super) async fn volumes(&self, labels: Vec<String>) -> Result<Vec<Volume>, Fault> {
        let filters = HashMap::from([("label", labels)]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self
            .engine()
            .request(Call::ListVolumes, |docker| {
                boxed(async move { docker.list_volumes(Some(options)).await })
            })
            .await?;
        Ok(listed.volumes.unwrap_or_default())
    }

    /// Removes a volume, if it exists. One that a container uses is refused (409).
    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), Fault> {
        let name = name.to_owned();
        let removed = self
            .engine()
            .request(Call::RemoveVolume, |docker| async move {
                docker.remove_volume(&name, None::<RemoveVolumeOptions>).await
            })
            .await;
        match removed {
            Err(fault) if fault.is(404) => Ok(()),
            other => other,
        }
    }
}
