//! Jobs, and the job sources of a pool.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    scope::Scope,
    time::{Instant, Timestamp},
};

/// How old the last report of a job must be before a list without it counts: lists lag.
pub(super) const QUEUE_LAG: Duration = Duration::from_secs(10);

/// How long a job can be queued before GitHub cancels it.
pub(super) const MAX_QUEUE_AGE: Duration = Duration::from_hours(24);

/// A workflow job's id, unique on its GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct JobId(pub u64);

/// The details of a job, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// Its display name; for jobs of a matrix it contains the values.
    pub name: String,
    pub repository: Scope,
    pub run_id: u64,
    /// The address of its page.
    pub url: String,
    /// When it was queued, by GitHub's clock.
    pub queued_at: Timestamp,
}

/// What a job's run was started by and runs, as its record on GitHub has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobOrigin {
    /// The event, such as `push`.
    pub event: String,
    /// The branch that it runs, or the tag.
    pub head_branch: String,
    /// The repository of that branch: for a pull request from a fork, the fork.
    pub head_repository: Scope,
    /// The default branch of the repository that has the run.
    pub default_branch: String,
}

/// A workflow job, as listed in a queue or reported by a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    /// The labels of its `runs-on`. Empty when it asks only for a runner group, which GitHub does not report.
    pub labels: Vec<String>,
    /// The enterprise that its organization belongs to, where that is known.
    pub enterprise: Option<Arc<str>>,
    /// Whether its repository is public, where that is known.
    pub public: Option<bool>,
    /// The workflow files that it may belong to (`owner/repository/path@ref`): that of its run and those that
    /// this one calls. Empty when not known.
    pub workflows: Vec<String>,
    pub queued_at: Instant,
    pub facts: Arc<JobFacts>,
}

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waiting for an approval or a concurrency limit: it needs no runner yet.
    Waiting,
    /// Waiting for a runner: demand.
    Queued,
    /// A runner has it.
    InProgress {
        /// The runner's name, where it is known.
        runner: Option<String>,
    },
    /// Finished, with any result.
    Completed,
}

impl JobState {
    /// The order in which a job goes through its states.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Queued => 1,
            Self::InProgress { .. } => 2,
            Self::Completed => 3,
        }
    }
}

/// The job sources of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The state of its runners, and these sources.
    Jobs {
        /// Whether the queues of its repositories are polled.
        queue: bool,
        webhook: bool,
    },
    /// The pool is a runner scale set: GitHub reports how many jobs it has assigned to it.
    ScaleSet,
}

impl Demand {
    /// Only the state of its runners.
    pub const IDLE: Self = Self::Jobs { queue: false, webhook: false };

    /// Whether the queues of its repositories are polled.
    pub const fn polls_queues(self) -> bool {
        matches!(self, Self::Jobs { queue: true, .. })
    }

    /// Whether webhooks report its jobs, with or without other sources.
    pub const fn has_webhooks(self) -> bool {
        matches!(self, Self::Jobs { webhook: true, .. })
    }

    /// Whether its source reports what its runners do, so that lists only confirm it.
    pub const fn reports_runners(self) -> bool {
        matches!(self, Self::ScaleSet)
    }

    /// Whether queued jobs count individually.
    pub const fn counts_jobs(self) -> bool {
        self.polls_queues() || self.has_webhooks()
    }

    /// Whether its runners are minted by requests of the REST API, whose number a minute GitHub limits.
    pub(super) const fn mints_by_rest(self) -> bool {
        !matches!(self, Self::ScaleSet)
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self::IDLE
    }
}

/// The access policy of a runner group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    pub name: String,
    /// Whether it is the default group.
    pub default: bool,
    pub visibility: Visibility,
    /// Whether public repositories may use it; GitHub's default is no.
    pub allows_public: bool,
    /// The workflows that may use it, `owner/repository/path@ref`; `None` means any.
    pub workflows: Option<Vec<String>>,
}

/// Which repositories may use a runner group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All of the organization, or not known.
    All,
    /// All except public ones.
    Private,
    /// Only these.
    Selected(Vec<Scope>),
}
