//! What all containers beside a runner's own have in common.

use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::CreateContainerOptionsBuilder,
};

use super::{Docker, HostError};
use crate::{
    fleet::{ContainerId, Resources},
    host::{
        call::Call,
        container::{self, plain},
        engine::boxed,
    },
};

/// Lines of its log that an error shows.
const LOG_LINES: usize = 5;

/// The settings that every sidecar has: its limits, without swap as for runners, a log that can be read, and no restart.
pub(super) fn host_config(resources: Resources) -> HostConfig {
    let limit = |value: u64| (value > 0).then(|| i64::try_from(value).unwrap_or(i64::MAX));
    HostConfig {
        memory: limit(resources.memory),
        memory_swap: limit(resources.memory),
        nano_cpus: limit(resources.cpu_millis.saturating_mul(1_000_000)),
        restart_policy: Some(container::never_restarted()),
        log_config: Some(container::log_config()),
        ..HostConfig::default()
    }
}

impl Docker {
    /// Creates a sidecar. A missing image is not reported as that of the runner, which other pools may use: the image
    /// has a check of its own.
    pub(super) async fn create_sidecar(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<ContainerId, HostError> {
        match self.create_container_beside(name, body).await {
            Err(HostError::ImageMissing(image)) => {
                Err(HostError::Refused(format!("the engine has no image {image}")))
            }
            other => other,
        }
    }

    /// Creates a container that belongs to a runner.
    pub(super) async fn create_container_beside(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<ContainerId, HostError> {
        let image = body.image.clone().unwrap_or_default();
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let body = Box::new(body);
        let created = self
            .engine()
            .request(Call::Create, |docker| {
                boxed(async move { docker.create_container(Some(options), *body).await })
            })
            .await;
        match created {
            Ok(created) => Ok(ContainerId(created.id.into())),
            Err(fault) if fault.is(404) && self.image(&image).await?.is_none() => {
                Err(HostError::ImageMissing(image))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    pub(super) async fn start_sidecar(&self, id: &ContainerId) -> Result<(), HostError> {
        let id = plain(id)?;
        Ok(self
            .engine()
            .request(Call::Start, |docker| async move { docker.start_container(&id, None).await })
            .await?)
    }

    /// What is wrong with a sidecar that is not ready, with the end of its log.
    pub(super) async fn explain_sidecar(&self, id: &ContainerId, what: &str) -> String {
        let log = self.log_end(id, LOG_LINES).await;
        format!("{what}; its log ends with: {log}")
    }
}
