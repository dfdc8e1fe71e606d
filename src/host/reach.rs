//! Tries from inside a container whether the runners of a pool can connect to other services.

use bollard::{
    container::AttachContainerResults,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder},
};
use futures_util::StreamExt;
use tokio::time::Duration;

use super::{
    Docker, HostError,
    call::Call,
    container::{self, LABEL_CHECK},
    engine::boxed,
};
use crate::fleet::{Network, Template};

/// How long the container may take: it gives up on each address after a few seconds.
const PATIENCE: Duration = Duration::from_mins(1);

impl Docker {
    /// Connects to addresses (`HOST:PORT`) from a container with the network, the name servers and the extra hosts of a
    /// template, and returns for each why that failed. The container is made of this program, and is removed.
    pub async fn reach(
        &self,
        template: &Template,
        addresses: &[String],
    ) -> Result<Vec<Option<String>>, HostError> {
        let image = self.egress_image().await?;
        let body = Box::new(body(template, image, addresses, self.instance().as_str()));
        let run = self.engine().request_within(PATIENCE, &[], Call::Attach, |docker| {
            boxed(async move { output(&docker, *body).await })
        });
        let output = run.await?;
        serde_json::from_str(output.trim()).map_err(|error| HostError::Failed {
            detail: format!(
                "the container that tries to connect printed {:?}",
                crate::text::one_line(&output)
            ),
            source: Some(error.into()),
        })
    }
}

fn body(template: &Template, image: String, addresses: &[String], instance: &str) -> ContainerCreateBody {
    let command = ["connect".to_owned()].into_iter().chain(addresses.iter().cloned());
    let filled = |texts: &[String]| (!texts.is_empty()).then(|| texts.to_vec());
    ContainerCreateBody {
        image: Some(image),
        cmd: Some(command.collect()),
        labels: Some([(LABEL_CHECK.to_owned(), instance.to_owned())].into()),
        host_config: Some(HostConfig {
            network_mode: match &template.network {
                Network::Named(name) => Some(name.clone()),
                // A network of its own reaches what the default one does.
                Network::Default | Network::Isolated => None,
            },
            dns: filled(&template.dns),
            extra_hosts: filled(&template.extra_hosts),
            auto_remove: Some(true),
            log_config: Some(container::log_config()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Runs a container to its end and returns what it printed. It is attached to before it starts, since the engine removes
/// it with its log.
async fn output(
    docker: &bollard::Docker,
    body: ContainerCreateBody,
) -> Result<String, bollard::errors::Error> {
    let options = CreateContainerOptionsBuilder::new().build();
    let created = docker.create_container(Some(options), body).await?;
    let options = AttachContainerOptionsBuilder::new().stdout(true).stderr(true).stream(true).build();
    let AttachContainerResults { output: mut frames, .. } =
        docker.attach_container(&created.id, Some(options)).await?;
    docker.start_container(&created.id, None).await?;
    let mut output = String::new();
    while let Some(frame) = frames.next().await.transpose()? {
        output.push_str(&String::from_utf8_lossy(frame.as_ref()));
    }
    Ok(output)
}
