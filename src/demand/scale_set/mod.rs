//! Job source: a pool as a runner scale set, for which GitHub assigns jobs and counts them. Finds or creates the set
//! and keeps its one session open for as long as it can.
//!
//! `SessionState` decides what to request next, without I/O and without a clock; [`serve()`] requests it. If another
//! client has the session of a set, the pool waits for it forever: two installations never serve one set.

mod pool;
mod remove;
mod serve;
mod session;
mod session_file;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::{
    pool::{ScaleSetPool, Waits},
    remove::{Removal, remove},
    serve::serve,
};
use super::{ScopeContext, Tasks};
use crate::{
    fleet::{Demand, Pool, PoolName, Scope, Status},
    github::{
        Client,
        scale_set::{ScaleSetRunners, ScaleSets},
    },
};

/// What mints and removes the runners of each pool that is a scale set.
pub fn runner_apis<'p>(
    pools: impl Iterator<Item = &'p Pool>,
    clients: &BTreeMap<Scope, Client>,
) -> BTreeMap<PoolName, ScaleSetRunners> {
    let (mut scopes, mut runners) = (BTreeMap::new(), BTreeMap::new());
    for pool in pools.filter(|pool| pool.demand == Demand::ScaleSet) {
        let Some(client) = clients.get(&pool.scope) else { continue };
        let sets = scopes.entry(&pool.scope).or_insert_with(|| ScaleSets::new(client.clone())).clone();
        runners.insert(pool.name.clone(), ScaleSetRunners::new(sets));
    }
    runners
}

/// Serves the scale sets of a scope, each with its own session, until the tasks are to stop.
pub fn start(
    context: ScopeContext<'_>,
    tasks: &mut Tasks,
    runner_apis: &BTreeMap<PoolName, ScaleSetRunners>,
) {
    for pool in context.pools {
        let Some(runners) = runner_apis.get(&pool.name).cloned() else { continue };
        let set = ScaleSetPool::of(pool, context.instance, context.state_dir);
        let (publisher, stop, max) = (context.publisher.clone(), tasks.stop.clone(), pool.policy.max);
        let (capacity, wanted) = watch::channel(max);
        tasks.sessions.spawn(follow_draining(context.reports.clone(), capacity, max, stop.clone()));
        tasks.sessions.spawn(async move {
            serve(&runners, &set, wanted, stop, |evidence| publisher.publish(evidence)).await;
        });
    }
}

/// Gives a set's session how many runners its pool may have: none while the daemon is draining.
async fn follow_draining(
    mut reports: watch::Receiver<Arc<Status>>,
    capacity: watch::Sender<u32>,
    max: u32,
    stop: CancellationToken,
) {
    let follow = async {
        while reports.changed().await.is_ok() {
            let now = if reports.borrow_and_update().draining { 0 } else { max };
            capacity.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    };
    tokio::select! {
        () = follow => {}
        () = stop.cancelled() => {}
    }
}
