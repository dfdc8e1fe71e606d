//! Caches over the life of a daemon: slots are of one runner at a time, kept over restarts and never deleted, and only
//! trusted jobs change what the next ones find.

use std::{collections::BTreeSet, time::Duration};

use bollard::query_parameters::InspectContainerOptions;
use dayfly::simulator::{Behaviour, Job};

use crate::{
    job_image,
    world::{World, pool, until, within},
};

/// The volume that a container has its cache in.
async fn slot_of(world: &World, container: &str) -> String {
    let found = world.engine.inspect_container(container, None::<InspectContainerOptions>).await.unwrap();
    let mounts = found.mounts.unwrap();
    mounts.into_iter().find(|mount| mount.destination.as_deref() == Some("/cache")).unwrap().name.unwrap()
}

async fn slots_of(world: &World, runners: usize) -> BTreeSet<String> {
    let mut slots = BTreeSet::new();
    for container in world.idle("cached", runners).await {
        assert!(slots.insert(slot_of(world, &container.id).await), "two runners have one slot");
    }
    slots
}

#[tokio::test]
async fn runners_have_slots_of_their_own_that_outlive_them_and_restarts_of_the_daemon() {
    let mut world = World::new().await;
    let pool = pool("cached", "acme")
        .sized(2, 3)
        .container("cache = [{ target = \"/cache\", source = \"cargo\", mode = \"slot\" }]");
    world.configure(&[&pool]);
    world.start().await;
    let slot = |number: u32| format!("dayfly-{}-cache-cargo-{number}", world.instance);
    let (zero, one, two) = (slot(0), slot(1), slot(2));
    assert_eq!(slots_of(&world, 2).await, BTreeSet::from([zero.clone(), one.clone()]));

    world.kill();
    world.start().await;
    assert_eq!(slots_of(&world, 2).await, BTreeSet::from([zero.clone(), one.clone()]), "they are adopted");
    // One runner is busy with its slot, so the third runner, which replaces it, gets another one.
    world.github.enqueue(pool.job().lasting(Duration::from_secs(15)));
    world.until("the job runs", |status| status.count("cached", "busy") == 1).await;
    let idle = slots_of(&world, 2).await;
    assert!(idle.contains(&two), "{idle:?}");
    world.github_until("the job ends", |now| now.completed() == 1).await;
    until("its container is removed", async || (world.containers().await.len() == 2).then_some(())).await;

    for volume in [&zero, &one, &two] {
        let kept = world.engine.inspect_volume(volume).await.unwrap();
        assert_eq!(kept.labels.get("dev.dayfly.cache").map(String::as_str), Some("cargo"));
    }
}

#[tokio::test]
async fn a_hostile_job_changes_nothing_for_the_next_one_and_a_trusted_job_does() {
    let mut world = World::new().await;
    let Some(image) = job_image::make(&world, "promoted caches").await else { return };
    world.hook("acme");
    // One runner at a time, each launched for its job: it starts with what was promoted before.
    let pool = pool("cached", "acme/widgets")
        .sized(0, 1)
        .policy("demand = [\"webhook\"]")
        .image(image)
        .command(job_image::COMMAND)
        .container(
            "cache = [{ target = \"/cache\", source = \"cargo\", mode = \"slot\", promote = \"trusted\" }]",
        );
    world.configure(&[&pool]);
    world.start().await;
    let of = |event: &str, finds: &str, leaves: &str| {
        let script =
            format!("test \"$(cat /cache/state 2>/dev/null)\" = \"{finds}\"\necho {leaves} >/cache/state\n");
        pool.job().started_by(event, "main").named(leaves).that(Behaviour::Runs(script))
    };
    let fork = |job: Job| job.from_fork("mallory/widgets");
    let jobs = [
        (of("push", "", "good"), 1),
        (fork(of("pull_request", "good", "poison-1")), 1),
        // What runs on the default branch for what anyone has sent.
        (of("workflow_run", "good", "poison-2"), 1),
        (of("push", "good", "better"), 2),
        (fork(of("push", "better", "poison-3")), 2),
        (of("push", "better", "best"), 3),
    ];
    for (done, (job, promoted)) in (1..).zip(jobs) {
        world.github.enqueue(job);
        let now = world.github_until("the job ends", |now| now.completed() == done).await;
        assert_eq!(now.succeeded, done, "{:#?}", world.github.jobs());
        // What GitHub reports late is waited for.
        let removed = async || world.containers().await.is_empty().then_some(());
        within(Duration::from_mins(3), "its container is removed", removed).await;
        let logged = world.until_logged(promoted, &["promoted the caches of a trusted job"]).await;
        assert_eq!(logged.len(), promoted, "after job {done}: {logged:?}");
    }
}
