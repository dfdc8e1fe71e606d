//! A host: a container engine that runs runners, with a budget.

use std::collections::BTreeMap;

use super::{cluster::Node, devices::DeviceClass, name::HostName, template::Resources};

/// What may run on a host at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: HostName,
    /// Maximum number of runners of all pools together; `None` is no limit.
    pub max_runners: Option<u32>,
    /// Maximum sum of the limits of all runners; 0 is no limit. Without this and `max_runners`, a host that a pool has
    /// beside others is limited by what its machine has.
    pub budget: Resources,
    /// What it hands out to one runner at a time, by ids.
    pub devices: BTreeMap<DeviceClass, Vec<String>>,
    /// The machines of a cluster, as last listed; `None` for a single machine.
    pub nodes: Option<Vec<Node>>,
}
