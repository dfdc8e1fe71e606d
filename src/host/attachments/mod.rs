//! What is made for one runner beside its container: sidecars, networks, volumes. Each has labels like the runner's
//! container and is named after the runner, so that nothing has to be remembered to remove it.

mod bases;
mod cache;
pub(super) mod cache_volume;
mod dind;
mod egress;
mod egress_log;
mod exec;
mod installation;
mod job_label;
pub(super) mod labels;
mod leftovers;
mod mounts;
mod network;
mod prepared;
mod remove;
mod setup;
mod sidecar;
mod socket;
mod volumes;

use std::{collections::HashMap, sync::atomic::Ordering};

use bollard::models::ContainerSummary;

use self::labels::is_setup;
use super::{
    Docker, HostError, Preparation,
    container::{Condition, LABEL_INSTANCE, LABEL_RUNNER, is_plain_name, listed_condition, runner_of},
};
use crate::fleet::{Attachment, AttachmentKind, DockerMode, SidecarState};

pub use self::{labels::LABEL_ATTACHMENT, prepared::Prepared};

impl Docker {
    /// Makes what a runner needs, and waits until it is ready.
    pub(super) async fn make_attachments(&self, of: Preparation<'_>) -> Result<Prepared, HostError> {
        let made = self.make_all(of).await;
        // Afterwards: a list that began before they existed found none.
        if of.pool.template.has_attachments() {
            self.has_attachments().store(true, Ordering::Relaxed);
        }
        made
    }

    async fn make_all(&self, of: Preparation<'_>) -> Result<Prepared, HostError> {
        let mut prepared = Prepared::default();
        if let Some(egress) = &of.pool.template.egress {
            self.make_egress(&of, egress, &mut prepared).await?;
        }
        match &of.pool.template.docker {
            DockerMode::Dind(dind) => self.make_dind(&of, dind, &mut prepared).await?,
            DockerMode::Socket { path } => {
                self.make_socket(&of, path.as_deref(), &mut prepared).await?;
                self.make_own_network(&of, &mut prepared).await?;
            }
            DockerMode::None => self.make_own_network(&of, &mut prepared).await?,
        }
        self.add_caches(&of, &mut prepared).await?;
        Ok(prepared)
    }

    /// The attachments of this instance's runners: those listed as containers, and networks and volumes.
    pub(super) async fn attachments(
        &self,
        sidecars: &[ContainerSummary],
    ) -> Result<Vec<Attachment>, HostError> {
        let mut found: Vec<_> = sidecars.iter().filter_map(|summary| self.sidecar(summary)).collect();
        if !self.has_attachments().swap(false, Ordering::Relaxed) {
            return Ok(found);
        }
        // Until the lists are complete: what is made meanwhile is listed the next time.
        let listed = self.networks_and_volumes().await;
        if !matches!(&listed, Ok(listed) if listed.is_empty()) {
            self.has_attachments().store(true, Ordering::Relaxed);
        }
        match listed {
            Ok(listed) => found.extend(listed),
            // A proxy in front of the engine may permit containers only, which is enough for most pools; the others
            // cannot make networks and volumes either, and report that.
            Err(HostError::Refused(text)) => {
                tracing::debug!(host = %self.engine().host, text, "the engine does not list networks and volumes");
            }
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    async fn networks_and_volumes(&self) -> Result<Vec<Attachment>, HostError> {
        let mut found = Vec::new();
        let labels = self.labels_of_all();
        for network in self.networks(labels.clone()).await? {
            found.extend(self.attachment(network.labels.as_ref(), AttachmentKind::Network, network.id));
        }
        for volume in self.volumes(labels).await? {
            found.extend(self.attachment(Some(&volume.labels), AttachmentKind::Volume, Some(volume.name)));
        }
        Ok(found)
    }

    /// The labels of all of this instance's attachments.
    fn labels_of_all(&self) -> Vec<String> {
        vec![format!("{LABEL_INSTANCE}={}", self.instance()), LABEL_ATTACHMENT.to_owned()]
    }

    fn sidecar(&self, summary: &ContainerSummary) -> Option<Attachment> {
        let labels = summary.labels.as_ref();
        if labels.and_then(|labels| labels.get(LABEL_ATTACHMENT)).is_some_and(|what| is_setup(Some(what))) {
            return self.attachment(labels, AttachmentKind::Setup, summary.id.clone());
        }
        let state = match summary.state.and_then(listed_condition)? {
            Condition::Created => SidecarState::Created,
            Condition::Up => SidecarState::Up,
            Condition::Down => SidecarState::Down,
        };
        let resources = labels.and_then(labels::resources).unwrap_or_default();
        self.attachment(labels, AttachmentKind::Sidecar { resources, state }, summary.id.clone())
    }

    /// An attachment, if its labels say that it is one of a runner of this instance.
    fn attachment(
        &self,
        labels: Option<&HashMap<String, String>>,
        kind: AttachmentKind,
        id: Option<String>,
    ) -> Option<Attachment> {
        let label = |key| labels?.get(key).map(String::as_str);
        if label(LABEL_INSTANCE) != Some(self.instance().as_str()) || label(LABEL_ATTACHMENT).is_none() {
            return None;
        }
        let runner = runner_of(label(LABEL_RUNNER), self.instance()).ok()?;
        Some(Attachment { runner, kind, id: id.filter(|id| is_plain_name(id))? })
    }
}
