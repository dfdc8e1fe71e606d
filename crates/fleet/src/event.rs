//! What happened between two passes. Log fields, counters and test expectations all use these values.

use std::{sync::Arc, time::Duration};

use super::{
    destination::Destination,
    evidence::{Exit, Trouble},
    job::{Job, JobFacts},
    name::{HostName, PoolName, RunnerName},
    reasons::{ExitReason, Held, Source, Unmatched, Veto, Why},
    scope::Scope,
};

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
    /// A runner's proxy had its first request to a destination.
    Destination {
        pool: String,
        runner: RunnerName,
        destination: Destination,
        job: Option<String>,
        /// Details of its job, where known.
        facts: Option<Arc<JobFacts>>,
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
    /// A node of a cluster was drained, or why that failed.
    NodeDrained { host: HostName, node: String, trouble: Option<Trouble> },
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
