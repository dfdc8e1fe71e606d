//! Records what a cluster's manager reports: its nodes, and where its runners are.

use super::Fleet;
use crate::{
    cluster::{Availability, Cluster, NodeId, Placed},
    event::Event,
    evidence::Trouble,
    name::{HostName, PoolName},
    time::Instant,
};

/// How long after a failed drain of a node it is retried.
const RETRY: std::time::Duration = std::time::Duration::from_secs(10);

impl Fleet {
    /// Records the nodes of a cluster, and where its runners are.
    pub(super) fn cluster(&mut self, host: &HostName, cluster: Cluster, now: Instant) {
        let Some(state) = self.hosts.get_mut(host) else { return };
        let Some(nodes) = &mut state.host.nodes else { return };
        *nodes = cluster.nodes;
        state.has_unknown_size = false;
        let is_paused = |node: &NodeId| {
            nodes.iter().any(|listed| listed.id == *node && listed.availability == Availability::Paused)
        };
        state.draining_nodes.retain(|node, _| is_paused(node));
        let mut waiting: Vec<PoolName> = Vec::new();
        for (name, placed) in cluster.runners {
            let Some(runner) =
                self.runners.get_mut(&name).filter(|runner| runner.host.as_ref() == Some(host))
            else {
                continue;
            };
            let reached = |node: &NodeId| nodes.iter().any(|listed| listed.id == *node && listed.reachable);
            let is_lost = matches!(&placed, Placed::On { node, .. } if !reached(node));
            if let Some(pool) = self.pools.get_mut(name.pool()) {
                match &placed {
                    // One that has long been there says nothing of the next one.
                    Placed::On { .. } if runner.node().is_none() => _ = pool.placed_on.insert(host.clone()),
                    Placed::Nowhere(Some(_)) => waiting.push(pool.pool.name.clone()),
                    Placed::On { .. } | Placed::Nowhere(None) => {}
                }
            }
            runner.placed(placed, is_lost, now);
        }
        for pool in waiting {
            if let Some(pool) = self.pools.get_mut(&pool) {
                pool.placed_on.remove(host);
            }
        }
    }

    /// Records the outcome of draining a node.
    pub(super) fn node_drained(
        &mut self,
        host: HostName,
        node: NodeId,
        trouble: Option<Trouble>,
        now: Instant,
    ) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        let name = state.host.nodes.iter().flatten().find(|listed| listed.id == node);
        let name = name.map_or_else(|| node.0.to_string(), |listed| listed.name.clone());
        state.draining_nodes.insert(node, trouble.is_some().then(|| now + RETRY));
        self.events.push(Event::NodeDrained { host, node: name, trouble });
    }
}
