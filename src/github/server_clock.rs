//! GitHub's clock, as the `Date` of its responses shows it.

use std::time::UNIX_EPOCH;

use http::{HeaderMap, header};

use crate::fleet::{ClockReading, Timestamp};

/// What GitHub's clock showed when a response came, by its `Date` header; `wall` is this machine's.
pub(super) fn github_clock(headers: &HeaderMap, wall: ClockReading) -> Option<ClockReading> {
    let date = headers.get(header::DATE)?.to_str().ok()?.trim();
    let date = httpdate::parse_http_date(date).ok()?;
    let shown = Timestamp::default() + date.duration_since(UNIX_EPOCH).ok()?;
    Some(ClockReading { at: wall.at, shown })
}

/// This machine's clock minus GitHub's in seconds, by the `Date` header.
pub(super) fn clock_skew(headers: &HeaderMap, wall: ClockReading) -> Option<i64> {
    github_clock(headers, wall).map(|github| seconds_ahead(wall, github))
}

/// How far `wall` is ahead of GitHub's clock, in seconds.
pub(super) fn seconds_ahead(wall: ClockReading, github: ClockReading) -> i64 {
    wall.ahead_of(github) / 1000
}
