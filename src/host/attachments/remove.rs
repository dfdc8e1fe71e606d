//! Removes what was made for a runner, in the order in which one part uses another.

use std::collections::HashMap;

use bollard::{
    models::Volume,
    query_parameters::{ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions},
};

use super::{Docker, HostError};
use crate::{
    fleet::{ContainerId, RunnerName},
    host::{
        call::Call,
        container::is_plain_name,
        engine::{Fault, boxed},
        lenient,
    },
};

impl Docker {
    /// Removes all attachments of a runner. One that cannot be removed does not keep the others.
    pub(in crate::host) async fn remove_attachments(&self, runner: &RunnerName) -> Result<(), HostError> {
        let filters = self.filters(Some(runner.as_str()));
        let volumes = self.volumes(&filters).await?;
        let leftovers = self.remove_leftovers(runner, &volumes).await;
        let sidecars = self.remove_sidecars(&filters).await;
        let networks = self.remove_networks(&filters).await;
        // They show what the job's are, so they stay as long as anything of the job does.
        let removed = if leftovers.is_ok() { self.remove_volumes(volumes.clone()).await } else { Ok(()) };
        // A request that the job sent just before it was killed may have been carried out meanwhile.
        let late = self.remove_leftovers(runner, &volumes).await;
        Ok(leftovers.and(sidecars).and(networks).and(removed).and(late)?)
    }

    /// By force: a sidecar has no job of its own, and the runner whose jobs it served has ended.
    async fn remove_sidecars(&self, filters: &HashMap<&'static str, Vec<String>>) -> Result<(), Fault> {
        let listed = self
            .engine()
            .request(Call::List, |docker| {
                boxed(async move { lenient::list_containers(&docker, filters).await })
            })
            .await?;
        let mut all = Ok(());
        for id in listed.into_iter().filter_map(|summary| summary.id) {
            all = all.and(self.remove_once(&ContainerId(id.into()), true).await);
        }
        all
    }

    async fn remove_networks(&self, filters: &HashMap<&'static str, Vec<String>>) -> Result<(), Fault> {
        let options = ListNetworksOptionsBuilder::new().filters(filters).build();
        let listed = self
            .engine()
            .request(Call::ListNetworks, |docker| {
                boxed(async move { docker.list_networks(Some(options)).await })
            })
            .await?;
        let mut all = Ok(());
        for id in listed.into_iter().filter_map(|network| network.id).filter(|id| is_plain_name(id)) {
            let removed = self
                .engine()
                .request(Call::RemoveNetwork, |docker| async move { docker.remove_network(&id).await })
                .await;
            all = all.and(gone(removed));
        }
        all
    }

    async fn volumes(&self, filters: &HashMap<&'static str, Vec<String>>) -> Result<Vec<Volume>, Fault> {
        let options = ListVolumesOptionsBuilder::new().filters(filters).build();
        let listed = self
            .engine()
            .request(Call::ListVolumes, |docker| {
                boxed(async move { docker.list_volumes(Some(options)).await })
            })
            .await?;
        Ok(listed.volumes.unwrap_or_default())
    }

    async fn remove_volumes(&self, volumes: Vec<Volume>) -> Result<(), Fault> {
        let names = volumes.into_iter().map(|volume| volume.name);
        let mut all = Ok(());
        for name in names.filter(|name| is_plain_name(name)) {
            let removed = self
                .engine()
                .request(Call::RemoveVolume, |docker| async move {
                    docker.remove_volume(&name, None::<RemoveVolumeOptions>).await
                })
                .await;
            all = all.and(gone(removed));
        }
        all
    }
}

/// What does not exist needs no removal.
pub(super) fn gone(removed: Result<(), Fault>) -> Result<(), Fault> {
    match removed {
        Err(fault) if fault.is(404) => Ok(()),
        other => other,
    }
}
