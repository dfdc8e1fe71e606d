//! Jobs: what runners are wanted for.

use std::sync::Arc;

use serde::Serialize;

use super::{
    scope::Scope,
    time::{Instant, Timestamp},
};

/// How long a job can be queued: GitHub gives up on it then.
pub(super) const MAX_QUEUE_AGE: std::time::Duration = std::time::Duration::from_hours(24);

/// A workflow job's id, unique on its GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct JobId(pub u64);

/// What people want to know of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobFacts {
    /// Its display name; jobs of a matrix have the values in it.
    pub name: String,
    /// Where its workflow is.
    pub repository: Scope,
    /// The run that it belongs to.
    pub run_id: u64,
    /// Where a person can look at it.
    pub url: String,
    /// When it was queued, by GitHub's clock.
    pub queued_at: Timestamp,
}

/// A workflow job, as a look at the queue or a webhook shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The labels of its `runs-on`. Empty when it asks for a runner group alone, which GitHub does not name.
    pub labels: Vec<String>,
    /// The enterprise that its organization belongs to, where that is known.
    pub enterprise: Option<Arc<str>>,
    /// Whether its repository is public, where that is known.
    pub public: Option<bool>,
    /// The workflow files that it may come from (`owner/repository/path@ref`): its run's own and those that
    /// it calls. Empty when not known.
    pub workflows: Vec<String>,
    /// When it was queued.
    pub queued_at: Instant,
    /// The rest.
    pub facts: Arc<JobFacts>,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Held by an approval or a concurrency limit: no runner is wanted yet.
    Waiting,
    /// Waiting for a runner: demand.
    Queued,
    /// A runner has it.
    InProgress {
        /// The runner's name, where it was told.
        runner: Option<String>,
    },
    /// Over, whatever the result.
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
    /// From what its runners are seen to do, and from these sources besides.
    Jobs {
        /// The queues of its repositories are looked at.
        queue: bool,
        /// GitHub's webhooks are hints.
        webhook: bool,
    },
    /// The pool is a runner scale set: GitHub says how many jobs it assigned to it.
    ScaleSet,
}

impl Demand {
    /// Runner status and busy state alone.
    pub const IDLE: Self = Self::Jobs { queue: false, webhook: false };

    /// Whether queued jobs count for it one by one.
    pub const fn counts_jobs(self) -> bool {
        matches!(self, Self::Jobs { queue: true, .. } | Self::Jobs { webhook: true, .. })
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self::IDLE
    }
}

/// What a runner group lets its runners serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPolicy {
    /// Its name.
    pub name: String,
    /// Whether it is the one that runners are in when nothing else is said.
    pub default: bool,
    /// Which repositories may use it.
    pub visibility: Visibility,
    /// Whether public repositories may; GitHub's default is no.
    pub allows_public: bool,
    /// The only workflows that may, `owner/repository/path@ref`; `None` is any.
    pub workflows: Option<Vec<String>>,
}

/// Which repositories may use a runner group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All of the organization, or it is not known which.
    All,
    /// All that are not public.
    Private,
    /// These.
    Selected(Vec<Scope>),
}
