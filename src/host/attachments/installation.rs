//! The base of runners that have a copy of their own: one volume for each image, with the files that all copies link
//! to. It belongs to no runner, and stays until its image is replaced or removed.

use std::collections::HashMap;

use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use ring::digest::{SHA256, digest};
use tokio::sync::MutexGuard;

use super::{Docker, HostError};
use crate::{
    host::{
        call::Call,
        container::{LABEL_INSTANCE, is_plain_name},
        engine::{Fault, boxed},
    },
    text::chain,
};

/// Label: the id of the image that a base was copied from.
const LABEL_BASE: &str = "dev.dayfly.base";

/// Label: the reference of that image.
const LABEL_IMAGE: &str = "dev.dayfly.image";

/// The script that starts the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunnerScript<'a> {
    pub(super) folder: &'a str,
    pub(super) file: &'a str,
}

/// The script in a command, and its position; other words may come before it.
pub(super) fn runner_script(command: &[String]) -> Option<(usize, RunnerScript<'_>)> {
    command.iter().enumerate().find_map(|(position, word)| {
        let (folder, file) = word.rsplit_once('/')?;
        let is_script = file == "run.sh" && folder.len() > 1 && folder.starts_with('/');
        is_script.then_some((position, RunnerScript { folder, file }))
    })
}

/// A runner's installation in an image.
pub(super) struct Installation<'a> {
    /// Its image's id, and the reference by which that was found.
    pub(super) image: &'a str,
    pub(super) reference: &'a str,
    pub(super) folder: &'a str,
}

/// A base to link to. While it may be incomplete, nobody else has one.
pub(super) struct Base<'a> {
    name: String,
    turn: Option<MutexGuard<'a, ()>>,
}

impl Base<'_> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Docker {
    /// The base of an installation. Waits until nobody else copies one, if it may be incomplete.
    pub(super) async fn base(&self, of: &Installation<'_>) -> Result<Base<'_>, HostError> {
        let hash = hex::encode(digest(&SHA256, format!("{}\n{}", of.image, of.folder).as_bytes()));
        let name = format!("dayfly-{}-runner-{}", self.instance(), &hash[..12]);
        let turn = self.bases().turn_for(&name).await;
        let labels =
            [(LABEL_INSTANCE, self.instance().as_str()), (LABEL_BASE, of.image), (LABEL_IMAGE, of.reference)];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        // It may have been removed as unused: it is checked each time.
        self.create_volume(name.clone(), labels).await?;
        Ok(Base { name, turn })
    }

    /// Records that a base is complete, and removes those that are of no use any more.
    pub(super) async fn keep_base(&self, base: Base<'_>, of: &Installation<'_>) {
        if base.turn.is_none() {
            return;
        }
        self.bases().add(&base.name);
        if let Err(error) = self.remove_old_bases(of).await {
            tracing::debug!(host = %self.engine().host, error = chain(&error), "failed to remove old copies of runners");
        }
    }

    /// Removes the bases whose image has been replaced by that of `of`, or no longer exists.
    async fn remove_old_bases(&self, of: &Installation<'_>) -> Result<(), HostError> {
        let labels = vec![format!("{LABEL_INSTANCE}={}", self.instance()), LABEL_BASE.to_owned()];
        let filters = HashMap::from([("label", labels)]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self
            .engine()
            .request(Call::ListVolumes, |docker| {
                boxed(async move { docker.list_volumes(Some(options)).await })
            })
            .await?;
        for volume in listed.volumes.unwrap_or_default() {
            let label = |key| volume.labels.get(key).map(String::as_str);
            let Some(image) = label(LABEL_BASE).filter(|image| *image != of.image) else { continue };
            let replaced = label(LABEL_IMAGE) == Some(of.reference);
            if !is_plain_name(&volume.name) || !replaced && self.image(image).await?.is_some() {
                continue;
            }
            let name = volume.name.clone();
            let removed = self
                .engine()
                .request(Call::RemoveVolume, |docker| async move {
                    docker.remove_volume(&name, None::<RemoveVolumeOptions>).await
                })
                .await;
            match removed {
                // One that is in use is removed the next time.
                Ok(()) | Err(Fault::Said(404 | 409, _)) => {}
                Err(fault) => return Err(fault.into()),
            }
            self.bases().remove(&volume.name);
        }
        Ok(())
    }
}
