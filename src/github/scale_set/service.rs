//! What all requests to the scale-set service have in common: address, headers, the admin token and
//! its renewal, and the metrics' report.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::{Mutex, MutexGuard};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{
    address,
    exchange::{MAX_ANSWER, reported, secret_header},
    list_cache::ListCache,
    problem::Problem,
    registration::Service,
    registrations::{Registrations, Waits},
};
use crate::github::{
    Client, GithubError,
    transport::{Answer, Foreign, Origin, Transport},
};

/// The scale sets of one scope, as its credential reaches them. Cheap to clone; clones share
/// everything.
#[derive(Clone)]
pub struct ScaleSets(Arc<Inner>);

struct Inner {
    client: Client,
    registrations: Registrations,
    listed: Mutex<ListCache>,
    /// One for each server that GitHub named; there are two or three.
    ways: Mutex<Vec<Arc<Transport>>>,
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
        let (ways, listed) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { client, registrations: Registrations::new(waits), listed, ways }))
    }

    /// The client of the scope.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    pub(super) fn listed(&self) -> MutexGuard<'_, ListCache> {
        self.0.listed.lock()
    }

    /// Sends a request with the admin token, and again with a new one if it is rejected. Problems are left to
    /// the caller.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Result<Answer, Problem>, GithubError> {
        let service = self.0.registrations.service(self.client(), None).await?;
        let first = self.ask(&call, &service, &service.token).await?;
        if !matches!(&first, Err(problem) if problem.status == StatusCode::UNAUTHORIZED) {
            return Ok(first);
        }
        let renewed = self.0.registrations.service(self.client(), Some(&service)).await?;
        self.ask(&call, &renewed, &renewed.token).await
    }

    /// Sends a request to the service with another token than its own.
    pub(super) async fn call_with(
        &self,
        call: Call<'_>,
        token: &SecretString,
    ) -> Result<Result<Answer, Problem>, GithubError> {
        let service = self.0.registrations.service(self.client(), None).await?;
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
        let deadline = self.client().rest().deadline();
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

    /// One exchange: sends the token, reports the request, and classifies the response.
    pub(super) async fn exchange(
        &self,
        endpoint: &'static str,
        way: &Transport,
        mut foreign: Foreign<'_>,
        token: &SecretString,
    ) -> Result<Result<Answer, Problem>, GithubError> {
        let token = token.expose_secret();
        foreign.headers.insert(header::AUTHORIZATION, secret_header(&format!("Bearer {token}"))?);
        let answer = reported(self.client(), endpoint, way.exchange_foreign(foreign)).await?;
        if answer.status.is_success() {
            return Ok(Ok(answer));
        }
        Ok(Err(Problem::of(&answer, token)))
    }

    /// The way to a server; made when it is first needed.
    pub(super) fn way(&self, origin: &Origin) -> Result<Arc<Transport>, GithubError> {
        let mut ways = self.0.ways.lock();
        if let Some(way) = ways.iter().find(|way| way.origin() == origin) {
            return Ok(Arc::clone(way));
        }
        // GitHub may move a service; the oldest entry is removed first.
        if ways.len() >= MAX_WAYS {
            ways.remove(0);
        }
        let way = Arc::new(self.client().rest().transport().towards(origin.clone())?);
        ways.push(Arc::clone(&way));
        Ok(way)
    }

    /// Whether addresses that GitHub names must have TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.client().rest().transport().origin().is_https()
    }
}

const MAX_WAYS: usize = 8;

impl fmt::Debug for ScaleSets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScaleSets").field("client", &self.0.client).finish_non_exhaustive()
    }
}
