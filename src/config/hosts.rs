//! The engines and their budgets.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    devices,
    file::{self, Engine, LOCAL},
    findings::At,
    local_engine::{EndpointSource, local_engine},
    model::HostConfig,
    reading::Reading,
    swarm,
    units::Size,
};
use crate::{
    fleet::{Host, HostName, Resources},
    host::Endpoint,
};

impl Reading<'_> {
    /// All hosts. The local one is added when a pool uses it and it is not configured.
    pub(super) fn hosts(&self, file: &file::File, at: &At<'_>) -> Vec<HostConfig> {
        let mut hosts: Vec<_> =
            file.hosts.iter().filter_map(|(name, written)| self.host(name, written, &at.key(name))).collect();
        let uses_local = file.pool.iter().any(|pool| pool.hosts().any(|name| name == LOCAL));
        if uses_local && !file.hosts.contains_key(LOCAL) && !at.key(LOCAL).is_broken() {
            hosts.extend(self.host(LOCAL, &file::Host::default(), &at.key(LOCAL)));
        }
        hosts
    }

    fn host(&self, name: &str, written: &file::Host, at: &At<'_>) -> Option<HostConfig> {
        let is_swarm = written.engine == Engine::Swarm;
        if is_swarm {
            swarm::host(written, at);
        }
        let name = at.parsed::<HostName>(name, "");
        let endpoint = self.endpoint(written, at);
        let max_runners = written.max_runners;
        at.key("max_runners").require(
            max_runners != Some(0),
            "must not be 0",
            "remove it for no limit, or remove the host",
        );
        let budget = Resources {
            memory: bytes(written.memory, &at.key("memory")).unwrap_or_default(),
            cpu_millis: cpu_millis(written.cpus, &at.key("cpus")).unwrap_or_default(),
        };
        let (endpoint, endpoint_source) = endpoint?;
        let min_free_disk = written.min_free_disk.map(|size| size.0);
        Some(HostConfig {
            host: Host {
                name: name?,
                max_runners,
                budget,
                devices: devices::of_host(written, at),
                nodes: is_swarm.then(Vec::new),
            },
            endpoint,
            endpoint_source,
            min_free_disk,
        })
    }

    /// The configured endpoint, else the one that the docker command would use.
    fn endpoint(&self, written: &file::Host, at: &At<'_>) -> Option<(Endpoint, EndpointSource)> {
        let at_tls = at.key("tls_dir");
        let is_plain = |directory: &&PathBuf| self.is_plain(&directory.to_string_lossy(), &at_tls);
        let tls_dir = match &written.tls_dir {
            Some(directory) if !is_plain(&directory) => return None,
            written => written.as_ref().map(|directory| self.base.join(directory)),
        };
        let at_endpoint = at.key("endpoint");
        let (endpoint, source) = match &written.endpoint {
            Some(text) => (at_endpoint.parsed(text, &meant(text))?, EndpointSource::Configured),
            None if at_endpoint.is_broken() => return None,
            None => match local_engine(|name| self.variable(name)) {
                Ok(found) => found,
                Err(error) => {
                    let text = error.to_string();
                    let (text, hint) = text.split_once("; ").unwrap_or((&text, ""));
                    at_endpoint.error(text, hint);
                    return None;
                }
            },
        };
        let endpoint = match (endpoint, tls_dir) {
            (Endpoint::Tcp { address, tls_dir: None }, None) => {
                let near = address.starts_with("localhost:")
                    || address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
                if !near {
                    at.key("endpoint").warn(
                        "has no tls_dir: the engine cannot authenticate its clients, and anyone who reaches \
                         it is root on its machine",
                        "set up TLS on the engine and set tls_dir, or use ssh://",
                    );
                }
                Endpoint::Tcp { address, tls_dir: None }
            }
            (Endpoint::Tcp { address, tls_dir: found }, written) => {
                Endpoint::Tcp { address, tls_dir: written.or(found) }
            }
            (other, None) => other,
            (other, Some(_)) => {
                at.key("tls_dir").error("can only be used with a tcp:// endpoint", "remove it");
                other
            }
        };
        Some((endpoint, source))
    }
}

/// The hint for an endpoint in another form.
fn meant(text: &str) -> String {
    let port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if text.starts_with('/') {
        format!("write \"unix://{text}\"")
    } else if let Some(scheme) = ["http://", "https://"].iter().find(|scheme| text.starts_with(*scheme)) {
        format!("write tcp:// instead of {scheme}")
    } else if port && !text.contains("://") {
        "put tcp:// in front of it".to_owned()
    } else {
        String::new()
    }
}

/// A limit in bytes; 0 is rejected, since it would mean no limit.
pub(super) fn bytes(size: Option<Size>, at: &At<'_>) -> Option<u64> {
    let Size(bytes) = size?;
    at.require(bytes > 0, "must not be 0", NO_LIMIT).then_some(bytes)
}

/// A limit in thousandths of a processor.
pub(super) fn cpu_millis(cpus: Option<f64>, at: &At<'_>) -> Option<u64> {
    let cpus = cpus?;
    // Docker accepts no less than 0.01.
    if !at.require((0.01..=10_000.0).contains(&cpus), "must be a number from 0.01 to 10000", NO_LIMIT) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its range has been checked")]
    Some((cpus * 1000.0).round() as u64)
}

const NO_LIMIT: &str = "remove it for no limit";
