//! GitHub's rate limits: parsing its headers, and deciding which requests are allowed. Decisions get the time
//! as an argument; only [`Limits`] has state.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, StatusCode, header};
use parking_lot::{Mutex, MutexGuard};

use super::{
    endpoint::Endpoint,
    server_clock::{github_clock, seconds_ahead},
};
use crate::fleet::{ClockReading, Instant, Timestamp, doubled};

/// The shortest wait after a secondary limit without a time (docs.github.com, "Rate limits for the
/// REST API": at least one minute, then exponentially longer).
const SECONDARY_WAIT: Duration = Duration::from_mins(1);

/// The longest wait that is accepted: GitHub's windows are one hour (docs.github.com, "Rate limits for the
/// REST API"). After it one request finds out whether the limit still holds.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The longest interval that a dwindling budget stretches polling to.
const LONGEST_INTERVAL: Duration = Duration::from_mins(5);

/// A clock that differs by less is not corrected for, in milliseconds; GitHub's `Date` has whole seconds.
const SKEW_TOLERANCE: u64 = 5000;

/// A clock that differs by this many seconds is reported.
const SKEW_REPORTED: i64 = 60;

/// What is left of a primary rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a window.
    pub limit: u64,
    /// Requests left in it.
    pub remaining: u64,
    /// When the window ends.
    pub reset_at: Instant,
    /// Which of GitHub's budgets this is, `core` for most calls.
    pub resource: String,
}

impl Rate {
    /// Reads the `x-ratelimit-*` headers; `None` where there are none, as on GHES by default.
    ///
    /// `wall` is this machine's clock when they came: the end of the window is a time of GitHub's.
    pub fn parse(headers: &HeaderMap, wall: ClockReading) -> Option<Self> {
        let number = |name| text(headers, name)?.parse::<u64>().ok();
        let reset = Timestamp::from_millis(number("x-ratelimit-reset")?.saturating_mul(1000));
        let clock = github_clock(headers, wall);
        let clock =
            clock.filter(|clock| clock.ahead_of(wall).unsigned_abs() > SKEW_TOLERANCE).unwrap_or(wall);
        let resource = text(headers, "x-ratelimit-resource").unwrap_or("core");
        // It becomes a metric's label, so not just anything will do.
        let plain = resource.len() <= 40 && resource.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        Some(Self {
            limit: number("x-ratelimit-limit")?,
            remaining: number("x-ratelimit-remaining")?,
            reset_at: clock.instant(reset).min(wall.at + LONGEST_WAIT),
            resource: if plain { resource } else { "other" }.to_owned(),
        })
    }

    /// What is reserved for mints, and for other users of the token: a tenth of the limit, at least 50, and
    /// never more than half of it.
    pub fn reserve(&self) -> u64 {
        (self.limit / 10).max(50).min(self.limit / 2)
    }
}

/// How long to wait between two polls of one request each: `base` while the budget lasts until its
/// window ends, else as long as makes it last, up to a cap.
///
/// A conditional request whose answer has not changed costs nothing, so this assumes the worst.
pub fn poll_interval(base: Duration, rate: &Rate, now: Instant) -> Duration {
    stretched(base, rate, 1, now)
}

/// How long to wait before a poll after so many refusals in a row: `base`, and twice as long after each, up
/// to a cap. GitHub counts failed authentications, and a refused client is usually refused until a person
/// acts.
pub fn retry_interval(base: Duration, failures: u32) -> Duration {
    doubled(base, failures, LONGEST_INTERVAL.max(base))
}

/// As [`poll_interval`], for polls of several requests.
pub(super) fn stretched(base: Duration, rate: &Rate, requests: u32, now: Instant) -> Duration {
    if now >= rate.reset_at {
        return base;
    }
    let cap = LONGEST_INTERVAL.max(base);
    let polls = rate.remaining.saturating_sub(rate.reserve()) / u64::from(requests.max(1));
    let left = rate.reset_at.since(now);
    match u32::try_from(polls) {
        // Until the new window has begun; a second more, because the header has whole seconds.
        Ok(0) => (left + Duration::from_secs(1)).clamp(base, cap),
        Ok(polls) => (left / polls).clamp(base, cap),
        Err(_) => base,
    }
}

/// Whether a 403 or 429 is a rate limit, and how long it lasts; `None` is a refusal. `streak` counts the
/// secondary limits in a row before this one.
///
/// In the order that docs.github.com gives ("Rate limits for the REST API", exceeding).
pub(super) fn limited(
    status: StatusCode,
    headers: &HeaderMap,
    complaint: &str,
    streak: u32,
    wall: ClockReading,
) -> Option<Duration> {
    if status != StatusCode::FORBIDDEN && status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    if let Some(wait) = retry_after(headers, wall) {
        return Some(wait.min(LONGEST_WAIT));
    }
    let used_up = |rate: &Rate| rate.remaining == 0 && rate.reset_at > wall.at;
    if let Some(rate) = Rate::parse(headers, wall).filter(used_up) {
        // A second more, because the header has whole seconds.
        return Some(rate.reset_at.since(wall.at) + Duration::from_secs(1));
    }
    (status == StatusCode::TOO_MANY_REQUESTS || says_secondary_limit(complaint))
        .then(|| doubled(SECONDARY_WAIT, streak, LONGEST_WAIT))
}

