//! The main job: jobs come, runners serve them, and nothing is left.

use std::time::Duration;

use crate::{
    engines::TestEngine,
    world::{World, pool, quick, until},
};

const JOBS: usize = 30;

#[tokio::test]
async fn jobs_are_served_to_zero_leftovers() {
    let mut world = World::new().await;
    let pools = [pool("repo", "acme/widgets").sized(2, 4), pool("org", "acme").sized(2, 4)];
    world.configure(&[&pools[0], &pools[1]]);
    world.start().await;
    for number in 0..JOBS {
        let job = pools[number % 2].job().named(format!("job {number}"));
        world.github.enqueue(job.lasting(Duration::from_millis(300)));
    }
    let now = world.github_until("all jobs are served", |now| now.completed() == JOBS).await;
    assert_eq!((now.succeeded, now.failed, now.lost), (JOBS, 0, 0));

    world.signal("-USR1");
    world.until("the daemon is draining", |status| status.draining).await;
    until("nothing is left", async || {
        let left = world.containers().await.len() + world.github.snapshot().runners.len();
        (left == 0).then_some(())
    })
    .await;
    world.until("the daemon knows that nothing is left", |status| status.runners.is_empty()).await;
    for pool in ["repo", "org"] {
        assert_eq!(world.exits(pool, "completed").await, JOBS / 2, "one job each");
        assert_eq!(world.status().await.held(pool), Some("draining"));
    }
}

#[tokio::test]
async fn runners_that_reach_github_by_another_address_than_the_daemon_serve_jobs() {
    let Some(engine) = TestEngine::privileged("runners with another network") else { return };
    let mut world = World::on(engine, quick()).await;
    let pool = pool("far", "acme").sized(1, 2);
    world.configure(&[&pool]);
    world.start().await;
    for number in 0..3 {
        world.github.enqueue(pool.job().named(format!("job {number}")));
    }
    world.github_until("all jobs are served", |now| now.succeeded == 3).await;
}
