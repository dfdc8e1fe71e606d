//! The nodes of a Swarm: pausing, draining and resuming them.

use bollard::{
    models::{NodeSpec, NodeSpecAvailabilityEnum},
    query_parameters::UpdateNodeOptionsBuilder,
};

use super::{
    shared::{Swarm, failed},
    state::{self, LABEL_DRAIN},
};
use crate::{
    fleet::{Node, NodeId},
    host::{HostError, call::Call, container::is_plain_name, engine::boxed},
};

impl Swarm {
    /// The nodes as they are now, with what all tasks reserve and all runners on them, of this instance and of others.
    pub async fn nodes(&self) -> Result<Vec<Node>, HostError> {
        let (listed, tasks) = tokio::try_join!(self.listed_nodes(), self.running_tasks())?;
        let taken = state::others(&tasks, &[]);
        Ok(listed.into_iter().filter_map(|node| state::node(node, &taken)).collect())
    }

    /// Asks for a node to be drained: pauses it, and labels it so that a daemon drains it once its runners have ended.
    /// The label is one that no constraint names, since a change of those would move tasks away.
    pub async fn request_drain(&self, node: &NodeId) -> Result<(), HostError> {
        self.update(&node.0, |spec| {
            spec.availability = Some(NodeSpecAvailabilityEnum::PAUSE);
            spec.labels.get_or_insert_default().insert(LABEL_DRAIN.to_owned(), String::new());
        })
        .await
    }

    /// Makes a node active again, whatever was asked for.
    pub async fn resume(&self, node: &NodeId) -> Result<(), HostError> {
        self.update(&node.0, |spec| {
            spec.availability = Some(NodeSpecAvailabilityEnum::ACTIVE);
            spec.labels.get_or_insert_default().remove(LABEL_DRAIN);
        })
        .await
    }

    /// Drains a node whose drain was asked for, unless that was taken back meanwhile.
    pub(super) async fn drain(&self, node: &NodeId) -> Result<(), HostError> {
        self.update(&node.0, |spec| {
            let is_paused = spec.availability == Some(NodeSpecAvailabilityEnum::PAUSE);
            if is_paused && spec.labels.get_or_insert_default().remove(LABEL_DRAIN).is_some() {
                spec.availability = Some(NodeSpecAvailabilityEnum::DRAIN);
            }
        })
        .await
    }

    /// Changes a node; a change by another in between is an error.
    async fn update(&self, node: &str, change: impl FnOnce(&mut NodeSpec)) -> Result<(), HostError> {
        if !is_plain_name(node) {
            return Err(HostError::Refused(format!("{node:?} is not a node's name")));
        }
        let wanted = node.to_owned();
        let found = self
            .engine()
            .request(Call::InspectNode, |docker| boxed(async move { docker.inspect_node(&wanted).await }))
            .await?;
        let version = found.version.and_then(|version| version.index).unwrap_or_default();
        let (Some(id), Some(mut spec)) = (found.id.filter(|id| is_plain_name(id)), found.spec) else {
            return Err(failed(Call::InspectNode, "the response has no id"));
        };
        let before = spec.clone();
        change(&mut spec);
        if spec == before {
            return Ok(());
        }
        let options =
            UpdateNodeOptionsBuilder::new().version(i64::try_from(version).unwrap_or(i64::MAX)).build();
        let updated = self
            .engine()
            .request(Call::UpdateNode, |docker| {
                boxed(async move { docker.update_node(&id, spec, options).await })
            })
            .await;
        Ok(updated?)
    }
}
