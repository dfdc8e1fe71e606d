//! A record of every request, for tests and benchmarks. Tokens are left out.

use std::collections::{BTreeMap, VecDeque};

use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, USER_AGENT};
use serde_json::Value;

use super::exchange::Asked;
use crate::endpoint::Endpoint;
use dayfly_fleet::Timestamp;

/// A long benchmark must not eat the machine.
const KEPT: usize = 100_000;

/// A request that GitHub received.
#[derive(Clone, Debug)]
pub struct Request {
    /// When.
    pub at: Timestamp,
    /// Which call it was.
    pub endpoint: Endpoint,
    /// `GET`, `POST`, …
    pub method: String,
    /// Path without `/api/v3`.
    pub path: String,
    /// Decoded query.
    pub query: Vec<(String, String)>,
    /// Those of `accept`, `authorization` (its scheme alone), `content-type`, `if-none-match`,
    /// `user-agent` and `x-github-api-version` that it had.
    pub headers: BTreeMap<String, String>,
    /// The body, where it was JSON.
    pub body: Option<Value>,
    /// The status of the answer; `None` when there was no answer.
    pub status: Option<u16>,
    /// Whether it was charged to the rate limit.
    pub charged: bool,
}

/// All of them, and how many there were.
#[derive(Default)]
pub(crate) struct Log {
    requests: VecDeque<Request>,
    counts: BTreeMap<Endpoint, u64>,
    charged: u64,
}

impl Log {
    pub(super) fn note(
        &mut self,
        asked: Asked,
        endpoint: Endpoint,
        status: Option<u16>,
        charged: bool,
        now: Timestamp,
    ) {
        let names = [ACCEPT.as_str(), CONTENT_TYPE.as_str(), IF_NONE_MATCH.as_str(), USER_AGENT.as_str()];
        let mut headers: BTreeMap<String, String> = names
            .into_iter()
            .chain(["x-github-api-version"])
            .filter_map(|name| Some((name.to_owned(), asked.header(name)?.to_owned())))
            .collect();
        if let Some((scheme, _)) = asked.header(AUTHORIZATION).and_then(|value| value.split_once(' ')) {
            headers.insert(AUTHORIZATION.to_string(), scheme.to_owned());
        }
        *self.counts.entry(endpoint).or_default() += 1;
        self.charged += u64::from(charged);
        if self.requests.len() == KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(Request {
            at: now,
            endpoint,
            method: asked.method.to_string(),
            path: asked.path,
            query: asked.query,
            headers,
            body: serde_json::from_slice(&asked.body).ok(),
            status,
            charged,
        });
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.iter().cloned().collect()
    }

    pub(crate) fn count(&self, endpoint: Endpoint) -> u64 {
        self.counts.get(&endpoint).copied().unwrap_or_default()
    }

    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }
}
