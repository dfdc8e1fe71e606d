//! A network of a runner's own.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;

use super::{Docker, HostError, Preparation, labels};
use crate::host::{
    call::Call,
    engine::{Fault, boxed},
};

impl Docker {
    /// Makes the network that a runner alone is in, with this MTU in bytes or the engine's own, and returns its name.
    pub(in crate::host) async fn make_network(
        &self,
        of: &Preparation<'_>,
        mtu: Option<u32>,
    ) -> Result<String, HostError> {
        let name = of.runner.to_string();
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels(of, "network")),
            options: mtu
                .map(|mtu| HashMap::from([("com.docker.network.driver.mtu".to_owned(), mtu.to_string())])),
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
