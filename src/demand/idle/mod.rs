//! Job source: what runners are observed to do. The runners of each scope are listed, which every pool
//! needs, with or without another source.

mod cadence;

use std::time::Duration;

use self::cadence::Cadence;
pub use self::cadence::list_interval;
use super::{ScopeContext, Tasks};
use crate::{
    clock,
    fleet::{Evidence, Instant},
};

/// Lists the runners of a scope for as long as the daemon runs. `list` does so once, as of a moment, and
/// `on_interval` is called with each interval that is waited for.
pub fn start<F>(
    context: ScopeContext<'_>,
    tasks: &mut Tasks,
    list: impl Fn(Instant) -> F + Send + 'static,
    on_interval: impl Fn(Duration) + Send + Sync + 'static,
) where
    F: Future<Output = Evidence> + Send,
{
    let cadence = Cadence::new(context.client.scope(), context.pools, context.poll_interval);
    let (client, publisher) = (context.client.clone(), context.publisher.clone());
    let mut reports = context.reports.clone();
    tasks.observers.spawn(async move {
        loop {
            let (began, waits_since) = (clock::now(), tokio::time::Instant::now());
            publisher.publish(list(began).await);
            let interval = |base| {
                let interval = client.effective_interval(base);
                on_interval(interval);
                interval
            };
            cadence.wait(waits_since, &mut reports, interval).await;
        }
    });
}
