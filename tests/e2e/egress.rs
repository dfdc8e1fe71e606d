//! A pool whose runners reach the world through a proxy of their own.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use bollard::query_parameters::InspectNetworkOptions;
use dayfly::simulator::{Endpoint, Settings};

use crate::{
    daemon::RunnerStatus,
    engine,
    engines::TestEngine,
    world::{Pool, World, pool, quick, until},
};

/// An environment whose GitHub is reached from the engine's usual network, that network's name, and GitHub's address
/// there.
async fn world() -> (World, &'static str, String) {
    let at = TestEngine::usual();
    let docker = engine::connect(&at).await;
    let (network, host) = match docker.inspect_network("bridge", None::<InspectNetworkOptions>).await {
        Ok(bridge) => {
            let config = bridge.ipam.and_then(|ipam| ipam.config).unwrap().remove(0);
            let subnet = config.subnet.unwrap();
            let first: Ipv4Addr = subnet.split('/').next().unwrap().parse().unwrap();
            ("bridge", config.gateway.unwrap_or_else(|| Ipv4Addr::from_bits(first.to_bits() + 1).to_string()))
        }
        // Podman has another name for it.
        Err(_) => ("podman", at.host.to_string()),
    };
    let host = if at.host.is_loopback() { host } else { at.host.to_string() };
    let listen = (Ipv4Addr::UNSPECIFIED, 0).into();
    let world = World::on(at, Settings { listen, runner_host: Some(host.clone()), ..quick() }).await;
    let port = world.github.url().rsplit_once(':').unwrap().1.to_owned();
    (world, network, format!("{host}:{port}"))
}

fn with_egress(network: &str, mode: &str, allow: &str) -> Pool {
    let table = format!("egress = {{ mode = \"{mode}\", allow = [{allow}] }}");
    pool("linux", "acme").network(network).container(&table)
}

/// The destinations of a runner, each with what the proxy did.
fn destinations(runner: &RunnerStatus) -> BTreeSet<(String, &str)> {
    let to = |to: &crate::daemon::DestinationStatus| format!("{}:{}", to.host, to.port);
    runner.destinations.iter().map(|one| (to(one), one.verdict.as_str())).collect()
}

#[tokio::test]
async fn a_pool_with_egress_serves_jobs_across_a_kill_of_the_daemon_and_leaves_nothing() {
    let (mut world, network, github) = world().await;
    let pool = with_egress(network, "enforce", &format!("\"{github}\"")).sized(1, 1);
    world.configure(&[&pool]);
    world.start().await;
    world.idle("linux", 1).await;
    world.github.enqueue(pool.job().named("behind a proxy").lasting(Duration::from_secs(15)));
    world.until("the job runs", |status| status.count("linux", "busy") == 1).await;
    let before = engine::attachments(&world.engine, &world.instance).await;
    assert_eq!(before.len(), 2, "a proxy and a network: {before:?}");

    world.kill();
    world.start().await;
    let expected = BTreeSet::from([(github.clone(), "allowed")]);
    let shown = |status: &crate::daemon::Status| {
        let mut runners = status.runners.iter();
        runners.any(|runner| runner.phase == "busy" && destinations(runner) == expected)
    };
    world.until("the adopted runner has its destinations", shown).await;
    assert_eq!(engine::attachments(&world.engine, &world.instance).await, before);
    let series = "dayfly_egress_destinations_total{pool=\"linux\",result=\"allowed\"}";
    assert_eq!(world.metric(series).await, 1);
    world.until_logged(1, &["egress to", &github, "allowed", "\"pool\":\"linux\""]).await;

    world.signal("-USR1");
    let now = world.github_until("the job ends", |now| now.completed() == 1).await;
    assert_eq!((now.succeeded, world.github.count(Endpoint::Mint)), (1, 1));
    until("nothing is left", async || {
        let containers = world.containers().await;
        let attached = engine::attachments(&world.engine, &world.instance).await;
        (containers.is_empty() && attached.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn audit_mode_shows_what_a_list_would_have_refused() {
    let (mut world, network, github) = world().await;
    let pool = with_egress(network, "audit", "").sized(1, 1);
    world.configure(&[&pool]);
    world.start().await;
    let expected = BTreeSet::from([(github.clone(), "audited")]);
    world
        .until("the destination is shown", |status| {
            status.runners.iter().any(|runner| destinations(runner) == expected)
        })
        .await;
    world.until_logged(1, &["egress to", &github, "permitted by audit mode only"]).await;
}
