//! A pool: identical runners of one scope, group, label set and container template, with a policy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    job::Demand,
    name::{HostName, PoolName},
    schedule::Schedule,
    scope::Scope,
};

/// The configured unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name, part of every runner's name.
    pub name: PoolName,
    /// Where its runners are registered.
    pub scope: Scope,
    /// The credential that mints them, and of a GitHub App the account too: what GitHub counts requests by.
    pub credential: Arc<str>,
    /// The engine that runs them.
    pub host: HostName,
    /// The runner group's name; repositories have only `Default`.
    pub group: String,
    /// Exactly the labels that the runners get: a JIT registration adds none of its own.
    pub labels: Vec<String>,
    /// Where it learns of waiting jobs.
    pub demand: Demand,
    /// The repositories whose queues are looked at, where its scope has several; empty for those that
    /// were pushed to lately.
    pub repositories: Vec<Scope>,
    /// Whether jobs of a public repository may run here, where no runner group says so.
    pub allow_public: bool,
    /// Whether it takes jobs that ask for no label at all.
    pub match_unlabelled: bool,
    /// How many, and for how long.
    pub policy: Policy,
    /// What their containers are made from.
    pub template: Template,
}

/// How many runners a pool keeps, and how long each may take for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Runners kept idle on top of demand, when the schedule says nothing else.
    pub min_idle: u32,
    /// Other numbers of idle runners at other hours.
    pub schedule: Schedule,
    /// Runners at most, whatever is waiting.
    pub max: u32,
    /// Who goes first where the host has no room for all: larger first.
    pub priority: i32,
    /// How long a surplus runner may idle before it is taken down.
    pub idle_timeout: Duration,
    /// How long a runner must have been seen idle before it can be taken down at all: GitHub's
    /// `busy` lags up to a minute behind a job's start.
    pub idle_confirmation: Duration,
    /// How long from launch until a runner must listen for jobs.
    pub boot_timeout: Duration,
    /// How long a job may hold a runner; `None` is for ever.
    pub max_job_age: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_idle: 1,
            schedule: Schedule::default(),
            max: 10,
            priority: 0,
            idle_timeout: Duration::from_mins(5),
            idle_confirmation: Duration::from_mins(1),
            boot_timeout: Duration::from_mins(2),
            max_job_age: None,
        }
    }
}

/// What one runner's container may use, and what a host has in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Memory in bytes; 0 is no limit.
    pub memory: u64,
    /// Processors in thousandths; 0 is no limit.
    pub cpu_millis: u64,
}

/// When the engine asks the registry for the image; the more eager the less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PullPolicy {
    /// At start and then now and again, in the background.
    Always,
    /// When the engine does not have it.
    #[default]
    Missing,
    /// Never: the image is put there by other means.
    Never,
}

/// A directory or volume that runners see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Absolute path on the engine's machine, or a volume's name.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Whether the job may not write to it.
    pub read_only: bool,
}

/// What a pool's containers are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// Image reference.
    pub image: String,
    /// The command that starts the runner; the official image has none of its own.
    pub command: Vec<String>,
    /// When to pull.
    pub pull: PullPolicy,
    /// Limits of one container.
    pub resources: Resources,
    /// Processes and threads at most.
    pub pids: Option<u32>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Environment besides what the runner needs.
    pub env: BTreeMap<String, String>,
    /// Directories and volumes.
    pub mounts: Vec<Mount>,
    /// A network's name, or `host`, or `none`; the engine's default when absent.
    pub network: Option<String>,
    /// An OCI runtime that the engine knows.
    pub runtime: Option<String>,
    /// User (and group) to run as.
    pub user: Option<String>,
    /// `name:address` lines for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Limits per process, `name` to (soft, hard).
    pub ulimits: BTreeMap<String, (i64, i64)>,
    /// Linux capabilities to add.
    pub cap_add: Vec<String>,
    /// Linux capabilities to drop.
    pub cap_drop: Vec<String>,
    /// Security options, such as `no-new-privileges`.
    pub security_opt: Vec<String>,
}

impl std::hash::Hash for PullPolicy {
    /// When the image is pulled does not change what a container is.
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl std::hash::Hash for Resources {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.memory, self.cpu_millis).hash(state);
    }
}

/// A short text that changes when a template does, so that runners of an outdated one can be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TemplateDigest(pub String);

impl Template {
    /// The template's digest: the same for the same template in every process of one version.
    pub fn digest(&self) -> TemplateDigest {
        use std::hash::{Hash, Hasher};
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        self.hash(&mut hasher);
        TemplateDigest(format!("{:016x}", hasher.finish()))
    }
}

/// FNV-1a: the standard library's hasher may change between its versions, a label may not.
struct Fnv(u64);

impl std::hash::Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
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
            network: None,
            runtime: None,
            user: None,
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            ulimits: BTreeMap::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
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
}
