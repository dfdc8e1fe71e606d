//! Requests and responses: which destination a request means, what is forwarded of it, and the texts of
//! refusals. hyper parses and writes HTTP; nothing is forwarded that it has not parsed.

use std::{io, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        CONNECTION, CONTENT_TYPE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
    uri::PathAndQuery,
};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::TcpStream,
    sync::{OwnedSemaphorePermit, mpsc},
};

use super::{
    destinations::Destinations,
    line::{Report, Verdict},
    network::{Failure, Network, open},
    policy::{Policy, Refusal},
    target::Target,
};

/// What is read at once from either end of a tunnel, in bytes. Each open tunnel has two such buffers.
const TUNNEL_BUFFER: usize = 16 << 10;

/// Headers that are for the next hop only (RFC 9110, section 7.6.1), besides those that `Connection` names.
/// `Expect` has been answered here.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
const MORE_HOP_BY_HOP: [HeaderName; 2] =
    [HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

/// What the proxy calls itself in its responses.
const PROXY: &str = "dayfly egress proxy";

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

pub(super) type Body = Either<Full<Bytes>, Incoming>;

/// What all connections share.
pub(super) struct Proxy<N> {
    pub(super) policy: Policy,
    pub(super) network: N,
    /// To resolve a name, and again to connect.
    pub(super) connect_timeout: Duration,
    pub(super) destinations: Mutex<Destinations>,
    pub(super) reports: mpsc::Sender<Report>,
}

impl<N: Network> Proxy<N> {
    /// Answers one request. `place` is held until the request's tunnel has ended.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let target = match destination(&request) {
            Ok(target) => target,
            Err(text) => return refusal(StatusCode::BAD_REQUEST, "http_request_error", &text),
        };
        let (verdict, opened) = open(&self.network, &self.policy, &target, self.connect_timeout).await;
        self.report(&target, verdict);
        match opened {
            Err(failure) => failed(&target, &failure),
            Ok(stream) if request.method() == Method::CONNECT => {
                tokio::spawn(tunnel(request, stream, place));
                Response::new(Either::Left(Full::default()))
            }
            Ok(stream) => match exchange(request, &target, stream).await {
                Ok(response) => response,
                Err(error) => {
                    let text = format!("{target} did not answer: {}", cause(&error));
                    refusal(StatusCode::BAD_GATEWAY, "connection_terminated", &text)
                }
            },
        }
    }

    fn report(&self, target: &Target, verdict: Verdict) {
        if let Some(report) = self.destinations.lock().count(target, verdict) {
            // When nobody reads them, reports are lost, and the job is not delayed.
            let _ = self.reports.try_send(report);
        }
    }
}

/// The destination that a request means: that of its first line. `Host` has no say.
fn destination(request: &Request<Incoming>) -> Result<Target, String> {
    let uri = request.uri();
    let invalid = |error| format!("the destination is invalid: {error}");
    let authority = uri.authority().map(http::uri::Authority::as_str);
    match (request.method(), uri.scheme_str(), authority) {
        (&Method::CONNECT, None, Some(authority)) => Target::parse(authority, None).map_err(invalid),
        (&Method::CONNECT, ..) => Err("CONNECT needs a destination of the form HOST:PORT".to_owned()),
        (_, Some("http"), Some(authority)) => Target::parse(authority, Some(80)).map_err(invalid),
        (_, Some(scheme), _) => Err(format!(
            "the scheme {scheme} is not supported; this proxy forwards http, and https by CONNECT"
        )),
        _ => Err("this is a proxy; it only answers requests for other servers".to_owned()),
    }
}

/// Copies bytes both ways until both ends have closed.
async fn tunnel(request: Request<Incoming>, mut stream: TcpStream, place: Arc<OwnedSemaphorePermit>) {
    // It fails when the client has gone in the meantime.
    if let Ok(upgraded) = hyper::upgrade::on(request).await {
        let mut client = TokioIo::new(upgraded);
        // An end that breaks off is the concern of the two ends.
        let _ = copy_bidirectional_with_sizes(&mut client, &mut stream, TUNNEL_BUFFER, TUNNEL_BUFFER).await;
    }
    drop(place);
}

/// Sends a plain request to its server, and returns the response.
async fn exchange(
    request: Request<Incoming>,
    target: &Target,
    stream: TcpStream,
) -> hyper::Result<Response<Body>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the response, or when the client goes.
    tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    // The form of a request to the server itself. Without a path there is none to begin with.
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_11;
    remove_hop_by_hop(&mut parts.headers);
    // A target has only characters that a header may have.
    if let Ok(host) = HeaderValue::try_from(target.host_header()) {
        parts.headers.insert(HOST, host);
    }
    let response = sender.send_request(Request::from_parts(parts, body)).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let text = format!("{target} changed the protocol, which was not requested");
        return Ok(refusal(StatusCode::BAD_GATEWAY, "http_protocol_error", &text));
    }
    let mut response = response.map(Either::Right);
    *response.version_mut() = Version::HTTP_11;
    remove_hop_by_hop(response.headers_mut());
    Ok(response)
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&MORE_HOP_BY_HOP).chain(&named) {
        headers.remove(name);
    }
}

fn failed(target: &Target, failure: &Failure) -> Response<Body> {
    const DENIED: StatusCode = StatusCode::FORBIDDEN;
    const BAD: StatusCode = StatusCode::BAD_GATEWAY;
    const LATE: StatusCode = StatusCode::GATEWAY_TIMEOUT;
    let host = &target.host;
    match failure {
        Failure::Refused(reason @ (Refusal::Private(_) | Refusal::Forbidden(..))) => {
            refusal(DENIED, "destination_ip_prohibited", &reason.text(target))
        }
        Failure::Refused(reason) => refusal(DENIED, "http_request_denied", &reason.text(target)),
        Failure::ResolveTimeout => {
            refusal(LATE, "dns_timeout", &format!("{host} could not be resolved in time"))
        }
        Failure::Unresolved(Some(error)) => {
            refusal(BAD, "dns_error", &format!("{host} could not be resolved: {error}"))
        }
        Failure::Unresolved(None) => refusal(BAD, "dns_error", &format!("{host} has no address")),
        Failure::ConnectTimeout => {
            let text = format!("{target} did not accept a connection in time");
            refusal(LATE, "connection_timeout", &text)
        }
        Failure::Unreachable(address, error) => {
            let text = format!("{target} cannot be reached at {address}: {}", kind(error));
            refusal(BAD, "destination_unavailable", &text)
        }
    }
}

/// A response of the proxy itself: one line of text, which is also in the header `Proxy-Status` (RFC 9209),
/// with one of its types of errors: clients show no body of a response to CONNECT.
pub(super) fn refusal(status: StatusCode, error: &str, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(format!("{PROXY}: {text}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let details: String = text
        .chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .flat_map(|c| ['\\'].into_iter().filter(move |_| matches!(c, '"' | '\\')).chain([c]))
        .collect();
    let proxy_status = format!("\"{PROXY}\"; error={error}; details=\"{details}\"");
    if let Ok(value) = HeaderValue::try_from(proxy_status) {
        headers.insert(PROXY_STATUS, value);
    }
    response
}

/// The operating system's error without its number.
fn kind(error: &io::Error) -> String {
    error.kind().to_string()
}

fn cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
