//! Workflow runs and their jobs: list and get.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    accounts::owner_of,
    exchange::{Asked, Reply, moment},
};
use crate::{
    Conclusion, JobState,
    world::{World, job_record::JobRecord, run_record::Run},
};

/// A list with a filter goes no further (docs.github.com, "List workflow runs for a repository").
const MAX_RUNS: usize = 1000;

impl World {
    pub(super) fn list_runs(&self, asked: &Asked, repository: &str) -> Reply {
        let wanted = |run: &&Run| asked.query("status").is_none_or(|status| status == run.status);
        let runs: Vec<&Run> = self.runs_of(repository).filter(wanted).collect();
        let rows = runs.iter().take(MAX_RUNS).map(|run| self.run_row(asked, run)).collect();
        self.counted_page(asked, "workflow_runs", runs.len(), rows)
    }

    pub(super) fn get_run(&self, asked: &Asked, repository: &str, id: u64) -> Reply {
        match self.run(repository, id) {
            Some(run) => Reply::json(StatusCode::OK, self.run_row(asked, run)),
            None => Reply::not_found(),
        }
    }

    pub(super) fn list_jobs(&self, asked: &Asked, repository: &str, run: u64) -> Reply {
        let Some(run) = self.run(repository, run) else { return Reply::not_found() };
        let all = asked.query("filter") == Some("all");
        self.page(asked, "jobs", self.jobs_of(run, all).map(|record| job_row(asked, run, record)).collect())
    }

    pub(super) fn get_job(&self, asked: &Asked, repository: &str, id: u64) -> Reply {
        match self.job_of(repository, id) {
            Some((run, record)) => Reply::json(StatusCode::OK, job_row(asked, run, record)),
            None => Reply::not_found(),
        }
    }

    fn run_row(&self, asked: &Asked, run: &Run) -> Value {
        let Run { id, repository, .. } = run;
        let (base, html) = (&asked.base, html(asked));
        let api = format!("{base}/repos/{repository}/actions/runs/{id}");
        let owner = repository.split('/').next().unwrap_or_default();
        let actor = owner_of(asked, owner, self.scope_number(owner));
        let row = self.repository_row(asked, repository);
        let head = match &run.fork {
            Some(fork) => {
                let mut head = self.repository_row(asked, fork);
                // Not one of the simulator's scopes.
                head["id"] = json!(id + 1);
                head["fork"] = json!(true);
                head
            }
            None => row.clone(),
        };
        let called: Vec<Value> = run
            .calls
            .iter()
            .map(|path| json!({ "path": path, "sha": sha(1), "ref": path.split('@').nth(1).unwrap_or("main") }))
            .collect();
        let failed = self
            .jobs_of(run, false)
            .any(|record| !matches!(record.view.state, JobState::Completed(Conclusion::Succeeded)));
        let conclusion = (run.status == "completed").then_some(if failed { "failure" } else { "success" });
        let author = json!({ "name": "Somebody", "email": "somebody@example.com" });
        json!({
            "id": id,
            "name": run.workflow,
            "node_id": format!("WFR_{id}"),
            "check_suite_id": id,
            "check_suite_node_id": format!("CS_{id}"),
            "head_branch": run.branch,
            "head_sha": sha(*id),
            "path": run.path(),
            "run_number": id - 29_000_000_000,
            "run_attempt": run.attempt,
            "referenced_workflows": called,
            "event": run.event,
            "display_title": "A change",
            "status": run.status,
            "conclusion": conclusion,
            "workflow_id": 1,
            "url": api,
            "html_url": format!("{html}/{repository}/actions/runs/{id}"),
            "pull_requests": [],
            "created_at": moment(run.created_at),
            "updated_at": moment(run.updated_at),
            "run_started_at": moment(run.started_at),
            "actor": actor,
            "triggering_actor": actor,
            "jobs_url": format!("{api}/jobs"),
            "logs_url": format!("{api}/logs"),
            "check_suite_url": format!("{base}/repos/{repository}/check-suites/{id}"),
            "artifacts_url": format!("{api}/artifacts"),
            "cancel_url": format!("{api}/cancel"),
            "rerun_url": format!("{api}/rerun"),
            "previous_attempt_url": (run.attempt > 1).then(|| format!("{api}/attempts/{}", run.attempt - 1)),
            "workflow_url": format!("{base}/repos/{repository}/actions/workflows/1"),
            "head_commit": {
                "id": sha(*id),
                "tree_id": sha(*id + 1),
                "message": "A change",
                "timestamp": moment(run.created_at),
                "author": author,
                "committer": author,
            },
            "repository": row,
            "head_repository": head,
        })
    }
}

pub(super) fn job_row(asked: &Asked, run: &Run, record: &JobRecord) -> Value {
    let view = &record.view;
    let (id, repository) = (view.id, &run.repository);
    let api = format!("{}/repos/{repository}", asked.base);
    // The runner that it was offered to is not reported before it is taken.
    let taken = !matches!(view.state, JobState::Queued | JobState::Waiting | JobState::Pending);
    let group = record.group.as_ref().filter(|_| taken);
    let conclusion = match view.state {
        JobState::Completed(Conclusion::Succeeded) => Some("success"),
        JobState::Completed(Conclusion::Failed | Conclusion::Lost) => Some("failure"),
        JobState::Completed(Conclusion::Cancelled) => Some("cancelled"),
        _ => None,
    };
    json!({
        "id": id,
        "run_id": run.id,
        "run_url": format!("{api}/actions/runs/{}", run.id),
        "run_attempt": view.run_attempt,
        "node_id": format!("CR_{id}"),
        "head_sha": sha(run.id),
        "url": format!("{api}/actions/jobs/{id}"),
        "html_url": format!("{}/{repository}/actions/runs/{}/job/{id}", html(asked), run.id),
        "status": record.status(),
        "conclusion": conclusion,
        "created_at": moment(view.queued_at),
        "started_at": moment(view.started_at.unwrap_or(view.queued_at)),
        "completed_at": view.completed_at.map(moment),
        "name": view.name,
        "steps": [],
        "check_run_url": format!("{api}/check-runs/{id}"),
        "labels": record.job.labels,
        "runner_id": record.registration.filter(|_| taken),
        "runner_name": view.runner.as_ref().filter(|_| taken),
        "runner_group_id": group.map(|(id, _)| id),
        "runner_group_name": group.map(|(_, name)| name),
        "workflow_name": run.workflow,
        "head_branch": run.branch,
    })
}

/// The address of its page: the API's without the API's prefix.
pub(super) fn html(asked: &Asked) -> &str {
    asked.base.trim_end_matches("/api/v3")
}

fn sha(of: u64) -> String {
    format!("{of:040x}")
}
