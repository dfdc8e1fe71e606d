//! Where a cluster has a runner, as last listed.

use crate::cluster::{NodeId, Placed};

/// A runner's place in a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OnCluster {
    pub(crate) placed: Placed,
    /// Whether its node cannot be reached.
    pub(crate) is_lost: bool,
}

impl OnCluster {
    /// Its node, if it has one.
    pub(crate) fn node(&self) -> Option<&NodeId> {
        match &self.placed {
            Placed::On { node, .. } => Some(node),
            Placed::Nowhere(_) => None,
        }
    }

    /// Why no node is suitable, if that is so.
    pub(crate) fn why_nowhere(&self) -> Option<&str> {
        match &self.placed {
            Placed::Nowhere(why) => why.as_deref(),
            Placed::On { .. } => None,
        }
    }
}
