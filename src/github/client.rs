//! GitHub's runner API for one scope: one request after the other, and what is remembered between them.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    AppGrant, Credential, DEADLINE, GithubError, GroupRepository, Identities, Listing, Mint, MintedRunner,
    Rate, Reporter, RunnerApi, RunnerGroup, RunnerRecord,
    endpoint::Endpoint,
    identify::LookedUp,
    mint::Mints,
    rest::RestClient,
    runner_groups,
    runner_list::{self, RunnerList},
};
use crate::{
    clock,
    fleet::{ClockReading, InstanceId, Registration, RegistrationId, Scope, Timestamp},
};

/// GitHub's runner API for one scope and credential. Cheap to clone; clones share everything.
///
/// A call is one request; a listing is one for each page; a mint asks for the runner groups first, once an hour.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    rest: RestClient,
    list: RunnerList,
    mints: Mints,
    looked_up: LookedUp,
}

impl Client {
    /// A client with the usual deadline.
    pub fn new(scope: Scope, credential: &Credential, reporter: Reporter) -> Result<Self, GithubError> {
        Self::with_deadline(scope, credential, reporter, DEADLINE)
    }

    /// A client whose exchanges each end within `deadline`. Fails for a scope whose API has no
    /// valid address, or one that the credential would be sent to without TLS.
    pub fn with_deadline(
        scope: Scope,
        credential: &Credential,
        reporter: Reporter,
        deadline: Duration,
    ) -> Result<Self, GithubError> {
        Ok(Self(Arc::new(Inner {
            rest: RestClient::new(scope, credential, reporter, deadline)?,
            list: RunnerList::default(),
            mints: Mints::default(),
            looked_up: LookedUp::default(),
        })))
    }

    /// Sets the instance whose runners count as gone only when GitHub confirms it.
    #[must_use]
    pub fn of_instance(self, instance: &InstanceId) -> Self {
        self.0.list.set_instance(instance);
        self
    }

    /// GitHub's ids of the scope and its repositories.
    pub fn identities(&self) -> &Identities {
        self.rest().identities()
    }

    /// The scope that this client serves.
    pub fn scope(&self) -> &Scope {
        self.rest().scope()
    }

    /// The rate limit that listings count against, as GitHub last reported it.
    pub fn rate(&self) -> Option<Rate> {
        self.rest().limits().rate(Endpoint::List)
    }

    /// GitHub's clock, from its last response; this machine's before there is one.
    pub fn clock(&self) -> ClockReading {
        self.rest().limits().clock().unwrap_or_else(clock::wall)
    }

    /// When the personal token expires, as GitHub said with its last answer; `None` for one that
    /// never does, for one that was not used yet, and for an App, whose tokens renew themselves.
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.rest().credential().token_expires_at()
    }

    /// What the account of this scope has granted to the GitHub App, once a token was minted for
    /// it; `None` for personal tokens.
    pub fn app_grant(&self) -> Option<AppGrant> {
        self.rest().app_grant()
    }

    /// The proxy for requests, without its password; `None` for a direct connection.
    pub fn proxy(&self) -> Option<String> {
        self.rest().transport().proxy()
    }

    /// The interval between listings: `base`, longer when the rate limit runs low, and with increasing delays
    /// while they are refused.
    pub fn effective_interval(&self, base: Duration) -> Duration {
        self.0.list.interval(self.rest(), base)
    }

    /// Fetches one runner.
    pub async fn get(&self, id: RegistrationId) -> Result<RunnerRecord, GithubError> {
        runner_list::get(self.rest(), id).await
    }

    /// All runners of the scope, of any installation. An incomplete list is an error.
    pub async fn records(&self) -> Result<Vec<RunnerRecord>, GithubError> {
        Ok(self.0.list.list(self.rest()).await?.runners.into_values().collect())
    }

    /// Mints a runner of any name, for manual API commands.
    pub async fn mint_named(
        &self,
        name: &str,
        group: &str,
        labels: &[String],
    ) -> Result<MintedRunner, GithubError> {
        self.0.mints.mint(self.rest(), name, group, labels).await
    }

    /// The runner groups of an organization (the enterprise's that it sees among them) or of an
    /// enterprise, as GitHub lists them now.
    pub async fn groups(&self) -> Result<Vec<RunnerGroup>, GithubError> {
        runner_groups::groups(self.rest()).await
    }

    /// The repositories that a group of an organization with `visibility` `selected` serves.
    pub async fn group_repositories(&self, group: u64) -> Result<Vec<GroupRepository>, GithubError> {
        runner_groups::group_repositories(self.rest(), group).await
    }

    /// Looks up the number and the address of the scope or one of its repositories, at no cost when nothing has
    /// changed. There is nothing to look up for an enterprise.
    pub async fn identify(&self, configured: &Scope) -> Result<(), GithubError> {
        self.0.looked_up.identify(self.rest(), configured).await
    }

    /// A number that changes whenever the list of runners does.
    pub(super) fn list_revision(&self) -> u64 {
        self.0.list.revision()
    }

    pub(super) fn rest(&self) -> &RestClient {
        &self.0.rest
    }
}

impl RunnerApi for Client {
    async fn list(&self) -> Result<Listing, GithubError> {
        let shown = self.0.list.list(self.rest()).await?;
        let registrations = shown.runners.values().map(Registration::from).collect();
        Ok(Listing { registrations, unreadable: shown.unreadable })
    }

    async fn mint(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        self.0.mints.mint(self.rest(), mint.name.as_str(), mint.group, mint.labels).await
    }

    async fn delete(&self, id: RegistrationId) -> Result<(), GithubError> {
        self.0.list.delete(self.rest(), id).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(self.rest()).finish()
    }
}
