//! What is remembered of the volumes with the files that copies of runners link to.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, MutexGuard};

/// The bases of an engine.
#[derive(Default)]
pub(super) struct Bases {
    /// The names of those that are complete.
    complete: Mutex<BTreeSet<String>>,
    /// Only one is copied at a time.
    turn: Turn<()>,
}

impl Bases {
    /// Waits until nobody else copies a base, if this one may be incomplete.
    pub(super) async fn turn_for(&self, name: &str) -> Option<MutexGuard<'_, ()>> {
        if self.is_complete(name) {
            return None;
        }
        let turn = self.turn.lock().await;
        (!self.is_complete(name)).then_some(turn)
    }

    pub(super) fn add(&self, name: &str) {
        self.complete.lock().insert(name.to_owned());
    }

    pub(super) fn remove(&self, name: &str) {
        self.complete.lock().remove(name);
    }

    fn is_complete(&self, name: &str) -> bool {
        self.complete.lock().contains(name)
    }
}
