//! Jobs that use Docker as workflows do: by its command, and as the runner does for `container:` and `services:`.

use std::{collections::HashMap, time::Duration};

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
};
use dayfly::{
    host::{LABEL_INSTANCE, LABEL_RUNNER},
    simulator::{Behaviour, Endpoint, Job},
};

use crate::{
    dind,
    engine::LABEL_TEST,
    engines::TestEngine,
    job_image,
    world::{Pool, World, pool, quick, until},
};

/// What all scripts begin with: an image for the job's containers, made from the runner's own, and the label that the
/// runner gives to its containers (actions/runner 2.336, `DockerCommandManager`).
const BEGINNING: &str = r#"
image=dayfly-e2e:INSTANCE-job
docker image inspect "$image" >/dev/null 2>&1 ||
  tar -C / --exclude usr/bin/docker -c bin lib lib64 usr | docker import - "$image" >/dev/null
label=$(tr A-Z a-z <"$RUNNER_ROOT/.runner" | sha256sum | cut -c1-6)
network=github_network_INSTANCE_$(date +%s%N)
"#;

const BUILD: &str = r#"
echo hello >greeting
printf 'FROM %s\nCOPY greeting /\nRUN cat /greeting >/copied\n' "$image" >Dockerfile
DOCKER_BUILDKIT=0 docker build --quiet --tag "$image-built" .
test "$(docker run --rm "$image-built" cat /copied)" = hello
"#;

/// It leaves files that belong to root, in a folder that only root can read.
const MOUNT: &str = r#"
echo hello >file
test "$(docker run --rm --volume "$PWD:/x" "$image" sh -c 'cat /x/file; mkdir -m 0700 /x/own; echo there >/x/own/back')" = hello
test "$(docker run --rm --volume "$PWD/own:/own" "$image" cat /own/back)" = there
"#;

/// The network that the runner makes for a job, and what it first removes. An engine refuses a prune while another one
/// runs, of anyone; to the runner that is a warning.
const NETWORK: &str = r#"
docker ps --all --quiet --no-trunc --filter "label=$label" | while read -r id; do docker rm --force "$id"; done
docker network prune --force --filter "label=$label" || echo 'the stale networks stay'
docker network create --label "$label" "$network"
"#;

const SERVICE: &str = r#"
serve='socket(my $s, 2, 1, 0) or die; bind($s, pack("Sna4x8", 2, 8080, "\0" x 4)) or die; listen($s, 9);
  while (accept(my $c, $s)) { syswrite($c, "served\n"); close($c) }'
service=$(docker create --label "$label" --network "$network" --network-alias web -p 8080 "$image" perl -e "$serve")
docker start "$service"
"#;

/// Reads from a service until it answers.
const READ: &str = r#"
read_from() {
  for i in $(seq 100); do
    if answer=$(bash -c "exec 3<>/dev/tcp/$1/$2 && cat <&3" 2>/dev/null) && test "$answer" = served; then return; fi
    sleep 0.1
  done
  return 1
}
"#;

/// Steps on the runner reach the port that a service publishes.
const SERVICES: &str = r#"
published=$(docker port "$service" 8080/tcp | tail -n1)
read_from 127.0.0.1 "${published##*:}"
docker rm --force "$service"
docker network rm "$network"
"#;

/// A job container as the runner makes it; its steps run in it, with tools of the runner.
const CONTAINER: &str = r#"
mkdir -p "$RUNNER_ROOT/_work/_temp"
echo inside >file
container=$(docker create --label "$label" --workdir /__w/jobs/jobs --network "$network" -e CI=true \
  -v SOCKET:/var/run/docker.sock -v "$RUNNER_ROOT/_work:/__w" -v "$RUNNER_ROOT/externals:/__e:ro" \
  -v "$RUNNER_ROOT/_work/_temp:/__w/_temp" --entrypoint tail "$image" -f /dev/null)
docker start "$container"
printf '%s\nread_from web 8080\ntest "$(/__e/tool)" = external\ntest "$(cat file)" = inside\necho done >result\n' "$read" \
  >"$RUNNER_ROOT/_work/_temp/step.sh"
docker exec -i "$container" sh -e /__w/_temp/step.sh
test "$(cat result)" = done
docker rm --force "$container" "$service"
docker network rm "$network"
"#;

/// Containers and a network that outlive the job: by label, by mount, by network, and a project of Docker Compose.
const LEAVE: &str = r#"
docker run --detach --name INSTANCE-left-1 --label "$label" "$image" sleep 1000
docker run --detach --name INSTANCE-left-2 --volume "$PWD:/x" "$image" sleep 1000
docker run --detach --name INSTANCE-left-3 --network "$network" "$image" sleep 1000
docker run --detach --name INSTANCE-left-4 --label "com.docker.compose.project.working_dir=$PWD" "$image" sleep 1000
docker create --name INSTANCE-left-5 --volume "$RUNNER_ROOT/externals:/e:ro" "$image" sleep 1000
"#;

