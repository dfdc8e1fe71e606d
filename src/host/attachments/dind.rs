//! A Docker Engine of the runner's own, in a sidecar whose network namespace the runner shares: what the job's
//! containers publish is on the runner's `localhost`, and what they mount is at the same path in both.

use std::{collections::BTreeMap, time::Duration};

use bollard::{
    models::{ContainerCreateBody, ExecConfig, HostConfig, Mount as EngineMount},
    query_parameters::UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    Docker, HostError, Preparation, Prepared,
    egress::NO_NAME_SERVER,
    installation::{BASE, runner_folder},
    labels::sidecar_labels,
    mounts::{bind, read_only, volume},
    network::Kind,
    sidecar::host_config,
};
use crate::{
    fleet::{ContainerId, Dind, Network},
    host::{
        call::Call,
        container,
        engine::{Fault, boxed},
        network_access::NetworkAccess,
    },
    text::one_line,
};

/// Where the volume with the engine's socket is mounted in both containers. Not `/run/docker`, which the engine uses
/// itself.
const RUN: &str = "/run/dayfly";

/// The engine's socket, as its clients name it.
const SOCKET: &str = "unix:///run/dayfly/docker.sock";

/// The group that the socket belongs to, in both containers. It need not have a name in either image.
const GROUP: &str = "2375";

/// Between two checks whether the engine answers.
const CHECK: Duration = Duration::from_millis(200);

/// The OCI runtime that runs engines without privileges.
const SYSBOX: &str = "sysbox-runc";

impl Docker {
    /// Makes the sidecar, and waits until its engine answers.
    pub(super) async fn make_dind(
        &self,
        of: &Preparation<'_>,
        dind: &Dind,
        prepared: &mut Prepared,
    ) -> Result<(), HostError> {
        let template = &of.pool.template;
        let mtu = match dind.mtu {
            Some(mtu) => Some(mtu),
            None => self.mtu(&template.network).await?,
        };
        let network = match (&prepared.network, &template.network) {
            (Some(made), _) => made.clone(),
            (None, Network::Named(name)) => name.clone(),
            (None, Network::Default | Network::Isolated) => {
                self.make_network(of.runner, Kind::Isolated { mtu }).await?
            }
        };
        let folder = runner_folder(template);
        let work = volume(&self.make_volume(of.runner, "work").await?.name, &format!("{folder}/_work"));
        let run = volume(&self.make_volume(of.runner, "run").await?.name, RUN);
        let storage = volume(&self.make_volume(of.runner, "docker").await?.name, "/var/lib/docker");
        let mut env = NetworkAccess::of(template).env;
        env.extend(prepared.env.clone());
        let mut mounts = vec![work.clone(), run.clone(), storage];
        // Containers of a job mount them by the path that they have in the runner.
        let externals = self.externals(of).await?;
        if let Some(externals) = &externals {
            // The volume too, so that the engine knows that it is in use.
            mounts.push(read_only(volume(&externals.base, BASE)));
            mounts.push(read_only(bind(&externals.folder, &format!("{folder}/externals"))));
        }
        let body = body(of, dind, network, mtu, env, mounts);
        let name = format!("{}-engine", of.runner);
        let sidecar = self.create_sidecar(&name, body).await;
        if let (Err(HostError::Refused(_)), Some(externals)) = (&sidecar, &externals) {
            // Its content may have been removed as unused.
            self.bases().remove(&externals.base);
        }
        let sidecar = sidecar?;
        // A volume belongs to root at first, and the runner's user is any.
        self.open_folder(&sidecar, folder, "_work").await?;
        let deadline = Instant::now() + dind.start_timeout;
        self.start_sidecar(&sidecar).await?;
        self.wait_for_engine(&sidecar, deadline, dind).await?;
        // The name server is that of the network which it shares.
        (prepared.network, prepared.dns) = (Some(format!("container:{name}")), None);
        prepared.mounts.extend([work, run]);
        prepared.groups.push(GROUP.to_owned());
        prepared.env.insert("DOCKER_HOST".to_owned(), SOCKET.to_owned());
        Ok(())
    }

    /// The MTU of the network that packets of the sidecar go through, where the engine sets one: one that is larger
    /// inside makes large packets disappear (docs.docker.com, "Bridge network driver").
    async fn mtu(&self, network: &Network) -> Result<Option<u32>, HostError> {
        let name = match network {
            Network::Named(name) => name,
            Network::Default | Network::Isolated => "bridge",
        };
        // Podman has no network of that name.
        Ok(self.network(name).await?.and_then(|network| network.mtu))
    }

