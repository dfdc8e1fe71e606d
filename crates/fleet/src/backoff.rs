//! How launches of a pool are retried after failures: at once after the first failure, then with increasing
//! delays and one runner at a time, until a runner has proven to work.

use std::{collections::BTreeMap, time::Duration};

use super::{
    name::HostName,
    reasons::Held,
    time::{Instant, doubled},
};

/// How long a runner must have been ready to end a streak of failures: a runner of a refused version listens
/// for a moment before it exits.
pub(super) const PROOF: Duration = Duration::from_secs(30);

/// The delay after the second failure in a row, doubled with each one that follows.
const SECOND_DELAY: Duration = Duration::from_secs(5);

/// The failures of a pool: what fails on one host says nothing of the others.
#[derive(Debug, Default)]
pub(super) struct Backoffs {
    /// Failures that do not depend on the host, such as refused mints.
    pub(super) anywhere: Backoff,
    by_host: BTreeMap<HostName, Backoff>,
}

impl Backoffs {
    /// That of a host.
    pub(super) fn on(&self, host: &HostName) -> Option<&Backoff> {
        self.by_host.get(host)
    }

    /// That of a host, or of none in particular.
    pub(super) fn of(&mut self, host: Option<&HostName>) -> &mut Backoff {
        match host {
            Some(host) => self.by_host.entry(host.clone()).or_default(),
            None => &mut self.anywhere,
        }
    }

    /// Those that a runner on this host ends when it proves to work.
    pub(super) fn ended_on(&mut self, host: Option<&HostName>) -> impl Iterator<Item = &mut Backoff> {
        let on_host = host.and_then(|host| self.by_host.get_mut(host));
        std::iter::once(&mut self.anywhere).chain(on_host)
    }

    /// Whether anything fails.
    pub(super) fn is_failing(&self) -> bool {
        self.anywhere.failures > 0 || self.by_host.values().any(|backoff| backoff.failures > 0)
    }

    /// Forgets the failures on a host.
    pub(super) fn forget(&mut self, host: &HostName) {
        self.by_host.remove(host);
    }
}

/// Consecutive failures.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Backoff {
    /// The number of failures; those at the same time count once.
    pub(super) failures: u32,
    /// How many the last one stands for.
    together: u32,
    /// What there was before the last one.
    before: Option<Box<Backoff>>,
    /// When the last one was counted.
    pub(super) last_at: Instant,
    pub(super) retry_at: Instant,
    pub(super) held: Option<Held>,
    /// The last cause, as text.
    pub(super) detail: String,
}

impl Backoff {
    /// Records a failure of something that was begun at `begun`. Returns when it was counted: now, or with the last
    /// one.
    pub(super) fn failed(&mut self, held: Held, detail: &str, begun: Instant, now: Instant) -> Instant {
        // The immediate retry begins at the moment of the failure, and counts.
        if self.failures > 0 && (begun < self.last_at || now == self.last_at) {
            detail.clone_into(&mut self.detail);
            self.together += 1;
            return self.last_at;
        }
        self.before = Some(Box::new(Self { before: None, ..self.clone() }));
        detail.clone_into(&mut self.detail);
        self.failures += 1;
        self.together = 1;
        self.last_at = now;
        self.held = Some(held);
        let (first, last) = match held {
            // A person has to fix something; occasional retries notice when that is done.
            Held::Refused | Held::RegistrationLimit => (Duration::from_secs(30), Duration::from_mins(10)),
            Held::VersionDeprecated => (Duration::from_mins(10), Duration::from_mins(10)),
            _ => (Duration::ZERO, Duration::from_mins(5)),
        };
        let delay = match self.failures {
            1 => first,
            failures => doubled(SECOND_DELAY, failures - 2, last).max(first),
        };
        self.retry_at = now + delay;
        now
    }

    /// Takes back one of the failures that were counted at `counted_at`: it was none. With the last of them, they never
    /// happened.
    pub(super) fn take_back(&mut self, counted_at: Instant) {
        if self.failures == 0 || self.last_at != counted_at {
            return;
        }
        self.together = self.together.saturating_sub(1);
        if self.together == 0 {
            *self = self.before.take().map_or_else(Self::default, |before| *before);
        }
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
    fn failures_that_were_counted_together_are_taken_back_together() {
        let mut backoff = Backoff::default();
        backoff.failed(Held::BackingOff, "", at(1), at(2));
        let before = backoff.clone();
        let counted = [20, 21].map(|now| backoff.failed(Held::BackingOff, "", at(10), at(now)));
        assert_eq!((counted, backoff.failures), ([at(20); 2], 2));
        backoff.take_back(at(20));
        assert_eq!(backoff.failures, 2, "one of them is a failure");
        backoff.take_back(at(20));
        assert_eq!(backoff, Backoff { before: None, ..before });
        backoff.take_back(at(20));
        assert_eq!(backoff.failures, 1, "that is of another time");
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
