//! Every job source, from no runner to none again: a pool that keeps no runner idle.

use std::process::{Command, Output};

use dayfly::simulator::{Endpoint, Job, Settings};

use crate::{
    engine::BINARY,
    world::{Pool, World, pool, quick, until},
};

fn from_nothing(demand: &str) -> Pool {
    pool("linux", "acme")
        .sized(0, 3)
        .policy(&format!("demand = {demand}"))
        .policy("idle_timeout = \"1s\"")
        .policy("idle_confirmation = \"1s\"")
}

async fn served(world: &World, count: usize) {
    world.github_until("the jobs are served", |now| now.completed() == count).await;
}

/// Nothing but the daemon's own removal makes a pool empty again.
async fn empty_again(world: &World) {
    until("the pool is empty again", async || {
        let left = world.containers().await.len() + world.github.snapshot().runners.len();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_polled_queue_launches_runners_from_nothing() {
    let mut world = World::new().await;
    // Repositories without recent pushes are searched for only once a minute.
    world.github.push("acme/widgets", false);
    let pool = from_nothing("[\"queue\"]");
    world.configure(&[&pool]);
    world.start().await;
    for _ in 0..5 {
        world.github.enqueue(pool.job().of("acme/widgets").named("build"));
    }
    served(&world, 5).await;
    empty_again(&world).await;
    let waited = world.metric("dayfly_job_queue_seconds_count{pool=\"linux\"}").await;
    let reported = world.until_logged(waited, &["has job \\\"build\\\" of acme/widgets"]).await.len();
    assert_eq!(reported, waited, "what the log tells, the metric counts");
    assert_eq!(world.exits("linux", "completed").await, 5, "one job each");
}

#[tokio::test]
async fn a_webhook_brings_a_runner_and_a_lost_one_is_found_in_githubs_log() {
    let mut world = World::new().await;
    world.hook("acme");
    let pool = from_nothing("[\"webhook\"]");
    world.configure(&[&pool]);
    world.start().await;
    world.github.enqueue(pool.job().of("acme/widgets").named("build"));
    served(&world, 1).await;
    let taken = "dayfly_webhook_deliveries_total{event=\"workflow_job\",result=\"accepted\"}";
    assert!(world.metric(taken).await > 0);
    assert_eq!(world.github.count(Endpoint::ListRuns), 0, "nobody looked at a queue");
    world.until_logged(1, &["has job \\\"build\\\" of acme/widgets", "\"run\":"]).await;
    world.terminate().await;

    world.github.enqueue(pool.job().of("acme/widgets"));
    until("the delivery has failed", async || {
        world
            .github
            .deliveries()
            .iter()
            .any(|delivery| delivery.over && delivery.answered.is_none())
            .then_some(())
    })
    .await;
    world.start().await;
    served(&world, 2).await;
    empty_again(&world).await;
}

/// Not on the thread that GitHub is simulated on.
async fn purge(world: &World) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["purge", "--yes", "--config"]).arg(world.config());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_scale_set_brings_runners_and_outlives_a_kill() {
    let mut world = World::new().await;
    let pool = from_nothing("[\"scale-set\"]");
    world.configure(&[&pool]);
    world.start().await;
    for _ in 0..3 {
        world.github.enqueue(pool.job().of("acme/widgets"));
    }
    served(&world, 3).await;
    world.kill();
    world.start().await;
    world.github.enqueue(pool.job().of("acme/widgets"));
    served(&world, 4).await;
    empty_again(&world).await;
    assert_eq!(world.github.count(Endpoint::Mint), 0, "the set mints its runners itself");

    let refused = purge(&world).await;
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && why.contains("while the daemon is stopped"), "{why}");

    let (status, _) = world.terminate().await;
    assert!(status.success());
    let sets = world.github.scale_sets().views();
    assert_eq!(sets.len(), 1, "the set is kept");
    assert_eq!(sets[0].owner, None, "its session was closed");

    let purged = purge(&world).await;
    let said = String::from_utf8(purged.stdout).unwrap();
    let why = String::from_utf8(purged.stderr).unwrap();
    assert!(purged.status.success() && said.contains("removed"), "{said}{why}");
    assert!(world.github.scale_sets().views().is_empty());
}

#[tokio::test]
async fn a_job_that_no_pool_serves_is_reported_once_with_the_reason() {
    let mut world = World::new().await;
    // Repositories without recent pushes are searched for only once a minute.
    world.github.push("acme/widgets", false);
    let pool = from_nothing("[\"queue\"]");
    world.configure(&[&pool]);
    world.start().await;
    world.github.enqueue(Job::new("acme", &["self-hosted", "gpu"]).of("acme/widgets").named("train"));
    let series = "dayfly_unmatched_queued_jobs{reason=\"labels\"}";
    until("it is counted", async || (world.metric(series).await == 1).then_some(())).await;
    let looks = world.github.count(Endpoint::ListRuns);
    until("the queue is looked at again", async || {
        (world.github.count(Endpoint::ListRuns) > looks + 3).then_some(())
    })
    .await;
    let reported = world.until_logged(1, &["\"level\":\"WARN\"", "train", "lacks gpu"]).await;
    assert_eq!(reported.len(), 1, "{reported:#?}");
}

#[tokio::test]
async fn an_enterprises_pool_serves_the_repositories_that_it_names() {
    let settings = Settings {
        scopes: ["acme", "acme/widgets", "enterprises/umbrella"].map(str::to_owned).to_vec(),
        ..quick()
    };
    let mut world = World::with(settings).await;
    let pool = pool("linux", "enterprises/umbrella")
        .sized(0, 2)
        .policy("demand = [\"queue\"]")
        .policy("repositories = [\"acme/widgets\"]");
    world.configure(&[&pool]);
    world.start().await;
    world.github.enqueue(Job::new("acme/widgets", &["self-hosted", "linux"]));
    served(&world, 1).await;
}
