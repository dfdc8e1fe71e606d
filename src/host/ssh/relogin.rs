//! When to log in again after a login that failed: sshd refuses those who try too often.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// The logins that failed in a row.
#[derive(Debug)]
pub(in crate::host) struct Relogin {
    backoff: Backoff,
    /// Until when there is no other one, and why the last one failed.
    refused: Option<(Instant, String)>,
}

impl Default for Relogin {
    fn default() -> Self {
        Self { backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)), refused: None }
    }
}

impl Relogin {
    /// Why there is no login at this time, if so.
    pub(in crate::host) fn refusal(&self, now: Instant) -> Option<&str> {
        self.refused.as_ref().filter(|(until, _)| now < *until).map(|(_, why)| why.as_str())
    }

    /// Records a login that failed.
    pub(in crate::host) fn failed(&mut self, why: String, now: Instant) {
        self.refused = Some((now + self.backoff.fail(), why));
    }

    /// Records a login that succeeded.
    pub(in crate::host) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_become_rarer_until_one_succeeds_and_others_get_the_reason() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let mut relogin = Relogin::default();
        assert_eq!(relogin.refusal(began), None);
        relogin.failed("no".to_owned(), began);
        assert_eq!(relogin.refusal(began + second / 2), Some("no"));
        assert_eq!(relogin.refusal(began + second), None);
        relogin.failed("still no".to_owned(), began + second);
        assert_eq!(relogin.refusal(began + second * 2), Some("still no"));
        assert_eq!(relogin.refusal(began + second * 3), None);
        relogin.succeeded();
        relogin.failed("again".to_owned(), began);
        assert_eq!(relogin.refusal(began + second), None);
    }
}
