//! A scope seen with a credential: what goes out and when, and what every answer means that means
//! the same for all requests: a refused token, a redirect, a limit, a failure.

mod exchange;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, StatusCode, Uri};
use parking_lot::Mutex;

use super::{
    AppGrant, Credential, CredentialSource, DEADLINE, Endpoint, GithubError, Mint, MintedRunner, Rate,
    Reporter, RequestReport, RunnerApi, RunnerRecord,
    credential::Token,
    groups::Groups,
    identity::Identities,
    limits::{Limits, retry_interval, stretched},
    link::Origin,
    listing::{Listed, Listing, Shown},
    transport::{Answer, Transport},
};
use crate::{
    clock,
    fleet::{ClockReading, InstanceId, Registration, RegistrationId, Scope, Timestamp},
};

/// GitHub's runner API for one scope and credential. Cheap to clone; clones share everything.
///
/// Every exchange ends within the deadline. A call is one exchange, or two when the token was
/// renewed; a listing is one for each page; a mint asks for
/// the runner groups first, once an hour. With a GitHub App there is one more each hour for an
/// installation token, and one at first to find the installation. Nothing else is ever asked twice.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    scope: Scope,
    base: String,
    credential: Credential,
    /// Those of the token that was used last; an App's are known once its installation is.
    limits: Mutex<Arc<Limits>>,
    transport: Transport,
    reporter: Reporter,
    listed: Listed,
    identities: Identities,
    /// Whose runners are its own; `None` for people, to whom all are alike.
    instance: OnceLock<InstanceId>,
    /// Since when mints are refused since the repository is archived, and in which words.
    archived: Mutex<Option<(Instant, String)>>,
    /// What has been warned of already.
    warned: Mutex<BTreeSet<&'static str>>,
    /// Listings in a row that were refused.
    refusals: AtomicU32,
    groups: tokio::sync::Mutex<Option<Groups>>,
}

/// What a request goes out with: a token, and the limits that GitHub counts it against.
#[derive(Clone)]
pub(super) struct Bearer {
    pub(super) token: Token,
    pub(super) limits: Arc<Limits>,
    /// A number that changes when another user's limits may be meant.
    pub(super) holder: u64,
}

impl Bearer {
    /// Whether its limits let a request go out now.
    pub(super) fn admit(&self, endpoint: Endpoint) -> Result<(), GithubError> {
        let admitted = self.limits.admit(endpoint, self.holder, clock::now());
        admitted.map_err(|wait| GithubError::RateLimited { wait })
    }
}

/// A request, before it is known with which token it goes out.
pub(super) struct Ask<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) method: Method,
    pub(super) address: Uri,
    pub(super) body: Option<&'a serde_json::Value>,
    /// The ETag of what is known already, and the token's generation that it was given to.
    pub(super) known: Option<(&'a HeaderValue, u64)>,
}

