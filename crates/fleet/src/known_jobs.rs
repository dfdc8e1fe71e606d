//! The known jobs, by repository and number.

use std::collections::BTreeMap;

use super::{
    job::{Job, JobId, JobState},
    matching::Matched,
    reasons::Unmatched,
    scope::Scope,
    time::Instant,
};

/// All jobs that belong to these pools or seem to, by repository.
#[derive(Debug, Default)]
pub(super) struct KnownJobs {
    pub(super) known: BTreeMap<(Scope, JobId), KnownJob>,
    /// Finished jobs, and when they were reported as finished or missing.
    pub(super) over: BTreeMap<(Scope, JobId), Instant>,
    /// When the newest complete listing of each repository's queue began.
    pub(super) looked_at: BTreeMap<Scope, Instant>,
    pub(super) swept_at: Instant,
}

/// A known job that has not finished.
#[derive(Debug)]
pub(super) struct KnownJob {
    pub(super) job: Job,
    pub(super) state: JobState,
    /// When the last request that showed it began, or when a hint of it arrived.
    pub(super) seen_at: Instant,
    /// When that was certain: a hint arrives later than the fact, and often later than the runner's own
    /// log.
    pub(super) sure_at: Instant,
    pub(super) matched: Matched,
    pub(super) reported: Option<Unmatched>,
}
