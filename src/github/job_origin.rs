//! Gets where the jobs of a run come from: its event and branch, and whether that is the repository's own.

use http::StatusCode;
use serde::Deserialize;

use super::{Client, GithubError, endpoint::Endpoint, rest::Request};
use crate::fleet::{JobOrigin, Scope};

/// `workflow-run`, as far as it matters. The number of the head's repository is missing where that was deleted.
#[derive(Deserialize)]
struct RunOrigin {
    event: Option<String>,
    head_branch: Option<String>,
    repository: Option<Numbered>,
    head_repository: Option<Numbered>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
    full_name: Option<String>,
}

/// `full-repository`, as far as it matters.
#[derive(Deserialize)]
struct RepositoryBranch {
    id: u64,
    default_branch: Option<String>,
}

impl Client {
    /// Where the jobs of a run come from, with two requests; `None` where GitHub does not have the run, or a part of
    /// the record is missing. Repositories are compared by their numbers: names can be changed and used again.
    pub async fn job_origin(&self, repository: &Scope, run: u64) -> Result<Option<JobOrigin>, GithubError> {
        let path = format!("/actions/runs/{run}");
        let Some(run) = self.record::<RunOrigin>(Endpoint::Runs, repository, &path).await? else {
            return Ok(None);
        };
        let own = self.record::<RepositoryBranch>(Endpoint::Repositories, repository, "").await?;
        let RunOrigin { event, head_branch, repository: Some(of), head_repository: Some(head) } = run else {
            return Ok(None);
        };
        let Some(RepositoryBranch { id, default_branch: Some(default_branch) }) = own else {
            return Ok(None);
        };
        let head_repository = if (of.id, head.id) == (id, id) {
            Some(repository.clone())
        } else {
            head.full_name.and_then(|name| repository.repository(&name)).filter(|other| other != repository)
        };
        Ok(head_repository.map(|head_repository| JobOrigin {
            event: event.unwrap_or_default(),
            head_branch: head_branch.unwrap_or_default(),
            head_repository,
            default_branch,
        }))
    }

    /// A record of a repository; `None` for a 404.
    async fn record<T: for<'de> Deserialize<'de>>(
        &self,
        endpoint: Endpoint,
        repository: &Scope,
        path: &str,
    ) -> Result<Option<T>, GithubError> {
        let address = self.rest().address_in(repository, path)?;
        let reply = self.rest().ask(Request::get(endpoint, address)).await?;
        match reply.answer.status {
            StatusCode::OK => Ok(Some(reply.answer.json()?)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.rest().refused_at(endpoint, repository, &reply)),
        }
    }
}
