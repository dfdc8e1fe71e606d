//! How a pool whose runners fail is tried again: at once after the first failure, then ever more
//! slowly and one runner at a time, until one has proved itself.

use std::time::Duration;

use super::{report::Held, time::Instant};

/// How long a runner must have been ready, without ending, to end a streak of failures: a runner
/// of a refused version listens for a moment before it ends.
pub(super) const PROOF: Duration = Duration::from_secs(30);

/// Failures of a pool in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backoff {
    /// How many; what failed together counts once.
    pub(super) failures: u32,
    /// Whether the last one stands for several.
    pub(super) shared: bool,
    /// When the last one was counted.
    pub(super) last_at: Instant,
    /// When to try again.
    pub(super) retry_at: Instant,
    /// What it means for the pool.
    pub(super) held: Option<Held>,
    /// The last cause, for people.
    pub(super) detail: String,
}

impl Backoff {
    /// Takes in a failure of something that was begun at `begun`. Whether it counts as one more.
    pub(super) fn failed(&mut self, held: Held, detail: &str, begun: Instant, now: Instant) -> bool {
        detail.clone_into(&mut self.detail);
        // The retry at once is begun in the moment of the failure, and is not one of those.
        if self.failures > 0 && (begun < self.last_at || now == self.last_at) {
            self.shared = true;
            return false;
        }
        self.failures += 1;
        self.shared = false;
        self.last_at = now;
        self.held = Some(held);
        let (first, last) = match held {
            // A person has to do something; trying now and again notices when it is done.
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

    /// Takes in that a runner begun at `begun` proved itself.
    pub(super) fn succeeded(&mut self, begun: Instant) {
        if self.failures > 0 && begun >= self.last_at {
            *self = Self::default();
        }
    }

    /// What holds launches back now, if anything does.
    pub(super) fn holds(&self, now: Instant) -> Option<Held> {
        self.held.filter(|_| now < self.retry_at)
    }

    /// Whether runners are to be tried one at a time.
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
