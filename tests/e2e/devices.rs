//! GPUs and other exclusive devices end to end: each is with one runner until the container is gone, also across a restart.

use std::{collections::BTreeMap, time::Duration};

use bollard::query_parameters::InspectContainerOptions;
use dayfly::simulator::Behaviour;

use crate::{
    daemon::Status,
    engines::TestEngine,
    job_image,
    world::{World, pool, quick, until},
};

/// The devices that each running runner was given, by its name.
async fn devices(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut devices = BTreeMap::new();
    for container in world.running().await {
        let found = world.engine.inspect_container(&container.id, None::<InspectContainerOptions>).await;
        // It may have gone since.
        let Ok(found) = found else { continue };
        let given = found.host_config.unwrap().devices.unwrap_or_default();
        devices.insert(container.runner, given.into_iter().filter_map(|one| one.path_on_host).collect());
    }
    devices
}

#[tokio::test]
async fn an_exclusive_device_is_with_one_runner_until_its_container_is_gone() {
    let mut world = World::new().await;
    // Devices that every machine has.
    world.extra.push_str("\nhosts.local.exclusive.serial = [\"/dev/full\", \"/dev/zero\"]");
    let pool = pool("linux", "acme").sized(2, 4).container("exclusive = { serial = 1 }");
    world.configure(&[&pool]);
    world.start().await;
    let both = async |world: &World| {
        let mut given: Vec<String> = devices(world).await.into_values().flatten().collect();
        given.sort();
        given == ["/dev/full", "/dev/zero"]
    };
    world.idle("linux", 2).await;
    assert!(both(&world).await, "{:?}", devices(&world).await);

    world.github.enqueue(pool.job().lasting(Duration::from_secs(15)));
    let held = |status: &Status| status.held("linux") == Some("host_devices");
    let status = world.until("the next one waits for a device", held).await;
    let busy = status.runners.iter().find(|runner| runner.phase == "busy").unwrap().name.clone();
    let before = devices(&world).await;
    world.kill();
    world.start().await;
    world.until("it waits after a restart too", held).await;
    assert_eq!(devices(&world).await, before);

    world.github_until("the job ends", |now| now.succeeded == 1).await;
    let after = until("two are idle again", async || {
        world.idle("linux", 2).await;
        both(&world).await.then_some(devices(&world).await)
    });
    let after = after.await;
    assert!(
        !after.contains_key(&busy) && before.keys().any(|runner| after.contains_key(runner)),
        "{after:?}"
    );
}

#[tokio::test]
async fn a_gpu_is_with_one_runner_whose_job_sees_no_other() {
    let test = "a GPU is with one runner whose job sees no other";
    let Some(at) = TestEngine::privileged(test) else { return };
    let mut world = World::on(at, quick()).await;
    let Some(image) = job_image::make(&world, test).await else { return };
    // `tests/engines/inside.sh` has them; a container gets a variable.
    world.extra.push_str("\nhosts.local.gpus = [\"dayfly.test/gpu=0\", \"dayfly.test/gpu=1\"]");
    let pool = pool("gpu", "acme").sized(2, 4).image(image).command(job_image::COMMAND).container("gpus = 1");
    world.configure(&[&pool]);
    world.start().await;
    world.idle("gpu", 2).await;
    let script = "case \"$DAYFLY_FAKE_GPU\" in 0|1) sleep 15 ;; *) exit 1 ;; esac\n";
    for _ in 0..2 {
        world.github.enqueue(pool.job().that(Behaviour::Runs(script.to_owned())));
    }
    let held = |status: &Status| status.count("gpu", "busy") == 2 && status.held("gpu") == Some("host_gpus");
    world.until("the next ones wait for a GPU", held).await;
    let mut given = Vec::new();
    for container in world.running().await {
        let found =
            world.engine.inspect_container(&container.id, None::<InspectContainerOptions>).await.unwrap();
        given.extend(
            found.host_config.unwrap().device_requests.unwrap().into_iter().filter_map(|one| one.device_ids),
        );
    }
    given.sort();
    assert_eq!(given, [["dayfly.test/gpu=0"], ["dayfly.test/gpu=1"]]);
    let now = world.github_until("both jobs end", |now| now.completed() == 2).await;
    assert_eq!(now.succeeded, 2);
    world.idle("gpu", 2).await;
}
