//! What the server's connections and the handle share.

use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::world::World;
use dayfly_fleet::Timestamp;

/// What the server's connections and the handle share.
pub(super) struct Shared {
    pub(super) world: Mutex<World>,
    pub(super) changed: Notify,
}

impl Shared {
    /// The world, with everything in it that time alone brings about up to date.
    pub(super) fn world(&self) -> (MutexGuard<'_, World>, Timestamp) {
        let mut world = self.world.lock();
        let now = now();
        world.settle(now);
        (world, now)
    }

    /// Changes the world, and wakes every task that waits for a change.
    pub(super) fn change<T>(&self, edit: impl FnOnce(&mut World, Timestamp) -> T) -> T {
        let (mut world, now) = self.world();
        let outcome = edit(&mut world, now);
        drop(world);
        self.changed.notify_waiters();
        outcome
    }
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