/// An answer with what the endpoints need to read it.
pub(super) struct Reply {
    pub(super) answer: Answer,
    /// What an error answer says; empty otherwise.
    pub(super) complaint: String,
    /// The generation of the token that it went out with.
    pub(super) generation: u64,
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
        let base = scope.api_base();
        let origin = base.parse().ok().as_ref().and_then(Origin::of);
        let origin =
            origin.ok_or_else(|| GithubError::Refused(format!("{scope} has no valid API address")))?;
        Ok(Self(Arc::new(Inner {
            credential: credential.clone(),
            limits: Mutex::new(credential.limits_at(&base)),
            transport: Transport::new(origin, deadline, credential.source())?,
            reporter,
            listed: Listed::default(),
            identities: Identities::default(),
            instance: OnceLock::new(),
            archived: Mutex::default(),
            warned: Mutex::default(),
            refusals: AtomicU32::default(),
            groups: tokio::sync::Mutex::default(),
            scope,
            base,
        })))
    }

    /// Whose runners are its own: they are not taken to be gone before GitHub says so.
    #[must_use]
    pub fn of_instance(self, instance: &InstanceId) -> Self {
        // Said once, by whoever makes it.
        let _ = self.0.instance.set(instance.clone());
        self
    }

    /// The numbers by which GitHub knows the scope and its repositories.
    pub fn identities(&self) -> &Identities {
        &self.0.identities
    }

    /// The scope that this client serves.
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// The budget that listings draw from, as GitHub last told it.
    pub fn rate(&self) -> Option<Rate> {
        self.limits().rate(Endpoint::List)
    }

    /// GitHub's clock, as its last answer told it; this machine's before there is one.
    pub fn clock(&self) -> ClockReading {
        self.limits().clock().unwrap_or_else(clock::wall)
    }

    /// When the personal token expires, as GitHub said with its last answer; `None` for one that
    /// never does, for one that was not used yet, and for an App, whose tokens renew themselves.
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.0.credential.token_expires_at()
    }

    /// What the account of this scope has granted to the GitHub App, once a token was minted for
    /// it; `None` for personal tokens.
    pub fn app_grant(&self) -> Option<AppGrant> {
        self.0.credential.app()?.grant(&self.0.base, &self.0.scope)
    }

    /// The proxy that requests go through, without its password; `None` when they go straight.
    pub fn proxy(&self) -> Option<String> {
        self.0.transport.proxy()
    }

    /// How long to wait between listings: `base`, or longer when the budget runs low, and ever longer
    /// while they are refused.
    pub fn effective_interval(&self, base: Duration) -> Duration {
        let base = retry_interval(base, self.0.refusals.load(Ordering::Relaxed));
        let requests = self.0.listed.requests();
        self.rate().map_or(base, |rate| stretched(base, &rate, requests, clock::now()))
    }

    /// Looks at one runner.
    pub async fn get(&self, id: RegistrationId) -> Result<RunnerRecord, GithubError> {
        let reply =
            self.ask(Ask::get(Endpoint::Get, self.address(&format!("/actions/runners/{id}"))?)).await?;
        match reply.answer.status {
            StatusCode::OK => reply.answer.json(),
            StatusCode::NOT_FOUND => Err(GithubError::NotFound),
            _ => Err(self.refused(Endpoint::Get, &reply)),
        }
    }

    /// All runners of the scope, everybody's, in full. An incomplete list is an error.
    pub async fn records(&self) -> Result<Vec<RunnerRecord>, GithubError> {
        let Shown { runners, .. } = self.count(self.list_all().await)?;
        Ok(runners.into_values().collect())
    }

    /// Remembers whether a listing was refused. One that failed otherwise is neither.
    fn count<T>(&self, listed: Result<T, GithubError>) -> Result<T, GithubError> {
        let refusals = &self.0.refusals;
        match &listed {
            Ok(_) => refusals.store(0, Ordering::Relaxed),
            Err(GithubError::Refused(_)) => {
                refusals.store(refusals.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
            }
            Err(_) => {}
        }
        listed
    }

    /// Tells the metrics of an exchange.
    pub(super) fn report(
        &self,
        endpoint: &'static str,
        status: Option<u16>,
        took: Duration,
        rate: Option<Rate>,
    ) {
        let scope = self.0.scope.clone();
        (self.0.reporter)(&RequestReport { scope, endpoint, status, took, rate });
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// Base address of the REST API, without a trailing slash.
    pub(super) fn base(&self) -> &str {
        &self.0.base
    }

    /// The address of a path below the scope's own.
    pub(super) fn address(&self, path: &str) -> Result<Uri, GithubError> {
        self.site_address(&format!("{}{path}", self.current_scope().api_path()))
    }

    /// The scope under the address that it has at GitHub by now.
    pub(super) fn current_scope(&self) -> Scope {
        self.0.identities.current(&self.0.scope)
    }

    /// The address of a path below that of a repository on the same GitHub.
    pub(super) fn address_in(&self, repository: &Scope, path: &str) -> Result<Uri, GithubError> {
        if repository.site() != self.0.scope.site() {
            let scope = &self.0.scope;
            return Err(GithubError::Refused(format!("{repository} is on another GitHub than {scope}")));
        }
        self.site_address(&format!("{}{path}", self.0.identities.current(repository).api_path()))
    }

    /// The address of a path of the API.
    pub(super) fn site_address(&self, path: &str) -> Result<Uri, GithubError> {
        let text = format!("{}{path}", self.0.base);
        text.parse().map_err(|_| GithubError::Refused(format!("{} has no valid API address", self.0.scope)))
    }

    /// The address of a next page, if it may be followed.
    pub(super) fn admit(&self, target: &str) -> Result<Uri, GithubError> {
        self.0.transport.origin().admit(target)
    }

    pub(super) fn refused(&self, endpoint: Endpoint, reply: &Reply) -> GithubError {
        self.refused_at(endpoint, &self.0.scope, reply)
    }

    /// The error of a request for something within the scope, or seen with its credential.
    pub(super) fn refused_at(&self, endpoint: Endpoint, scope: &Scope, reply: &Reply) -> GithubError {
        let grant = self.app_grant();
        reply.answer.refused(endpoint, scope, self.source(), grant.as_ref(), &reply.complaint)
    }

    pub(super) fn source(&self) -> &CredentialSource {
        self.0.credential.source()
    }

    pub(super) fn listed(&self) -> &Listed {
        &self.0.listed
    }

    pub(super) fn instance(&self) -> Option<&InstanceId> {
        self.0.instance.get()
    }

    /// Whether this is the first time that it is warned of something.
    pub(super) fn first_time(&self, what: &'static str) -> bool {
        self.0.warned.lock().insert(what)
    }

    pub(super) fn archived_since(&self) -> &Mutex<Option<(Instant, String)>> {
        &self.0.archived
    }

    pub(super) fn group_cache(&self) -> &tokio::sync::Mutex<Option<Groups>> {
        &self.0.groups
    }

    /// The limits of the token that was used last.
    pub(super) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.0.limits.lock())
    }

    /// The limits of the App itself, which its JSON web tokens draw from.
    pub(super) fn app_limits(&self) -> Arc<Limits> {
        self.0.credential.limits_at(&self.0.base)
    }

    pub(super) fn deadline(&self) -> Duration {
        self.0.transport.deadline()
    }
}

