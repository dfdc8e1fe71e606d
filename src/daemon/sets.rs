//! Pools that are runner scale sets: what mints their runners, and their sessions.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{bounds::Bounded, observers::Publisher};
use crate::{
    demand::scale_set::{self, ScaleSetPool},
    fleet::{Demand, InstanceId, Pool, PoolName, Scope},
    github::{
        Client,
        scale_set::{ScaleSetRunners, ScaleSets},
    },
    http::Snapshot,
};

/// The runner APIs of the pools that are scale sets.
pub(super) struct Sets(BTreeMap<PoolName, ScaleSetRunners>);

impl Sets {
    pub(super) fn of<'p>(pools: impl Iterator<Item = &'p Pool>, clients: &BTreeMap<Scope, Client>) -> Self {
        let (mut scopes, mut runners) = (BTreeMap::new(), BTreeMap::new());
        for pool in pools.filter(|pool| pool.demand == Demand::ScaleSet) {
            let Some(client) = clients.get(&pool.scope) else { continue };
            let sets =
                scopes.entry(pool.scope.clone()).or_insert_with(|| ScaleSets::new(client.clone())).clone();
            runners.insert(pool.name.clone(), ScaleSetRunners::new(sets));
        }
        Self(runners)
    }

    /// What mints and removes each of these pools' runners.
    pub(super) fn runners(&self) -> BTreeMap<PoolName, Bounded<ScaleSetRunners>> {
        let bound = Bounded::github();
        self.0.iter().map(|(pool, runners)| (pool.clone(), bound(runners.clone()))).collect()
    }

    /// Serves a pool's set until `stop`, and then closes its session.
    pub(super) fn serve(
        &self,
        pool: &Pool,
        instance: &InstanceId,
        state_dir: &Path,
        publisher: &Publisher,
        (tasks, stop): (&TaskTracker, &CancellationToken),
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) {
        let Some(runners) = self.0.get(&pool.name).cloned() else { return };
        let set = ScaleSetPool::of(pool, instance, state_dir);
        let (publisher, stop, most) = (publisher.clone(), stop.clone(), pool.policy.max);
        let (capacity, wanted) = watch::channel(most);
        tasks.spawn(follow_draining(snapshot, capacity, most, stop.clone()));
        tasks.spawn(async move {
            scale_set::serve(&runners, &set, wanted, stop, |evidence| publisher.publish(evidence)).await;
        });
    }
}

/// Gives a set's session how many runners its pool may have: none while the daemon is draining.
async fn follow_draining(
    mut snapshot: watch::Receiver<Arc<Snapshot>>,
    capacity: watch::Sender<u32>,
    most: u32,
    stop: CancellationToken,
) {
    let follow = async {
        while snapshot.changed().await.is_ok() {
            let now = if snapshot.borrow_and_update().status.draining { 0 } else { most };
            capacity.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    };
    tokio::select! {
        () = follow => {}
        () = stop.cancelled() => {}
    }
}
