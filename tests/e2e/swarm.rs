//! A real Docker Swarm of two nodes as a host. `tests/engines/with swarm-26` runs these tests, one at a time: they disturb
//! the nodes that they share.

mod losses;
mod rates;
mod rooms;
mod site;
mod soak;
mod stack;

use std::{sync::Mutex, time::Duration};

use dayfly::simulator::Endpoint;

use self::site::{Site, disturb, on_swarm};
use crate::world::within;

/// How long both nodes may take to be drained one after the other.
const ROLLING: Duration = Duration::from_mins(4);

#[tokio::test]
async fn jobs_run_on_both_nodes_and_nothing_is_left_of_them() {
    let Some(mut site) = Site::new("jobs run on both nodes and nothing is left of them").await else {
        return;
    };
    let pool = on_swarm("linux").sized(2, 8);
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

#[tokio::test]
async fn the_jit_config_is_a_secret_that_goes_with_its_runner() {
    let Some(mut site) = Site::new("the JIT config is a secret that goes with its runner").await else {
        return;
    };
    let image = site.image_with_shell().await;
    let pool = crate::world::pool("linux", "acme").image(image);
    site.start(&[&pool]).await;
    site.world.until("one is idle", |status| status.count("linux", "idle") == 1).await;
    let services = site.services().await;
    let task = services[0].spec.clone().unwrap().task_template.unwrap();
    let env = task.container_spec.unwrap().env.unwrap();
    assert!(!env.is_empty() && !env.iter().any(|entry| entry.contains("JITCONFIG")), "{env:?}");
    assert_eq!(site.secrets().await.len(), 1);
    site.world.github.enqueue(pool.job());
    site.world.github_until("the job is served", |now| now.succeeded == 1).await;
    site.world.signal("-USR1");
    site.is_clean().await;
}

#[tokio::test]
async fn runners_are_adopted_after_the_daemon_and_the_manager_were_killed() {
    let test = "runners are adopted after the daemon and the manager were killed";
    let Some(mut site) = Site::new(test).await else { return };
    // On the worker alone: what runs on a manager ends with its engine.
    let pool = on_swarm("linux").sized(2, 6).container("constraints = [\"node.role==worker\"]");
    site.start(&[&pool]).await;
    site.world.until("two are idle", |status| status.count("linux", "idle") == 2).await;
    site.world.github.enqueue(pool.job().lasting(Duration::from_secs(45)));
    site.world.until("one has a job", |status| status.count("linux", "busy") == 1).await;
    site.world.until("two are idle", |status| status.count("linux", "idle") == 2).await;
    let before = site.service_ids().await;
    let minted = site.world.github.count(Endpoint::Mint);

    site.world.kill();
    site.world.start().await;
    site.world.until("they are adopted", |status| status.count("linux", "idle") == 2).await;
    assert_eq!(site.service_ids().await, before);

    disturb("restart", "manager");
    site.world.until("they are seen again", |status| status.count("linux", "idle") == 2).await;
    let now = site.world.github_until("the job goes on", |now| now.succeeded == 1).await;
    assert_eq!(now.lost, 0);
    assert_eq!(site.world.github.count(Endpoint::Mint), minted, "none was replaced");
    site.world.signal("-USR1");
    site.is_clean().await;
}

#[tokio::test]
async fn one_node_after_the_other_is_drained_under_load_and_no_job_is_lost() {
    let test = "one node after the other is drained under load, and no job is lost";
    let Some(mut site) = Site::new(test).await else { return };
    let pool = on_swarm("linux").sized(2, 8);
    site.start(&[&pool]).await;
    site.world.until("two are idle", |status| status.count("linux", "idle") == 2).await;
    let mut jobs = 0;
    for node in ["worker", "manager"] {
        for _ in 0..6 {
            site.world.github.enqueue(pool.job().lasting(Duration::from_secs(8)));
        }
        jobs += 6;
        let has_job = |status: &crate::daemon::Status| status.on_node(node, "busy") > 0;
        site.world.until("one there has a job", has_job).await;
        let drain = Mutex::new(site.nodes_command(&["drain", node, "--wait"]));
        for _ in 0..6 {
            site.world.github.enqueue(pool.job());
        }
        jobs += 6;
        let ended =
            within(ROLLING, "it is drained", async || drain.lock().unwrap().try_wait().unwrap()).await;
        assert!(ended.success());
        let status = site.world.status().await;
        assert_eq!((status.node(node).availability.as_str(), status.node(node).runners), ("drain", 0));
        site.world.github_until("all jobs are served", |now| now.succeeded == jobs).await;
        assert!(site.nodes_command(&["resume", node]).wait().unwrap().success());
        site.world.until("it is active", |status| status.node(node).availability == "active").await;
    }
    let now = site.world.github.snapshot();
    assert_eq!((now.lost, now.failed), (0, 0));
    site.world.signal("-USR1");
    site.is_clean().await;
}
