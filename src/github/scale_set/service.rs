//! What all requests to the scale-set service have in common: address, headers, the admin token and
//! its renewal, and the metrics' report.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use parking_lot::{Mutex, MutexGuard};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{address, held::Held, listed::Listed, problem::Problem, registration::secret_header};
use crate::{
    clock,
    github::{
        Client, GithubError,
        link::Origin,
        transport::{Answer, Foreign, Transport},
    },
};

/// The largest answer of the service that is read. A list of ten thousand runners has some 4 MB.
pub(super) const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Pauses of the client's own.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Before a refused registration is tried again for the first time; each further pause is twice
    /// the one before.
    pub registration: Duration,
    /// After a registration failed for good, until another is made; each further one doubles it.
    pub first: Duration,
    /// After any failed registration at most, but for a rate limit, which says how long it lasts.
    pub longest: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            registration: Duration::from_millis(500),
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
        }
    }
}

/// The scale sets of one scope, as its credential reaches them. Cheap to clone; clones share
/// everything.
#[derive(Clone)]
pub struct ScaleSets(Arc<Inner>);

struct Inner {
    client: Client,
    waits: Waits,
    /// Held while registering, so that many requests at once register once.
    service: tokio::sync::Mutex<Held>,
    listed: Mutex<Listed>,
    /// One for each server that GitHub named; there are two or three.
    ways: Mutex<Vec<Arc<Transport>>>,
}

/// The service as a registration gave it.
pub(super) struct Service {
    pub(super) base: Uri,
    pub(super) origin: Origin,
    pub(super) token: SecretString,
    /// When it is time for another token, by our clock.
    pub(super) renew_at: crate::fleet::Instant,
}

/// A request to the service.
pub(super) struct Call<'a> {
    /// Its name in metrics.
    pub(super) endpoint: &'static str,
    pub(super) method: Method,
    /// Below `_apis/`.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
}

impl<'a> Call<'a> {
    pub(super) fn get(endpoint: &'static str, path: &'a str) -> Self {
        Self { endpoint, method: Method::GET, path, query: &[], body: None }
    }

    pub(super) fn post(endpoint: &'static str, path: &'a str, body: &'a Value) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(endpoint, path) }
    }
}

impl ScaleSets {
    /// The scale sets of the client's scope. The REST API's rate limits are not theirs: only the
    /// registration token, once an hour or so, is charged.
    pub fn new(client: Client) -> Self {
        Self::with_waits(client, Waits::default())
    }

    /// The same with other pauses.
    pub fn with_waits(client: Client, waits: Waits) -> Self {
        let (service, ways, listed) = (tokio::sync::Mutex::default(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { client, waits, service, listed, ways }))
    }

    /// The client of the scope.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    pub(super) fn listed(&self) -> MutexGuard<'_, Listed> {
        self.0.listed.lock()
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.0.waits
    }

    /// Asks with the admin token, and once more with a new one if it is refused. A problem is the
    /// caller's to read.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Result<Answer, Problem>, GithubError> {
        let service = self.service(None).await?;
        let first = self.ask(&call, &service, &service.token).await?;
        if !matches!(&first, Err(problem) if problem.status == StatusCode::UNAUTHORIZED) {
            return Ok(first);
        }
        let renewed = self.service(Some(&service)).await?;
        self.ask(&call, &renewed, &renewed.token).await
    }

    /// Asks the service with another token than its own.
    pub(super) async fn call_with(
        &self,
        call: Call<'_>,
        token: &SecretString,
    ) -> Result<Result<Answer, Problem>, GithubError> {
        let service = self.service(None).await?;
        self.ask(&call, &service, token).await
    }

    async fn ask(
        &self,
        call: &Call<'_>,
        service: &Service,
        token: &SecretString,
    ) -> Result<Result<Answer, Problem>, GithubError> {
        let at = address::below(&service.base, call.path, call.query)?;
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let deadline = self.client().deadline();
        let way = self.way(&service.origin)?;
        let foreign = Foreign {
            method: call.method.clone(),
            address: &at,
            headers: HeaderMap::from_iter(json),
            body: call.body,
            deadline,
            max_body: MAX_ANSWER,
        };
        self.exchange(call.endpoint, &way, foreign, token).await
    }

    /// One exchange: with its token, reported, and told apart.
    pub(super) async fn exchange(
        &self,
        endpoint: &'static str,
        way: &Transport,
        mut foreign: Foreign<'_>,
        token: &SecretString,
    ) -> Result<Result<Answer, Problem>, GithubError> {
        let token = token.expose_secret();
        foreign.headers.insert(header::AUTHORIZATION, secret_header(&format!("Bearer {token}"))?);
        let answer = self.reported(endpoint, way.exchange_foreign(foreign)).await?;
        if answer.status.is_success() {
            return Ok(Ok(answer));
        }
        Ok(Err(Problem::of(&answer, token)))
    }

    /// Reports an exchange, and takes the byte order mark off its answer.
    pub(super) async fn reported(
        &self,
        endpoint: &'static str,
        exchange: impl Future<Output = Result<Answer, GithubError>>,
    ) -> Result<Answer, GithubError> {
        let began = Instant::now();
        let mut exchanged = exchange.await;
        let (took, answer) = (began.elapsed(), exchanged.as_ref().ok());
        let status = answer.map(|answer| answer.status.as_u16());
        let activity = answer.and_then(|answer| answer.headers.get(ACTIVITY)?.to_str().ok());
        let scope = self.client().scope();
        tracing::debug!(%scope, endpoint, status, ?took, activity, "sent a request to GitHub's scale-set service");
        self.client().report(endpoint, status, took, None);
        if let Ok(answer) = &mut exchanged {
            strip_mark(&mut answer.body);
        }
        exchanged
    }

    /// The service; a new registration when the one at hand is about to expire or was refused, unless
    /// one has failed a short while ago.
    async fn service(&self, refused: Option<&Arc<Service>>) -> Result<Arc<Service>, GithubError> {
        let mut held = self.0.service.lock().await;
        if let Some(service) = held.service(refused) {
            return Ok(service);
        }
        held.admit(clock::now())?;
        let registered = self.register().await;
        held.learn(registered, self.waits(), clock::now())
    }

    /// The way to a server; made when it is first needed.
    pub(super) fn way(&self, origin: &Origin) -> Result<Arc<Transport>, GithubError> {
        let mut ways = self.0.ways.lock();
        if let Some(way) = ways.iter().find(|way| way.origin() == origin) {
            return Ok(Arc::clone(way));
        }
        // GitHub may move a service; what is not used any more goes first.
        if ways.len() >= MAX_WAYS {
            ways.remove(0);
        }
        let way = Arc::new(self.client().transport().towards(origin.clone())?);
        ways.push(Arc::clone(&way));
        Ok(way)
    }

    /// Whether addresses that GitHub names must have TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.client().transport().origin().is_https()
    }
}

const ACTIVITY: HeaderName = HeaderName::from_static("activityid");

const MAX_WAYS: usize = 8;

/// The service begins some bodies with a byte order mark, which is not JSON.
fn strip_mark(body: &mut Bytes) {
    if body.starts_with(b"\xEF\xBB\xBF") {
        drop(body.split_to(3));
    }
}

impl fmt::Debug for ScaleSets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScaleSets").field("client", &self.0.client).finish_non_exhaustive()
    }
}
