//! What is made for one runner beside its container, and removed with it.

use super::{name::RunnerName, template::Resources};

/// A resource on a host that was made for one runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The runner it was made for, from its label.
    pub runner: RunnerName,
    pub kind: AttachmentKind,
    /// The engine's id, or the name where the engine has no other. Edges create it only from what is safe in a path.
    pub id: String,
}

/// The kinds of attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentKind {
    /// A container without which the runner cannot do its jobs.
    Sidecar {
        /// Its limits, which count toward the budget of the host.
        resources: Resources,
        state: SidecarState,
    },
    Network,
    Volume,
    /// What only the runner may read, such as its JIT config.
    Secret,
    /// A container that prepares something for the runner, and ends by itself.
    Setup,
}

/// The state of a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SidecarState {
    /// Created and not started yet.
    Created,
    Up,
    /// No longer running.
    Down,
}

impl Attachment {
    /// Its limits, if it is a container.
    pub fn resources(&self) -> Resources {
        match self.kind {
            AttachmentKind::Sidecar { resources, .. } => resources,
            AttachmentKind::Network
            | AttachmentKind::Volume
            | AttachmentKind::Secret
            | AttachmentKind::Setup => Resources::default(),
        }
    }
}
