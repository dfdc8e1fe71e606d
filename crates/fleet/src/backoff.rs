//! How launches of a pool are retried after failures: at once after the first failure, then with increasing
//! delays and one runner at a time, until a runner has proven to work.

use std::time::Duration;

use super::{reasons::Held, time::Instant};

/// How long a runner must have been ready to end a streak of failures: a runner of a refused version listens
/// for a moment before it exits.
pub(super) const PROOF: Duration = Duration::from_secs(30);

/// Consecutive failures of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backoff {
    /// The number of failures; those at the same time count once.
    pub(super) failures: u32,
    /// Whether the last one stands for several.
    pub(super) shared: bool,
    /// When the last one was counted.
    pub(super) last_at: Instant,
    pub(super) retry_at: Instant,
    pub(super) held: Option<Held>,
    /// The last cause, as text.
    pub(super) detail: String,
}

impl Backoff {
    /// Records a failure of something that was begun at `begun`. Returns whether it counts as another
    /// failure.
    pub(super) fn failed(&mut self, held: Held, detail: &str, begun: Instant, now: Instant) -> bool {
        detail.clone_into(&mut self.detail);
        // The immediate retry begins at the moment of the failure, and counts.
        if self.failures > 0 && (begun < self.last_at || now == self.last_at) {
            self.shared = true;
            return false;
        }
        self.failures += 1;
        self.shared = false;
        self.last_at = now;
        self.held = Some(held);
        let (first, last) = match held {
            // A person has to fix something; occasional retries notice when that is done.
            Held::Refused | Held::RegistrationLimit => (Duration::from_secs(30), Duration::from_mins(10)),
            Held::VersionDeprecated => (Duration::from_mins(10), Duration::from_mins(10)),
            _ => (Duration::ZERO, Duration::from_mins(5)),
        };
        let doubled = Duration::from_secs(5) * (1 << self.failures.saturating_sub(2).min(10));
        let delay = match self.failures {
            1 => first,
            _ => doubled.max(first).min(last),
        };
        self.retry_at = now + delay;
        true
    }

    /// Records that a runner begun at `begun` has proven to work.
    pub(super) fn succeeded(&mut self, begun: Instant) {
        if self.failures > 0 && begun >= self.last_at {
            *self = Self::default();
        }
    }

    /// Why launches are paused now, if they are.
    pub(super) fn holds(&self, now: Instant) -> Option<Held> {
        self.held.filter(|_| now < self.retry_at)
    }

    /// Whether runners are to be launched one at a time.
    pub(super) fn probing(&self) -> bool {
        self.failures >= 2 || matches!(self.held, Some(Held::VersionDeprecated | Held::Refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn the_first_failure_costs_nothing_and_the_next_ones_ever_more() {
        let (mut backoff, mut now, mut delays) = (Backoff::default(), at(1000), Vec::new());
        for _ in 0..10 {
            backoff.failed(Held::BackingOff, "", now, now);
            delays.push(backoff.retry_at.since(now).as_secs());
            now = backoff.retry_at + Duration::from_secs(1);
        }
        assert_eq!(delays, [0, 5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn what_was_begun_together_fails_once() {
        let mut backoff = Backoff::default();
        for _ in 0..50 {
            backoff.failed(Held::BackingOff, "", at(10), at(20));
        }
        assert_eq!(backoff.failures, 1);
    }

    #[test]
    fn the_retry_at_once_counts_when_it_fails() {
        let mut backoff = Backoff::default();
        backoff.failed(Held::BackingOff, "", at(10), at(20));
        assert_eq!(backoff.retry_at, at(20));
        backoff.failed(Held::BackingOff, "", at(20), at(21));
        assert_eq!((backoff.failures, backoff.retry_at), (2, at(26)));
    }

    #[test]
    fn only_what_was_begun_after_the_failure_ends_the_streak() {
        let mut backoff = Backoff::default();
        backoff.failed(Held::BackingOff, "", at(10), at(20));
        backoff.succeeded(at(15));
        assert_eq!(backoff.failures, 1);
        backoff.succeeded(at(20));
        assert_eq!((backoff.failures, backoff.holds(at(20))), (0, None));
    }

    #[test]
    fn a_deprecated_version_is_probed_every_ten_minutes() {
        let mut backoff = Backoff::default();
        backoff.failed(Held::VersionDeprecated, "", at(10), at(20));
        assert_eq!(backoff.holds(at(619)), Some(Held::VersionDeprecated));
        assert_eq!((backoff.holds(at(620)), backoff.probing()), (None, true));
    }
}
