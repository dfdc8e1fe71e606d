//! The recently pushed repositories of an organization, which is where jobs come from.

use serde::Deserialize;

use super::{
    Client, GithubError,
    endpoint::Endpoint,
    identities::within,
    lenient_json::Row,
    paging::{Cost, List, Page, PageBody, Pages, Walked},
    rest::Response,
    workflow_records::RepositoryBody,
};
use crate::fleet::{ClockReading, Instant, Scope, Target};

/// A thousand repositories; with more recently pushed ones it is better to configure them.
const MAX_PAGES: usize = 10;

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedRepository {
    /// Its address.
    pub repository: Scope,
    /// When it was last pushed to.
    pub pushed_at: Instant,
}

/// The recently pushed repositories of an organization, as of the last list.
pub struct Repositories {
    client: Client,
    pages: Pages<PushedRepository>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct RepositoryPage(Vec<Row<RepositoryBody>>);

impl Repositories {
    /// Of the client's organization.
    pub fn new(client: Client) -> Self {
        Self { client, pages: Pages::default() }
    }

    /// Those that were pushed to since, newest first and without archived ones; at most a thousand.
    /// What has not changed costs nothing. Fails for a scope that is no organization.
    pub async fn pushed_since(&mut self, since: Instant) -> Result<Vec<PushedRepository>, GithubError> {
        let (rest, scope) = (self.client.rest(), self.client.scope());
        let Target::Organization { .. } = scope.target() else {
            return Err(GithubError::Refused(format!(
                "GitHub lists no repositories for {scope}; list them in the pool's `repositories`"
            )));
        };
        let first = rest.address("/repos?sort=pushed&direction=desc&per_page=100")?;
        let read = |reply: &Response| {
            let RepositoryPage(rows) = reply.answer.json()?;
            // As of this response.
            let clock = self.client.clock();
            let (rows, unreadable) = rest.readable(rows, "repositories", scope);
            let rows = rows.iter().filter_map(|row| pushed(row, scope, clock)).collect();
            Ok(PageBody { total: 0, rows, unreadable })
        };
        let list =
            List { rest, endpoint: Endpoint::Repositories, of: scope, max_pages: MAX_PAGES, read: &read };
        let old = |page: &Page<PushedRepository>| page.rows.last().is_some_and(|last| last.pushed_at < since);
        let walked = list.walk(first, &mut self.pages, &mut Cost::default(), old).await?;
        let rows = walked.iter().flat_map(Walked::rows);
        Ok(rows.filter(|row| row.pushed_at >= since).cloned().collect())
    }
}

/// A repository in which workflows can run.
fn pushed(wire: &RepositoryBody, organization: &Scope, clock: ClockReading) -> Option<PushedRepository> {
    if wire.archived == Some(true) || wire.disabled == Some(true) {
        return None;
    }
    let named = organization.repository(wire.full_name.as_deref()?)?;
    // It is the organization's, under any name that it has by now.
    let repository = within(organization, &named)?;
    // Never pushed to is null.
    let pushed_at = wire.pushed_at.map(|at| clock.instant(at)).unwrap_or_default();
    Some(PushedRepository { repository, pushed_at })
}
