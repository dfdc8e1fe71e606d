//! What a pass decides: the actions for the shell to carry out, and when the next pass is due.

use super::{
    cluster::NodeId,
    devices::Devices,
    event::Event,
    evidence::{ContainerId, RegistrationId},
    name::{HostName, PoolName, RunnerName},
    reasons::Why,
    scope::Scope,
    time::Instant,
};

/// An action. It can be carried out without further decisions.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make what a runner needs beside its container, mint it, create its container and start it.
    Launch {
        runner: RunnerName,
        pool: PoolName,
        host: HostName,
        /// What it gets for itself.
        devices: Devices,
        /// The engine's id of the image: a tag may move between this decision and the container's creation.
        image: String,
        why: Why,
    },
    /// Check the container for a job if it may be running, then remove the registration.
    Deregister {
        runner: RunnerName,
        scope: Scope,
        registration: RegistrationId,
        /// The container to check first, and its host.
        ask: Option<(HostName, ContainerId)>,
        why: Why,
    },
    /// Check the container for a job again, then stop it.
    Stop {
        runner: RunnerName,
        host: HostName,
        container: ContainerId,
        /// Whether a job prevents the stop; false only for `max_job_age`.
        ask: bool,
        why: Why,
    },
    /// Remove a container that is not running, if there is one, and then what was made for its runner beside it.
    Remove {
        runner: RunnerName,
        host: HostName,
        container: Option<ContainerId>,
        /// Whether anything may have been made beside it.
        attached: bool,
        /// Whether its copies of caches become the next bases before.
        promote: bool,
        why: Why,
    },
    /// Drain a node of a cluster that has no runner any more.
    DrainNode { host: HostName, node: NodeId },
}

/// The outcome of a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The actions; each is in flight until its outcome is observed.
    pub actions: Vec<Action>,
    pub events: Vec<Event>,
    /// When the next plan is needed because of a timeout, at the latest.
    pub wake_at: Option<Instant>,
}
