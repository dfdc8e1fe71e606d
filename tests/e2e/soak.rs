//! Many short jobs through pools whose runners have more than a container, with kills of the daemon, of runners and of
//! sidecars in between: at the end everything is as it was before. `DAYFLY_SOAK_JOBS` is the number of jobs, a few by
//! default; docs/benchmarks.md has the command for many.

use std::{collections::BTreeMap, fs, io::Write as _, time::Duration};

use bollard::query_parameters::{ListNetworksOptions, ListVolumesOptions};
use dayfly::{
    host::{LABEL_ATTACHMENT, LABEL_INSTANCE},
    simulator::{Behaviour, Settings},
};

use crate::{
    docker_in_jobs::with_dind,
    engines::TestEngine,
    job_image,
    world::{Pool, World, pool, quick, within},
};

/// Jobs by default.
const JOBS: usize = 12;

/// The longest time without a job that ends.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// Between two kills of the daemon: what a launch that was cut off has left is removed after a minute of the next daemon.
const BETWEEN_KILLS: Duration = Duration::from_mins(2);

/// Queued jobs at once.
const QUEUED: usize = 40;

/// What a job does: a container of its own, which it leaves behind. Its image is made once for each engine, and small.
const USES_DOCKER: &str = r#"
image=dayfly-e2e:INSTANCE-soak
docker image inspect "$image" >/dev/null 2>&1 || (
  cd /
  find lib64/ usr/lib/ -name 'ld-linux*' -o -name 'libc.so*' >/tmp/files
  tar -ch usr/bin/sleep -T /tmp/files | docker import - "$image" >/dev/null
)
docker run --detach --volume "$PWD:/x" "$image" /usr/bin/sleep 1000 >/dev/null
"#;

fn pools(image: &str, privileged: bool) -> Vec<Pool> {
    let base = |name: &str, max| {
        pool(name, "acme").sized(1, max).image(image.to_owned()).command(job_image::COMMAND)
    };
    // The simulated GitHub is on this machine, which an isolated runner reaches where the engine has a network of its
    // own.
    let mut pools = vec![];
    if privileged {
        pools.push(base("isolated", 4).network("isolated"));
        pools.push(with_dind(base("dind", 2), ""));
        pools.push(
            base("socket", 3)
                .container("docker = \"socket\"")
                .container("docker_socket = \"/run/engine/engine.sock\""),
        );
    } else {
        pools.push(base("socket", 3).container("docker = \"socket\""));
    }
    pools
}

/// What the engine and the daemon have.
#[derive(Debug, PartialEq)]
struct Counts {
    containers: usize,
    networks: usize,
    volumes: usize,
}

async fn counts(world: &World) -> Counts {
    let of_this = |labels: &std::collections::HashMap<String, String>| {
        labels.get(LABEL_INSTANCE) == Some(&world.instance) && labels.contains_key(LABEL_ATTACHMENT)
    };
    let networks = world.engine.list_networks(None::<ListNetworksOptions>).await.unwrap();
    let volumes = world.engine.list_volumes(None::<ListVolumesOptions>).await.unwrap().volumes;
    Counts {
        containers: world.containers().await.len(),
        networks: networks.iter().filter(|network| network.labels.as_ref().is_some_and(of_this)).count(),
        volumes: volumes.unwrap_or_default().iter().filter(|volume| of_this(&volume.labels)).count(),
    }
}

/// Open files and resident memory in KiB of the daemon.
pub(crate) fn process(world: &World) -> (usize, usize) {
    let folder = format!("/proc/{}", world.daemon().id());
    let files = fs::read_dir(format!("{folder}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("{folder}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, memory.trim().trim_end_matches(" kB").parse().unwrap())
}

#[tokio::test]
async fn many_jobs_with_faults_leave_everything_as_it_was() {
    let jobs = std::env::var("DAYFLY_SOAK_JOBS").map_or(JOBS, |jobs| jobs.parse().unwrap());
    let privileged = TestEngine::privileged("jobs of isolated and dind pools in the soak");
    let is_privileged = privileged.is_some();
    let settings = Settings { lease: Duration::from_mins(1), ..quick() };
    let mut world = World::on(privileged.unwrap_or_else(TestEngine::usual), settings).await;
    let Some(image) = job_image::make(&world, "the soak").await else { return };
    let pools = pools(&image, is_privileged);
    world.configure(&pools.iter().collect::<Vec<_>>());
    let before = counts(&world).await;
    world.start().await;
    let (files, memory) = process(&world);
    let began = std::time::Instant::now();
    let (mut enqueued, mut kills, mut killed_at) = (0, 0, began);
    let mut by_pool: BTreeMap<usize, usize> = BTreeMap::new();
    while enqueued < jobs || world.github.snapshot().completed() < jobs {
        let completed = world.github.snapshot().completed();
        while enqueued < jobs && enqueued - completed < QUEUED {
            // Ten of a hundred with an engine of their own, thirty with the socket: these take longer.
            let number = match enqueued % 10 {
                0 => pools.len().min(2) - 1,
                1..=3 => pools.len() - 1,
                _ => 0,
            };
            let script = if pools.len() == 3 && number == 0 { "true\n" } else { USES_DOCKER };
            let script = script.replace("INSTANCE", &world.instance);
            world.github.enqueue(pools[number].job().that(Behaviour::Runs(script)));
            *by_pool.entry(number).or_default() += 1;
            enqueued += 1;
        }
        within(PATIENCE, "another job ends", async || {
            (world.github.snapshot().completed() > completed).then_some(())
        })
        .await;
        // Every so many jobs one of the faults, in turn.
        if completed / 7 > kills {
            kills += 1;
            match kills % 3 {
                0 if kills == 3 || killed_at.elapsed() > BETWEEN_KILLS => {
                    world.kill();
                    world.start().await;
                    killed_at = std::time::Instant::now();
                }
                0 | 1 => {
                    if let Some(runner) = world.running().await.first() {
                        // It may have ended by now, as the engine below.
                        let _ = world.engine.kill_container(&runner.id, None).await;
                    }
                }
                _ => {
                    let mut containers = world.containers().await;
                    containers.retain(|container| container.pool == "dind");
                    if let Some(runner) = containers.first() {
                        let _ = world.engine.kill_container(&format!("{}-engine", runner.runner), None).await;
                    }
                }
            }
        }
    }
    let took = began.elapsed();
    world.signal("-USR1");
    // A runner that was killed on its way is removed after a minute.
    within(PATIENCE, "everything is as it was", async || (counts(&world).await == before).then_some(()))
        .await;
    let (files_after, memory_after) = process(&world);
    let snapshot = world.github.snapshot();
    // Not a print macro: the test harness would swallow it.
    let _ = writeln!(
        std::io::stderr(),
        "{jobs} jobs in {} s, by pool {by_pool:?}, {kills} faults: {} succeeded, {} failed, {} lost; open files {files} -> \
         {files_after}, memory {memory} -> {memory_after} KiB",
        took.as_secs(),
        snapshot.succeeded,
        snapshot.failed,
        snapshot.lost,
    );
    assert!(files_after <= files + 20, "open files: {files} -> {files_after}");
    assert!(snapshot.failed + snapshot.lost <= kills, "{snapshot:?}");
}
