//! Job source: the queues of a scope's repositories, which are polled on a schedule.

mod schedule;
mod watch;

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{
    Notify,
    broadcast::{self, error::RecvError},
};

pub use self::{
    schedule::{FIND_INTERVAL, REQUESTS_PER_MINUTE, Reach, RequestsPerHour, Shortfall, requests_per_hour},
    watch::{QueueHandle, QueueWatch},
};
use super::{ScopeContext, Tasks};
use crate::fleet::{Demand, Event, PoolName};

/// Polls the queues that pools of a scope have as a source. Returns what makes it poll a repository sooner.
pub fn start(context: ScopeContext<'_>, tasks: &mut Tasks) -> Option<QueueHandle> {
    let pools = context.pools_with(Demand::polls_queues);
    if pools.is_empty() {
        return None;
    }
    let watch = QueueWatch::new(
        context.client.clone(),
        &pools,
        context.poll_interval,
        context.scopes_with_queues,
        context.publisher.clone(),
    );
    let (handle, runners_changed) = (watch.handle(), Arc::new(Notify::new()));
    let pools = pools.into_iter().map(|pool| pool.name).collect();
    tasks.observers.spawn(notify_of_runners(context.events.subscribe(), pools, runners_changed.clone()));
    tasks.observers.spawn(watch.run(runners_changed));
    Some(handle)
}

/// Notifies whenever a runner of these pools takes a job or ends.
async fn notify_of_runners(
    mut events: broadcast::Receiver<Event>,
    pools: BTreeSet<PoolName>,
    changed: Arc<Notify>,
) {
    loop {
        match events.recv().await {
            Ok(Event::JobStarted { pool, .. } | Event::Exited { pool, .. })
                if pools.contains(pool.as_str()) =>
            {
                changed.notify_one();
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => changed.notify_one(),
            Err(RecvError::Closed) => return,
        }
    }
}
