//! Failures in a row of something that is repeated for as long as the daemon runs: the first is logged, and each
//! makes the next attempt wait twice as long.

use std::time::Duration;

/// Failures in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Streak {
    /// None so far; the attempt after the first waits for `first`, none for more than `longest`.
    pub(super) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Ends with a success.
    pub(super) const fn end(&mut self) {
        self.failures = 0;
    }

    /// Whether the last attempt failed.
    pub(super) const fn is_going_on(&self) -> bool {
        self.failures > 0
    }

    /// Takes in a failure: whether it is the first, and how long to wait.
    pub(super) fn fail(&mut self) -> (bool, Duration) {
        let wait = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        (self.failures == 1, wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_and_only_the_first_is_news() {
        let mut streak = Streak::new(Duration::from_secs(1), Duration::from_secs(10));
        let mut fail = || (streak.fail().0, streak.fail().1.as_secs());
        assert_eq!([fail(), fail(), fail()], [(true, 2), (false, 8), (false, 10)]);
        streak.end();
        assert_eq!(streak.fail(), (true, Duration::from_secs(1)));
    }
}
