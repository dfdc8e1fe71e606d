//! Bounds on how much goes on at once: around an edge, not in it. Launches have bounds of their
//! own, so that no amount of clearing away makes a job wait.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    fleet::{Container, ContainerId, Exit, Occupation, Registration, RegistrationId},
    github::{GithubError, Mint, MintedRunner, RunnerApi},
    host::{Host, HostError, Launch},
};

/// Mints under way at once: GitHub counts more than a hundred requests at once as abuse.
const MINTS: usize = 32;

/// Removals of registrations under way at once.
const DELETIONS: usize = 4;

/// An edge with bounds around it.
#[derive(Clone)]
pub struct Bounded<T> {
    edge: T,
    first: Arc<Semaphore>,
    second: Arc<Semaphore>,
}

impl<T> Bounded<T> {
    /// Bounds around GitHub, to be shared by all scopes of a credential.
    pub fn github() -> impl Fn(T) -> Self {
        let (mints, deletions) = (Arc::new(Semaphore::new(MINTS)), Arc::new(Semaphore::new(DELETIONS)));
        move |edge| Self { edge, first: mints.clone(), second: deletions.clone() }
    }

    /// Bounds around an engine with so many processors. Twice as many launches at once is where
    /// more of them only make each slower (measured; see docs/decisions).
    pub fn engine(edge: T, cpus: usize) -> Self {
        let launches = Arc::new(Semaphore::new(2 * cpus.max(1)));
        Self { edge, first: launches, second: Arc::new(Semaphore::new(cpus.max(1))) }
    }
}

/// Waits for a place. The semaphores are never closed; if one were, having no bound is the lesser
/// evil.
async fn place(semaphore: &Semaphore) -> Option<SemaphorePermit<'_>> {
    semaphore.acquire().await.ok()
}

impl<T: RunnerApi> RunnerApi for Bounded<T> {
    async fn list(&self) -> Result<Vec<Registration>, GithubError> {
        self.edge.list().await
    }

    async fn mint(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        let _place = place(&self.first).await;
        self.edge.mint(mint).await
    }

    async fn delete(&self, id: RegistrationId) -> Result<(), GithubError> {
        let _place = place(&self.second).await;
        self.edge.delete(id).await
    }
}

impl<T: Host> Host for Bounded<T> {
    async fn list(&self) -> Result<Vec<Container>, HostError> {
        self.edge.list().await
    }

    async fn create(&self, launch: Launch<'_>) -> Result<ContainerId, HostError> {
        let _place = place(&self.first).await;
        self.edge.create(launch).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), HostError> {
        let _place = place(&self.first).await;
        self.edge.start(id).await
    }

    async fn occupation(&self, id: &ContainerId) -> Result<Occupation, HostError> {
        self.edge.occupation(id).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), HostError> {
        self.edge.stop(id, grace).await
    }

    async fn exit(&self, id: &ContainerId) -> Result<Option<Exit>, HostError> {
        self.edge.exit(id).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), HostError> {
        let _place = place(&self.second).await;
        self.edge.remove(id).await
    }
}
