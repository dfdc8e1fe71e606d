//! A host of either kind, as the daemon has it.

use std::time::Duration;

use futures_util::stream::BoxStream;
use tokio::sync::watch;

use super::{
    Docker, Endpoint, Happened, Host, HostError, Launch, LaunchError, Listed, Preparation, Prepared,
    RegistryLogin, Reporter, Swarm, TemplateFiles, engine::boxed,
};
use crate::fleet::{
    ContainerId, Exit, FilesDigest, HostName, InstanceId, NodeId, Occupation, Pool, PullPolicy, PullProgress,
    RunnerName, Said, Template,
};

/// How often an engine's containers are listed; its events make it sooner.
const INTERVAL: Duration = Duration::from_secs(10);

/// One engine, or a Swarm of several.
#[derive(Clone)]
pub enum AnyEngine {
    Docker(Docker),
    Swarm(Swarm),
}

/// The same call of either.
macro_rules! either {
    ($self:ident, $engine:ident => $call:expr) => {
        match $self {
            Self::Docker($engine) => $call,
            Self::Swarm($engine) => $call,
        }
    };
    // The larger of the two futures would be in each.
    (async $self:ident, $engine:ident => $call:expr) => {
        match $self {
            Self::Docker($engine) => $call.await,
            Self::Swarm($engine) => boxed($call).await,
        }
    };
}

impl AnyEngine {
    /// The engine at `endpoint`, or the Swarm that it manages.
    pub fn new(
        is_swarm: bool,
        host: HostName,
        endpoint: Endpoint,
        instance: InstanceId,
        reporter: Reporter,
    ) -> Self {
        if is_swarm {
            Self::Swarm(Swarm::new(host, endpoint, instance, reporter))
        } else {
            Self::Docker(Docker::new(host, endpoint, instance, reporter))
        }
    }

    /// The engine that is called: that of a Swarm is its manager's.
    pub fn docker(&self) -> &Docker {
        match self {
            Self::Docker(docker) => docker,
            Self::Swarm(swarm) => swarm.manager(),
        }
    }

    /// How long after a list the next one is due, if no event makes it sooner.
    pub fn relist_after(&self) -> Duration {
        match self {
            Self::Docker(_) => INTERVAL,
            Self::Swarm(swarm) => swarm.relist_after(),
        }
    }

    /// What happens, as far as the engine reports it. The last item is an error.
    pub fn events(&self) -> BoxStream<'static, Result<Happened, HostError>> {
        either!(self, engine => engine.events())
    }

    /// The recognized lines of a started runner's log, until it has a job or has ended.
    pub fn follow(
        &self,
        id: &ContainerId,
        busy: watch::Receiver<bool>,
    ) -> BoxStream<'static, Result<Said, HostError>> {
        either!(self, engine => engine.follow(id, busy))
    }

    /// What containers are created from for an image reference, if the engine has it.
    pub async fn image(&self, reference: &str, pull: PullPolicy) -> Result<Option<String>, HostError> {
        match self {
            Self::Docker(docker) => docker.image(reference).await,
            Self::Swarm(swarm) => swarm.image(reference, pull).await,
        }
    }

    /// Pulls an image. The nodes of a Swarm pull it themselves, and only its digest is looked up.
    pub async fn pull(
        &self,
        reference: &str,
        own: Option<&RegistryLogin>,
        on_progress: impl FnMut(PullProgress) + Send,
    ) -> Result<String, HostError> {
        match self {
            Self::Docker(docker) => docker.pull(reference, own, on_progress).await,
            Self::Swarm(swarm) => swarm.resolve(reference, own).await,
        }
    }

    /// Removes what is left of an image that a pull has replaced; on a Swarm that is left to its nodes.
    pub async fn remove_replaced(&self, reference: &str, id: &str) -> Result<bool, HostError> {
        match self {
            Self::Docker(docker) => docker.remove_replaced(reference, id).await,
            Self::Swarm(_) => Ok(true),
        }
    }
}

impl Host for AnyEngine {
    type Files = TemplateFiles;
    type Prepared = Prepared;

    async fn list(&self) -> Result<Listed, HostError> {
        either!(async self, engine => engine.list())
    }

    async fn read_files(&self, template: &Template) -> Result<TemplateFiles, HostError> {
        self.docker().read_files(template).await
    }

    fn digest(files: &TemplateFiles) -> FilesDigest {
        files.digest()
    }

    async fn prepare(&self, runner: Preparation<'_>) -> Result<Prepared, HostError> {
        either!(async self, engine => engine.prepare(runner))
    }

    async fn create(&self, launch: Launch<'_>) -> Result<ContainerId, HostError> {
        either!(async self, engine => engine.create(launch))
    }

    async fn start(&self, id: &ContainerId) -> Result<(), HostError> {
        either!(async self, engine => engine.start(id))
    }

    async fn launch(&self, launch: Launch<'_>) -> Result<ContainerId, LaunchError> {
        either!(async self, engine => engine.launch(launch))
    }

    async fn occupation(&self, id: &ContainerId) -> Result<Occupation, HostError> {
        either!(async self, engine => engine.occupation(id))
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), HostError> {
        either!(async self, engine => engine.stop(id, grace))
    }

    async fn exit(&self, id: &ContainerId) -> Result<Option<Exit>, HostError> {
        either!(async self, engine => engine.exit(id))
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), HostError> {
        either!(async self, engine => engine.remove(id))
    }

    async fn promote(&self, runner: &RunnerName, pool: &Pool) -> Result<(), HostError> {
        either!(async self, engine => engine.promote(runner, pool))
    }

    async fn detach(&self, runner: &RunnerName) -> Result<(), HostError> {
        either!(async self, engine => engine.detach(runner))
    }

    async fn drain_node(&self, node: &NodeId) -> Result<(), HostError> {
        either!(async self, engine => engine.drain_node(node))
    }
}
