//! When a personal token expires, as reported in every response, and the warning before that.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    fleet::{ClockReading, Instant, Timestamp},
    github::server_clock::github_clock,
};

/// Sent with every answer to a token that expires (docs.github.com, "Managing your personal access
/// tokens").
const HEADER: HeaderName = HeaderName::from_static("github-authentication-token-expiration");

/// How long before the expiry a warning is logged, and how often.
const SOON: Duration = Duration::from_hours(7 * 24);
const AGAIN: Duration = Duration::from_hours(24);

/// What is known of one token's end.
#[derive(Debug, Default)]
pub(in crate::github) struct Expiry(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// The token that it was said of.
    generation: u64,
    at: Option<Timestamp>,
    warned_at: Option<Instant>,
}

impl Expiry {
    pub(in crate::github) fn at(&self) -> Option<Timestamp> {
        self.memory().at
    }

    /// Updates from a response that was received now; returns the remaining time of the token, if that is to
    /// be logged now.
    pub(in crate::github) fn learn(
        &self,
        headers: &HeaderMap,
        generation: u64,
        wall: ClockReading,
    ) -> Option<Duration> {
        let mut memory = self.memory();
        // A response to the previous token says nothing about this one.
        if generation < memory.generation {
            return None;
        }
        if generation > memory.generation {
            *memory = Memory { generation, ..Memory::default() };
        }
        // A response without it, a 304 or a proxy's, changes nothing.
        let at = headers.get(HEADER).and_then(|value| parse(value.to_str().ok()?)).or(memory.at)?;
        memory.at = Some(at);
        let left = at.since(github_clock(headers, wall).unwrap_or(wall).shown);
        let reported = memory.warned_at.is_some_and(|reported| wall.at.since(reported) < AGAIN);
        if left >= SOON || reported {
            return None;
        }
        memory.warned_at = Some(wall.at);
        Some(left)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock()
    }
}

/// `2026-12-01 09:00:00 UTC`, or with an offset such as `-0700` for the zone.
fn parse(text: &str) -> Option<Timestamp> {
    let (moment, zone) = text.trim().rsplit_once(' ')?;
    let zone = if zone.eq_ignore_ascii_case("utc") { "Z" } else { zone };
    format!("{moment}{zone}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn headers(value: &str) -> HeaderMap {
        [(HEADER, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn the_header_is_read_in_every_form_and_nonsense_is_nothing() {
        for (text, shown) in [
            ("2026-12-01 09:00:00 UTC", "2026-12-01T09:00:00.000Z"),
            ("2026-12-01 09:00:00 -0700", "2026-12-01T16:00:00.000Z"),
            ("2026-12-01 09:00:00 +02:00", "2026-12-01T07:00:00.000Z"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "never",
            "2026-12-01",
            "2026-12-01 09:00:00",
            "2026-13-01 09:00:00 UTC",
            "1969-01-01 00:00:00 UTC",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn it_is_warned_of_once_a_day_in_the_last_week_and_again_for_another_token() {
        let expiry = Expiry::default();
        let at = |shown: Timestamp| ClockReading { at: Instant::from_millis(shown.as_millis()), shown };
        let end = parse("2026-12-01 09:00:00 UTC").unwrap();
        let header = headers("2026-12-01 09:00:00 UTC");
        assert_eq!(expiry.learn(&header, 0, at(end - 8 * DAY)), None);
        assert_eq!(expiry.at(), Some(end));
        assert_eq!(expiry.learn(&header, 0, at(end - 6 * DAY)), Some(6 * DAY));
        assert_eq!(expiry.learn(&header, 0, at(end - 6 * DAY)), None);
        assert_eq!(expiry.learn(&HeaderMap::new(), 0, at(end - 5 * DAY)), Some(5 * DAY));
        assert_eq!(expiry.learn(&header, 0, at(end + DAY)), Some(Duration::ZERO));
        assert_eq!(expiry.learn(&HeaderMap::new(), 1, at(end)), None);
        assert_eq!(expiry.at(), None, "the next token has no end");
        assert_eq!(expiry.learn(&header, 0, at(end)), None);
        assert_eq!(expiry.at(), None, "a late answer to the one before");
    }
}
