//! A plain HTTP client for tests of the simulator: it shares nothing with the daemon's.

use std::time::Duration;

use bytes::Bytes;
use dayfly_simulator::Simulator;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

/// Longer than any answer of the simulator takes.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The token that a simulator accepts by default.
pub(crate) const TOKEN: &str = "simulated-token";

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body, which must be JSON and say so; nothing when there is none.
    pub(crate) fn json(&self) -> Option<Value> {
        if self.text.is_empty() {
            return None;
        }
        assert_eq!(self.header("content-type"), "application/json; charset=utf-8");
        Some(serde_json::from_str(&self.text).expect("a JSON body"))
    }

    /// A header that must be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("a text")
    }
}

/// A request with the usual headers to a path or an address, ready to be changed.
pub(crate) fn request(simulator: &Simulator, method: Method, path: &str) -> Request<Full<Bytes>> {
    let prefix = if path.starts_with("http") { String::new() } else { format!("{}/api/v3", simulator.url()) };
    Request::builder()
        .method(method)
        .uri(format!("{prefix}{path}"))
        .header("user-agent", "test/1")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("x-github-api-version", "2022-11-28")
        .body(Full::default())
        .expect("a request")
}

/// Sends it; an error is a connection without an answer.
pub(crate) async fn send(request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let exchange = async {
        let response = client.request(request).await.map_err(|error| format!("{error:?}"))?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
        let text = String::from_utf8(bytes.into()).expect("UTF-8");
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, text })
    };
    tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| "no answer in time".to_owned())?
}

pub(crate) async fn get(simulator: &Simulator, path: &str) -> Answer {
    send(request(simulator, Method::GET, path)).await.expect("an answer")
}

pub(crate) async fn delete(simulator: &Simulator, path: &str) -> Answer {
    send(request(simulator, Method::DELETE, path)).await.expect("an answer")
}

pub(crate) async fn post(simulator: &Simulator, path: &str, body: &Value) -> Answer {
    ask(simulator, Method::POST, path, Some(body)).await
}

pub(crate) async fn ask(simulator: &Simulator, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let (parts, none) = request(simulator, method, path).into_parts();
    let body = body.map_or(none, |body| Full::from(body.to_string()));
    send(Request::from_parts(parts, body)).await.expect("an answer")
}
