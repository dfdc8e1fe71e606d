//! Facts about the networks of an engine.

use bollard::query_parameters::InspectNetworkOptions;

use super::{Docker, HostError, call::Call, container::is_plain_name, engine::boxed};

/// Facts about a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Whether it has no way out.
    pub is_internal: bool,
    /// The MTU in bytes that its configuration has, if it has one.
    pub mtu: Option<u32>,
}

impl Docker {
    /// Facts about a network; `None` if it does not exist.
    pub async fn network(&self, name: &str) -> Result<Option<NetworkFacts>, HostError> {
        if !is_plain_name(name) {
            return Ok(None);
        }
        let name = name.to_owned();
        let inspected = self.engine().request(Call::InspectNetwork, |docker| {
            boxed(async move { docker.inspect_network(&name, None::<InspectNetworkOptions>).await })
        });
        match inspected.await {
            Ok(network) => Ok(Some(NetworkFacts {
                is_internal: network.internal.unwrap_or(false),
                mtu: network
                    .options
                    .and_then(|options| options.get("com.docker.network.driver.mtu")?.parse().ok()),
            })),
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }
}
