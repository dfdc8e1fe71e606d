//! Counts, reports and events of a fleet. Log fields, metric labels, the status and test expectations all use
//! these values.

mod failures;
mod reasons;

use std::{sync::Arc, time::Duration};

use serde::Serialize;

pub(super) use self::failures::FAILURES_KEPT;
pub use self::{
    failures::{Ending, FailureReport, SourceTrouble, Step, TroubleReport},
    reasons::*,
};
use super::{
    evidence::{ContainerId, Exit, RegistrationId, Trouble},
    job::{Job, JobFacts, JobId},
    name::{HostName, PoolName, RunnerName},
    pool::Resources,
    scope::Scope,
    time::{Instant, Timestamp},
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
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Phase::ALL.iter().map(|&phase| (phase.as_str(), self.of(phase))))
    }
}

/// A pool after a pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolReport {
    pub name: PoolName,
    pub url: Scope,
    pub host: HostName,
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobReport {
    pub id: JobId,
    /// Its details, for display.
    #[serde(flatten)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// When it entered this phase.
    pub since: Timestamp,
    /// Why it is being removed, if it is.
    pub removal_reason: Option<Why>,
    /// How its container ended, if it has.
    pub ending: Option<Ending>,
    /// Its job, where its log has it.
    pub job: Option<String>,
    /// Details of its job, where a queue, a webhook or a scale set reported them.
    #[serde(rename = "job_details")]
    pub facts: Option<Arc<JobFacts>>,
}

/// A scope after a pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// The budget that blocks launches, if one does.
    pub blocked: Option<Held>,
}

/// The status of everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
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

/// Something that happened, reported once, for logs and counters.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A runner was launched.
    Launched { pool: PoolName, runner: RunnerName, why: Why },
    /// A launch failed.
    LaunchFailed {
        pool: PoolName,
        runner: RunnerName,
        trouble: Trouble,
        /// Consecutive failures of this pool, including this one.
        streak: u32,
    },
    /// A runner can take a job.
    Ready {
        pool: String,
        runner: RunnerName,
        /// From mint to now; `None` when it was adopted.
        startup: Option<Duration>,
    },
    /// A runner has a job.
    JobStarted {
        pool: String,
        runner: RunnerName,
        /// The job's display name, where the log has it.
        job: Option<String>,
    },
    /// Details of the job that a runner has became known.
    JobKnown {
        pool: String,
        runner: RunnerName,
        facts: Arc<JobFacts>,
        /// How long it was queued; `None` when the runner was found with it.
        queued: Option<Duration>,
    },
    /// No pool serves a queued job that seems to be meant for these pools; reported once for each reason.
    JobUnmatched { job: Box<Job>, reason: Unmatched, detail: String },
    /// A job has been queued for long although its pool has an idle runner; reported once.
    JobStuck {
        pool: PoolName,
        facts: Arc<JobFacts>,
        /// The possible causes.
        detail: String,
    },
    /// A pool's job source failed, or works again.
    Source {
        pool: PoolName,
        source: Source,
        /// Why it fails, or `None` when it works.
        trouble: Option<Trouble>,
    },
    /// A runner that this process did not launch was found and adopted.
    Adopted { pool: String, runner: RunnerName },
    /// A runner's container exited.
    Exited {
        pool: String,
        runner: RunnerName,
        /// The reason.
        reason: ExitReason,
        /// The exit; `None` when the container disappeared.
        exit: Option<Exit>,
        job: Option<String>,
        /// Details of its job, where known.
        facts: Option<Arc<JobFacts>>,
        /// The duration of the job, where both ends were observed.
        job_duration: Option<Duration>,
        /// The result of the job in its log.
        result: Option<String>,
    },
    /// A registration or a container was removed by Dayfly.
    Removed { pool: String, runner: RunnerName, why: Why },
    /// Runners of this instance are online on GitHub but have no container on any of its hosts; reported once
    /// while it lasts.
    Elsewhere { runners: u32, example: RunnerName },
    /// A step of a removal failed, and will be retried.
    RemovalFailed {
        pool: String,
        runner: RunnerName,
        why: Why,
        trouble: Trouble,
        /// Consecutive failures of steps with this runner, including this one.
        streak: u32,
    },
    /// A removal was cancelled.
    Vetoed { pool: String, runner: RunnerName, veto: Veto },
    /// A scope's state changed.
    Scope {
        scope: Scope,
        /// Why it cannot be listed, or `None` when it can again.
        trouble: Option<Trouble>,
    },
    /// A host's state changed.
    Host {
        host: HostName,
        /// Why it cannot be listed, or `None` when it can again.
        trouble: Option<Trouble>,
    },
    /// Launches of a pool were paused or resumed.
    Held {
        pool: PoolName,
        /// Why they are paused, or `None` when they were resumed.
        held: Option<Held>,
        /// Details.
        detail: String,
        /// Whether this is part of every start: something has not been listed yet, or now has.
        is_starting: bool,
    },
}

/// An action. It can be carried out without further decisions.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Mint a runner, create its container and start it.
    Launch { runner: RunnerName, pool: PoolName, host: HostName, why: Why },
    /// Check the container for a job if it may be running, then remove the registration.
    Deregister {
        runner: RunnerName,
        scope: Scope,
        registration: RegistrationId,
        /// The container to check first, and its host.
        ask: Option<(HostName, ContainerId)>,
        why: Why,
    },
    /// Check the container for a job again, then stop it.
    Stop {
        runner: RunnerName,
        host: HostName,
        container: ContainerId,
        /// Whether a job prevents the stop; false only for `max_job_age`.
        ask: bool,
        why: Why,
    },
    /// Remove a container that is not running.
    Remove { runner: RunnerName, host: HostName, container: ContainerId, why: Why },
}

/// The outcome of a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The actions; each is in flight until its outcome is observed.
    pub actions: Vec<Action>,
    pub events: Vec<Event>,
    /// When the next plan is needed because of a timeout, at the latest.
    pub wake_at: Option<Instant>,
}
