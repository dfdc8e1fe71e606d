//! A host's engine, in the world. What a runner needs beside its container is made and removed in several calls,
//! any of which may fail, and between any two of which the daemon may be killed.

use std::time::Duration;

use dayfly_executor::{Host, HostError, LaunchOf, Listed, Preparation};
use dayfly_fleet::{
    ContainerId, DockerMode, Exit, FilesDigest, Network, NodeId, Occupation, Pool, RunnerName, Template,
};

use crate::{
    calls::{Answer, Ask, call},
    world::Shared,
};

/// One engine.
pub(crate) struct Engine {
    pub(crate) world: Shared,
    pub(crate) host: usize,
}

impl Engine {
    async fn ask<T>(&self, ask: Ask, wanted: impl FnOnce(Answer) -> Option<T>) -> Result<T, HostError> {
        match call(&self.world, ask).await {
            Answer::Engine(error) => Err(error),
            answer => Ok(wanted(answer).expect("an answer to what was asked")),
        }
    }

    async fn ask_to(&self, ask: Ask) -> Result<(), HostError> {
        self.ask(ask, |answer| matches!(answer, Answer::Done).then_some(())).await
    }
}

impl Host for Engine {
    type Files = ();
    type Prepared = ();

    async fn read_files(&self, _: &Template) -> Result<(), HostError> {
        Ok(())
    }

    fn digest((): &()) -> FilesDigest {
        FilesDigest(0)
    }

    async fn list(&self) -> Result<Listed, HostError> {
        self.ask(Ask::Containers(self.host), |answer| match answer {
            Answer::Containers(listed) => Some(listed),
            _ => None,
        })
        .await
    }

    async fn prepare(&self, of: Preparation<'_>) -> Result<(), HostError> {
        let (host, template) = (self.host, &of.pool.template);
        if template.network == Network::Isolated {
            self.ask_to(Ask::MakeNetwork { host, runner: of.runner.clone() }).await?;
        }
        if let DockerMode::Dind(dind) = &template.docker {
            let (runner, resources) = (of.runner.clone(), dind.resources);
            self.ask_to(Ask::CreateSidecar { host, runner, resources }).await?;
            self.ask_to(Ask::StartSidecar { host, runner: of.runner.clone() }).await?;
            self.ask_to(Ask::Sidecar { host, runner: of.runner.clone() }).await?;
        }
        Ok(())
    }

    async fn detach(&self, runner: &RunnerName) -> Result<(), HostError> {
        let detach = |sidecars| Ask::Detach { host: self.host, runner: runner.clone(), sidecars };
        let sidecars = self.ask_to(detach(true)).await;
        sidecars.and(self.ask_to(detach(false)).await)
    }

    async fn promote(&self, _: &RunnerName, _: &Pool) -> Result<(), HostError> {
        Ok(())
    }

    async fn create(&self, launch: LaunchOf<'_, Self>) -> Result<ContainerId, HostError> {
        let (runner, registration) = (launch.runner.clone(), launch.registration);
        let ask = Ask::Create { host: self.host, runner, registration, devices: launch.devices.clone() };
        self.ask(ask, |answer| match answer {
            Answer::Created(id) => Some(id),
            _ => None,
        })
        .await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), HostError> {
        self.ask_to(Ask::Start(self.host, id.clone())).await
    }

    async fn occupation(&self, id: &ContainerId) -> Result<Occupation, HostError> {
        self.ask(Ask::Occupation(self.host, id.clone()), |answer| match answer {
            Answer::Occupation(occupation) => Some(occupation),
            _ => None,
        })
        .await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), HostError> {
        let grace = u64::try_from(grace.as_millis()).expect("short");
        self.ask_to(Ask::Stop { host: self.host, id: id.clone(), grace }).await
    }

    async fn exit(&self, id: &ContainerId) -> Result<Option<Exit>, HostError> {
        self.ask(Ask::Exit(self.host, id.clone()), |answer| match answer {
            Answer::Exit(exit) => Some(exit),
            _ => None,
        })
        .await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), HostError> {
        self.ask_to(Ask::Remove(self.host, id.clone())).await
    }

    async fn drain_node(&self, node: &NodeId) -> Result<(), HostError> {
        self.ask_to(Ask::DrainNode(self.host, node.clone())).await
    }
}
