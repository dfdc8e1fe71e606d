//! The container engines that tests use. Without anything in the environment it is the machine's own Docker
//! Engine; `tests/engines/with` runs tests on others.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    errors::Error,
    models::{ContainerInspectResponse, ContainerSummary},
    query_parameters::ListContainersOptions,
};
use dayfly::simulator::Settings;

/// An engine, and where its containers reach this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestEngine {
    /// The path of its socket.
    pub(crate) socket: String,
    /// This machine's address for containers in the engine's host network; the loopback address where that is
    /// this machine's network.
    pub(crate) host: IpAddr,
}

impl TestEngine {
    /// The engine that most tests use: `DAYFLY_TEST_ENGINE`, or the machine's own.
    pub(crate) fn usual() -> Self {
        Self::configured("").unwrap_or_else(|| Self {
            socket: "/var/run/docker.sock".to_owned(),
            host: Ipv4Addr::LOCALHOST.into(),
        })
    }

    /// An engine that runs privileged containers and has the image of `dind.rs`:
    /// `DAYFLY_TEST_PRIVILEGED_ENGINE`. Without one, prints that the test was skipped.
    pub(crate) fn privileged(test: &str) -> Option<Self> {
        let engine = Self::configured("PRIVILEGED_");
        if engine.is_none() {
            skipped(&format!("{test}: DAYFLY_TEST_PRIVILEGED_ENGINE is not set; see tests/engines/with"));
        }
        engine
    }

    fn configured(prefix: &str) -> Option<Self> {
        let variable = |name: &str| std::env::var(format!("DAYFLY_TEST_{prefix}{name}")).ok();
        let endpoint = variable("ENGINE")?;
        let socket = endpoint.strip_prefix("unix://");
        let socket =
            socket.unwrap_or_else(|| panic!("the engine of the tests must be unix:///…, not {endpoint}"));
        let host = variable("HOST_ADDRESS").map_or(Ipv4Addr::LOCALHOST.into(), |address| {
            address.parse().unwrap_or_else(|_| panic!("{address} is not this machine's address"))
        });
        Some(Self { socket: socket.to_owned(), host })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket)
    }

    /// Settings of a simulated GitHub that the engine's containers can reach.
    pub(crate) fn reached_by(&self, settings: Settings) -> Settings {
        if self.host.is_loopback() {
            return settings;
        }
        // The daemon under test is on this machine, and sends credentials without TLS to a loopback address only.
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Settings { listen, runner_host: Some(self.host.to_string()), ..settings }
    }
}

/// Prints what was skipped, and why.
pub(crate) fn skipped(what: &str) {
    // Not a print macro: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// How long Podman may release the resources of a container that has exited. Until then its state is `stopped`, which
/// bollard does not know.
const RELEASE: Duration = Duration::from_secs(30);

/// Containers as bollard lists them, on Podman too.
pub(crate) async fn list_containers(
    docker: &Docker,
    options: ListContainersOptions,
) -> Result<Vec<ContainerSummary>, Error> {
    readable(async || docker.list_containers(Some(options.clone())).await).await
}

/// A container as bollard inspects it, on Podman too.
pub(crate) async fn inspect_container(docker: &Docker, id: &str) -> Result<ContainerInspectResponse, Error> {
    readable(async || docker.inspect_container(id, None).await).await
}

pub(crate) async fn readable<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        match ask().await {
            // Podman's service may be starting again.
            Err(Error::JsonDataError { .. } | Error::HyperLegacyError { .. })
                if began.elapsed() < RELEASE =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}
