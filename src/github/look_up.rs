//! One job looked up for a person: with its run, for the workflow that it comes from, and its repository,
//! for whether that is public.

use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Client, Endpoint, GithubError, client::Ask};
use crate::fleet::{Job, JobFacts, JobId, JobState, Scope, Timestamp};

/// A job as sent (OpenAPI: job), as far as it matters.
#[derive(Deserialize)]
struct WireJob {
    id: u64,
    run_id: u64,
    #[serde(default)]
    name: String,
    status: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    runner_name: Option<String>,
    html_url: Option<String>,
    created_at: Option<jiff::Timestamp>,
}

impl Client {
    /// A job of this client's repository and how far it is. Which workflow it comes from and whether the
    /// repository is public are told where they can be read.
    pub async fn look_up(&self, id: JobId) -> Result<(Job, JobState), GithubError> {
        let wire: WireJob = self.read(&format!("/actions/jobs/{}", id.0)).await?;
        let run: Option<Value> = self.read(&format!("/actions/runs/{}", wire.run_id)).await.ok();
        let repository: Option<Value> = self.read("").await.ok();
        let public = repository
            .as_ref()
            .and_then(|repository| repository["private"].as_bool())
            .map(|private| !private);
        let state = match wire.status.as_deref() {
            Some("queued") => JobState::Queued,
            Some("in_progress") => {
                JobState::InProgress { runner: wire.runner_name.filter(|name| !name.is_empty()) }
            }
            Some("completed") => JobState::Completed,
            _ => JobState::Waiting,
        };
        let millis = wire.created_at.map_or(0, jiff::Timestamp::as_millisecond);
        let job = Job {
            id: JobId(wire.id),
            labels: wire.labels,
            enterprise: None,
            public,
            workflows: run.map(|run| workflows(self.scope(), &run)).unwrap_or_default(),
            facts: Arc::new(JobFacts {
                name: wire.name,
                repository: self.scope().clone(),
                run_id: wire.run_id,
                url: wire.html_url.unwrap_or_default(),
                queued_at: Timestamp::from_millis(u64::try_from(millis).unwrap_or_default()),
            }),
        };
        Ok((job, state))
    }

    /// Whether the queue of this client's repository can be looked at.
    pub async fn queue_can_be_seen(&self) -> Result<(), GithubError> {
        self.read::<Value>("/actions/runs?status=queued&per_page=1").await.map(drop)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, GithubError> {
        let reply = self.ask(Ask::get(Endpoint::Scope, self.address(path)?)).await?;
        match reply.answer.status {
            StatusCode::OK => reply.answer.json(),
            StatusCode::NOT_FOUND => Err(GithubError::NotFound),
            _ => Err(self.refused(Endpoint::Scope, &reply)),
        }
    }
}

/// The workflow file of a run and those that it calls, as groups name them.
fn workflows(repository: &Scope, run: &Value) -> Vec<String> {
    let own = run["path"].as_str().filter(|path| !path.is_empty());
    let own = own.map(|path| format!("{}/{path}", repository.path()));
    let called = run["referenced_workflows"].as_array().into_iter().flatten();
    let called = called.filter_map(|workflow| workflow["path"].as_str().map(str::to_owned));
    own.into_iter().chain(called).collect()
}