/// Whether the text of a 403 is that of a secondary limit. GitHub gives no other sign when it sends
/// no `retry-after`; its documentation says to check the message. "Abuse detection" is the older
/// wording, which GHES still uses.
fn says_secondary_limit(complaint: &str) -> bool {
    let complaint = complaint.to_ascii_lowercase();
    complaint.contains("secondary rate limit") || complaint.contains("abuse detection")
}

/// `retry-after`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, wall: ClockReading) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER.as_str())?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let clock = github_clock(headers, wall).unwrap_or(wall);
    Some((Timestamp::default() + at).since(clock.shown))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The state of one credential's limits on one GitHub.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// The latest value of each of GitHub's rate limits.
    rates: BTreeMap<String, Rate>,
    /// Which budget an endpoint drew from last; GitHub does not document it for mints.
    drawn: BTreeMap<Endpoint, String>,
    /// No request is sent before this.
    latched_until: Instant,
    /// Secondary limits in a row.
    streak: u32,
    /// What GitHub's clock showed at the last answer.
    clock: Option<ClockReading>,
    /// Whether a difference of the clocks was reported.
    skew_reported: bool,
    /// The token that all this was said to.
    generation: u64,
}

impl Limits {
    /// Whether a request may go out now with the token of this generation; else how long it has to wait.
    /// Other requests stop at the reserve, so that mints have priority; everything stops at zero. Another
    /// token may be another user's, so the state of the previous one is dropped.
    pub(super) fn admit(&self, endpoint: Endpoint, generation: u64, now: Instant) -> Result<(), Duration> {
        let mut memory = self.memory();
        if generation > memory.generation {
            let Memory { clock, skew_reported, .. } = *memory;
            *memory = Memory { clock, skew_reported, generation, ..Memory::default() };
        }
        if now < memory.latched_until {
            return Err(memory.latched_until.since(now));
        }
        let floor = |rate: &Rate| if endpoint.is_housekeeping() { rate.reserve() } else { 0 };
        match memory.rate(endpoint) {
            Some(rate) if now < rate.reset_at && rate.remaining <= floor(rate) => {
                Err(rate.reset_at.since(now))
            }
            _ => Ok(()),
        }
    }

    /// Updates from a response that was received now; returns how long a rate limit lasts, if it is one.
    pub(super) fn learn(
        &self,
        endpoint: Endpoint,
        status: StatusCode,
        headers: &HeaderMap,
        complaint: &str,
        wall: ClockReading,
    ) -> Result<(), Duration> {
        let mut memory = self.memory();
        memory.clock = github_clock(headers, wall).or(memory.clock);
        if let Some(rate) = Rate::parse(headers, wall) {
            memory.drawn.insert(endpoint, rate.resource.clone());
            // GitHub has about a dozen; a server that sends ever new names must not fill the memory.
            if memory.rates.len() >= 32 && !memory.rates.contains_key(&rate.resource) {
                memory.rates.clear();
            }
            memory.rates.insert(rate.resource.clone(), rate);
        }
        // Requests that were in flight when the limit began belong to the same streak.
        let latched = wall.at < memory.latched_until;
        let streak = memory.streak.saturating_sub(u32::from(latched));
        if let Some(wait) = limited(status, headers, complaint, streak, wall) {
            if !latched {
                memory.streak = memory.streak.saturating_add(1);
            }
            memory.latched_until = memory.latched_until.max(wall.at + wait);
            Err(wait)
        } else {
            if !latched {
                memory.streak = 0;
            }
            Ok(())
        }
    }

    /// The budget that an endpoint draws from.
    pub(super) fn rate(&self, endpoint: Endpoint) -> Option<Rate> {
        self.memory().rate(endpoint).cloned()
    }

    /// What GitHub's clock showed at the last response that reported it.
    pub(super) fn clock(&self) -> Option<ClockReading> {
        self.memory().clock
    }

    /// How far our clock is off GitHub's in seconds, once when that has become much; `wall` is ours now.
    pub(super) fn skew_to_report(&self, wall: ClockReading) -> Option<i64> {
        let skew = self.skew(wall)?;
        let much = skew.abs() >= SKEW_REPORTED;
        let before = std::mem::replace(&mut self.memory().skew_reported, much);
        (much && !before).then_some(skew)
    }

