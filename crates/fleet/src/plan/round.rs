//! What the pools and hosts have left while a pass gives it away.

use std::collections::{BTreeMap, BTreeSet};

use super::{Probes, Tally};
use crate::{
    devices::DeviceClass,
    fleet::Committed,
    name::{HostName, PoolName},
    pool::{Policy, Pool},
    reasons::Held,
};

/// Pools and clusters, with why no node is suitable for a runner that waits there, if that is so.
pub(super) type Unplaced = BTreeMap<(PoolName, HostName), Option<String>>;

/// What a pass has given away so far.
pub(super) struct Round {
    pub(super) tallies: BTreeMap<PoolName, Tally>,
    pub(super) committed: BTreeMap<HostName, Committed>,
    pub(super) probes: Probes,
    /// The pools with runners that have no node yet, by cluster; with why none is suitable, if the cluster said so.
    pub(super) unplaced: Unplaced,
    /// Room that is kept for a pool that comes before those that are asked later.
    pub(super) reserved: BTreeMap<HostName, Reservation>,
    /// Why each pool that wants a runner gets none.
    pub(super) held: BTreeMap<PoolName, (Held, String)>,
}

/// Room of a host that is kept free until it is enough for a runner.
pub(super) struct Reservation {
    pub(super) pool: PoolName,
    /// What there is too little of.
    pub(super) lacks: Held,
    pub(super) devices: BTreeSet<DeviceClass>,
    pub(super) priority: i32,
    /// Whether it is kept from pools of the same priority too.
    pub(super) is_overdue: bool,
}

impl Reservation {
    /// Whether it is kept from this pool, whose runner would take of it.
    pub(super) fn is_kept_from(&self, pool: &Pool) -> bool {
        let Policy { priority, .. } = pool.policy;
        let is_beside = self.is_overdue && priority == self.priority && pool.name != self.pool;
        let (template, needed) = (&pool.template, pool.template.total_resources());
        (priority < self.priority || is_beside)
            && match self.lacks {
                Held::HostMemory => needed.memory > 0,
                Held::HostCpus => needed.cpu_millis > 0,
                Held::HostGpus | Held::HostDevices => {
                    template.devices.keys().any(|class| self.devices.contains(class))
                }
                _ => true,
            }
    }
}
