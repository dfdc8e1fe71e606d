//! The machines of clusters, in reports.

use crate::{
    fleet::{Fleet, HostState},
    name::HostName,
    report::NodeReport,
    runner::Runner,
};

impl Fleet {
    /// The machines of a cluster, with how many runners each has.
    pub(crate) fn node_reports(&self, name: &HostName, state: &HostState) -> Vec<NodeReport> {
        let report = |node: &crate::Node| {
            let here = |runner: &&Runner| {
                runner.node() == Some(&node.id) && runner.takes_room() && runner.host.as_ref() == Some(name)
            };
            NodeReport {
                name: node.name.clone(),
                availability: node.availability,
                reachable: node.reachable,
                drain_requested: node.drain_requested,
                runners: u32::try_from(self.runners.values().filter(here).count()).unwrap_or(u32::MAX),
            }
        };
        state.host.nodes.iter().flatten().map(report).collect()
    }

    /// The name of a runner's node.
    pub(crate) fn node_name(&self, runner: &Runner) -> Option<String> {
        let (id, host) = (runner.node()?, self.hosts.get(runner.host.as_ref()?)?);
        let node = host.host.nodes.iter().flatten().find(|node| node.id == *id);
        node.map(|node| node.name.clone())
    }
}
