//! Delays that double with each failure in a row. Pure: nothing here waits or reads a clock.

use std::time::Duration;

use crate::fleet::doubled;

/// Failures in a row of something that is tried again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    doublings: u32,
}

impl Backoff {
    /// No failure so far: the first one is followed by the delay `first`, none by more than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0, doublings: 0 }
    }

    /// Counts a failure, and returns the delay before the next attempt.
    pub fn fail(&mut self) -> Duration {
        self.fail_within(self.longest)
    }

    /// As [`Backoff::fail`], with another bound than the usual one.
    pub fn fail_within(&mut self, longest: Duration) -> Duration {
        let delay = doubled(self.first, self.doublings, longest);
        // What a bound has cut off does not count under a longer one.
        self.doublings = self.doublings.saturating_add(u32::from(delay < longest));
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Failures since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the last attempt failed.
    pub const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Ends the streak after a success. Returns whether there was one.
    pub const fn reset(&mut self) -> bool {
        let was_failing = self.is_failing();
        (self.failures, self.doublings) = (0, 0);
        was_failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_failure_doubles_the_delay_up_to_the_longest() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND);
        let delays: Vec<u64> = (0..6).map(|_| backoff.fail().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
        assert_eq!((backoff.failures(), backoff.is_failing()), (6, true));
        assert!(backoff.reset());
        assert!(!backoff.reset());
        assert_eq!((backoff.fail(), backoff.fail_within(SECOND)), (SECOND, SECOND));
    }

    #[test]
    fn failures_under_a_short_bound_do_not_lead_to_the_end_of_a_long_one() {
        let mut backoff = Backoff::new(SECOND, 4 * SECOND);
        for _ in 0..20 {
            backoff.fail();
        }
        let delays = [0; 2].map(|_| backoff.fail_within(100 * SECOND).as_secs());
        assert_eq!(delays, [4, 8]);
    }
}
