//! The calls that actions make to a container engine.

use std::{error::Error as StdError, future::Future, time::Duration};

use secrecy::SecretString;

use crate::{
    fleet::{
        Attachment, Cluster, Container, ContainerId, Devices, Exit, FilesDigest, InstanceId, NodeId,
        Occupation, Pool, RegistrationId, RunnerName, Template,
    },
    text::chain,
};

/// Errors of requests to an engine, by what a caller does about them.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The image does not exist.
    #[error("the engine has no image {0}")]
    ImageMissing(String),
    /// The engine refused the request: the template asks for something that it does not have, a name is in
    /// use, or a container to be removed is running.
    #[error("the engine refused: {0}")]
    Refused(String),
    /// A runner's own engine did not answer in time.
    #[error("the runner's own Docker Engine did not become ready: {0}")]
    DindNotReady(String),
    /// A runner's proxy did not answer in time.
    #[error("the runner's egress proxy did not become ready: {0}")]
    EgressNotReady(String),
    /// The engine has no addresses left for another network.
    #[error("the engine has no addresses left for another network: {0}")]
    NetworksExhausted(String),
    /// A file that the template names cannot be used. Nothing was requested.
    #[error(transparent)]
    TemplateFile(Box<dyn StdError + Send + Sync>),
    /// The engine failed, timed out or cannot be reached; what was requested may have been done.
    #[error("no usable response from the engine: {detail}")]
    Failed {
        detail: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

impl HostError {
    /// Its text with its causes, without what its kind adds where the detail names the cause.
    pub fn plain_text(&self) -> String {
        match self {
            Self::Failed { detail, source: None } => detail.clone(),
            other => chain(other),
        }
    }
}

/// A runner to be launched, before it is minted.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    pub runner: &'a RunnerName,
    /// Its pool, with the template.
    pub pool: &'a Pool,
    /// The image that its container is created from, as in the launch that follows.
    pub image: &'a str,
    pub devices: &'a Devices,
}

/// Everything that a container is created from: with the content of its template's files, and with what was made for
/// the runner.
pub struct Launch<'a, F, P> {
    pub instance: &'a InstanceId,
    /// The runner, whose name the container gets.
    pub runner: &'a RunnerName,
    pub registration: RegistrationId,
    /// Its pool, with the template.
    pub pool: &'a Pool,
    /// The content of the files that the template names.
    pub files: &'a F,
    /// The engine's id of the image, whatever the template's reference names by now.
    pub image: &'a str,
    /// The JIT config, for the container's environment and nothing else.
    pub jit: &'a SecretString,
    /// What the runner gets for itself.
    pub devices: &'a Devices,
    /// What was made for it.
    pub prepared: &'a P,
}

impl<F, P> Clone for Launch<'_, F, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F, P> Copy for Launch<'_, F, P> {}

/// What a host has of this instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    pub containers: Vec<Container>,
    /// What was made for runners beside their containers.
    pub attachments: Vec<Attachment>,
    /// Its machines and where its runners are, if it is a cluster.
    pub cluster: Option<Cluster>,
}

/// A launch that failed.
#[derive(Debug)]
pub struct LaunchError {
    /// The container that was created but could not be started.
    pub container: Option<ContainerId>,
    pub error: HostError,
}

/// What a host's containers are created from.
pub type LaunchOf<'a, H> = Launch<'a, <H as Host>::Files, <H as Host>::Prepared>;

/// The calls that the daemon needs, for one engine. Every call ends within the edge's deadline, and is
/// idempotent: it succeeds if there is nothing to do.
pub trait Host: Send + Sync {
    /// The content of the files that a template names.
    type Files: Send + Sync;

    /// What was made for a runner, as its container needs it.
    type Prepared: Send + Sync;

    /// Reads the files of a template; at once for one that has none.
    fn read_files(&self, template: &Template) -> impl Future<Output = Result<Self::Files, HostError>> + Send;

    /// A hash of the files' content, which cannot be turned back into it.
    fn digest(files: &Self::Files) -> FilesDigest;

    /// All containers and attachments with this instance's label, running or not. A container that is not a runner of this instance
    /// (a broken name) is left out, and logged once.
    fn list(&self) -> impl Future<Output = Result<Listed, HostError>> + Send;

    /// Makes what a runner needs beside its container, and waits until that is ready. If it fails, what was made so
    /// far stays, for a list to show it.
    fn prepare(
        &self,
        runner: Preparation<'_>,
    ) -> impl Future<Output = Result<Self::Prepared, HostError>> + Send;

    /// Creates a container without starting it.
    fn create(
        &self,
        launch: LaunchOf<'_, Self>,
    ) -> impl Future<Output = Result<ContainerId, HostError>> + Send;

    /// Starts a container that was never started.
    fn start(&self, id: &ContainerId) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Creates a container and starts it.
    fn launch(
        &self,
        launch: LaunchOf<'_, Self>,
    ) -> impl Future<Output = Result<ContainerId, LaunchError>> + Send {
        async move {
            let created = self.create(launch).await;
            let container = created.map_err(|error| LaunchError { container: None, error })?;
            match self.start(&container).await {
                Ok(()) => Ok(container),
                Err(error) => Err(LaunchError { container: Some(container), error }),
            }
        }
    }

    /// Checks whether the container has a job: its log for `Running job:`, its processes for `Runner.Worker`.
    /// Fails when neither can be read: unknown is not "idle".
    fn occupation(&self, id: &ContainerId) -> impl Future<Output = Result<Occupation, HostError>> + Send;

    /// Sends the stop signal, waits for `grace`, then kills.
    fn stop(&self, id: &ContainerId, grace: Duration) -> impl Future<Output = Result<(), HostError>> + Send;

    /// How the container exited; `None` while it is running or when it does not exist.
    fn exit(&self, id: &ContainerId) -> impl Future<Output = Result<Option<Exit>, HostError>> + Send;

    /// Removes a container that is not running, with its anonymous volumes. Never by force: a running
    /// container is an error.
    fn remove(&self, id: &ContainerId) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Makes the state in which a runner leaves its copies of caches the base of the next copies. Its container must
    /// not be running any more. If it fails, the bases are as before.
    fn promote(&self, runner: &RunnerName, pool: &Pool)
    -> impl Future<Output = Result<(), HostError>> + Send;

    /// Removes everything that was made for a runner beside its container, which must not be running any more.
    fn detach(&self, runner: &RunnerName) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Lets a cluster move everything away from a node that has no runner. Refused by a single machine.
    fn drain_node(&self, node: &NodeId) -> impl Future<Output = Result<(), HostError>> + Send;
}
