//! Nodes that are lost with their runners, for a while or for good.

use std::time::Duration;

use super::site::{Site, disturb, on_swarm};
use crate::world::{Pool, within};

/// How long GitHub and Dayfly may take to give up an idle runner on a lost node: two minutes and a half by design.
const GIVEN_UP: Duration = Duration::from_mins(5);

/// Runners with jobs on both nodes, and an idle one on the worker, of another pool. The first pool is returned.
async fn busy_on_both(site: &mut Site, job: Duration) -> Pool {
    let pool = on_swarm("linux").sized(1, 8);
    let idle = on_swarm("worker").sized(1, 1).container("constraints = [\"node.role==worker\"]");
    site.start(&[&pool, &idle]).await;
    for _ in 0..3 {
        site.world.github.enqueue(pool.job().lasting(job));
    }
    site.world
        .until("both nodes have jobs", |status| {
            status.count("linux", "busy") == 3
                && status.count("linux", "idle") == 1
                && status.count("worker", "idle") == 1
                && ["manager", "worker"].iter().all(|node| status.on_node(node, "busy") > 0)
        })
        .await;
    // What is being removed when a node loses its power may stay there: the engine forgets it.
    site.only_runs_runners().await;
    pool
}

#[tokio::test]
async fn a_node_that_hangs_and_comes_back_costs_no_job() {
    let Some(mut site) = Site::new("a node that hangs and comes back costs no job").await else { return };
    busy_on_both(&mut site, Duration::from_secs(35)).await;
    disturb("hang", "worker");
    let status = site
        .world
        .until("its runners are unknown", |status| {
            !status.node("worker").reachable && status.on_node("worker", "unknown") > 0
        })
        .await;
    assert_eq!(status.on_node("worker", "busy") + status.on_node("worker", "idle"), 0, "{status:?}");
    disturb("resume", "worker");
    site.world.until("it is back", |status| status.node("worker").reachable).await;
    let now = site.world.github_until("all jobs are served", |now| now.completed() == 3).await;
    assert_eq!((now.succeeded, now.lost), (3, 0));
    assert_eq!(site.world.exits("linux", "node_lost").await, 0);
    site.world.signal("-USR1");
    site.is_clean().await;
}

#[tokio::test]
async fn a_node_that_loses_its_power_is_made_up_for_and_its_runners_are_cleared_away() {
    let test = "a node that loses its power is made up for, and its runners are cleared away";
    let Some(mut site) = Site::new(test).await else { return };
    let pool = busy_on_both(&mut site, Duration::from_secs(30)).await;
    let busy_there = site.world.status().await.on_node("worker", "busy");
    disturb("kill", "worker");
    site.world.until("it is lost", |status| !status.node("worker").reachable).await;
    for _ in 0..2 {
        site.world.github.enqueue(pool.job());
    }
    let rest = 5 - busy_there;
    site.world.github_until("all jobs on the other node are served", |now| now.succeeded == rest).await;
    // The idle one first; what had a job only when GitHub has given that up, a quarter of an hour later.
    within(GIVEN_UP, "the idle runner there is given up", async || {
        (site.world.exits("worker", "node_lost").await == 1).then_some(())
    })
    .await;
    assert_eq!(site.world.status().await.held("worker"), Some("no_node"));
    assert_eq!(site.world.github.snapshot().lost, busy_there);

    disturb("start", "worker");
    within(GIVEN_UP, "it serves again", async || {
        let status = site.world.status().await;
        (status.node("worker").reachable && status.count("worker", "idle") == 1).then_some(())
    })
    .await;
    site.world.until("nothing is unknown", |status| status.count("linux", "unknown") == 0).await;
    site.world.signal("-USR1");
    site.is_clean().await;
}