    /// Lets every user write to a folder of a container that is not running yet.
    pub(super) async fn open_folder(
        &self,
        id: &ContainerId,
        parent: &str,
        name: &str,
    ) -> Result<(), HostError> {
        let id = container::plain(id)?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o777);
        header.set_size(0);
        let archive = (|| {
            let mut archive = tar::Builder::new(Vec::new());
            archive.append_data(&mut header, format!("{name}/"), std::io::empty())?;
            archive.into_inner()
        })();
        let archive: Vec<u8> = archive.map_err(|error: std::io::Error| HostError::Failed {
            detail: format!("{name}: {error}"),
            source: None,
        })?;
        let options = UploadToContainerOptionsBuilder::new().path(parent).build();
        let body = bollard::body_full(Bytes::from(archive));
        Ok(self
            .engine()
            .request(Call::Upload, |docker| {
                boxed(async move { docker.upload_to_container(&id, Some(options), body).await })
            })
            .await?)
    }

    async fn wait_for_engine(
        &self,
        id: &ContainerId,
        deadline: Instant,
        dind: &Dind,
    ) -> Result<(), HostError> {
        let command = ["docker", "--host", SOCKET, "version", "--format", "{{.Server.Version}}"];
        loop {
            let said = match self.exec(id, &command).await {
                Ok((0, _)) => return Ok(()),
                Ok((_, said)) => said,
                // It is not running (409), or has no such command.
                Err(Fault::Said(_, text)) => text,
                Err(fault) => return Err(fault.into()),
            };
            let ended = self.condition(id).await? != Some(container::Condition::Up);
            if ended || Instant::now() >= deadline {
                let what = if ended {
                    "its container exited".to_owned()
                } else {
                    format!(
                        "no answer within {} s (dind.start_timeout): {}",
                        dind.start_timeout.as_secs(),
                        one_line(&said)
                    )
                };
                return Err(HostError::DindNotReady(self.explain_sidecar(id, &what).await));
            }
            sleep(CHECK).await;
        }
    }

    /// Runs a command in a running container, and returns its exit code and what it printed.
    pub(super) async fn exec(&self, id: &ContainerId, command: &[&str]) -> Result<(i64, String), Fault> {
        let id = container::plain(id).map_err(Fault::Silent)?;
        let config = ExecConfig {
            cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        self.engine().request(Call::Exec, |docker| boxed(super::exec::run(docker, id, config))).await
    }
}

fn body(
    of: &Preparation<'_>,
    dind: &Dind,
    network: String,
    mtu: Option<u32>,
    env: BTreeMap<String, String>,
    mounts: Vec<EngineMount>,
) -> ContainerCreateBody {
    let mut command = vec![
        // As the first word, it makes the official image's entrypoint prepare cgroups and mounts.
        "dockerd".to_owned(),
        // Containers of a job mount this one.
        "--host=unix:///var/run/docker.sock".to_owned(),
        format!("--host={SOCKET}"),
        format!("--group={GROUP}"),
    ];
    command.extend(mtu.map(|mtu| format!("--mtu={mtu}")));
    command.extend(dind.registry_mirrors.iter().map(|mirror| format!("--registry-mirror={mirror}")));
    let runtime = of.pool.template.runtime.clone().filter(|runtime| runtime == SYSBOX);
    // The proxies through which it pulls; and no certificates for TCP, which the official image takes seconds to make.
    let mut env: Vec<_> = env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    env.push("DOCKER_TLS_CERTDIR=".to_owned());
    ContainerCreateBody {
        image: Some(dind.image.clone()),
        cmd: Some(command),
        env: Some(env),
        labels: Some(sidecar_labels(of.runner, "engine", dind.resources)),
        hostname: Some("docker".to_owned()),
        host_config: Some(HostConfig {
            privileged: Some(runtime.is_none()),
            runtime,
            network_mode: Some(network),
            dns: of.pool.template.egress.is_some().then(|| vec![NO_NAME_SERVER.to_owned()]),
            mounts: Some(mounts),
            init: Some(true),
            ..host_config(dind.resources)
        }),
        ..ContainerCreateBody::default()
    }
}
