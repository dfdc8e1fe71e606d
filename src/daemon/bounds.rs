//! Limits of concurrency: around an edge, not in it. Launches have separate limits, so that removals never
//! make a job wait.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    fleet::{ContainerId, Exit, FilesDigest, NodeId, Occupation, Pool, RegistrationId, RunnerName, Template},
    github::{GithubError, Listing, Mint, MintedRunner, RunnerApi},
    host::{Host, HostError, LaunchError, LaunchOf, Listed, Preparation},
};

/// Concurrent mints: GitHub treats more than a hundred concurrent requests as abuse.
const MINTS: u16 = 32;

/// Concurrent removals of registrations.
const DELETIONS: u16 = 4;

/// Concurrent launches on an engine (docs/decisions).
const LAUNCHES: u16 = 8;

/// Concurrent launches on an engine that had none in flight, until the first of them is running: more of them
/// would make the first take twice as long.
const FIRST_LAUNCHES: u16 = 2;

/// The longest time that the first launch may delay the others.
const HEAD_START: Duration = Duration::from_secs(1);

/// Concurrent preparations on an engine. They have slots of their own, because an engine in a sidecar may take long
/// to answer, which must not delay launches that need none.
const PREPARATIONS: u16 = 8;

/// Concurrent removals of containers on an engine.
const REMOVALS: u16 = 4;

/// Slots for one kind of action.
#[derive(Clone)]
struct Slots(Arc<Semaphore>);

impl Slots {
    fn new(size: u16) -> Self {
        Self(Arc::new(Semaphore::new(size.into())))
    }

    /// Waits for a slot. The semaphores are never closed; if one were, having no limit would be the lesser
    /// evil.
    async fn one(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_owned().await.ok()
    }

    /// Launches in one slot. If no other launch is in flight, also holds the slots of all but the first launches,
    /// until this one is running or `head_start` is over.
    async fn launch<F: Future>(&self, launch: F, head_start: Duration) -> F::Output {
        let Ok(mut slots) = self.0.clone().try_acquire_many_owned(LAUNCHES.into()) else {
            let _slot = self.one().await;
            return launch.await;
        };
        drop(slots.split((FIRST_LAUNCHES - 1).into()));
        let mut launch = pin!(launch);
        if let Ok(done) = timeout(head_start, &mut launch).await {
            return done;
        }
        let _slot = slots.split(1);
        drop(slots);
        launch.await
    }
}

/// An edge with limits of concurrency.
#[derive(Clone)]
pub struct Bounded<T> {
    edge: T,
    launches: Slots,
    preparations: Slots,
    removals: Slots,
}

impl<T> Bounded<T> {
    /// The limits for GitHub, shared by all scopes of a credential.
    pub fn github() -> impl Fn(T) -> Self {
        let (launches, removals) = (Slots::new(MINTS), Slots::new(DELETIONS));
        move |edge| Self {
            edge,
            launches: launches.clone(),
            preparations: launches.clone(),
            removals: removals.clone(),
        }
    }

    /// The limits for an engine.
    pub fn engine(edge: T) -> Self {
        let (launches, removals) = (Slots::new(LAUNCHES), Slots::new(REMOVALS));
        Self { edge, launches, preparations: Slots::new(PREPARATIONS), removals }
    }
}

impl<T: RunnerApi> RunnerApi for Bounded<T> {
    async fn list(&self) -> Result<Listing, GithubError> {
        self.edge.list().await
    }

    async fn mint(&self, mint: Mint<'_>) -> Result<MintedRunner, GithubError> {
        let _slot = self.launches.one().await;
        self.edge.mint(mint).await
    }

    async fn delete(&self, id: RegistrationId) -> Result<(), GithubError> {
        let _slot = self.removals.one().await;
        self.edge.delete(id).await
    }
}

impl<T: Host<Prepared: Default>> Host for Bounded<T> {
    type Files = T::Files;
    type Prepared = T::Prepared;

    async fn read_files(&self, template: &Template) -> Result<T::Files, HostError> {
        self.edge.read_files(template).await
    }

    fn digest(files: &T::Files) -> FilesDigest {
        T::digest(files)
    }

    async fn list(&self) -> Result<Listed, HostError> {
        self.edge.list().await
    }

    async fn prepare(&self, runner: Preparation<'_>) -> Result<T::Prepared, HostError> {
        if !runner.pool.template.needs_preparation() {
            return Ok(T::Prepared::default());
        }
        let _slot = self.preparations.one().await;
        self.edge.prepare(runner).await
    }

    async fn detach(&self, runner: &RunnerName) -> Result<(), HostError> {
        let _slot = self.removals.one().await;
        self.edge.detach(runner).await
    }

    async fn drain_node(&self, node: &NodeId) -> Result<(), HostError> {
        self.edge.drain_node(node).await
    }

    async fn promote(&self, runner: &RunnerName, pool: &Pool) -> Result<(), HostError> {
        self.edge.promote(runner, pool).await
    }

    async fn create(&self, launch: LaunchOf<'_, T>) -> Result<ContainerId, HostError> {
        self.edge.create(launch).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), HostError> {
        self.edge.start(id).await
    }

    async fn launch(&self, launch: LaunchOf<'_, T>) -> Result<ContainerId, LaunchError> {
        self.launches.launch(self.edge.launch(launch), HEAD_START).await
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
        let _slot = self.removals.one().await;
        self.edge.remove(id).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// Twenty launches, of which none ends by itself. Returns them with how many have begun, and what ends one.
    fn launches(slots: &Slots, head_start: Duration) -> (JoinSet<()>, Arc<Semaphore>, Arc<Semaphore>) {
        let (begun, ends) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let (slots, begun, ends) = (slots.clone(), begun.clone(), ends.clone());
            tasks.spawn(async move {
                let launch = async {
                    begun.add_permits(1);
                    ends.acquire().await.unwrap().forget();
                };
                slots.launch(launch, head_start).await;
            });
        }
        (tasks, begun, ends)
    }

    /// Waits until so many more launches have begun, and asserts that no other does.
    async fn begin(begun: &Semaphore, count: u32) {
        begun.acquire_many(count).await.unwrap().forget();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(begun.available_permits(), 0);
    }

    #[tokio::test]
    async fn two_launches_begin_and_the_others_once_the_first_is_up() {
        let slots = Slots::new(LAUNCHES);
        let (mut tasks, begun, ends) = launches(&slots, Duration::MAX);
        begin(&begun, 2).await;
        ends.add_permits(1);
        begin(&begun, 7).await;
        ends.add_permits(19);
        while tasks.join_next().await.is_some() {}
        assert_eq!(slots.0.available_permits(), 8);
    }

    #[tokio::test]
    async fn a_first_launch_that_hangs_delays_the_others_for_its_head_start() {
        let (_tasks, begun, _ends) = launches(&Slots::new(LAUNCHES), Duration::ZERO);
        begin(&begun, 8).await;
    }
}
