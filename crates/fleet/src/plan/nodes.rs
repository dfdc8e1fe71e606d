//! A node of a cluster that is to be drained: it is paused first, and drained when no runner is left on it, since the
//! engine stops whatever runs on a node that it drains.

use std::collections::BTreeSet;

use super::{Fleet, Pass, round::Unplaced};
use crate::{action::Action, cluster::to_drain, fleet::HostState, runner::Runner};

impl Fleet {
    /// Drains the nodes that have no runner any more.
    pub(super) fn drain_nodes(&mut self, pass: &mut Pass) {
        let wants = |(_, state): &(_, &HostState)| {
            state.sight.is_clear() && state.host.nodes.iter().flatten().any(|node| node.drain_requested)
        };
        let hosts: Vec<_> = self.hosts.iter().filter(wants).map(|(host, _)| host.clone()).collect();
        for host in hosts {
            let on_host = |runner: &&Runner| runner.host.as_ref() == Some(&host) && runner.takes_room();
            let in_use: BTreeSet<_> =
                self.runners.values().filter(on_host).filter_map(Runner::node).collect();
            let Some(state) = self.hosts.get_mut(&host) else { continue };
            for node in to_drain(state.host.nodes.as_deref().unwrap_or_default(), &in_use) {
                let is_due = match state.draining_nodes.get(&node.id) {
                    None => true,
                    Some(None) => false,
                    Some(Some(retry_at)) => pass.due(*retry_at),
                };
                if is_due {
                    state.draining_nodes.insert(node.id.clone(), None);
                    pass.actions.push(Action::DrainNode { host: host.clone(), node: node.id.clone() });
                }
            }
        }
    }

    /// Whether a runner's node is to be drained.
    pub(super) fn drains_node(&self, runner: &Runner) -> bool {
        let (Some(node), Some(host)) = (runner.node(), &runner.host) else { return false };
        let nodes = self.hosts.get(host).and_then(|state| state.host.nodes.as_ref());
        nodes.into_iter().flatten().any(|listed| listed.id == *node && listed.is_draining())
    }

    /// The pools with runners that have no node yet, with why none is suitable.
    pub(super) fn unplaced(&self) -> Unplaced {
        let mut unplaced = Unplaced::new();
        if self.hosts.values().all(|state| state.host.nodes.is_none()) {
            return unplaced;
        }
        for runner in self.runners.values().filter(|runner| runner.takes_room() && runner.node().is_none()) {
            let Some((pool, _)) = self.pools.get_key_value(runner.name.pool()) else { continue };
            let Some(host) = &runner.host else { continue };
            if self.hosts.get(host).is_some_and(|state| state.host.nodes.is_some()) {
                let why = unplaced.entry((pool.clone(), host.clone())).or_default();
                *why = why.take().or_else(|| runner.has_no_node().map(str::to_owned));
            }
        }
        unplaced
    }
}
