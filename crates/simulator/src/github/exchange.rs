//! A request of the REST API, taken apart, and an answer before it is bytes.

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};

use dayfly_fleet::Timestamp;

pub(super) const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// A request, taken apart as far as all calls need it.
pub(crate) struct Asked {
    pub(super) method: Method,
    /// Without the `/api/v3` that it may have had.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    /// Scheme, host and prefix, for addresses in answers.
    pub(super) base: String,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str, default: usize) -> usize {
        self.query(name).and_then(|value| value.parse().ok()).filter(|&value| value > 0).unwrap_or(default)
    }

    pub(super) fn token(&self) -> Option<&str> {
        let (scheme, token) = self.header(AUTHORIZATION)?.split_once(' ')?;
        let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
        known.then_some(token)
    }
}

/// What a call answers.
pub(crate) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Content,
    pub(super) headers: Vec<(HeaderName, String)>,
}

/// A body, before it is bytes: faults work on values.
pub(crate) enum Content {
    None,
    Json(Value),
    Html(String),
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: Value) -> Self {
        Self { status, body: Content::Json(body), headers: Vec::new() }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, body: Content::None, headers: Vec::new() }
    }

    /// GitHub's basic error: its `status` is a text.
    pub(super) fn error(status: StatusCode, message: &str) -> Self {
        let body =
            json!({ "message": message, "documentation_url": DOCUMENTATION, "status": status.as_str() });
        Self::json(status, body)
    }

    pub(super) fn not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "Not Found")
    }

    pub(super) fn html(status: StatusCode) -> Self {
        let page = format!("<html><body><h1>{status}</h1><p>{}</p></body></html>", "Unicorn! ".repeat(64));
        Self { status, body: Content::Html(page), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A moment as GitHub's API writes it, in whole seconds.
pub(super) fn moment(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// A moment as HTTP writes it.
pub(super) fn httpdate(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX);
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
