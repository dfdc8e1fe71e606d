//! GitHub's workflow runs and jobs as sent, and their meaning. Fields that GitHub may omit may be missing;
//! only a row without an id is invalid.

use std::sync::Arc;

use serde::Deserialize;

use super::lenient_json::{Row, lenient};
use crate::fleet::{ClockReading, Job, JobFacts, JobId, JobState, Scope, Timestamp};

/// A run, as far as it matters where jobs wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) id: u64,
    /// Changes when the run does.
    pub(super) mark: (String, String, u64),
    pub(super) public: Option<bool>,
    pub(super) workflows: Vec<String>,
}

/// `workflow-run` of GitHub's description, with every field but the id optional.
#[derive(Deserialize)]
pub(super) struct RunBody {
    id: u64,
    status: Option<String>,
    updated_at: Option<String>,
    run_attempt: Option<u64>,
    path: Option<String>,
    head_branch: Option<String>,
    referenced_workflows: Option<Vec<Row<WorkflowBody>>>,
    repository: Option<RepositoryBody>,
}

#[derive(Deserialize)]
pub(super) struct WorkflowBody {
    path: String,
}

/// `minimal-repository`, as far as it matters.
#[derive(Deserialize)]
pub(super) struct RepositoryBody {
    pub(super) full_name: Option<String>,
    pub(super) private: Option<bool>,
    pub(super) visibility: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) pushed_at: Option<Timestamp>,
    pub(super) archived: Option<bool>,
    pub(super) disabled: Option<bool>,
}

/// `job`, with every field but the id optional.
#[derive(Deserialize)]
pub(super) struct JobBody {
    id: u64,
    run_id: Option<u64>,
    name: Option<String>,
    labels: Option<Vec<String>>,
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    started_at: Option<Timestamp>,
    html_url: Option<String>,
    runner_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RunsPage {
    pub(super) total_count: Option<u64>,
    pub(super) workflow_runs: Vec<Row<RunBody>>,
}

#[derive(Deserialize)]
pub(super) struct JobsPage {
    pub(super) total_count: Option<u64>,
    pub(super) jobs: Vec<Row<JobBody>>,
}

impl RepositoryBody {
    /// Whether it is public, where that is reported. An internal repository is not.
    pub(super) fn public(&self) -> Option<bool> {
        match self.visibility.as_deref() {
            Some("public") => Some(true),
            Some("private" | "internal") => Some(false),
            _ => self.private.map(|private| !private),
        }
    }
}

impl RunBody {
    /// The run as one of a repository.
    pub(super) fn run(self, repository: &Scope) -> Run {
        let name = self.repository.as_ref().and_then(|known| known.full_name.clone());
        let name = name.unwrap_or_else(|| repository.path().to_owned());
        // `path` is that of the file in the run's repository, with or without the ref; what it calls
        // is named in full.
        let own = self.path.filter(|path| !path.is_empty()).map(|path| match self.head_branch {
            Some(branch) if !path.contains('@') => format!("{name}/{path}@refs/heads/{branch}"),
            _ => format!("{name}/{path}"),
        });
        let called = self.referenced_workflows.into_iter().flatten();
        let called = called.filter_map(Row::read).map(|workflow| workflow.path);
        Run {
            id: self.id,
            workflows: own.into_iter().chain(called).collect(),
            public: self.repository.as_ref().and_then(RepositoryBody::public),
            mark: (
                self.status.unwrap_or_default(),
                self.updated_at.unwrap_or_default(),
                self.run_attempt.unwrap_or_default(),
            ),
        }
    }
}

impl JobBody {
    /// The job as one of a repository, and its state. If nothing shows when it was queued, the time of the
    /// request counts. `clock` is GitHub's.
    pub(super) fn job(self, repository: &Scope, clock: ClockReading) -> (Job, JobState) {
        let state = match self.status.as_deref() {
            Some("queued") => JobState::Queued,
            Some("in_progress") => {
                JobState::InProgress { runner: self.runner_name.filter(|name| !name.is_empty()) }
            }
            Some("completed") => JobState::Completed,
            // waiting, pending, requested, and unknown states: no runner is needed.
            _ => JobState::Waiting,
        };
        let started_at = self.started_at.filter(|_| state == JobState::Queued);
        // A job that an approval held for days was made then and is queued now. GitHub sets `started_at`
        // before a runner has the job, and does not say to what.
        let queued_at =
            started_at.filter(|&at| at <= clock.shown).max(self.created_at).unwrap_or(clock.shown);
        let facts = JobFacts {
            name: self.name.unwrap_or_default(),
            repository: repository.clone(),
            run_id: self.run_id.unwrap_or_default(),
            url: self.html_url.unwrap_or_default(),
            queued_at,
        };
        let job = Job {
            id: JobId(self.id),
            labels: self.labels.unwrap_or_default(),
            enterprise: None,
            public: None,
            workflows: Vec::new(),
            queued_at: clock.instant(queued_at),
            facts: Arc::new(facts),
        };
        (job, state)
    }
}
