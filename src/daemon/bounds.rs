//! Bounds on how much goes on at once: around an edge, not in it. Launches have bounds of their
//! own, so that no amount of clearing away makes a job wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    fleet::{Container, ContainerId, Exit, Occupation, RegistrationId},
    github::{GithubError, Listing, Mint, MintedRunner, RunnerApi},
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
    launches: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    /// The places of containers that were made and not yet started: a launch keeps its place, so
    /// that the first start does not wait for the last container to be made.
    begun: Arc<Mutex<BTreeMap<ContainerId, OwnedSemaphorePermit>>>,
}

impl<T> Bounded<T> {
    /// Bounds around GitHub, to be shared by all scopes of a credential.
    pub fn github() -> impl Fn(T) -> Self {
        let (mints, deletions) = (Arc::new(Semaphore::new(MINTS)), Arc::new(Semaphore::new(DELETIONS)));
        move |edge| Self { edge, launches: mints.clone(), removals: deletions.clone(), begun: Arc::default() }
    }

    /// Bounds around an engine with so many processors. Twice as many launches at once is where
    /// more of them only make each slower (measured; see docs/decisions).
    pub fn engine(edge: T, cpus: usize) -> Self {
        let cpus = cpus.max(1);
        let (launches, removals) = (Semaphore::new(2 * cpus), Semaphore::new(cpus));
        Self { edge, launches: launches.into(), removals: removals.into(), begun: Arc::default() }
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<ContainerId, OwnedSemaphorePermit>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a place. The semaphores are never closed; if one were, having no bound is the lesser
/// evil.
async fn place(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    semaphore.clone().acquire_owned().await.ok()
}

impl<T: RunnerApi> RunnerApi for Bounded<T> {
    async fn list(&self) -> Result<Listing, GithubError> {
        self.edge.list().await
    }

    async fn mint(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        let _place = place(&self.launches).await;
        self.edge.mint(mint).await
    }

    async fn delete(&self, id: RegistrationId) -> Result<(), GithubError> {
        let _place = place(&self.removals).await;
        self.edge.delete(id).await
    }
}

impl<T: Host> Host for Bounded<T> {
    async fn list(&self) -> Result<Vec<Container>, HostError> {
        self.edge.list().await
    }

    async fn create(&self, launch: Launch<'_>) -> Result<ContainerId, HostError> {
        let place = place(&self.launches).await;
        let container = self.edge.create(launch).await?;
        if let Some(place) = place {
            self.begun().insert(container.clone(), place);
        }
        Ok(container)
    }

    async fn start(&self, id: &ContainerId) -> Result<(), HostError> {
        let begun = self.begun().remove(id);
        let _place = match begun {
            Some(place) => Some(place),
            None => place(&self.launches).await,
        };
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
        let _place = place(&self.removals).await;
        self.edge.remove(id).await
    }
}
