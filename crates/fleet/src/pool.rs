//! A pool: identical runners of one scope, group, label set and container template, with a policy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fnv::FnvHasher;
use serde::Serialize;

use super::{
    job::Demand,
    name::{HostName, PoolName},
    schedule::Schedule,
    scope::Scope,
};

/// A configured pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Part of every runner's name.
    pub name: PoolName,
    pub scope: Scope,
    /// The credential that mints them, with the account for a GitHub App: what GitHub's rate limits apply to.
    pub credential: Arc<str>,
    pub host: HostName,
    /// The runner group's name; repositories have only `Default`.
    pub group: String,
    /// Exactly the labels that the runners get: a JIT registration adds none.
    pub labels: Vec<String>,
    pub demand: Demand,
    /// The repositories whose queues are polled, where its scope has several; empty for the recently pushed
    /// ones.
    pub repositories: Vec<Scope>,
    /// Whether jobs of a public repository may run here, where no runner group decides that.
    pub allow_public: bool,
    /// Whether it takes jobs without labels.
    pub match_unlabelled: bool,
    /// Numbers and timeouts.
    pub policy: Policy,
    pub template: Template,
}

/// How many runners a pool keeps, and its timeouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Runners kept idle on top of demand, when no window of the schedule applies.
    pub min_idle: u32,
    /// Other numbers of idle runners at certain hours.
    pub schedule: Schedule,
    /// The maximum number of runners, regardless of demand.
    pub max: u32,
    /// Pools with a larger number have priority where a host has no room for all.
    pub priority: i32,
    /// How long a surplus runner may be idle before it is removed.
    pub idle_timeout: Duration,
    /// How long a runner must have been listed as idle before it can be removed at all: GitHub's `busy` lags
    /// up to a minute behind a job's start.
    pub idle_confirmation: Duration,
    /// The time from launch until a runner must listen for jobs.
    pub boot_timeout: Duration,
    /// The maximum duration of a job; `None` is no limit.
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

/// Limits of one runner's container, or the budget of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Memory in bytes; 0 is no limit.
    pub memory: u64,
    /// Processors in thousandths; 0 is no limit.
    pub cpu_millis: u64,
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
    /// A network's name, or `host`, or `none`; the engine's default when absent.
    pub network: Option<String>,
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
    /// The template's digest: the same for the same template in every process of one version.
    pub fn digest(&self) -> TemplateDigest {
        use std::hash::{Hash, Hasher};
        // Not the standard library's hasher: that may change between its versions, and a label may not.
        let mut hasher = FnvHasher::default();
        self.hash(&mut hasher);
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
