//! The daemon is killed in the middle of launches, at each step, and started again: every
//! registration ends in a running container or is removed.

use std::time::Duration;

use dayfly::simulator::{Endpoint, Fault, FaultKind};

use crate::{
    proxy::{Hold, Proxy},
    world::{World, pool, until, within},
};

const RUNNERS: usize = 2;

/// Leftovers that may still belong to another process are kept for up to a minute.
const SETTLED: Duration = Duration::from_mins(3);

#[tokio::test]
async fn killed_before_github_has_minted() {
    killed_at(Step::BeforeMint).await;
}

#[tokio::test]
async fn killed_when_github_has_minted_and_not_yet_answered() {
    killed_at(Step::AfterMint).await;
}

#[tokio::test]
async fn killed_before_the_container_is_made() {
    killed_at(Step::BeforeCreate).await;
}

#[tokio::test]
async fn killed_when_the_container_is_made_and_not_started() {
    killed_at(Step::BeforeStart).await;
}

#[tokio::test]
async fn killed_when_the_container_is_started_and_nothing_was_reported() {
    killed_at(Step::AfterStart).await;
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    BeforeMint,
    AfterMint,
    BeforeCreate,
    BeforeStart,
    AfterStart,
}

async fn killed_at(step: Step) {
    let mut world = World::new().await;
    let socket = world.path("docker.sock");
    let proxy = Proxy::start(&socket);
    // An engine that cannot set the usual limit is tried once with it.
    let pool = pool("linux", "acme").sized(RUNNERS, RUNNERS + 1).container("ulimits = { nofile = 1024 }");
    world.configure_at(socket.to_str().unwrap(), &[&pool]);
    match step {
        Step::BeforeMint => world.github.fault(Fault::new(FaultKind::Hangs).on(Endpoint::Mint)),
        Step::AfterMint => {
            world.github.fault(Fault::new(FaultKind::Slow(Duration::from_mins(10))).on(Endpoint::Mint));
        }
        Step::BeforeCreate => proxy.hold(Some(Hold::Request("/containers/create"))),
        Step::BeforeStart => proxy.hold(Some(Hold::Request("/start"))),
        Step::AfterStart => proxy.hold(Some(Hold::Answer("/start"))),
    }
    world.start().await;
    until("all launches are stuck", async || {
        let (containers, registered) = (world.containers().await, world.github.snapshot().runners.len());
        let running = containers.iter().filter(|container| container.state == "running").count();
        let reached = match step {
            Step::BeforeMint => world.github.count(Endpoint::Mint) == RUNNERS as u64,
            Step::AfterMint => registered == RUNNERS,
            Step::BeforeCreate => proxy.stuck() == RUNNERS,
            Step::BeforeStart => proxy.stuck() == RUNNERS && containers.len() == RUNNERS,
            Step::AfterStart => proxy.stuck() == RUNNERS && running == RUNNERS,
        };
        reached.then_some(())
    })
    .await;
    world.kill();
    world.github.clear_faults();
    proxy.hold(None);
    let left = world.containers().await;
    let minted = world.github.count(Endpoint::Mint);
    let registered = world.github.snapshot().runners.len();
    assert_eq!(registered, if step == Step::BeforeMint { 0 } else { RUNNERS });

    world.start().await;
    within(SETTLED, "every registration has its container, and the pool its runners", async || {
        let (status, now, containers) =
            (world.status().await, world.github.snapshot(), world.containers().await);
        let at_work = |container: &crate::engine::Container| {
            let of_github = now.runner(&container.runner);
            let known = status.runners.iter().any(|runner| {
                runner.name == container.runner
                    && runner.phase == "idle"
                    && runner.container_id.as_ref() == Some(&container.id)
            });
            let online = of_github.is_some_and(|r| r.online && r.id == container.registration);
            container.state == "running" && online && known
        };
        let settled = containers.iter().all(at_work)
            && [containers.len(), now.runners.len(), status.runners.len()] == [RUNNERS; 3];
        settled.then_some(())
    })
    .await;
    let adopted = step == Step::AfterStart;
    assert_eq!(world.running().await == left, adopted, "only what ran is worth keeping");
    let launched = world.github.count(Endpoint::Mint) - minted;
    assert_eq!(launched, if adopted { 0 } else { RUNNERS as u64 }, "none too many");
    world.github.enqueue(pool.job());
    world.github_until("jobs are served", |now| now.succeeded == 1).await;
}
