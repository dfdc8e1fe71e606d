//! Single flight: one attempt at a time, whose result is shared by all who wait for it.

use std::time::Instant;

use super::GithubError;

/// Lets one caller at a time try, and returns its failure to all who waited for it.
#[derive(Default)]
pub(super) struct SingleFlight(tokio::sync::Mutex<Option<(Instant, GithubError)>>);

impl SingleFlight {
    /// Whether an attempt is in progress.
    pub(super) fn is_busy(&self) -> bool {
        self.0.try_lock().is_err()
    }

    /// The value that is known when it is the caller's turn, or the result of the attempt.
    pub(super) async fn one<T>(
        &self,
        known: impl Fn() -> Option<T>,
        attempt: impl Future<Output = Result<T, GithubError>>,
    ) -> Result<T, GithubError> {
        let came = Instant::now();
        let mut failed = self.0.lock().await;
        if let Some(known) = known() {
            return Ok(known);
        }
        if let Some((_, error)) = failed.as_ref().filter(|(at, _)| *at >= came) {
            return Err(error.repeated());
        }
        let outcome = attempt.await;
        *failed = outcome.as_ref().err().map(|error| (Instant::now(), error.repeated()));
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn whoever_waited_for_an_attempt_gets_its_failure_and_the_next_tries_again() {
        let flight = SingleFlight::default();
        let attempts = Mutex::new(0);
        let attempt = || {
            flight.one(|| None::<()>, async {
                tokio::task::yield_now().await;
                *attempts.lock().unwrap() += 1;
                Err(GithubError::Refused("no".to_owned()))
            })
        };
        let (one, two, three) = tokio::join!(attempt(), attempt(), attempt());
        assert!(
            [one, two, three]
                .iter()
                .all(|outcome| matches!(outcome, Err(GithubError::Refused(why)) if why == "no"))
        );
        assert_eq!(*attempts.lock().unwrap(), 1);
        assert!(attempt().await.is_err());
        assert_eq!(*attempts.lock().unwrap(), 2);
    }
}
