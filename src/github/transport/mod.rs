//! One exchange with GitHub: octocrab over a hyper client of its own, with headers and a deadline. No retry,
//! no cache, no redirect: those are decided above.

mod address;
mod route;
mod token;

use std::{error::Error, fmt, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use octocrab::{AuthState, OctoBody, Octocrab, OctocrabBuilder};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tower::util::MapRequestLayer;

use self::route::Route;
pub(in crate::github) use self::{
    address::{Origin, encoded, next},
    token::Token,
};
use super::{GithubError, redact::foreign};

/// The timeout of a request, including the response body. GitHub itself gives up after ten seconds
/// (docs.github.com, "Troubleshooting the REST API", timeouts).
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The largest answer that is read. A page of a hundred runners has some 60 kB.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// An unused connection is closed after this long, before the other side is likely to do so while
/// a mint is on its way.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// The last version that GHES up to 3.20 speaks (docs.github.com, "API versions").
const API_VERSION: HeaderValue = HeaderValue::from_static("2022-11-28");
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-github-api-version");
const ACCEPT: HeaderValue = HeaderValue::from_static("application/vnd.github+json");
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("dayfly/", env!("CARGO_PKG_VERSION")));

type BoxError = Box<dyn Error + Send + Sync>;

/// A request that is none to the REST API: it goes out with its own headers, our name and no more.
pub(in crate::github) struct Foreign<'a> {
    pub(in crate::github) method: Method,
    /// At the transport's own origin.
    pub(in crate::github) address: &'a Uri,
    pub(in crate::github) headers: HeaderMap,
    pub(in crate::github) body: Option<&'a serde_json::Value>,
    pub(in crate::github) deadline: Duration,
    /// The largest answer that is read, in bytes.
    pub(in crate::github) max_body: usize,
}

/// The headers of a [`Foreign`] request, on their way through octocrab.
#[derive(Clone)]
struct OwnHeaders(HeaderMap);

/// An answer, complete. It has no `Debug`: its body may hold a JIT config.
pub(in crate::github) struct Answer {
    pub(in crate::github) status: StatusCode,
    pub(in crate::github) headers: HeaderMap,
    pub(in crate::github) body: Bytes,
}

/// What a connection may be made with.
#[derive(Clone, Debug)]
pub(in crate::github) struct Trust {
    /// A PEM file of certificate authorities that are trusted beside the system's.
    pub(in crate::github) ca_file: Option<PathBuf>,
    /// Whether secrets may be sent without TLS to other machines.
    pub(in crate::github) allow_plain_http: bool,
}

impl Answer {
    /// Parses the body. serde's error texts quote the input, which may be a JIT config, so only the position
    /// is reported.
    pub(in crate::github) fn json<T: DeserializeOwned>(&self) -> Result<T, GithubError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = foreign(kind.unwrap_or("no content type"), "");
            let what = if error.is_data() { "unexpected JSON" } else { "invalid JSON" };
            let (line, column) = (error.line(), error.column());
            let status = self.status.as_u16();
            GithubError::failed(format!("{status} with {what} ({kind}) at line {line}, column {column}"))
        })
    }
}

/// The connections to one GitHub.
pub(in crate::github) struct Transport {
    origin: Origin,
    deadline: Duration,
    route: Route,
    trust: Trust,
    /// Created with the first request, because octocrab needs the runtime for its worker; and again if that
    /// worker is gone, because octocrab does not start another.
    octocrab: Mutex<Option<Octocrab>>,
}

impl Transport {
    /// The way to `origin` with what goes with a credential. Every request has a secret, so that one without
    /// TLS stays on this machine unless the operator says otherwise.
    pub(in crate::github) fn new(
        origin: Origin,
        deadline: Duration,
        trust: Trust,
    ) -> Result<Self, GithubError> {
        if !origin.is_https() && !origin.is_loopback() && !trust.allow_plain_http {
            return Err(GithubError::Refused(format!(
                "no credential is sent over plain http to {}, where others could read it; use https:// in \
                 the URL, or set allow_plain_http = true in the credential",
                origin.host()
            )));
        }
        let route = Route::to(&origin);
        Ok(Self { origin, deadline, route, trust, octocrab: Mutex::default() })
    }

    /// The proxy that requests go through, without its password.
    pub(in crate::github) fn proxy(&self) -> Option<String> {
        self.route.proxy()
    }

    pub(in crate::github) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(in crate::github) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Sends one request and reads the whole answer, within the deadline. The token goes to our
    /// own origin only.
    pub(in crate::github) async fn exchange(
        &self,
        method: Method,
        address: &Uri,
        etag: Option<&HeaderValue>,
        body: Option<&serde_json::Value>,
        token: &Token,
    ) -> Result<Answer, GithubError> {
        let octocrab = self.octocrab()?;
        let mut request = http::request::Builder::new().method(method).uri(address.clone());
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if Origin::of(address).as_ref() == Some(&self.origin) {
            request = request.extension(token.clone());
        }
        self.carry(&octocrab, request, body, self.deadline, MAX_BODY).await
    }

