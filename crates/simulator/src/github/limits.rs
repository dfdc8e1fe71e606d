//! The primary rate limit, one budget per token and hour, and the tags of conditional requests.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use axum::http::HeaderName;

use dayfly_fleet::Timestamp;

pub(super) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub(super) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub(super) const USED: HeaderName = HeaderName::from_static("x-ratelimit-used");
pub(super) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
pub(super) const RESOURCE: HeaderName = HeaderName::from_static("x-ratelimit-resource");

const WINDOW: Duration = Duration::from_hours(1);

/// What each token has used of its hour.
#[derive(Default)]
pub(crate) struct Limits(BTreeMap<String, Used>);

#[derive(Clone, Copy)]
pub(super) struct Used {
    pub(super) requests: u32,
    began: Timestamp,
}

impl Used {
    /// When the hour is over, in seconds since the Unix epoch.
    pub(super) fn reset(self) -> u64 {
        (self.began + WINDOW).as_millis() / 1000
    }
}

impl Limits {
    /// The token's current hour; one begins with the first request after the last.
    pub(super) fn used(&self, token: Option<&str>, now: Timestamp) -> Used {
        let used = self.0.get(token.unwrap_or_default()).copied();
        used.filter(|used| now < used.began + WINDOW).unwrap_or(Used { requests: 0, began: now })
    }

    pub(super) fn is_used_up(&self, token: Option<&str>, limit: Option<u32>, now: Timestamp) -> bool {
        limit.is_some_and(|limit| self.used(token, now).requests >= limit)
    }

    pub(super) fn charge(&mut self, token: Option<&str>, limit: Option<u32>, cost: bool, now: Timestamp) {
        let mut used = self.used(token, now);
        used.requests = used.requests.saturating_add(u32::from(cost)).min(limit.unwrap_or(u32::MAX));
        self.0.insert(token.unwrap_or_default().to_owned(), used);
    }

    pub(super) fn headers(
        &self,
        token: Option<&str>,
        limit: Option<u32>,
        now: Timestamp,
    ) -> Vec<(HeaderName, String)> {
        let Some(limit) = limit else { return Vec::new() };
        let used = self.used(token, now);
        vec![
            (LIMIT, limit.to_string()),
            (REMAINING, limit.saturating_sub(used.requests).to_string()),
            (USED, used.requests.to_string()),
            (RESET, used.reset().to_string()),
            (RESOURCE, "core".to_owned()),
        ]
    }
}

/// A weak tag that changes with the body; each credential has its own, as at GitHub.
pub(super) fn etag(body: &str, token: Option<&str>) -> String {
    let mut hasher = DefaultHasher::new();
    (body, token).hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}
