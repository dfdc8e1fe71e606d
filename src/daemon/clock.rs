//! The daemon's one clock: the wall clock read once, then only counted on. Stepping the wall clock
//! thus ages no runner and wakes no timeout.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::fleet::Timestamp;

/// Tells the time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Timestamp,
    started: Instant,
}

impl Clock {
    /// A clock that begins with the wall clock's time.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { epoch: Timestamp::default() + since_epoch, started: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.epoch + self.started.elapsed()
    }

    /// The instant at which it will be `at`.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.epoch)
    }
}
