//! What people see of a fleet: counts, reports and events. Log fields, metric labels, the status page and
//! test expectations are all these same values.

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

/// A pool, as a pass left it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolReport {
    /// Its name.
    pub name: PoolName,
    /// Its scope.
    pub url: Scope,
    /// Its host.
    pub host: HostName,
    /// Runners wanted: `min(max, busy + queued + min_idle)`.
    pub desired: u32,
    /// Runners to keep idle.
    pub min_idle: u32,
    /// Runners at most.
    pub max: u32,
    /// Queued jobs that it serves.
    pub queued: u32,
    /// When the oldest of them was queued.
    pub oldest_queued_at: Option<Timestamp>,
    /// Its runners by phase.
    pub phases: Census,
    /// When the oldest runner that still starts was minted.
    pub oldest_starting_at: Option<Timestamp>,
    /// What holds it back, if anything does.
    pub held: Option<Held>,
    /// Since when.
    pub held_since: Option<Timestamp>,
    /// More of it for people, such as the error.
    pub held_detail: Option<String>,
    /// Its sources of waiting jobs that do not work now.
    pub sources_down: Vec<Source>,
    /// Why, and since when.
    pub source_troubles: Vec<SourceTrouble>,
}

/// A queued job, as a pass left it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobReport {
    /// Its id.
    pub id: JobId,
    /// What people want to know of it.
    #[serde(flatten)]
    pub facts: Arc<JobFacts>,
    /// The labels that it asks for.
    pub labels: Vec<String>,
    /// The pool that it is demand of.
    pub pool: Option<PoolName>,
    /// Why it is no pool's.
    pub unmatched: Option<Unmatched>,
    /// When it was last known to be queued.
    pub seen_at: Timestamp,
}

/// A runner, as a pass left it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunnerReport {
    /// Its name.
    pub name: RunnerName,
    /// Its pool.
    pub pool: String,
    /// What it is doing.
    pub phase: Phase,
    /// GitHub's number, where known.
    pub registration_id: Option<RegistrationId>,
    /// The engine's id, where there is one.
    pub container_id: Option<ContainerId>,
    /// Its host, where known.
    pub host: Option<HostName>,
    /// Since when it has been in this phase.
    pub since: Timestamp,
    /// Why it is being removed, if it is.
    pub removal_reason: Option<Why>,
    /// How its container ended, if it has.
    pub ending: Option<Ending>,
    /// Its job, where its log told it.
    pub job: Option<String>,
    /// More of its job, where a look at the queue, a webhook or a scale set told it.
    #[serde(rename = "job_details")]
    pub facts: Option<Arc<JobFacts>>,
}

/// A scope, as a pass left it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScopeReport {
    /// Its address.
    pub url: Scope,
    /// Whether its last list was complete.
    pub up: bool,
    /// When the last complete list began.
    pub last_listed_at: Option<Timestamp>,
    /// Why it cannot be listed, if it was tried.
    pub trouble: Option<TroubleReport>,
}

/// A host, as a pass left it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostReport {
    /// Its name.
    pub name: HostName,
    /// Whether its last list succeeded.
    pub up: bool,
    /// When the last list that succeeded began; `None` until there is one.
    pub last_listed_at: Option<Timestamp>,
    /// Why it cannot be listed, if it was tried.
    pub trouble: Option<TroubleReport>,
    /// Runners up or on their way, of all pools.
    pub runners: u32,
    /// Sum of their limits.
    pub committed: Resources,
    /// Which part of its budget stops launches, if any does.
    pub blocked: Option<Held>,
}

/// All that a person may want to see at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Whether the operator drains.
    pub draining: bool,
    /// The pools, in the order of the configuration.
    pub pools: Vec<PoolReport>,
    /// The runners, by name.
    pub runners: Vec<RunnerReport>,
    /// The scopes.
    pub scopes: Vec<ScopeReport>,
    /// The hosts.
    pub hosts: Vec<HostReport>,
    /// The queued jobs that are ours or look like it.
    pub jobs: Vec<JobReport>,
    /// The runners that failed last, the newest first.
    pub failures: Vec<Arc<FailureReport>>,
}

