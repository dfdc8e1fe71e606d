//! A job as it is kept, and as it is shown.

use serde::Serialize;

use crate::job::Job;
use dayfly_fleet::Timestamp;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Held by a deployment protection rule.
    Waiting,
    /// Held by a concurrency limit.
    Pending,
    /// Waiting for a runner, or offered to one that has not taken it yet.
    Queued,
    /// A runner has it.
    InProgress,
    /// Over.
    Completed(Conclusion),
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The runner reported success.
    Succeeded,
    /// The runner reported failure: the job's own, its worker's, or that the runner was asked to stop.
    Failed,
    /// The runner vanished and its lease ended.
    Lost,
    /// It was cancelled.
    Cancelled,
}

/// A job as it went.
#[derive(Clone, Debug, Serialize)]
pub struct JobView {
    /// Its id.
    pub id: u64,
    /// Display name.
    pub name: String,
    /// Organization or repository.
    pub scope: String,
    /// The repository that it belongs to, `owner/name`.
    pub repository: String,
    /// Its run.
    pub run_id: u64,
    /// Which attempt of the run it is of.
    pub run_attempt: u32,
    /// Where it is.
    pub state: JobState,
    /// The runner that has or had it.
    pub runner: Option<String>,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When a runner took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// A job and how it went so far.
pub(crate) struct JobRecord {
    pub(crate) view: JobView,
    pub(crate) job: Job,
    /// Whether it was released after its run had begun.
    pub(super) late: bool,
    /// The group of the runner that has or had it: id and name.
    pub(crate) group: Option<(u64, String)>,
    /// The registration of that runner.
    pub(crate) registration: Option<u64>,
    pub(super) assigned: Option<(String, Timestamp)>,
}

impl JobRecord {
    /// When it was offered to the runner that has it.
    pub(super) fn assigned_at(&self) -> Option<Timestamp> {
        self.assigned.as_ref().map(|&(_, at)| at)
    }

    /// The session of the runner that has it.
    pub(super) fn session(&self) -> Option<&str> {
        self.assigned.as_ref().map(|(session, _)| session.as_str())
    }

    pub(super) fn is_completed(&self) -> bool {
        matches!(self.view.state, JobState::Completed(_))
    }

    /// The word that GitHub has for where it is.
    pub(crate) fn status(&self) -> &'static str {
        match self.view.state {
            JobState::Waiting => "waiting",
            JobState::Pending => "pending",
            JobState::Queued => "queued",
            JobState::InProgress => "in_progress",
            JobState::Completed(_) => "completed",
        }
    }
}

impl JobRecord {
    /// What `runs-on` says.
    pub(super) fn labels(&self) -> &[String] {
        &self.job.labels
    }
}
