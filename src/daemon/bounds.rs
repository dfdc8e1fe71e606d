//! Bounds on how much goes on at once: around an edge, not in it. Launches have bounds of their
//! own, so that no amount of clearing away makes a job wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
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

/// Launches under way at once on an engine, and as many removals: one per processor, within these limits.
/// More of them end no sooner, and each takes longer (docs/decisions).
const ON_AN_ENGINE: (usize, usize) = (2, 8);

/// An edge with bounds around it.
#[derive(Clone)]
pub struct Bounded<T> {
    edge: T,
    launches: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    /// How many an engine's bounds admit.
    size: Arc<AtomicUsize>,
    /// The places of containers that were made and not yet started: a launch keeps its place, so
    /// that the first start does not wait for the last container to be made.
    begun: Arc<Mutex<BTreeMap<ContainerId, OwnedSemaphorePermit>>>,
}

impl<T> Bounded<T> {
    /// Bounds around GitHub, to be shared by all scopes of a credential.
    pub fn github() -> impl Fn(T) -> Self {
        let (mints, deletions) = (Arc::new(Semaphore::new(MINTS)), Arc::new(Semaphore::new(DELETIONS)));
        move |edge| Self {
            edge,
            launches: mints.clone(),
            removals: deletions.clone(),
            size: Arc::default(),
            begun: Arc::default(),
        }
    }

    /// Bounds around an engine whose size is not known yet: those of the smallest.
    pub fn engine(edge: T) -> Self {
        let (least, _) = ON_AN_ENGINE;
        let (launches, removals) = (Semaphore::new(least), Semaphore::new(least));
        let size = Arc::new(AtomicUsize::new(least));
        Self { edge, launches: launches.into(), removals: removals.into(), size, begun: Arc::default() }
    }

    /// Widens the bounds to what an engine with so many processors takes. They are never narrowed.
    pub fn widen(&self, cpus: usize) {
        let (least, most) = ON_AN_ENGINE;
        let size = cpus.clamp(least, most);
        let more = size.saturating_sub(self.size.fetch_max(size, Ordering::Relaxed));
        self.launches.add_permits(more);
        self.removals.add_permits(more);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_gets_one_launch_per_processor_within_limits() {
        for (cpus, launches) in [(1, 2), (2, 2), (6, 6), (64, 8)] {
            let bounded = Bounded::engine(());
            assert_eq!(bounded.launches.available_permits(), 2, "before its size is known");
            // Measuring it again changes nothing.
            for _ in 0..2 {
                bounded.widen(cpus);
                assert_eq!(bounded.launches.available_permits(), launches, "{cpus} processors");
            }
            bounded.clone().widen(1);
            assert_eq!(bounded.removals.available_permits(), launches, "clones share the bounds");
        }
    }
}
