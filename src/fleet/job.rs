//! Jobs: what runners are wanted for.

use super::time::Timestamp;

/// A workflow job's id, unique on its GitHub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// A queued job that a pool's labels serve. A pool's demand is a set of these, never a counter, so
/// that duplicates and reordering change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedJob {
    /// The job.
    pub id: JobId,
    /// When it was queued.
    pub queued_at: Timestamp,
}