/// Something that happened, told once: what logs say and counters count.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A container of ours runs.
    Launched {
        /// Its pool.
        pool: PoolName,
        /// The runner.
        runner: RunnerName,
        /// Why it was wanted.
        why: Why,
    },
    /// A launch failed.
    LaunchFailed {
        /// Its pool.
        pool: PoolName,
        /// The runner.
        runner: RunnerName,
        /// Why.
        trouble: Trouble,
        /// Failures of this pool in a row, this one included.
        streak: u32,
    },
    /// A runner can take a job.
    Ready {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
        /// From mint to now; `None` when it was adopted.
        startup: Option<Duration>,
    },
    /// A runner has a job.
    JobStarted {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
        /// The job's display name, where the log told it.
        job: Option<String>,
    },
    /// More became known of the job that a runner has.
    JobKnown {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
        /// The job.
        facts: Arc<JobFacts>,
        /// From when it was queued until the runner had it; `None` when the runner was found with it.
        queued: Option<Duration>,
    },
    /// A queued job is no pool's, though it looks as if it should be; told once for each reason.
    JobUnmatched {
        /// The job.
        job: Box<Job>,
        /// Why.
        reason: Unmatched,
        /// The same in sentences.
        detail: String,
    },
    /// A job has been queued for long although a runner of its pool idles; told once.
    JobStuck {
        /// Its pool.
        pool: PoolName,
        /// The job.
        facts: Arc<JobFacts>,
        /// What may be the cause, with what was read of it.
        detail: String,
    },
    /// A pool's source of waiting jobs failed, or works again.
    Source {
        /// The pool.
        pool: PoolName,
        /// The source.
        source: Source,
        /// Why it fails, or `None` when it works.
        trouble: Option<Trouble>,
    },
    /// A runner that this process did not launch was found and taken over.
    Adopted {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
    },
    /// A runner's container ended.
    Exited {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
        /// How, in a word.
        reason: ExitReason,
        /// How, in full; `None` when the container vanished.
        exit: Option<Exit>,
        /// Its job.
        job: Option<String>,
        /// More of its job, where it is known.
        facts: Option<Arc<JobFacts>>,
        /// How long it had the job, where both ends were seen.
        job_duration: Option<Duration>,
        /// What its log said of the job's result.
        result: Option<String>,
    },
    /// A registration or a container was removed, by our decision.
    Removed {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
        /// Why.
        why: Why,
    },
    /// Runners of our instance are online at GitHub and have no container on any host of ours; reported once while
    /// it lasts.
    Elsewhere {
        /// How many.
        runners: u32,
        /// One of them.
        example: RunnerName,
    },
    /// A step of a removal failed, and will be tried again.
    RemovalFailed {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
        /// Why it is to be removed.
        why: Why,
        /// Why that failed.
        trouble: Trouble,
        /// Failures in a row of steps with this runner, this one included.
        streak: u32,
    },
    /// A removal was refused.
    Vetoed {
        /// Its pool.
        pool: String,
        /// The runner.
        runner: RunnerName,
        /// By whom.
        veto: Veto,
    },
    /// A scope's state changed.
    Scope {
        /// The scope.
        scope: Scope,
        /// Why it cannot be seen, or `None` when it can again.
        trouble: Option<Trouble>,
    },
    /// A host's state changed.
    Host {
        /// The host.
        host: HostName,
        /// Why it cannot be seen, or `None` when it can again.
        trouble: Option<Trouble>,
    },
    /// What holds a pool back changed.
    Held {
        /// The pool.
        pool: PoolName,
        /// What, or `None` when nothing does any more.
        held: Option<Held>,
        /// More of it, for people.
        detail: String,
        /// Whether this is how every start goes: something has not been listed yet, or now it has.
        is_starting: bool,
    },
}

/// What to do. Carrying it out needs no further decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Mint a runner, make its container and start it.
    Launch {
        /// The runner.
        runner: RunnerName,
        /// Its pool.
        pool: PoolName,
        /// Its host.
        host: HostName,
        /// Why.
        why: Why,
    },
    /// Ask the container, if it may run, then remove the registration.
    Deregister {
        /// The runner.
        runner: RunnerName,
        /// Where it is registered.
        scope: Scope,
        /// Its number there.
        registration: RegistrationId,
        /// The container to ask first, and its host.
        ask: Option<(HostName, ContainerId)>,
        /// Why.
        why: Why,
    },
    /// Ask the container once more, then stop it.
    Stop {
        /// The runner.
        runner: RunnerName,
        /// Its host.
        host: HostName,
        /// Its container.
        container: ContainerId,
        /// Whether a job vetoes the stop; only `max_job_age` says no.
        ask: bool,
        /// Why.
        why: Why,
    },
    /// Remove a container that does not run.
    Remove {
        /// The runner.
        runner: RunnerName,
        /// Its host.
        host: HostName,
        /// Its container.
        container: ContainerId,
        /// Why.
        why: Why,
    },
}

/// The outcome of a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do; each is in flight until its outcome is observed.
    pub actions: Vec<Action>,
    /// What happened since the pass before.
    pub events: Vec<Event>,
    /// When a timeout needs the next look, at the latest.
    pub wake_at: Option<Instant>,
}
