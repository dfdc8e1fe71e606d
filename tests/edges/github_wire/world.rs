//! The other side of the wire, and a client for it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, Uri},
    response::Response,
};
use dayfly::{
    fleet::{RegistrationId, RunnerName, Scope},
    github::{Client, Credential, GithubError, Mint, MintedRunner, RequestReport, RunnerApi, TokenSource},
};
use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) const TOKEN: &str = "ghp_canary0123456789";

/// A deadline that a test can wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(200);

/// A request as the server got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn page(&self) -> Option<u64> {
        let query = self.uri.query()?;
        query.split('&').find_map(|pair| pair.strip_prefix("page=")).map(|page| page.parse().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The other side, a client for it, and what passed between them.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) directory: tempfile::TempDir,
    seen: Arc<Mutex<Vec<Seen>>>,
    reports: Arc<Mutex<Vec<RequestReport>>>,
}

impl World {
    pub(crate) async fn new(path: &str, answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        Self::with_deadline(path, Duration::from_secs(10), answer).await
    }

    pub(crate) async fn with_deadline(
        path: &str,
        deadline: Duration,
        answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        let (address, seen) = serve(answer).await;
        let scope: Scope = format!("http://{address}/{path}").parse().unwrap();
        let reports = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&reports);
        let reporter = Arc::new(move |report: &RequestReport| log.lock().unwrap().push(report.clone()));
        let credential = Credential::new(TokenSource::File(token_file));
        let client = Client::with_deadline(scope, &credential, reporter, deadline).unwrap();
        let client = client.of_instance(&"ci1".parse().unwrap());
        Self { address, client, directory, seen, reports }
    }

    /// The same token for another client.
    pub(crate) fn credential(&self) -> Credential {
        Credential::new(TokenSource::File(self.directory.path().join("token")))
    }

    pub(crate) fn rotate(&self, token: &str) {
        std::fs::write(self.directory.path().join("token"), token).unwrap();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn reports(&self) -> Vec<RequestReport> {
        self.reports.lock().unwrap().clone()
    }

    pub(crate) fn statuses(&self) -> Vec<Option<u16>> {
        self.reports().iter().map(|report| report.status).collect()
    }

    pub(crate) async fn mint(&self) -> Result<MintedRunner, GithubError> {
        self.mint_into("Default").await
    }

    pub(crate) async fn mint_into(&self, group: &str) -> Result<MintedRunner, GithubError> {
        let name = runner_name();
        let labels = ["self-hosted".to_owned(), "linux".to_owned()];
        self.client.mint(Mint { name: &name, group, labels: &labels }).await
    }

    pub(crate) async fn mint_error(&self) -> GithubError {
        match self.mint().await {
            Ok(_) => panic!("minted"),
            Err(error) => error,
        }
    }

    pub(crate) async fn delete(&self) -> Result<(), GithubError> {
        self.client.delete(RegistrationId(23)).await
    }
}

/// A server on loopback, and what it is asked.
pub(crate) async fn serve(
    answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
    let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let request = Seen { method, uri, headers, body };
        log.lock().unwrap().push(request.clone());
        let answer = answer(&request);
        async move { answer }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, seen)
}

pub(crate) fn runner_name() -> RunnerName {
    RunnerName::parse("dayfly-linux-ci1-01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap()
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

pub(crate) fn says(status: u16, body: &Value) -> Response {
    answer(status, &[("content-type", "application/json")], body.to_string())
}

/// An error in the form that GitHub gives nearly all of them.
pub(crate) fn complains(status: u16, message: &str) -> Response {
    says(status, &json!({"message": message, "documentation_url": "https://x", "status": status.to_string()}))
}

pub(crate) fn runner(id: u64) -> Value {
    json!({"id": id, "name": format!("runner-{id}"), "os": "linux", "status": "online", "busy": false,
           "labels": [{"id": 1, "name": "linux", "type": "custom"}], "runner_group_id": 1})
}

pub(crate) fn runners(total: usize, ids: impl IntoIterator<Item = u64>) -> Value {
    json!({"total_count": total, "runners": ids.into_iter().map(runner).collect::<Vec<_>>()})
}

pub(crate) fn minted() -> Response {
    says(201, &json!({"runner": runner(23), "encoded_jit_config": "canary-jit"}))
}

pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// For how many seconds a limit holds.
pub(crate) fn limited_for<T>(outcome: Result<T, GithubError>) -> u64 {
    match outcome {
        Err(GithubError::RateLimited { wait }) => wait.as_secs(),
        Err(other) => panic!("not limited: {other}"),
        Ok(_) => panic!("not limited"),
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &GithubError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Bytes that are nearly these: some changed, and now and then any.
pub(crate) fn nearly(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = good.len();
    let changed = prop::collection::vec((0..length, any::<u8>()), 0..6).prop_map(move |changes| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes
    });
    prop_oneof![3 => changed, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}
