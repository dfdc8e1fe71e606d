//! What no node has room for, or may run, is not minted; and what the Swarm cannot place pauses its pool.

use std::time::Duration;

use dayfly::simulator::Endpoint;

use super::site::{Site, on_swarm};

#[tokio::test]
async fn what_no_node_has_room_for_is_not_minted() {
    let Some(mut site) = Site::new("what no node has room for is not minted").await else { return };
    let large = on_swarm("large").container("memory = \"4TiB\"");
    let nowhere = on_swarm("nowhere").container("constraints = [\"node.labels.disk==nvme\"]");
    site.start(&[&large, &nowhere]).await;
    let status = site
        .world
        .until("both are held", |status| {
            ["large", "nowhere"].iter().all(|pool| status.held(pool) == Some("no_node"))
        })
        .await;
    let detail = |pool: &str| status.pool(pool).held_detail.clone().unwrap_or_default();
    assert!(
        detail("large").contains("has the memory and cpus of another runner free"),
        "{}",
        detail("large")
    );
    assert!(detail("nowhere").contains("satisfies node.labels.disk==nvme"), "{}", detail("nowhere"));
    assert_eq!(site.world.github.count(Endpoint::Mint), 0);
    // As soon as a node satisfies it, without a restart.
    site.label("worker", "disk", "nvme").await;
    site.world.until("one is idle", |status| status.count("nowhere", "idle") == 1).await;
    assert_eq!(site.world.status().await.on_node("worker", "idle"), 1);
}

#[tokio::test]
async fn runners_that_the_swarm_cannot_place_cost_one_mint_and_start_when_there_is_room() {
    let test = "runners that the Swarm cannot place cost one mint, and start when there is room";
    let Some(mut site) = Site::new(test).await else { return };
    let pool = on_swarm("linux").sized(0, 10).policy("demand = [\"queue\"]").container("memory = \"2GiB\"");
    let pool = pool.policy("repositories = [\"widgets\"]");
    site.start(&[&pool]).await;
    site.world.until("the host is listed", |status| !status.hosts[0].nodes.is_empty()).await;
    // Dayfly reads what others reserve every ten seconds; this comes in between.
    let other = site.reserve_nearly_all().await;
    for _ in 0..6 {
        site.world.github.enqueue(pool.job().of("acme/widgets"));
    }
    let status = site.world.until("it is held", |status| status.held("linux") == Some("no_node")).await;
    let minted = site.world.github.count(Endpoint::Mint);
    assert!(minted <= 1, "{minted} were minted");
    assert!(status.pool("linux").held_detail.is_some());
    site.manager.delete_service(&other).await.unwrap();
    let now = site.world.github_until("all jobs are served", |now| now.succeeded == 6).await;
    assert_eq!(now.lost, 0);
    site.world.signal("-USR1");
    site.is_clean().await;
}

#[tokio::test]
async fn a_paused_node_keeps_its_runners_and_gets_no_new_ones() {
    let Some(mut site) = Site::new("a paused node keeps its runners and gets no new ones").await else {
        return;
    };
    let pool = on_swarm("linux").sized(2, 6);
    site.start(&[&pool]).await;
    site.world.until("two are idle", |status| status.count("linux", "idle") == 2).await;
    assert_eq!(site.world.status().await.on_node("worker", "idle"), 1);
    site.pause("worker").await;
    site.world.until("it is paused", |status| status.node("worker").availability == "pause").await;
    for _ in 0..4 {
        site.world.github.enqueue(pool.job().lasting(Duration::from_secs(3)));
    }
    site.world.github_until("the jobs are served", |now| now.succeeded == 4).await;
    let status = site.world.until("two are idle", |status| status.count("linux", "idle") == 2).await;
    assert!(status.node("worker").runners <= 1, "{status:?}");
    let on_manager = status.on_node("manager", "idle");
    assert!(on_manager >= 1, "{status:?}");
}
