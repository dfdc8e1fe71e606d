//! What is held of the registration with the service: what it gave, or why it failed and until when that
//! is the answer.

use std::{sync::Arc, time::Duration};

use super::{Waits, service::Service};
use crate::{clock, fleet::Instant, github::GithubError};

/// The newest registration.
#[derive(Default)]
pub(super) struct Held {
    service: Option<Arc<Service>>,
    failed: Option<Failed>,
}

/// A registration that failed; each costs a request that is charged.
struct Failed {
    error: GithubError,
    pause: Duration,
    retry_at: Instant,
}

impl Held {
    /// The service, unless its token is about to expire or is the one that was refused.
    pub(super) fn service(&self, refused: Option<&Arc<Service>>) -> Option<Arc<Service>> {
        let service = self.service.as_ref()?;
        let refused = refused.is_some_and(|refused| Arc::ptr_eq(refused, service));
        (!refused && clock::now() < service.renew_at).then(|| Arc::clone(service))
    }

    /// Whether a registration may be tried; otherwise how the last one failed.
    pub(super) fn admit(&self, now: Instant) -> Result<(), GithubError> {
        match &self.failed {
            Some(failed) if now < failed.retry_at => Err(failed.error.repeated()),
            _ => Ok(()),
        }
    }

    /// Keeps what came of a registration.
    pub(super) fn learn(
        &mut self,
        registered: Result<Service, GithubError>,
        waits: &Waits,
        now: Instant,
    ) -> Result<Arc<Service>, GithubError> {
        match registered {
            Ok(service) => {
                self.failed = None;
                Ok(Arc::clone(self.service.insert(Arc::new(service))))
            }
            Err(error) => {
                let doubled = self.failed.as_ref().map_or(waits.first, |before| before.pause * 2);
                // A refusal takes a person; each attempt costs a request that is charged.
                let longest = match error {
                    GithubError::Refused(_) => waits.longest * 10,
                    _ => waits.longest,
                };
                let pause = doubled.min(longest);
                let wait = match &error {
                    GithubError::RateLimited { wait } => (*wait).max(pause),
                    _ => pause,
                };
                self.failed = Some(Failed { error: error.repeated(), pause, retry_at: now + wait });
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_the_answer_ever_longer_and_a_limit_as_long_as_it_says() {
        let (mut held, waits) = (Held::default(), Waits::default());
        let mut now = clock::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            held.admit(now).unwrap();
            assert!(held.learn(Err(GithubError::failed("down")), &waits, now).is_err());
            let mut pause = Duration::ZERO;
            while held.admit(now + pause).is_err() {
                pause += Duration::from_secs(1);
            }
            pauses.push(pause.as_secs());
            now = now + pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        let refused = || Err(GithubError::Refused("403".to_owned()));
        for _ in 0..4 {
            assert!(held.learn(refused(), &waits, now).is_err());
        }
        assert!(held.admit(now + Duration::from_secs(599)).is_err());
        held.admit(now + Duration::from_mins(10)).unwrap();
        let wait = Duration::from_hours(1);
        assert!(held.learn(Err(GithubError::RateLimited { wait }), &waits, now).is_err());
        let later = now + Duration::from_mins(59);
        assert!(matches!(held.admit(later), Err(GithubError::RateLimited { wait: told }) if told == wait));
        held.admit(now + Duration::from_mins(61)).unwrap();
    }
}
