//! The registration with the service that is in use: what it gave, or why it failed and until when that is the
//! answer.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::registration::{Service, register};
use crate::{
    backoff::Backoff,
    clock,
    fleet::Instant,
    github::{Client, GithubError, single_flight::SingleFlight},
};

/// Pauses of the client's own.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Before a refused registration is tried again for the first time; each further pause is twice
    /// the one before.
    pub registration: Duration,
    /// After a registration failed for good, until another is made; each further one doubles it.
    pub first: Duration,
    /// After any failed registration at most, but for a rate limit, which says how long it lasts.
    pub longest: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            registration: Duration::from_millis(500),
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
        }
    }
}

/// The registrations of one scope. Many requests at once register once.
pub(super) struct Registrations {
    waits: Waits,
    newest: Mutex<Newest>,
    registering: SingleFlight,
}

impl Registrations {
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, newest: Mutex::new(Newest::new(waits)), registering: SingleFlight::default() }
    }

    /// The service; a new registration when the current one is about to expire or was refused, unless
    /// one has failed a short while ago.
    pub(super) async fn service(
        &self,
        client: &Client,
        refused: Option<&Arc<Service>>,
    ) -> Result<Arc<Service>, GithubError> {
        let known = || self.newest.lock().service(refused);
        let registered = self.registering.one(known, async {
            self.newest.lock().admit(clock::now())?;
            let registered = register(client, self.waits.registration).await;
            self.newest.lock().learn(registered, clock::now())
        });
        registered.await
    }
}

/// The newest registration.
struct Newest {
    service: Option<Arc<Service>>,
    failed: Option<Failed>,
    backoff: Backoff,
    longest: Duration,
}

/// A registration that failed; each costs a request that is charged.
struct Failed {
    error: GithubError,
    retry_at: Instant,
}

impl Newest {
    fn new(waits: Waits) -> Self {
        let backoff = Backoff::new(waits.first, waits.longest);
        Self { service: None, failed: None, backoff, longest: waits.longest }
    }

    /// The service, unless its token is about to expire or is the one that was refused.
    fn service(&self, refused: Option<&Arc<Service>>) -> Option<Arc<Service>> {
        let service = self.service.as_ref()?;
        let refused = refused.is_some_and(|refused| Arc::ptr_eq(refused, service));
        (!refused && clock::now() < service.renew_at).then(|| Arc::clone(service))
    }

    /// Whether a registration may be tried; otherwise how the last one failed.
    fn admit(&self, now: Instant) -> Result<(), GithubError> {
        match &self.failed {
            Some(failed) if now < failed.retry_at => Err(failed.error.repeated()),
            _ => Ok(()),
        }
    }

    /// Records the result of a registration.
    fn learn(
        &mut self,
        registered: Result<Service, GithubError>,
        now: Instant,
    ) -> Result<Arc<Service>, GithubError> {
        match registered {
            Ok(service) => {
                self.failed = None;
                self.backoff.reset();
                Ok(Arc::clone(self.service.insert(Arc::new(service))))
            }
            Err(error) => {
                // A refusal needs a person to act; each attempt costs a request that is charged.
                let pause = match error {
                    GithubError::Refused(_) => self.backoff.fail_within(self.longest * 10),
                    _ => self.backoff.fail(),
                };
                let wait = match &error {
                    GithubError::RateLimited { wait } => (*wait).max(pause),
                    _ => pause,
                };
                self.failed = Some(Failed { error: error.repeated(), retry_at: now + wait });
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
        let mut held = Newest::new(Waits::default());
        let mut now = clock::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            held.admit(now).unwrap();
            assert!(held.learn(Err(GithubError::failed("down")), now).is_err());
            let mut pause = Duration::ZERO;
            while held.admit(now + pause).is_err() {
                pause += Duration::from_secs(1);
            }
            pauses.push(pause.as_secs());
            now = now + pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        let refused = || Err(GithubError::Refused("403".to_owned()));
        assert!(held.learn(refused(), now).is_err());
        held.admit(now + Duration::from_mins(2)).expect("an outage before it makes a refusal no longer");
        for _ in 0..4 {
            assert!(held.learn(refused(), now).is_err());
        }
        assert!(held.admit(now + Duration::from_secs(599)).is_err());
        held.admit(now + Duration::from_mins(10)).unwrap();
        let wait = Duration::from_hours(1);
        assert!(held.learn(Err(GithubError::RateLimited { wait }), now).is_err());
        let later = now + Duration::from_mins(59);
        assert!(
            matches!(held.admit(later), Err(GithubError::RateLimited { wait: reported }) if reported == wait)
        );
        held.admit(now + Duration::from_mins(61)).unwrap();
    }
}
