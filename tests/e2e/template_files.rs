//! The files that a pool's containers are created from: one that cannot be used fails its pool alone, and a changed
//! one replaces the idle runners.

use std::fs;

use dayfly::simulator::Endpoint;

use crate::world::{World, pool, until};

#[tokio::test]
async fn a_pool_whose_env_file_cannot_be_used_fails_alone_and_recovers_and_a_changed_secret_replaces_its_idle_runners()
 {
    let mut world = World::new().await;
    let secret = |number: u32| format!("hush-hush-canary-{number}");
    let path = world.path("secrets.env");
    let with_file = pool("files", "acme")
        .policy("idle_confirmation = \"1s\"")
        .container("env_file = \"secrets.env\"\nread_only = true\nwritable = [\"/home/runner\"]");
    let other = pool("other", "acme");
    fs::write(&path, format!("A=1\n{}\n", secret(0))).unwrap();
    world.configure(&[&with_file, &other]);
    world
        .start_as(|command| {
            command.arg("-vv");
        })
        .await;
    world.idle("other", 1).await;
    world
        .until("launches are paused", |status| {
            status
                .pools
                .iter()
                .any(|pool| pool.name == "files" && pool.held.as_deref() == Some("backing_off"))
        })
        .await;
    world.until_logged(1, &["failed to launch", "secrets.env:2: has no", "template_file"]).await;
    assert_eq!(world.github.count(Endpoint::Mint), 1, "nothing is minted for what cannot run");

    fs::write(&path, format!("A={}\n", secret(1))).unwrap();
    let first = world.idle("files", 1).await.remove(0);
    fs::write(&path, format!("A={}\n", secret(2))).unwrap();
    let replaced = until("the runner with the old value is replaced", async || {
        let idle = world.running().await.into_iter().find(|one| one.pool == "files" && one.id != first.id);
        let gone = !world.containers().await.iter().any(|one| one.id == first.id);
        idle.filter(|_| gone)
    })
    .await;
    let inspected = world.engine.inspect_container(&replaced.id, None).await.unwrap();
    let env = inspected.config.unwrap().env.unwrap();
    assert!(env.contains(&format!("A={}", secret(2))));
    assert_eq!(
        world.github.count(Endpoint::DeleteRunner),
        1,
        "the other was deregistered before it was stopped"
    );

    world.github.enqueue(with_file.job());
    world.github_until("its job runs with the read-only root", |now| now.succeeded == 1).await;
    let mut shown = world.get("/metrics").await + &world.get("/api/v1/status").await;
    shown += &world.log.lock().unwrap().join("\n");
    assert!(!shown.contains("hush-hush"), "a value is shown");
}
