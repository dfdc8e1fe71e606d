//! Runners that come to a bad end: it is named as what it was, nothing of them is left, and
//! others take their place.

use std::{fs, time::Duration};

use dayfly::simulator::{Behaviour, Endpoint, Settings};
use serde_json::Value;

use crate::world::{World, pool, quick, until, within};

/// A runner that was able to take jobs for longer than this has not failed.
const LONG: Duration = Duration::from_secs(61);
const GREW_OLD: Duration = Duration::from_mins(2);

/// GitHub may take a minute to let go of a dead runner; after that it is cleared away.
const CLEARED: Duration = Duration::from_secs(150);

#[tokio::test]
async fn a_runner_killed_while_idle_is_replaced() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme");
    world.configure(&[&pool]);
    world.start().await;
    let before = world.idle("linux", 1).await;
    world.docker_kill(&before[0]).await;
    world.until_exits("linux", "killed", 1).await;
    until("another runner takes its place", async || {
        let after = world.containers().await;
        let [new] = after.as_slice() else { return None };
        (new.id != before[0].id && world.github.snapshot().runner(&before[0].runner).is_none()).then_some(())
    })
    .await;
    world.idle("linux", 1).await;
    assert_eq!(world.github.snapshot().runners.len(), 1);
    world.until_logged(1, &[&before[0].runner, "\"reason\":\"killed\""]).await;
}

#[tokio::test]
async fn an_idle_runner_that_github_forgets_is_replaced_and_no_failure() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme");
    world.configure(&[&pool]);
    world.start().await;
    let before = world.idle("linux", 1).await;
    // One that ends sooner has failed.
    within(GREW_OLD, "it has been idle for long", async || {
        let since: jiff::Timestamp = world.status().await.runners[0].since.parse().unwrap();
        (since.duration_until(jiff::Timestamp::now()) > LONG.try_into().unwrap()).then_some(())
    })
    .await;
    assert!(world.github.forget(before[0].registration));
    world.until_exits("linux", "idle_removed", 1).await;
    let after = world.idle("linux", 1).await;
    assert_ne!(after, before);
    assert_eq!(world.github.count(Endpoint::Mint), 2);
    assert!(!world.state_dir().join("failed").exists(), "nothing to look into");
}

#[tokio::test]
async fn a_runner_killed_in_its_job_is_replaced_and_its_registration_cleared_away_at_last() {
    let mut world = World::with(Settings { lease: Duration::from_secs(8), ..quick() }).await;
    let pool = pool("linux", "acme");
    world.configure(&[&pool]);
    world.start().await;
    world.github.enqueue(pool.job().named("deploy").lasting(Duration::from_mins(5)));
    let busy = |status: &crate::daemon::Status| status.count("linux", "busy") == 1;
    let status = world.until("the job runs", busy).await;
    let name = &status.runners.iter().find(|runner| runner.phase == "busy").unwrap().name;
    let containers = world.containers().await;
    world.docker_kill(containers.iter().find(|container| container.runner == *name).unwrap()).await;
    world.until_exits("linux", "killed", 1).await;
    world.until_logged(1, &[name, "\"job\":\"deploy\"", "\"reason\":\"killed\""]).await;
    world.idle("linux", 1).await;
    world.github_until("the job is lost", |now| now.lost == 1).await;
    within(CLEARED, "GitHub has no trace of the dead runner", async || {
        world.github.snapshot().runner(name).is_none().then_some(())
    })
    .await;
    assert_eq!(world.idle("linux", 1).await.len(), 1);
}

#[tokio::test]
async fn a_runner_out_of_memory_is_named_as_such() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme").container("memory = \"64MiB\"");
    world.configure(&[&pool]);
    world.start().await;
    world.github.enqueue(pool.job().named("greedy").that(Behaviour::Allocates(1 << 30)));
    world.until_exits("linux", "oom", 1).await;
    world.github_until("the job has failed", |now| now.failed == 1).await;

    let record = until("there is a record of it", async || {
        let mut records = fs::read_dir(world.state_dir().join("failed")).ok()?;
        let text = fs::read_to_string(records.next()?.unwrap().path()).unwrap();
        serde_json::from_str::<Value>(&text).ok()
    })
    .await;
    assert_eq!(record["out_of_memory"], true, "{record}");
    assert_eq!((&record["reason"], &record["job"]), (&"oom".into(), &"greedy".into()), "{record}");
    let name = record["runner"].as_str().unwrap();
    let reported = world.until_logged(1, &["\"level\":\"WARN\"", name, "\"reason\":\"oom\""]).await;
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert_eq!(world.exits("linux", "oom").await, 1);
    world.idle("linux", 1).await;
}
