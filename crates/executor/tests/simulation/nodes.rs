//! The rules as far as the nodes of Swarms go, held against what the daemon was shown.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_fleet::{
    Action, Availability, Cluster, Evidence, Node, NodeId, Placed, Resources, RunnerName, RunnerStatus, Why,
};

use crate::{daemon::Day, setting::MINUTE, swarm::satisfies, world::Container};

/// What the daemon was shown of Swarms in this life.
#[derive(Default)]
pub(crate) struct Shown {
    /// By host.
    clusters: BTreeMap<usize, Cluster>,
    /// Where each runner was last shown.
    places: BTreeMap<RunnerName, Placed>,
    /// When each runner was last shown as connected to GitHub.
    online_at: BTreeMap<RunnerName, u64>,
    /// Runners that were on a node which was to be drained.
    to_drain: BTreeSet<RunnerName>,
    /// When drains of nodes were planned.
    drains: Vec<u64>,
}

impl Shown {
    fn node(&self, host: usize, id: &NodeId) -> Option<&Node> {
        self.clusters.get(&host)?.nodes.iter().find(|node| node.id == *id)
    }

    /// Whether the node of a runner was last shown as out of reach.
    pub(crate) fn is_lost(&self, host: usize, runner: &RunnerName) -> bool {
        match self.places.get(runner) {
            Some(Placed::On { node, .. }) => self.node(host, node).is_none_or(|node| !node.reachable),
            _ => false,
        }
    }

    /// Whether a runner was last shown as one that no node is suitable for.
    pub(crate) fn waits(&self, runner: &RunnerName) -> bool {
        matches!(self.places.get(runner), Some(Placed::Nowhere(Some(_))))
    }

    pub(crate) fn was_to_drain(&self, runner: &RunnerName) -> bool {
        self.to_drain.contains(runner)
    }
}

impl Day {
    pub(crate) fn learn_of_nodes(&mut self, evidence: &Evidence) {
        let now = self.world().now;
        match evidence {
            Evidence::Cluster { host, cluster } => {
                let Some(host) = self.host_index(host) else { return };
                self.shown.clusters.insert(host, cluster.clone());
                self.shown.places.extend(cluster.runners.clone());
                let drains = cluster.runners.iter().filter(|(_, placed)| {
                    let Placed::On { node, .. } = placed else { return false };
                    self.shown.node(host, node).is_some_and(|node| node.drain_requested)
                });
                let drains: Vec<RunnerName> = drains.map(|(name, _)| name.clone()).collect();
                self.shown.to_drain.extend(drains);
            }
            Evidence::Registrations { registrations, .. } => {
                let online = registrations.iter().filter(|r| r.status == RunnerStatus::Online);
                for name in online.filter_map(|r| RunnerName::parse(&r.name)) {
                    self.shown.online_at.insert(name, now);
                }
            }
            _ => {}
        }
    }

    /// Rules 1 and 2: what is on a lost node is left alone until GitHub has given it up.
    pub(crate) fn check_nodes(&mut self, action: &Action) {
        let now = self.world().now;
        match action {
            Action::Deregister { runner, why: Why::NodeLost, ask, .. } => {
                let online_at = self.shown.online_at.get(runner).copied().unwrap_or_default();
                if ask.is_some() || now < online_at + MINUTE {
                    self.breach(2, &format!("{runner} is on a lost node, and GitHub has not given it up"));
                }
                self.check_lost(runner, true);
            }
            Action::Remove { runner, why: Why::NodeLost, .. } => self.check_lost(runner, true),
            Action::Deregister { runner, ask: Some(_), .. } | Action::Stop { runner, .. } => {
                self.check_lost(runner, false);
            }
            Action::DrainNode { host, node } => {
                let Some(host) = self.host_index(host) else { return };
                let is_due = self
                    .shown
                    .node(host, node)
                    .is_some_and(|node| node.drain_requested && node.availability == Availability::Paused);
                if !is_due {
                    self.breach(2, &format!("{} is drained and need not be", node.0));
                }
                self.shown.drains.retain(|at| at + MINUTE > now);
                self.shown.drains.push(now);
                if self.shown.drains.len() > 20 {
                    self.breach(7, "nodes are drained again and again");
                }
            }
            _ => {}
        }
    }

    fn check_lost(&self, runner: &RunnerName, should_be: bool) {
        let host = self.world().container_of(runner).map(|c| c.host);
        if host.is_some_and(|host| self.shown.is_lost(host, runner) != should_be) {
            let what = if should_be { "has a node" } else { "is on a lost node" };
            self.breach(2, &format!("{runner} {what}, and is taken down as if not"));
        }
    }

    /// Rule 5, for a launch: some node has room for it, and the nodes together have it for all that wait; and while one
    /// waits for a node, there is no other.
    pub(crate) fn check_room(&mut self, runner: &RunnerName, pool: usize, host: usize) {
        if !self.world().setting.is_swarm(host) {
            return;
        }
        let Some(cluster) = self.shown.clusters.get(&host) else {
            return self.breach(2, &format!("{runner} is launched on nodes that are not known"));
        };
        let world = self.world();
        let template = &world.setting.pools[pool].pool.template;
        let needed = template.resources;
        let mut free: BTreeMap<&NodeId, Resources> = BTreeMap::new();
        let active = |node: &&Node| node.reachable && node.availability == Availability::Active;
        for node in cluster.nodes.iter().filter(active).filter(|node| satisfies(node, &template.constraints))
        {
            let mut left = node.size;
            left = without(left, node.reserved);
            free.insert(&node.id, left);
        }
        let (mut waiting, mut pending) = (0, None);
        for c in world.present[host].iter().map(|&c| &world.containers[c]).filter(|c| c.takes_room()) {
            match cluster.runners.get(&c.runner) {
                Some(Placed::On { node, .. }) => {
                    if let Some(free) = free.get_mut(node) {
                        *free = without(*free, c.resources);
                    }
                    continue;
                }
                Some(Placed::Nowhere(Some(_))) if c.pool == pool => pending = Some(c.runner.clone()),
                _ => {}
            }
            // Another daemon may have had it created just now.
            let is_known = self.launched.contains(&c.runner) || cluster.runners.contains_key(&c.runner);
            waiting += u64::from(c.pool == pool && is_known && !self.in_flight.contains_key(&c.runner));
        }
        // It may be placed, or have ended, before its launch was answered.
        let waits = |runner: &RunnerName| {
            !matches!(cluster.runners.get(runner), Some(Placed::On { .. }))
                && world.container_of(runner).is_none_or(Container::takes_room)
        };
        let launching = self.in_flight.iter().filter(|(runner, of)| **of == (pool, host) && waits(runner));
        waiting += launching.count() as u64;
        let count = |free: &Resources| {
            (free.memory / needed.memory.max(1)).min(free.cpu_millis / needed.cpu_millis.max(1))
        };
        let fit: u64 = free.values().map(count).sum();
        drop(world);
        if let Some(pending) = pending {
            self.breach(9, &format!("{runner} is launched while {pending} waits for a node"));
        } else if waiting > fit {
            self.breach(5, &format!("{runner} is launched, the {waiting}th to be placed where {fit} fit"));
        }
    }

    pub(crate) fn forget_nodes(&mut self) {
        self.shown = Shown::default();
    }
}

fn without(all: Resources, taken: Resources) -> Resources {
    Resources {
        memory: all.memory.saturating_sub(taken.memory),
        cpu_millis: all.cpu_millis.saturating_sub(taken.cpu_millis),
    }
}