    /// This machine's clock minus GitHub's in seconds; `wall` is ours now.
    pub(super) fn skew(&self, wall: ClockReading) -> Option<i64> {
        self.clock().map(|github| seconds_ahead(wall, github))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock()
    }
}

impl Memory {
    fn rate(&self, endpoint: Endpoint) -> Option<&Rate> {
        let drawn = self.drawn.get(&endpoint);
        // A removal that was never tried is taken to draw from what listings draw from.
        let drawn = if endpoint.is_housekeeping() {
            drawn.or_else(|| self.drawn.get(&Endpoint::List))
        } else {
            drawn
        };
        self.rates.get(drawn?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::server_clock::clock_skew;

    /// 2026-11-22T12:00:00Z.
    const SHOWN: Timestamp = Timestamp::from_millis(1_795_348_800_000);
    const NOW: Instant = Instant::from_millis(777_000_000);
    const WALL: ClockReading = ClockReading { at: NOW, shown: SHOWN };

    fn wall(at: Instant) -> ClockReading {
        ClockReading { at, shown: WALL.timestamp(at) }
    }
    const BASE: Duration = Duration::from_secs(10);

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn budget(remaining: u64, reset_in: u64) -> Vec<(&'static str, String)> {
        vec![
            ("x-ratelimit-limit", "5000".to_owned()),
            ("x-ratelimit-remaining", remaining.to_string()),
            ("x-ratelimit-reset", (SHOWN.as_millis() / 1000 + reset_in).to_string()),
            ("x-ratelimit-resource", "core".to_owned()),
        ]
    }

    fn budget_headers(remaining: u64, reset_in: u64) -> HeaderMap {
        budget(remaining, reset_in).iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
    }

    fn rate(remaining: u64, reset_in: u64) -> Rate {
        Rate::parse(&budget_headers(remaining, reset_in), WALL).unwrap()
    }

    fn until(status: u16, of: &[(&'static str, &str)], complaint: &str, streak: u32) -> Option<u64> {
        limited(StatusCode::from_u16(status).unwrap(), &headers(of), complaint, streak, WALL)
            .map(|wait| wait.as_secs())
    }

    #[test]
    fn headers_give_the_rate_limit_and_missing_ones_mean_none() {
        let parsed = rate(4990, 600);
        assert_eq!((parsed.limit, parsed.remaining, parsed.resource.as_str()), (5000, 4990, "core"));
        assert_eq!(parsed.reset_at.since(NOW).as_secs(), 600);
        assert_eq!(Rate::parse(&HeaderMap::new(), WALL), None);
        assert_eq!(Rate::parse(&headers(&[("x-ratelimit-limit", "many")]), WALL), None);
    }

    #[test]
    fn a_window_is_converted_to_our_clock() {
        // GitHub's clock is 15 minutes behind ours.
        let mut late = budget_headers(10, 0);
        late.insert("date", "Sun, 22 Nov 2026 11:45:00 GMT".parse().unwrap());
        assert_eq!(clock_skew(&late, WALL), Some(900));
        assert_eq!(Rate::parse(&late, WALL).unwrap().reset_at.since(NOW).as_secs(), 900);
    }

    #[test]
    fn a_strange_resource_does_not_become_a_label() {
        let mut strange = budget_headers(1, 1);
        strange.insert("x-ratelimit-resource", "core\"} evil".parse().unwrap());
        assert_eq!(Rate::parse(&strange, WALL).unwrap().resource, "other");
    }

    #[test]
    fn limits_are_distinguished_from_refusals() {
        assert_eq!(until(403, &[], "Resource not accessible by personal access token", 0), None);
        assert_eq!(until(404, &[("retry-after", "5")], "", 0), None);
        assert_eq!(until(403, &[("retry-after", "30")], "", 0), Some(30));
        assert_eq!(until(429, &[("retry-after", "Sun, 22 Nov 2026 12:02:00 GMT")], "", 0), Some(120));
        assert_eq!(until(429, &[], "", 0), Some(60));
        let text = "You have exceeded a secondary rate limit.";
        assert_eq!(until(403, &[], text, 0), Some(60));
        assert_eq!(until(403, &[], text, 2), Some(240));
        assert_eq!(until(403, &[], text, 1000), Some(3600));
        assert_eq!(until(403, &[("retry-after", "99999999999999")], "", 0), Some(3600));
        let used_up = limited(StatusCode::FORBIDDEN, &budget_headers(0, 100), "", 0, WALL);
        assert_eq!(used_up.map(|wait| wait.as_secs()), Some(101));
        assert_eq!(limited(StatusCode::FORBIDDEN, &budget_headers(7, 100), "", 0, WALL), None);
        assert_eq!(limited(StatusCode::NOT_FOUND, &budget_headers(0, 100), "", 0, WALL), None);
    }

    #[test]
    fn the_interval_is_the_base_while_the_budget_lasts_and_stretches_smoothly_to_a_cap() {
        assert_eq!(poll_interval(BASE, &rate(5000, 3600), NOW), BASE);
        assert_eq!(poll_interval(BASE, &rate(860, 3600), NOW), BASE);
        assert_eq!(poll_interval(BASE, &rate(680, 3600), NOW), Duration::from_secs(20));
        assert_eq!(poll_interval(BASE, &rate(500, 3600), NOW), LONGEST_INTERVAL);
        assert_eq!(poll_interval(BASE, &rate(0, 3600), NOW + Duration::from_secs(3601)), BASE);
        assert_eq!(poll_interval(BASE, &rate(0, 60), NOW), Duration::from_secs(61));
        assert_eq!(poll_interval(BASE, &rate(0, 3), NOW), BASE);
        let mut before = BASE;
        for remaining in (0..=5000).rev() {
            let interval = poll_interval(BASE, &rate(remaining, 3600), NOW);
            assert!(interval >= before && interval <= LONGEST_INTERVAL, "{remaining}: {interval:?}");
            before = interval;
        }
    }

    #[test]
    fn refusals_double_the_interval_up_to_a_cap() {
        for (base, failures, seconds) in [
            (10, 0, 10),
            (10, 1, 20),
            (10, 2, 40),
            (10, 4, 160),
            (10, 5, 300),
            (10, u32::MAX, 300),
            (200, 1, 300),
            (600, 0, 600),
            (600, 9, 600),
        ] {
            let interval = retry_interval(Duration::from_secs(base), failures);
            assert_eq!(interval.as_secs(), seconds, "{base} {failures}");
        }
    }

    #[test]
    fn a_poll_of_many_pages_stretches_sooner() {
        assert_eq!(stretched(BASE, &rate(2300, 3600), 10, NOW), Duration::from_secs(20));
    }

    #[test]
    fn mints_come_before_housekeeping_and_nothing_goes_at_zero() {
        let limits = Limits::default();
        let learn = |remaining| {
            for endpoint in [Endpoint::List, Endpoint::Mint] {
                let headers = budget_headers(remaining, 600);
                limits.learn(endpoint, StatusCode::OK, &headers, "", WALL).unwrap();
            }
        };
        let reset = Duration::from_mins(10);
        learn(501);
        assert_eq!(limits.admit(Endpoint::List, 0, NOW), Ok(()));
        learn(500);
        assert_eq!(limits.admit(Endpoint::List, 0, NOW), Err(reset));
        assert_eq!(limits.admit(Endpoint::Get, 0, NOW), Err(reset));
        assert_eq!(limits.admit(Endpoint::Mint, 0, NOW), Ok(()));
        learn(0);
        assert_eq!(limits.admit(Endpoint::Mint, 0, NOW), Err(reset));
        assert_eq!(limits.admit(Endpoint::List, 0, NOW + reset), Ok(()));
    }

    #[test]
    fn a_latch_holds_everything_and_a_burst_of_limits_is_one_streak() {
        let limits = Limits::default();
        let refuse = |now| {
            limits.learn(Endpoint::Mint, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), "", wall(now))
        };
        let minute = Duration::from_mins(1);
        for _ in 0..10 {
            assert_eq!(refuse(NOW), Err(minute));
        }
        assert_eq!(limits.admit(Endpoint::Get, 0, NOW), Err(minute));
        assert_eq!(limits.admit(Endpoint::Get, 0, NOW + minute), Ok(()));
        assert_eq!(refuse(NOW + minute), Err(2 * minute));
        let later = NOW + 3 * minute;
        limits.learn(Endpoint::Mint, StatusCode::CREATED, &HeaderMap::new(), "", wall(later)).unwrap();
        assert_eq!(refuse(later), Err(minute));
    }

    #[test]
    fn a_clock_that_differs_is_reported_once() {
        let limits = Limits::default();
        let dated = headers(&[("date", "Sun, 22 Nov 2026 12:00:00 GMT")]);
        let mut reported = |seconds: i64| {
            let shown = Timestamp::from_millis(SHOWN.as_millis().saturating_add_signed(seconds * 1000));
            let wall = ClockReading { at: NOW, shown };
            limits.learn(Endpoint::List, StatusCode::OK, &dated, "", wall).unwrap();
            limits.skew_to_report(wall)
        };
        assert_eq!(
            [0, 59, -90, -91, 2, 3600].map(&mut reported),
            [None, None, Some(-90), None, None, Some(3600)]
        );
    }

    #[test]
    fn another_token_starts_afresh() {
        let limits = Limits::default();
        let slow = limits.learn(Endpoint::List, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), "", WALL);
        assert_eq!(limits.admit(Endpoint::List, 0, NOW), slow);
        assert_eq!(limits.admit(Endpoint::List, 1, NOW), Ok(()));
    }
}