/// The path of the engine's socket on its machine: those of `tests/engines` have a file system of their own.
fn host_socket(world: &World) -> &str {
    if world.at.host.is_loopback() { &world.at.socket } else { "/run/engine/engine.sock" }
}

/// The path of its engine's socket for the containers of a job.
fn job_socket(world: &World, mode: Mode) -> &str {
    match mode {
        Mode::Socket => host_socket(world),
        Mode::Dind => "/var/run/docker.sock",
    }
}

/// How runners use Docker: what a pool has in its configuration.
#[derive(Clone, Copy)]
enum Mode {
    Socket,
    Dind,
}

impl Mode {
    fn pool(self, world: &World, image: &str) -> Pool {
        let pool = pool("jobs", "acme").sized(1, 3).image(image.to_owned());
        let pool = pool.command(job_image::COMMAND);
        match self {
            Self::Socket => pool
                .container("docker = \"socket\"")
                .container(&format!("docker_socket = \"{}\"", host_socket(world))),
            Self::Dind => with_dind(pool, ""),
        }
    }
}

/// A pool whose runners have engines of their own, with more in `dind` of its configuration.
pub(crate) fn with_dind(pool: Pool, more: &str) -> Pool {
    let image = dind::IMAGE;
    pool.container("docker = \"dind\"")
        .container(&format!("dind = {{ image = \"{image}\", start_timeout = \"80s\"{more} }}"))
}

fn job(world: &World, mode: Mode, pool: &Pool, name: &str, parts: &[&str]) -> Job {
    let read = format!("read='{READ}'\n");
    let script = [BEGINNING, READ, &read].into_iter().chain(parts.iter().copied()).collect::<String>();
    let script = script.replace("INSTANCE", &world.instance);
    let script = script.replace("SOCKET", job_socket(world, mode));
    pool.job().named(name).that(Behaviour::Runs(script))
}

