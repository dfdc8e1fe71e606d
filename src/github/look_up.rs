//! What a person wants to know of one job, and whether a queue can be seen at all.

use http::StatusCode;

use super::{Client, Endpoint, GithubError, client::Ask, workflow::WireRun};
use crate::fleet::{Job, JobId, JobState, Scope};

impl Client {
    /// [`Client::job`] with its run's record, for the workflows that it may come from and whether its
    /// repository is public, where those can be read.
    pub async fn job_and_run(
        &self,
        repository: &Scope,
        id: JobId,
    ) -> Result<Option<(Job, JobState)>, GithubError> {
        let Some((job, state)) = self.job(repository, id).await? else { return Ok(None) };
        let address = self.address_in(repository, &format!("/actions/runs/{}", job.facts.run_id))?;
        let reply = self.ask(Ask::get(Endpoint::Runs, address)).await?;
        let run = reply.answer.json::<WireRun>().ok().filter(|_| reply.answer.status == StatusCode::OK);
        Ok(Some(match run.map(|run| run.run(repository)) {
            Some(run) => (Job { public: run.public, workflows: run.workflows, ..job }, state),
            None => (job, state),
        }))
    }

    /// Whether the queue of this client's repository can be looked at.
    pub async fn queue_can_be_seen(&self) -> Result<(), GithubError> {
        let address = self.address("/actions/runs?status=queued&per_page=1")?;
        let reply = self.ask(Ask::get(Endpoint::Runs, address)).await?;
        match reply.answer.status {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(GithubError::NotFound),
            _ => Err(self.refused(Endpoint::Runs, &reply)),
        }
    }
}
