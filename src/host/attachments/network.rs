//! A network of a runner's own.

use std::collections::HashMap;

use bollard::{
    models::{Network as EngineNetwork, NetworkCreateRequest},
    query_parameters::ListNetworksOptionsBuilder,
};

use super::{Docker, HostError, Preparation, Prepared, labels::labels};
use crate::{
    fleet::{Network, RunnerName},
    host::{
        call::Call,
        container::is_plain_name,
        engine::{Fault, boxed},
    },
};

/// The kind of a runner's network.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// An ordinary one, with this MTU in bytes or the engine's own.
    Isolated { mtu: Option<u32> },
    /// One without a way out.
    Inside,
}

impl Docker {
    /// Makes the network of an isolated runner, unless it has one already.
    pub(super) async fn make_own_network(
        &self,
        of: &Preparation<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), HostError> {
        if of.pool.template.network == Network::Isolated && prepared.network.is_none() {
            prepared.network = Some(self.make_network(of.runner, Kind::Isolated { mtu: None }).await?);
        }
        Ok(())
    }

    /// Makes the network that a runner alone is in, and returns its name.
    pub(super) async fn make_network(&self, runner: &RunnerName, kind: Kind) -> Result<String, HostError> {
        let name = runner.to_string();
        let option = match kind {
            Kind::Isolated { mtu } => mtu.map(|mtu| ("com.docker.network.driver.mtu", mtu.to_string())),
            // Otherwise the bridge has an address, and at that all servers of the host can be reached (observed on
            // Engine 20.10).
            Kind::Inside => Some(("com.docker.network.bridge.inhibit_ipv4", "true".to_owned())),
        };
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            internal: Some(matches!(kind, Kind::Inside)),
            // An engine can be configured to use it by default, and then the bridge has an address in it.
            enable_ipv6: matches!(kind, Kind::Inside).then_some(false),
            labels: Some(labels(runner, "network")),
            options: option.map(|(key, value)| HashMap::from([(key.to_owned(), value)])),
            ..NetworkCreateRequest::default()
        };
        let made = self
            .engine()
            .request(Call::CreateNetwork, |docker| boxed(async move { docker.create_network(request).await }))
            .await;
        match made {
            Ok(_) => Ok(name),
            Err(Fault::Said(_, text)) if is_exhausted(&text) => Err(HostError::NetworksExhausted(text)),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The networks that have all of these labels, each a name or `name=value`.
    pub(super) async fn networks(&self, labels: Vec<String>) -> Result<Vec<EngineNetwork>, Fault> {
        let filters = HashMap::from([("label", labels)]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        self.engine()
            .request(Call::ListNetworks, |docker| {
                boxed(async move { docker.list_networks(Some(options)).await })
            })
            .await
    }

    /// Removes a network, if it exists; `call` is how metrics count it.
    pub(super) async fn remove_network(&self, call: Call, network: &EngineNetwork) -> Result<(), Fault> {
        let Some(id) = network.id.clone().filter(|id| is_plain_name(id)) else { return Ok(()) };
        let removed =
            self.engine().request(call, |docker| async move { docker.remove_network(&id).await }).await;
        match removed {
            Err(fault) if fault.is(404) => Ok(()),
            other => other,
        }
    }
}

/// Whether an engine's error says that it has no subnet left for another network. There is no status for it: these are
/// the texts of Engine 20.10, of Engine 23 and later (libnetwork's `ipamapi` errors), and of Podman (netavark).
fn is_exhausted(text: &str) -> bool {
    [
        "non-overlapping IPv4 address pool",
        "address pools have been fully subnetted",
        "could not find free subnet",
    ]
    .iter()
    .any(|part| text.contains(part))
}
