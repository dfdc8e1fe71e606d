//! What belongs to another installation, however similar it is.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::{ContainerCreateBody, HostConfig},
    query_parameters::CreateContainerOptionsBuilder,
};
use dayfly::{
    host::{LABEL_INSTANCE, LABEL_POOL, LABEL_REGISTRATION, LABEL_RUNNER},
    simulator::{Endpoint, Presence},
};

use crate::{
    engine::LABEL_TEST,
    engines,
    world::{World, pool, until},
};

/// The time of a ULID of long ago.
const ULID: &str = "01jd0000000000000000000000";

#[tokio::test]
async fn what_belongs_to_another_instance_is_never_touched() {
    let mut world = World::new().await;
    let pool = pool("linux", "acme").sized(2, 4);
    // Ours is the beginning of theirs.
    let (ours, theirs) = (world.instance.clone(), format!("{}0", world.instance));
    let names = [
        format!("dayfly-linux-{theirs}-{ULID}"),
        format!("dayfly-linux-{ours}"),
        format!("dayfly-{ours}-linux-{ULID}"),
        format!("dayfly-linux-{ours}-1"),
        format!("other-linux-{ours}-{ULID}"),
        ours.clone(),
    ];
    let presences = [Presence::Offline, Presence::Idle, Presence::OfflineBusy];
    let registered: Vec<u64> = names
        .iter()
        .flat_map(|name| presences.map(|presence| (name, presence)))
        .enumerate()
        .map(|(number, (name, presence))| {
            let name = if number % 3 == 0 { name.clone() } else { format!("{name}{number}") };
            world.github.register("acme", &name, &["self-hosted", "linux"], presence).unwrap()
        })
        .collect();
    let mut containers = Vec::new();
    for (name, instance, runs) in [
        (names[0].clone(), Some(&theirs), true),
        (format!("dayfly-linux-{theirs}-{}", ULID.replace("jd", "je")), Some(&theirs), false),
        (format!("dayfly-linux-{ours}-{ULID}"), None, true),
        (format!("dayfly-linux-{ours}-{}", ULID.replace("jd", "je")), Some(&theirs), true),
        (format!("dayfly-{ours}-web"), None, false),
    ] {
        containers.push(foreign(&world, &name, instance, runs).await);
    }

    world.configure(&[&pool]);
    world.start().await;
    world.idle("linux", 2).await;
    for _ in 0..4 {
        world.github.enqueue(pool.job().lasting(Duration::from_secs(3)));
    }
    world.github_until("ours scale up", |now| now.in_progress >= 3).await;
    world.github_until("ours serve their jobs", |now| now.succeeded == 4).await;
    world.idle("linux", 2).await;
    world.signal("-USR1");
    until("ours are gone", async || {
        let status = world.status().await;
        (status.runners.is_empty() && world.containers().await.is_empty()).then_some(())
    })
    .await;
    // Every observer lists everything once more.
    let listed = world.github.count(Endpoint::ListRunners);
    world
        .github_until("GitHub is looked at again", |_| {
            world.github.count(Endpoint::ListRunners) >= listed + 3
        })
        .await;

    let left: Vec<u64> = world.github.snapshot().runners.iter().map(|runner| runner.id).collect();
    assert_eq!(left, registered);
    for (id, runs) in containers {
        let found = engines::inspect_container(&world.engine, &id).await.unwrap();
        assert_eq!(found.state.unwrap().running, Some(runs), "{:?}", found.name);
    }
    let asked: Vec<_> = world.github.requests().into_iter().map(|request| request.path).collect();
    for id in registered {
        let path = format!("/runners/{id}");
        assert!(!asked.iter().any(|asked| asked.ends_with(&path)), "{path}");
    }
}

/// A container that the daemon did not make; returns its id and whether it runs.
async fn foreign(world: &World, name: &str, instance: Option<&String>, runs: bool) -> (String, bool) {
    let mut labels = HashMap::from([(LABEL_TEST.to_owned(), world.instance.clone())]);
    if let Some(instance) = instance {
        let theirs = [
            (LABEL_INSTANCE, instance.as_str()),
            (LABEL_POOL, "linux"),
            (LABEL_RUNNER, name),
            (LABEL_REGISTRATION, "1"),
        ];
        labels.extend(theirs.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    let body = ContainerCreateBody {
        image: Some(world.image.clone()),
        cmd: Some(["/dayfly", "simulated-runner"].map(str::to_owned).to_vec()),
        env: Some(vec!["DAYFLY_SIMULATED=never_boots".to_owned()]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            init: Some(true),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let id = world.engine.create_container(Some(options), body).await.unwrap().id;
    if runs {
        world.engine.start_container(&id, None).await.unwrap();
    }
    (id, runs)
}
