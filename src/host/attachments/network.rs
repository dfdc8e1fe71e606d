//! A network of a runner's own.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;

use super::{Docker, HostError, Preparation, Prepared, labels::labels};
use crate::{
    fleet::Network,
    host::{
        call::Call,
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
            prepared.network = Some(self.make_network(of, Kind::Isolated { mtu: None }).await?);
        }
        Ok(())
    }

    /// Makes the network that a runner alone is in, and returns its name.
    pub(super) async fn make_network(&self, of: &Preparation<'_>, kind: Kind) -> Result<String, HostError> {
        let name = of.runner.to_string();
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
            labels: Some(labels(of, "network")),
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
