//! A pool: identical runners of one scope, group, label set and container template, with a policy.

use std::{sync::Arc, time::Duration};

use super::{
    job::Demand,
    name::{HostName, PoolName},
    placement::Placement,
    schedule::Schedule,
    scope::Scope,
    template::Template,
};

/// A configured pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Part of every runner's name.
    pub name: PoolName,
    pub scope: Scope,
    /// The credential that mints them, with the account for a GitHub App: what GitHub's rate limits apply to.
    pub credential: Arc<str>,
    /// Where its runners may run, at least one, in the order of the configuration.
    pub hosts: Vec<HostName>,
    /// Which of them gets the next runner.
    pub placement: Placement,
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
    /// Its share of a full host, beside the other pools of its priority. At least 1.
    pub weight: u32,
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
            weight: 1,
            idle_timeout: Duration::from_mins(5),
            idle_confirmation: Duration::from_mins(1),
            boot_timeout: Duration::from_mins(2),
            max_job_age: None,
        }
    }
}
