//! Counts and reports of a fleet. Metrics, the status and test expectations all use these values.

mod failures;
mod nodes;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) use self::failures::FAILURES_KEPT;
pub use self::failures::{Ending, FailureReport, SourceTrouble, TroubleReport};
use super::{
    cluster::Availability,
    destination::Destinations,
    evidence::{ContainerId, PullProgress, RegistrationId},
    job::{JobFacts, JobId},
    name::{HostName, PoolName, RunnerName},
    placement::Placement,
    reasons::{Held, Phase, Source, Unmatched, Why},
    scope::Scope,
    template::Resources,
    time::{ClockReading, Timestamp},
};

/// How many runners are in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census([u32; Phase::ALL.len()]);

impl Census {
    /// Counts one more.
    pub fn add(&mut self, phase: Phase) {
        self.0[phase as usize] += 1;
    }

    /// How many are in this phase.
    pub fn of(&self, phase: Phase) -> u32 {
        self.0[phase as usize]
    }
}

impl Serialize for Census {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Phase::ALL.iter().map(|&phase| (phase.as_str(), self.of(phase))))
    }
}

impl<'de> Deserialize<'de> for Census {
    /// Unknown phases are ignored: they are of another version.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = BTreeMap::<String, u32>::deserialize(deserializer)?;
        let mut census = Self::default();
        for &phase in Phase::ALL {
            census.0[phase as usize] = counts.get(phase.as_str()).copied().unwrap_or_default();
        }
        Ok(census)
    }
}

/// A pool after a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolReport {
    pub name: PoolName,
    pub url: Scope,
    pub hosts: Vec<HostName>,
    pub placement: Placement,
    /// Runners wanted: `min(max, busy + queued + min_idle)`.
    pub desired: u32,
    pub min_idle: u32,
    pub max: u32,
    pub queued: u32,
    /// When the oldest of the queued jobs was queued.
    pub oldest_queued_at: Option<Timestamp>,
    pub phases: Census,
    /// When the oldest runner that is still starting was minted.
    pub oldest_starting_at: Option<Timestamp>,
    /// Why its launches are paused, if they are.
    pub held: Option<Held>,
    pub held_since: Option<Timestamp>,
    /// Details, such as the error.
    pub held_detail: Option<String>,
    /// Its failing job sources.
    pub sources_down: Vec<Source>,
    /// Why they fail, and since when.
    pub source_troubles: Vec<SourceTrouble>,
}

/// A queued job after a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct JobReport {
    pub id: JobId,
    /// Its details, for display.
    pub facts: Arc<JobFacts>,
    /// The labels that it asks for.
    pub labels: Vec<String>,
    /// The pool that serves it.
    pub pool: Option<PoolName>,
    pub unmatched: Option<Unmatched>,
    /// When it was last known to be queued.
    pub seen_at: Timestamp,
}

/// A runner after a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerReport {
    pub name: RunnerName,
    pub pool: String,
    pub phase: Phase,
    /// GitHub's id, where known.
    pub registration_id: Option<RegistrationId>,
    /// The engine's id, where there is one.
    pub container_id: Option<ContainerId>,
    /// Its host, where known.
    pub host: Option<HostName>,
    /// The name of its node, where its host is a cluster.
    pub node: Option<String>,
    /// When it entered this phase.
    pub since: Timestamp,
    /// Why it is being removed, if it is.
    pub removal_reason: Option<Why>,
    /// How its container ended, if it has.
    pub ending: Option<Ending>,
    /// Its job, where its log has it.
    pub job: Option<String>,
    /// Details of its job, where a job source reported them.
    pub facts: Option<Arc<JobFacts>>,
    /// What it connected to through its proxy.
    pub destinations: Arc<Destinations>,
}

/// A scope after a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeReport {
    pub url: Scope,
    /// Whether its last list was complete.
    pub up: bool,
    /// When the last complete list began.
    pub last_listed_at: Option<Timestamp>,
    /// Why listing it failed, if it did.
    pub trouble: Option<TroubleReport>,
}

/// A host after a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct HostReport {
    pub name: HostName,
    /// Whether its last list succeeded.
    pub up: bool,
    /// When the last list that succeeded began; `None` until there is one.
    pub last_listed_at: Option<Timestamp>,
    /// Why listing it failed, if it did.
    pub trouble: Option<TroubleReport>,
    /// Running runners and launches in flight, of all pools.
    pub runners: u32,
    pub committed: Resources,
    /// The machines of a cluster.
    pub nodes: Vec<NodeReport>,
    /// The pulls in progress, by image.
    pub pulls: Vec<PullReport>,
    /// The budget that blocks launches, if one does.
    pub blocked: Option<Held>,
}

/// A machine of a cluster after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    pub name: String,
    pub availability: Availability,
    pub reachable: bool,
    /// Whether it is drained as soon as no runner is left on it.
    pub drain_requested: bool,
    /// Runners of this instance on it.
    pub runners: u32,
}

/// A pull in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct PullReport {
    /// The reference that is pulled.
    pub image: String,
    /// When it began.
    pub since: Timestamp,
    pub progress: PullProgress,
}

/// The status of everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The clocks at the last pass, which its times are relative to; `None` before the first pass.
    pub planned: Option<ClockReading>,
    pub draining: bool,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolReport>,
    /// The runners, by name.
    pub runners: Vec<RunnerReport>,
    pub scopes: Vec<ScopeReport>,
    pub hosts: Vec<HostReport>,
    /// The queued jobs that belong to these pools or seem to.
    pub jobs: Vec<JobReport>,
    /// The most recent runner failures, newest first.
    pub failures: Vec<Arc<FailureReport>>,
}
