//! An engine as its observers share it.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use crate::{backoff::Backoff, host::AnyEngine};

/// The delay after a failure of an engine: after the first one, and at most.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// An engine, and whether its last list succeeded, which all of its observers use.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) api: AnyEngine,
    pub(super) listed: watch::Sender<bool>,
}

impl Engine {
    pub(super) fn new(api: AnyEngine) -> Self {
        Self { api, listed: watch::Sender::new(false) }
    }

    /// Records whether a list succeeded.
    pub(super) fn was_listed(&self, listed: bool) {
        self.listed.send_if_modified(|before| std::mem::replace(before, listed) != listed);
    }

    /// Pauses between attempts at something that this engine fails at.
    pub(super) fn pauses(&self) -> Pauses {
        Pauses { backoff: Backoff::new(RETRY.0, RETRY.1), listed: self.listed.subscribe() }
    }
}

/// Pauses that double from one attempt to the next, and end early when the engine can be listed again.
pub(super) struct Pauses {
    backoff: Backoff,
    listed: watch::Receiver<bool>,
}

impl Pauses {
    /// Waits before the next attempt.
    pub(super) async fn wait(&mut self) {
        let pause = self.backoff.fail();
        let back = async {
            while self.listed.changed().await.is_ok() {
                if *self.listed.borrow_and_update() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        if timeout(pause, back).await.is_ok() {
            self.reset();
        }
    }

    /// The last attempt succeeded.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pauses_double_and_end_when_the_engine_can_be_listed_again() {
        let listed = watch::Sender::new(true);
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(4));
        let mut pauses = Pauses { backoff, listed: listed.subscribe() };
        for failures in 1..=3 {
            pauses.wait().await;
            assert_eq!(pauses.backoff.failures(), failures);
        }
        pauses.backoff = Backoff::new(Duration::from_hours(1), Duration::from_hours(1));
        let back = async {
            listed.send_replace(false);
            tokio::task::yield_now().await;
            listed.send_replace(true);
        };
        tokio::join!(pauses.wait(), back);
        assert!(!pauses.backoff.is_failing());
    }
}