    /// As [`Transport::exchange`], for what is not the REST API.
    pub(in crate::github) async fn exchange_foreign(
        &self,
        foreign: Foreign<'_>,
    ) -> Result<Answer, GithubError> {
        let Foreign { method, address, headers, body, deadline, max_body } = foreign;
        if Origin::of(address).as_ref() != Some(&self.origin) {
            return Err(GithubError::failed("no request is sent to another host than the scope's"));
        }
        let octocrab = self.octocrab()?;
        let request = http::request::Builder::new().method(method).uri(address.clone());
        self.carry(&octocrab, request.extension(OwnHeaders(headers)), body, deadline, max_body).await
    }

    /// The same way to another origin, with connections of its own.
    pub(in crate::github) fn towards(&self, origin: Origin) -> Result<Self, GithubError> {
        Self::new(origin, self.deadline, self.trust.clone())
    }

    async fn carry(
        &self,
        octocrab: &Octocrab,
        request: http::request::Builder,
        body: Option<&serde_json::Value>,
        deadline: Duration,
        max_body: usize,
    ) -> Result<Answer, GithubError> {
        let request = octocrab
            .build_request(request, body)
            .map_err(|error| GithubError::because("the request cannot be built", Box::new(error)))?;
        match tokio::time::timeout(deadline, answer(octocrab, request, max_body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cause)) => Err(self.failure(cause)),
            Err(_) => {
                let deadline = deadline.as_secs_f32();
                Err(GithubError::failed(format!("no response within {deadline} s")))
            }
        }
    }

    /// Whether the request can have reached GitHub.
    fn failure(&self, cause: BoxError) -> GithubError {
        match cause.downcast::<legacy::Error>() {
            Ok(error) if error.is_connect() => GithubError::Unreachable(error),
            Ok(error) => GithubError::because("the connection failed during the request", error),
            Err(other) => {
                if other.downcast_ref::<hyper::Error>().is_none() {
                    // Perhaps octocrab's worker; a new one costs nothing but a connection.
                    self.octocrab.lock().take();
                }
                GithubError::because("the connection failed during the request", other)
            }
        }
    }

    fn octocrab(&self) -> Result<Octocrab, GithubError> {
        let mut made = self.octocrab.lock();
        if let Some(octocrab) = &*made {
            return Ok(octocrab.clone());
        }
        let octocrab = self.stack().map_err(GithubError::Unreachable)?;
        Ok(made.insert(octocrab).clone())
    }

    /// octocrab on a hyper client of ours, and one layer that gives every request its headers.
    ///
    /// Requests carry absolute addresses. octocrab's `BaseUriLayer` is left out on purpose: it puts
    /// its path before addresses that have one already, and pages must be followed as GitHub sent
    /// them.
    fn stack(&self) -> Result<Octocrab, BoxError> {
        let tls = route::tls(self.origin.is_https(), self.trust.ca_file.as_deref())?;
        // Less than the deadline, so that a host that does not respond is distinguished from a slow response.
        let wires = self.route.clone().connector(tls.clone(), self.deadline / 2);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(wires);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .build::<_, OctoBody>(connector);
        let proxy = self.route.authorization();
        let Ok(octocrab) = OctocrabBuilder::new_empty()
            .with_service(client)
            .with_layer(&MapRequestLayer::new(move |request| with_headers(request, proxy.as_ref())))
            .with_auth(AuthState::None)
            .build();
        Ok(octocrab)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("origin", &self.origin).finish_non_exhaustive()
    }
}

async fn answer(
    octocrab: &Octocrab,
    request: Request<OctoBody>,
    max_body: usize,
) -> Result<Answer, BoxError> {
    let (head, body) = octocrab.execute(request).await.map_err(cause_of)?.into_parts();
    let body = Limited::new(body, max_body).collect().await.map_err(|error| {
        match error.downcast::<octocrab::Error>() {
            Ok(error) => cause_of(*error),
            Err(other) => other,
        }
    })?;
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}

/// octocrab's own errors say nothing that their source does not say better.
fn cause_of(error: octocrab::Error) -> BoxError {
    match error {
        octocrab::Error::Service { source, .. } | octocrab::Error::Other { source, .. } => source,
        other => Box::new(other),
    }
}

/// Sets the headers of every request, replacing those that octocrab has set.
fn with_headers(mut request: Request<OctoBody>, proxy: Option<&HeaderValue>) -> Request<OctoBody> {
    if let Some(OwnHeaders(own)) = request.extensions_mut().remove::<OwnHeaders>() {
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, USER_AGENT);
        for (name, value) in &own {
            headers.insert(name, value.clone());
        }
        if let Some(proxy) = proxy {
            headers.insert(header::PROXY_AUTHORIZATION, proxy.clone());
        }
        return request;
    }
    // Checked when it was read: a token has only characters that a header may have.
    let bearer = request
        .extensions_mut()
        .remove::<Token>()
        .and_then(|token| HeaderValue::try_from(format!("Bearer {}", token.expose())).ok());
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::ACCEPT, ACCEPT);
    headers.insert(API_VERSION_HEADER, API_VERSION);
    if let Some(mut bearer) = bearer {
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    if let Some(proxy) = proxy {
        headers.insert(header::PROXY_AUTHORIZATION, proxy.clone());
    }
    request
}
