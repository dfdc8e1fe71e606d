//! A real Docker Swarm of two nodes as a host. `tests/engines/with swarm-26` runs these tests, one at a time: they disturb
//! the nodes that they share.

mod site;

use self::site::Site;

#[tokio::test]
async fn jobs_run_on_both_nodes_and_nothing_is_left_of_them() {
    let Some(mut site) = Site::new("jobs run on both nodes and nothing is left of them").await else {
        return;
    };
    let pool = site.pool("linux").sized(2, 8);
    site.start(&[&pool]).await;
    site.world.until("two are idle", |status| status.count("linux", "idle") == 2).await;
    for _ in 0..10 {
        site.world.github.enqueue(pool.job());
    }
    let now = site.world.github_until("all jobs are served", |now| now.succeeded == 10).await;
    assert_eq!((now.lost, now.failed), (0, 0));
    site.world.until("two are idle again", |status| status.count("linux", "idle") == 2).await;
    let nodes = site.nodes_of_runners().await;
    assert_eq!(nodes.len(), 2, "they are spread: {nodes:?}");
    site.world.signal("-USR1");
    site.is_clean().await;
}