/// What of an instance is on the engine: containers, networks, and volumes of runners.
async fn left(world: &World) -> Vec<String> {
    let mut left = Vec::new();
    let label = |labels: &HashMap<String, String>| labels.contains_key(LABEL_RUNNER);
    let filter = HashMap::from([("label", vec![format!("{LABEL_INSTANCE}={}", world.instance)])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    for container in world.engine.list_containers(Some(options)).await.unwrap() {
        left.extend(container.names.unwrap_or_default());
    }
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    for network in world.engine.list_networks(Some(options)).await.unwrap() {
        left.extend(network.name);
    }
    let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
    for volume in world.engine.list_volumes(Some(options)).await.unwrap().volumes.unwrap_or_default() {
        left.extend(Some(volume.name).filter(|_| label(&volume.labels)));
    }
    left
}

/// The names of the containers that begin with the instance, which those of jobs do.
async fn named(world: &World) -> Vec<String> {
    let filter = HashMap::from([("name", vec![world.instance.clone()])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    let listed = world.engine.list_containers(Some(options)).await.unwrap();
    let prefix = format!("/{}-", world.instance);
    let mut names: Vec<_> =
        listed.into_iter().flat_map(|container| container.names.unwrap_or_default()).collect();
    names.retain(|name| name.starts_with(&prefix));
    names.sort();
    names
}

pub(crate) async fn drained(world: &World) {
    world.signal("-USR1");
    until("nothing of the runners is left", async || left(world).await.is_empty().then_some(())).await;
}

async fn jobs_build_mount_and_run_containers_and_services(mode: Mode, mut world: World) {
    let Some(image) = job_image::make(&world, "jobs that use Docker").await else { return };
    let pool = mode.pool(&world, &image);
    world.configure(&[&pool]);
    world.start().await;
    let jobs: [(&str, &[&str]); 5] = [
        ("builds", &[BUILD]),
        ("mounts", &[MOUNT]),
        ("services", &[NETWORK, SERVICE, SERVICES]),
        ("container", &[NETWORK, SERVICE, CONTAINER]),
        ("another container", &[NETWORK, SERVICE, CONTAINER]),
    ];
    for (name, parts) in &jobs {
        world.github.enqueue(job(&world, mode, &pool, name, parts));
    }
    let now = world.github_until("all jobs are served", |now| now.completed() == jobs.len()).await;
    assert_eq!((now.succeeded, now.failed, now.lost), (jobs.len(), 0, 0), "{:#?}", world.github.jobs());
    drained(&world).await;
}

#[tokio::test]
async fn jobs_with_the_hosts_socket_build_mount_and_run_containers_and_services() {
    jobs_build_mount_and_run_containers_and_services(Mode::Socket, World::new().await).await;
}

#[tokio::test]
async fn jobs_with_an_engine_of_their_own_build_mount_and_run_containers_and_services() {
    let Some(engine) = TestEngine::privileged("jobs with an engine of their own") else { return };
    let world = World::on(engine, quick()).await;
    jobs_build_mount_and_run_containers_and_services(Mode::Dind, world).await;
}

#[tokio::test]
async fn a_runners_own_engine_survives_a_kill_of_the_daemon_and_goes_with_the_runner_whatever_ends_it() {
    let Some(engine) = TestEngine::privileged("the end of a runner's own engine") else { return };
    let mut world = World::on(engine, quick()).await;
    let Some(image) = job_image::make(&world, "the end of a runner's own engine").await else { return };
    let pool = Mode::Dind.pool(&world, &image);
    world.configure(&[&pool]);
    world.start().await;
    let wait = "docker run --rm \"$image\" sleep 5\n";
    world.github.enqueue(job(&world, Mode::Dind, &pool, "works", &[NETWORK, LEAVE, wait]));
    world.github_until("it works", |now| now.in_progress == 1).await;
    world.kill();
    world.start().await;
    world.github_until("the job ends", |now| now.succeeded == 1).await;

    // The next one idles; its engine is killed.
    world.github_until("a runner idles", |now| now.online() == 1).await;
    let engines = async |world: &World| -> Vec<String> {
        let mut names = left(world).await;
        names.retain(|name| name.ends_with("-engine"));
        names
    };
    let first = until("it alone has an engine", async || {
        let now = engines(&world).await;
        (now.len() == 1).then(|| now[0].clone())
    })
    .await;
    world.engine.kill_container(first.trim_start_matches('/'), None).await.unwrap();
    until("it is replaced", async || {
        let now = engines(&world).await;
        (now.len() == 1 && now[0] != first).then_some(())
    })
    .await;
    drained(&world).await;
}

#[tokio::test]
async fn what_a_job_leaves_on_the_host_is_removed_also_after_a_restart_and_nobody_elses() {
    let mut world = World::new().await;
    let Some(image) = job_image::make(&world, "what a job leaves on the host").await else { return };
    let pool = Mode::Socket.pool(&world, &image);
    world.configure(&[&pool]);
    world.start().await;
    let bystanders = r#"
docker run --detach --name INSTANCE-other-1 --label TEST=INSTANCE "$image" sleep 1000
docker run --detach --name INSTANCE-other-2 --label TEST=INSTANCE --label "$label=else" "$image" sleep 1000
docker run --detach --name INSTANCE-other-3 --label TEST=INSTANCE --volume "$(dirname "$RUNNER_ROOT"):/up" "$image" sleep 1000
"#;
    let bystanders = bystanders.replace("TEST", LABEL_TEST);
    world.github.enqueue(job(&world, Mode::Socket, &pool, "leaves", &[NETWORK, LEAVE, &bystanders]));
    let others: Vec<_> = (1..=3).map(|n| format!("/{}-other-{n}", world.instance)).collect();
    world.github_until("the job ends", |now| now.succeeded == 1).await;
    until("what it left is removed", async || (named(&world).await == others).then_some(())).await;

    let wait = "docker run --rm --volume \"$PWD:/x\" \"$image\" sleep 3\n";
    world.github.enqueue(job(&world, Mode::Socket, &pool, "leaves again", &[NETWORK, LEAVE, wait]));
    until("it has made containers", async || (named(&world).await.len() == 8).then_some(())).await;
    world.kill();
    world.github_until("the job ends", |now| now.succeeded == 2).await;
    assert_eq!(named(&world).await.len(), 8);
    world.start().await;
    until("what it left is removed", async || (named(&world).await == others).then_some(())).await;
    drained(&world).await;
    let filter = HashMap::from([("name", vec![format!("github_network_{}", world.instance)])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    assert_eq!(world.engine.list_networks(Some(options)).await.unwrap(), []);
}

#[tokio::test]
async fn a_socket_that_does_not_exist_on_the_host_is_reported_before_anything_is_minted() {
    let mut world = World::new().await;
    let Some(image) = job_image::make(&world, "a socket that does not exist").await else { return };
    let pool = pool("jobs", "acme").image(image).command(job_image::COMMAND);
    let pool = pool.container("docker = \"socket\"").container("docker_socket = \"/nowhere/docker.sock\"");
    world.configure(&[&pool]);
    world.start().await;
    world.until_logged(1, &["\"level\":\"WARN\"", "/nowhere/docker.sock", "docker_socket"]).await;
    assert_eq!(world.asked(Endpoint::Mint, "acme"), 0);
    tokio::time::timeout(Duration::from_mins(1), drained(&world)).await.unwrap();
}
