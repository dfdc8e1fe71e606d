//! A container that prepares volumes of a runner before it starts, and is removed when it has ended.

use std::time::Duration;

use bollard::{
    container::LogOutput,
    errors::Error,
    models::{ContainerCreateBody, HostConfig, Mount as EngineMount},
    query_parameters::{LogsOptionsBuilder, WaitContainerOptions},
};
use futures_util::StreamExt;

use super::{
    Docker, HostError,
    labels::{SETUP, labels},
};
use crate::{
    fleet::RunnerName,
    host::{
        call::Call,
        container::{self, plain},
        engine::boxed,
    },
    text::one_line,
};

/// How long it may take: a first copy of a runner is half a gigabyte.
const PATIENCE: Duration = Duration::from_mins(10);

/// It runs as root, so it must take nothing from what a job left in a cache, such as `/usr/local`.
const SAFE: [&str; 3] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH=", "LD_PRELOAD="];

/// The longest output that is kept, in bytes.
const OUTPUT: usize = 4096;

/// What such a container is created from.
pub(super) struct Setup<'a> {
    pub(super) image: &'a str,
    /// A script for `/bin/sh`, and its arguments.
    pub(super) script: &'a str,
    pub(super) arguments: Vec<String>,
    pub(super) mounts: Vec<EngineMount>,
}

impl Docker {
    /// Runs a script as root, without a network, and returns what it printed. After an error the container may stay:
    /// it is removed with everything of its runner.
    pub(super) async fn set_up(&self, runner: &RunnerName, setup: Setup<'_>) -> Result<String, HostError> {
        let mut command = vec!["-c".to_owned(), setup.script.to_owned(), "setup".to_owned()];
        command.extend(setup.arguments);
        let body = ContainerCreateBody {
            image: Some(setup.image.to_owned()),
            entrypoint: Some(vec!["/bin/sh".to_owned()]),
            cmd: Some(command),
            user: Some("0:0".to_owned()),
            labels: Some(labels(runner, SETUP)),
            env: Some(SAFE.map(str::to_owned).to_vec()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                mounts: Some(setup.mounts),
                // SELinux would keep it from the folder of the volumes and from the engine's socket.
                security_opt: Some(vec!["label=disable".to_owned()]),
                log_config: Some(container::log_config()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let id = self.create_container_beside(&format!("{runner}-{SETUP}"), body).await?;
        self.start_sidecar(&id).await?;
        let name = plain(&id)?;
        let (code, said, complained) = self
            .engine()
            .request_within(PATIENCE, &[], Call::Wait, |docker| {
                boxed(async move { finish(&docker, &name).await })
            })
            .await?;
        self.remove_once(&id, true).await?;
        if code == 0 { Ok(said) } else { Err(HostError::Refused(one_line(&complained))) }
    }
}

/// Waits for the end of a container, and returns its exit code and the beginning of its output and of its errors.
async fn finish(docker: &bollard::Docker, id: &str) -> Result<(i64, String, String), Error> {
    let ended = docker.wait_container(id, None::<WaitContainerOptions>).next().await;
    let code = match ended {
        Some(Ok(ended)) => ended.status_code,
        Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
        Some(Err(error)) => return Err(error),
        None => -1,
    };
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("all").build();
    let mut log = docker.logs(id, Some(options));
    let (mut said, mut complained) = (String::new(), String::new());
    while let Some(part) = log.next().await.transpose()? {
        let to = if matches!(part, LogOutput::StdErr { .. }) { &mut complained } else { &mut said };
        if to.len() < OUTPUT {
            to.push_str(&String::from_utf8_lossy(part.as_ref()));
        }
    }
    Ok((code, said, complained))
}
