//! What a runner's container, and what belongs to it, is created from.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use fnv::FnvHasher;
use serde::Serialize;

use super::{
    cache::{Cache, CacheStore},
    constraint::Constraint,
    devices::DeviceCounts,
    template_parts::{Device, FilesDigest, Hooks, Proxy},
};

/// Limits of one runner's container, or the budget of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Memory in bytes; 0 is no limit.
    pub memory: u64,
    /// Processors in thousandths; 0 is no limit.
    pub cpu_millis: u64,
}

impl Resources {
    /// Adds those of another container.
    pub(super) fn add(&mut self, more: Self) {
        self.memory += more.memory;
        self.cpu_millis += more.cpu_millis;
    }

    pub(super) fn remove(&mut self, less: Self) {
        self.memory = self.memory.saturating_sub(less.memory);
        self.cpu_millis = self.cpu_millis.saturating_sub(less.cpu_millis);
    }

    /// The larger of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self { memory: self.memory.max(other.memory), cpu_millis: self.cpu_millis.max(other.cpu_millis) }
    }
}

/// When the engine pulls the image; smaller values pull more often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PullPolicy {
    /// At start and then periodically, in the background.
    Always,
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Never: the image is provided by other means.
    Never,
}

/// The network of a runner's container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Network {
    /// The engine's default.
    #[default]
    Default,
    /// The network with this name, or `host`, or `none`.
    Named(String),
    /// One of its own, so that runners cannot reach each other.
    Isolated,
}

impl Network {
    /// Its name, if it is one that no container beside the runner's could be in.
    pub fn not_shared(&self) -> Option<&str> {
        match self {
            Self::Named(name) if matches!(name.as_str(), "host" | "none") => Some(name),
            Self::Named(_) | Self::Default | Self::Isolated => None,
        }
    }
}

/// A proxy that is the only way out of a runner's network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Egress {
    pub mode: EgressMode,
    /// Patterns of the destinations that are allowed.
    pub allow: Vec<String>,
    /// The image of the proxy; made of the running program when absent.
    pub image: Option<String>,
}

impl Egress {
    /// The limits of the proxy: four hundred tunnels take some 20 MB.
    pub const RESOURCES: Resources = Resources { memory: 128 << 20, cpu_millis: 0 };
}

/// What happens to destinations that are not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EgressMode {
    /// They are reported.
    Audit,
    /// They are refused.
    Enforce,
}

impl EgressMode {
    /// The value in the configuration and for the proxy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }
}

/// How jobs use Docker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum DockerMode {
    /// Not at all.
    #[default]
    None,
    /// Through the socket of the host's engine, which makes them root on the host.
    Socket {
        /// Its path on the engine's machine; `None` is that of the endpoint, or the usual one.
        path: Option<String>,
    },
    /// Through an engine of the runner's own, in a sidecar.
    Dind(Dind),
}

/// The engine in a sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dind {
    pub image: String,
    /// The limits of the sidecar, and thus of all containers of the job.
    pub resources: Resources,
    /// Registries from which it pulls images of Docker Hub first.
    pub registry_mirrors: Vec<String>,
    /// MTU of its networks in bytes; `None` is that of the host's network.
    pub mtu: Option<u32>,
    /// The time until it must answer.
    pub start_timeout: Duration,
}

/// A directory or volume that runners see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Absolute path on the engine's machine, or a volume's name.
    pub source: String,
    pub target: String,
    /// Whether the job may not write to it.
    pub read_only: bool,
}

/// The container template of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    pub image: String,
    /// The command that starts the runner; the official image does not set one.
    pub command: Vec<String>,
    pub pull: PullPolicy,
    pub resources: Resources,
    pub pids: Option<u32>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub caches: Vec<Cache>,
    pub network: Network,
    /// How jobs use Docker.
    pub docker: DockerMode,
    /// What runners may reach; everything when absent.
    pub egress: Option<Egress>,
    /// How many of the host's GPUs, exclusive devices and cache slots a runner gets for itself.
    pub devices: DeviceCounts,
    /// An OCI runtime of the engine.
    pub runtime: Option<String>,
    /// User, and optionally group, to run as.
    pub user: Option<String>,
    /// `name:address` lines for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    pub dns: Vec<String>,
    /// Limits per process, `name` to (soft, hard).
    pub ulimits: BTreeMap<String, (i64, i64)>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    /// Security options, such as `no-new-privileges`.
    pub security_opt: Vec<String>,
    /// A profile of system calls, on this machine; read at each launch, as the docker command does.
    pub seccomp_profile: Option<PathBuf>,
    /// A file with more variables, on this machine; read at each launch.
    pub env_file: Option<PathBuf>,
    pub hooks: Hooks,
    pub proxy: Proxy,
    /// A file with certificates to trust: absolute path on the engine's machine.
    pub ca_file: Option<String>,
    pub shared_devices: Vec<Device>,
    /// Whether only `writable` and the folders for temporary files can be written to.
    pub read_only: bool,
    /// Folders of the image that can be written to although the rest cannot.
    pub writable: Vec<String>,
    /// What a node of a cluster must be to run it.
    pub constraints: Vec<Constraint>,
    /// Whether a cluster passes the JIT config in the environment, which shows in the service, and not as a secret.
    pub jit_in_environment: bool,
}

