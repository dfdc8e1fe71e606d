//! The runner's connection: small JSON requests, tried again for as long as the server is away.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, header::CONTENT_TYPE};
use hyper_util::{client::legacy::Client as Pool, rt::TokioExecutor};
use serde::{Serialize, de::DeserializeOwned};

use super::{Terminal, connector::Connector};

/// How long the runner waits before it tries again (the real one: 15 to 30 s).
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The request cannot be made at all, or the server fails again and again.
#[derive(Debug)]
pub(super) struct Lost;

/// How often the server may fail in a row, as opposed to being away.
const MAX_FAILURES: u32 = 10;

#[derive(Clone)]
pub(super) struct Client<'a> {
    pool: Pool<Connector, Full<Bytes>>,
    base: String,
    terminal: &'a Terminal,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Bytes,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(base: &str, terminal: &'a Terminal) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build(Connector::of_environment());
        Self { pool, base: base.trim_end_matches('/').to_owned(), terminal }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Lost> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, Lost> {
        let body = serde_json::to_vec(body).map_err(|_| Lost)?;
        self.send(Method::POST, path, body.into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Lost> {
        let mut away = false;
        let mut failures = 0;
        loop {
            let request = Request::builder()
                .method(&method)
                .uri(format!("{}{path}", self.base))
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()))
                .map_err(|_| Lost)?;
            let problem = match self.once(request).await {
                Ok(answer) if answer.status.is_server_error() => {
                    failures += 1;
                    if failures > MAX_FAILURES {
                        return Err(Lost);
                    }
                    answer.status.to_string()
                }
                Ok(answer) => {
                    if away {
                        self.terminal.say("Runner reconnected.");
                    }
                    return Ok(answer);
                }
                Err(problem) => problem.to_string(),
            };
            if !std::mem::replace(&mut away, true) {
                self.terminal
                    .complain(&format!("Runner connect error: {problem}. Retrying until reconnected."));
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn once(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let response = self.pool.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer { status, body })
    }
}
