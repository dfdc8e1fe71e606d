//! Looks up one job for `explain`, with its run, which shows its workflow and whether its repository is
//! public.

use http::StatusCode;

use super::{
    Client, GithubError,
    endpoint::Endpoint,
    rest::Request,
    workflow_records::{JobBody, Run, RunBody},
};
use crate::fleet::{Job, JobId, JobState, Scope};

impl Client {
    /// Gets one job of a repository on the same GitHub; `None` for a 404: GitHub does not have it (any more),
    /// or does not show the repository, which [`Client::queue_can_be_seen`] distinguishes. The job's record
    /// names neither its workflow nor whether the repository is public.
    pub async fn job(&self, repository: &Scope, id: JobId) -> Result<Option<(Job, JobState)>, GithubError> {
        let address = self.rest().address_in(repository, &format!("/actions/jobs/{}", id.0))?;
        let reply = self.rest().ask(Request::get(Endpoint::Job, address)).await?;
        match reply.answer.status {
            StatusCode::OK => {
                let wire: JobBody = reply.answer.json()?;
                Ok(Some(wire.job(repository, self.clock())))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.rest().refused_at(Endpoint::Job, repository, &reply)),
        }
    }

    /// As [`Client::job`], with what the job's run reports where that can be read.
    pub async fn look_up(
        &self,
        repository: &Scope,
        id: JobId,
    ) -> Result<Option<(Job, JobState)>, GithubError> {
        let Some((mut job, state)) = self.job(repository, id).await? else { return Ok(None) };
        if let Ok(Some(run)) = self.run(repository, job.facts.run_id).await {
            (job.public, job.workflows) = (run.public, run.workflows);
        }
        Ok(Some((job, state)))
    }

    async fn run(&self, repository: &Scope, id: u64) -> Result<Option<Run>, GithubError> {
        let address = self.rest().address_in(repository, &format!("/actions/runs/{id}"))?;
        let reply = self.rest().ask(Request::get(Endpoint::Runs, address)).await?;
        match reply.answer.status {
            StatusCode::OK => Ok(Some(reply.answer.json::<RunBody>()?.run(repository))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.rest().refused_at(Endpoint::Runs, repository, &reply)),
        }
    }

    /// Whether a repository's queue can be read; `None` when GitHub does not show the repository.
    pub async fn queue_can_be_seen(&self, repository: &Scope) -> Result<Option<()>, GithubError> {
        let address = self.rest().address_in(repository, "/actions/runs?status=queued&per_page=1")?;
        let reply = self.rest().ask(Request::get(Endpoint::Runs, address)).await?;
        match reply.answer.status {
            StatusCode::OK => Ok(Some(())),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.rest().refused_at(Endpoint::Runs, repository, &reply)),
        }
    }
}
