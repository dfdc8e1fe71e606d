//! Removes what was made for a runner, in the order in which one part uses another.

use std::collections::HashMap;

use bollard::models::Volume;

use super::{Docker, HostError};
use crate::{
    fleet::{ContainerId, RunnerName},
    host::{
        call::Call,
        container::{LABEL_RUNNER, is_plain_name},
        engine::{Fault, boxed},
        lenient,
    },
};

impl Docker {
    /// Removes all attachments of a runner. One that cannot be removed does not keep the others.
    pub(in crate::host) async fn remove_attachments(&self, runner: &RunnerName) -> Result<(), HostError> {
        let mut labels = self.labels_of_all();
        labels.push(format!("{LABEL_RUNNER}={runner}"));
        let volumes = self.volumes(labels.clone()).await?;
        let leftovers = self.remove_leftovers(runner, &volumes).await;
        let sidecars = self.remove_sidecars(labels.clone()).await;
        let networks = self.remove_networks(labels).await;
        // They show what the job's are, so they stay as long as anything of the job does.
        let removed = if leftovers.is_ok() { self.remove_volumes(&volumes).await } else { Ok(()) };
        // A request that the job sent just before it was killed may have been carried out meanwhile.
        let late = self.remove_leftovers(runner, &volumes).await;
        Ok(leftovers.and(sidecars).and(networks).and(removed).and(late)?)
    }

    /// By force: a sidecar has no job of its own, and the runner whose jobs it served has ended.
    async fn remove_sidecars(&self, labels: Vec<String>) -> Result<(), Fault> {
        let filters = HashMap::from([("label", labels)]);
        let listed = self
            .engine()
            .request(Call::List, |docker| {
                boxed(async move { lenient::list_containers(&docker, &filters).await })
            })
            .await?;
        let mut all = Ok(());
        for id in listed.into_iter().filter_map(|summary| summary.id) {
            all = all.and(self.remove_once(&ContainerId(id.into()), true).await);
        }
        all
    }

    async fn remove_networks(&self, labels: Vec<String>) -> Result<(), Fault> {
        let mut all = Ok(());
        for network in self.networks(labels).await? {
            all = all.and(self.remove_network(Call::RemoveNetwork, &network).await);
        }
        all
    }

    async fn remove_volumes(&self, volumes: &[Volume]) -> Result<(), Fault> {
        let mut all = Ok(());
        for volume in volumes.iter().filter(|volume| is_plain_name(&volume.name)) {
            all = all.and(self.remove_volume(&volume.name).await);
        }
        all
    }
}