impl RunnerApi for Client {
    async fn list(&self) -> Result<Listing, GithubError> {
        let Shown { runners, unreadable } = self.count(self.list_all().await)?;
        Ok(Listing { registrations: runners.values().map(Registration::from).collect(), unreadable })
    }

    async fn mint(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        self.generate(mint).await
    }

    async fn delete(&self, id: RegistrationId) -> Result<(), GithubError> {
        let address = self.address(&format!("/actions/runners/{id}"))?;
        let ask = Ask { method: Method::DELETE, ..Ask::get(Endpoint::Delete, address) };
        let reply = self.ask(ask).await?;
        if matches!(reply.answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) {
            self.0.listed.forget(id);
        }
        match reply.answer.status {
            StatusCode::NO_CONTENT => Ok(()),
            StatusCode::NOT_FOUND => Err(GithubError::NotFound),
            StatusCode::UNPROCESSABLE_ENTITY => Err(GithubError::Busy),
            _ => Err(self.refused(Endpoint::Delete, &reply)),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { scope, credential, transport, .. } = &*self.0;
        f.debug_struct("Client")
            .field("scope", scope)
            .field("credential", credential)
            .field("transport", transport)
            .finish_non_exhaustive()
    }
}

impl Ask<'_> {
    pub(super) fn get(endpoint: Endpoint, address: Uri) -> Self {
        Self { endpoint, method: Method::GET, address, body: None, known: None }
    }
}
