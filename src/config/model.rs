//! A configuration as meant: what the rest of the daemon works with.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use super::{local_engine::EndpointSource, problem::Problem};
use crate::{
    fleet::{self, HostName, InstanceId, PullPolicy},
    github::CredentialSource,
    host::{Endpoint, RegistryLogin, is_same_registry},
};

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub instance: InstanceId,
    /// The directory for diagnostics; it may not exist yet.
    pub state_dir: PathBuf,
    /// The credentials for GitHub, by name.
    pub credentials: BTreeMap<String, CredentialSource>,
    pub hosts: Vec<HostConfig>,
    pub listen: SocketAddr,
    /// The host names that the web server accepts besides loopback names and literal addresses.
    pub allowed_hosts: Vec<String>,
    /// The file with the secret of the webhooks; without it there is no `POST /webhook`.
    pub webhook_secret_file: Option<PathBuf>,
    /// How often GitHub is polled, unless the rate limit is low.
    pub poll_interval: Duration,
    /// The pools, in the order of the file.
    pub pools: Vec<PoolConfig>,
    pub warnings: Vec<Problem>,
}

impl Config {
    /// The images that each host needs; where the pull policies of two pools differ, the more eager one counts.
    pub fn images(&self) -> BTreeMap<(&HostName, &str), ImageSource> {
        let mut images: BTreeMap<_, ImageSource> = BTreeMap::new();
        for PoolConfig { pool, login, .. } in &self.pools {
            let template = &pool.template;
            let own = || std::iter::once(template.image.as_str()).chain(template.sidecar_images());
            for (host, image) in pool.hosts.iter().flat_map(|host| own().map(move |image| (host, image))) {
                let source = || ImageSource { pull: template.pull, login: None };
                let found = images.entry((host, image)).or_insert_with(source);
                found.pull = found.pull.min(template.pull);
                // The pool's credentials are those of its image's registry, and are sent to no other.
                let login = login.as_ref().filter(|_| is_same_registry(image, &template.image));
                found.login = found.login.take().or_else(|| login.cloned());
            }
        }
        images
    }
}

/// An engine and how to reach it.
#[derive(Clone, Debug)]
pub struct HostConfig {
    pub host: fleet::Host,
    pub endpoint: Endpoint,
    pub endpoint_source: EndpointSource,
    /// With less free disk space than this, in bytes, nothing is launched.
    pub min_free_disk: Option<u64>,
}

impl HostConfig {
    /// Whether it is a Docker Swarm.
    pub fn is_swarm(&self) -> bool {
        self.host.nodes.is_some()
    }
}

/// A pool and its credential.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    pub pool: fleet::Pool,
    /// A key of [`Config::credentials`].
    pub credential: String,
    /// Its own credentials for the registry of its image.
    pub login: Option<RegistryLogin>,
}

/// How a host gets an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource {
    pub pull: PullPolicy,
    /// The credentials of the pools that use it, where one has some.
    pub login: Option<RegistryLogin>,
}

/// Whether tokens must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Tokens are needed: one that cannot be read is an error.
    Needed,
    /// Tokens are not checked, for commands that only talk to the daemon and may be run by users who cannot
    /// read them.
    Unneeded,
}
