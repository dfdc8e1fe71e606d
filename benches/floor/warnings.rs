//! Counts what the daemon logs as a warning: a launch that is well has nothing to warn of.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Counter;

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts from now on.
pub(crate) fn begin() {
    tracing_subscriber::registry().with(Counter).init();
}

/// How many there were.
pub(crate) fn count() -> usize {
    COUNT.load(Ordering::Relaxed)
}