impl std::hash::Hash for PullPolicy {
    /// The pull policy does not change the container.
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl std::hash::Hash for Resources {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.memory, self.cpu_millis).hash(state);
    }
}

/// A short text that changes when a template does, so that outdated runners can be recognized.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TemplateDigest(pub String);

impl Template {
    /// The limits of a runner's container and of its sidecars together.
    pub fn total_resources(&self) -> Resources {
        let mut total = self.resources;
        total.add(self.sidecars().unwrap_or_default());
        total
    }

    /// The images of its sidecars.
    pub fn sidecar_images(&self) -> impl Iterator<Item = &str> {
        let dind = match &self.docker {
            DockerMode::Dind(dind) => Some(dind.image.as_str()),
            DockerMode::None | DockerMode::Socket { .. } => None,
        };
        let egress = self.egress.as_ref().and_then(|egress| egress.image.as_deref());
        dind.into_iter().chain(egress)
    }

    /// The limits of a runner's sidecars together; `None` when it has none.
    pub fn sidecars(&self) -> Option<Resources> {
        let dind = match &self.docker {
            DockerMode::Dind(dind) => Some(dind.resources),
            DockerMode::None | DockerMode::Socket { .. } => None,
        };
        let egress = self.egress.as_ref().map(|_| Egress::RESOURCES);
        dind.into_iter().chain(egress).reduce(|mut all, one| {
            all.add(one);
            all
        })
    }

    /// Whether anything is made for a runner beside its container.
    pub fn has_attachments(&self) -> bool {
        self.network == Network::Isolated
            || self.docker != DockerMode::None
            || self.egress.is_some()
            || self.promotes()
    }

    /// Whether anything must be done before a runner can be created.
    pub fn needs_preparation(&self) -> bool {
        self.has_attachments() || !self.caches.is_empty()
    }

    /// Whether a trusted job leaves its caches to the next ones.
    pub fn promotes(&self) -> bool {
        self.caches.iter().any(|cache| matches!(cache.store, CacheStore::Promoted(_)))
    }

    /// Whether a container depends on the content of files on this machine.
    pub fn has_files(&self) -> bool {
        self.env_file.is_some() || self.seccomp_profile.is_some()
    }

    /// Whether programs cannot gain privileges, for example by `sudo`.
    pub fn forbids_new_privileges(&self) -> bool {
        let mut options =
            self.security_opt.iter().rev().filter_map(|option| option.strip_prefix("no-new-privileges"));
        options.next().is_some_and(|value| !value.ends_with("false"))
    }

    /// The template's digest, without the content of its files: the same for the same template in every process
    /// of one version.
    pub fn digest(&self) -> TemplateDigest {
        self.hashed(None)
    }

    /// The same with the content of its files.
    pub fn digest_with(&self, files: FilesDigest) -> TemplateDigest {
        self.hashed(self.has_files().then_some(files))
    }

    fn hashed(&self, files: Option<FilesDigest>) -> TemplateDigest {
        use std::hash::{Hash, Hasher};
        // Not the standard library's hasher: that may change between its versions, and a label may not.
        let mut hasher = FnvHasher::default();
        self.hash(&mut hasher);
        if let Some(files) = files {
            files.hash(&mut hasher);
        }
        TemplateDigest(format!("{:016x}", hasher.finish()))
    }
}

impl Default for Template {
    fn default() -> Self {
        Self {
            image: "ghcr.io/actions/actions-runner:latest".to_owned(),
            command: vec!["/home/runner/run.sh".to_owned()],
            pull: PullPolicy::default(),
            resources: Resources::default(),
            pids: Some(4096),
            shm_size: None,
            env: BTreeMap::new(),
            mounts: Vec::new(),
            caches: Vec::new(),
            network: Network::Default,
            docker: DockerMode::None,
            egress: None,
            devices: DeviceCounts::new(),
            runtime: None,
            user: None,
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            ulimits: BTreeMap::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            seccomp_profile: None,
            env_file: None,
            hooks: Hooks::default(),
            proxy: Proxy::default(),
            ca_file: None,
            shared_devices: Vec::new(),
            read_only: false,
            writable: Vec::new(),
            constraints: Vec::new(),
            jit_in_environment: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_follows_the_template_and_not_the_pull_policy() {
        let base = Template::default();
        let pulled = Template { pull: PullPolicy::Always, ..base.clone() };
        let other = Template { pids: Some(1), ..base.clone() };
        assert_eq!(base.digest(), pulled.digest());
        assert_ne!(base.digest(), other.digest());
    }

    #[test]
    fn the_digest_follows_the_content_of_the_files_that_it_has() {
        let none = Template::default();
        assert_eq!(none.digest_with(FilesDigest(1)), none.digest());
        let one = Template { env_file: Some("/etc/dayfly/env".into()), ..none };
        assert_ne!(one.digest_with(FilesDigest(1)), one.digest_with(FilesDigest(2)));
        assert_eq!(one.digest_with(FilesDigest(1)), one.digest_with(FilesDigest(1)));
    }
}
