//! Log subscribers of single tests, in a process where other tests run beside them.

use std::sync::LazyLock;

use tracing::{Dispatch, subscriber::NoSubscriber};

/// Call this before a test makes its own subscriber. While a process has only one, `tracing` decides whether a new
/// call site is of interest by the thread that is there first, which may be another test's: events would be lost.
pub(crate) fn allow_several() {
    static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
    LazyLock::force(&SECOND);
}
