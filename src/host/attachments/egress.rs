//! The only way out of a runner's network: a proxy in a sidecar that is in two networks.

use bollard::models::{ContainerCreateBody, EndpointSettings, HostConfig, NetworkConnectRequest};
use tokio::time::{Duration, Instant, sleep};

use super::{
    Docker, HostError, Preparation, Prepared, egress_log::proxy_name, labels::sidecar_labels, network::Kind,
    sidecar::host_config,
};
use crate::{
    egress::Report,
    fleet::{ContainerId, Egress, Network},
    host::{
        call::Call,
        container::{Condition, plain},
        engine::boxed,
    },
};

/// The port of the proxy in the runner's network.
const PORT: u16 = 3128;

/// How long it may take until it listens. It takes some 20 ms once its container runs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two checks whether it listens.
const CHECK: Duration = Duration::from_millis(25);

/// Lines of its log that are read.
const LOG_LINES: usize = 5;

/// Destinations that need no proxy.
const NO_PROXY: &str = "localhost,127.0.0.1,::1";

/// A name server that does not exist: the container itself. Without one, engines before 25.0.5 forward names to the
/// host's name servers, also from networks without a way out (CVE-2024-29018).
pub(super) const NO_NAME_SERVER: &str = "127.0.0.1";

impl Docker {
    /// Makes a network without a way out and the proxy between it and the network that the template names, and waits
    /// until the proxy listens.
    pub(super) async fn make_egress(
        &self,
        of: &Preparation<'_>,
        egress: &Egress,
        prepared: &mut Prepared,
    ) -> Result<(), HostError> {
        let image = match &egress.image {
            Some(image) => image.clone(),
            None => self.egress_image().await?,
        };
        let network = self.make_network(of.runner, Kind::Inside).await?;
        let sidecar = self.create_sidecar(&proxy_name(of.runner), body(of, egress, image)).await?;
        self.connect(&sidecar, &network).await?;
        self.start_sidecar(&sidecar).await?;
        self.wait_for_proxy(&sidecar).await?;
        let address = self.address(&sidecar, &network).await?;
        // By its address: the containers of a job's own engine have no name servers.
        let proxy = format!("http://{address}:{PORT}");
        for (name, value) in [("http_proxy", proxy.as_str()), ("https_proxy", &proxy), ("no_proxy", NO_PROXY)]
        {
            prepared.env.insert(name.to_owned(), value.to_owned());
            prepared.env.insert(name.to_ascii_uppercase(), value.to_owned());
        }
        prepared.network = Some(network);
        prepared.dns = Some(NO_NAME_SERVER.to_owned());
        Ok(())
    }

    async fn connect(&self, id: &ContainerId, network: &str) -> Result<(), HostError> {
        let request = NetworkConnectRequest {
            container: plain(id)?,
            endpoint_config: Some(EndpointSettings::default()),
        };
        let network = network.to_owned();
        Ok(self
            .engine()
            .request(Call::ConnectNetwork, |docker| {
                boxed(async move { docker.connect_network(&network, request).await })
            })
            .await?)
    }

    async fn wait_for_proxy(&self, id: &ContainerId) -> Result<(), HostError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log_text(id, LOG_LINES).await?;
            let listens = |line: &str| matches!(serde_json::from_str(line), Ok(Report::Listening { .. }));
            if log.lines().any(listens) {
                return Ok(());
            }
            let ended = self.condition(id).await? != Some(Condition::Up);
            if ended || Instant::now() >= deadline {
                let what = if ended { "its container exited" } else { "it does not listen" };
                return Err(HostError::EgressNotReady(self.explain_sidecar(id, what).await));
            }
            sleep(CHECK).await;
        }
    }

    /// The address of a running container in a network.
    async fn address(&self, id: &ContainerId, network: &str) -> Result<String, HostError> {
        let inspected = self.inspect(id).await?;
        let networks = inspected.and_then(|inspected| inspected.network_settings?.networks);
        let address = networks.and_then(|mut networks| networks.remove(network)?.ip_address);
        address.filter(|address| !address.is_empty()).ok_or_else(|| {
            HostError::EgressNotReady(format!("the engine reports no address for it in network {network}"))
        })
    }
}

fn body(of: &Preparation<'_>, egress: &Egress, image: String) -> ContainerCreateBody {
    let mut command = vec!["egress-proxy".to_owned(), "--mode".to_owned(), egress.mode.as_str().to_owned()];
    command.extend(egress.allow.iter().flat_map(|pattern| ["--allow".to_owned(), pattern.clone()]));
    ContainerCreateBody {
        image: Some(image),
        cmd: Some(command),
        labels: Some(sidecar_labels(of.runner, "proxy", Egress::RESOURCES)),
        host_config: Some(HostConfig {
            network_mode: match &of.pool.template.network {
                Network::Named(name) => Some(name.clone()),
                Network::Default | Network::Isolated => None,
            },
            pids_limit: Some(64),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..host_config(Egress::RESOURCES)
        }),
        ..ContainerCreateBody::default()
    }
}
