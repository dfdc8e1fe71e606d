//! An engine that cannot be reached for a while: unknown is not gone.

use std::time::Duration;

use dayfly::simulator::Endpoint;

use crate::{
    proxy::Proxy,
    world::{World, pool},
};

#[tokio::test]
async fn an_unreachable_engine_affects_no_one_else() {
    let mut world = World::new().await;
    let socket = world.path("docker.sock");
    let proxy = Proxy::start(&socket);
    let pool = pool("linux", "acme").sized(2, 4);
    world.configure_at(socket.to_str().unwrap(), &[&pool]);
    world.start().await;
    world.idle("linux", 2).await;
    world.github.enqueue(pool.job().named("short").lasting(Duration::from_secs(15)));
    world.github.enqueue(pool.job().named("long").lasting(Duration::from_mins(5)));
    world.until("both jobs run", |status| status.count("linux", "busy") == 2).await;
    world.idle("linux", 2).await;
    let before = world.running().await;
    assert_eq!(before.len(), 4);

    proxy.cut(true);
    world.until("the host is told to be down", |status| !status.hosts[0].up).await;
    let (minted, deleted) = (world.github.count(Endpoint::Mint), world.github.count(Endpoint::DeleteRunner));
    world.github_until("a job ends meanwhile", |now| now.succeeded == 1).await;
    let listed = world.github.count(Endpoint::ListRunners);
    world
        .github_until("GitHub is still looked at", |_| {
            world.github.count(Endpoint::ListRunners) >= listed + 6
        })
        .await;
    assert_eq!(world.metric("dayfly_host_up{host=\"local\"}").await, 0);

    proxy.cut(false);
    world.until("the host is back", |status| status.hosts[0].up).await;
    world.until_exits("linux", "completed", 1).await;
    world.idle("linux", 2).await;
    let after = world.running().await;
    let gone: Vec<_> = before.iter().filter(|container| !after.contains(container)).collect();
    assert_eq!(gone.len(), 1, "only the one whose job had ended: {gone:?}");
    let now = world.github.snapshot();
    assert_eq!((now.in_progress, now.lost, now.failed), (1, 0, 0));
    assert_eq!(world.github.count(Endpoint::DeleteRunner), deleted, "nothing was deregistered");
    assert!(world.github.count(Endpoint::Mint) <= minted + 1, "one was wanted");
}
