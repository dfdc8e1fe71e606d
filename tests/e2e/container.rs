//! The container as it is shipped: its image is built by the shipped Dockerfile, and started first as
//! `deploy/compose.yaml` says and then as the `docker run` of `docs/how-to/install.md`, until jobs are served.

pub(crate) mod build;
mod shipped;

use std::{collections::HashMap, fs, net::TcpListener, os::unix::fs::MetadataExt as _};

use bollard::{
    body_full,
    exec::StartExecOptions,
    models::{
        ContainerCreateBody, ExecConfig, HostConfig, RestartPolicy, RestartPolicyNameEnum,
        VolumeCreateRequest,
    },
    query_parameters::{
        ContainerArchiveInfoOptionsBuilder, CreateContainerOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, StopContainerOptions, UploadToContainerOptionsBuilder,
    },
};
use dayfly::simulator::Endpoint;
use futures_util::TryStreamExt as _;

use self::shipped::Settings;
use crate::{
    engine::{self, LABEL_TEST},
    engines,
    world::{World, pool, until},
};

/// The engine's socket where the shipped files expect it.
const SOCKET: &str = "/var/run/docker.sock";

/// The user that the image runs as.
const USER: u64 = 65532;

#[tokio::test]
async fn the_shipped_container_serves_jobs_as_documented() {
    let world = World::new().await;
    if world.at.socket != SOCKET {
        // The daemon is in a container too, and reaches neither this machine's loopback address nor GitHub.
        engines::skipped("the shipped container on an engine other than the machine's own");
        return;
    }
    let pool = pool("linux", "acme").sized(1, 2);
    world.configure(&[&pool]);
    let group = fs::metadata(SOCKET).unwrap().gid();
    let image = build::image(&world).await;
    volume(&world, "etc").await;
    volume(&world, "state").await;
    provide_files(&world).await;

    let compose = shipped::compose(group);
    let first = start(&world, &image, &compose).await;
    world.github.enqueue(pool.job().named("by compose"));
    served(&world, &first, 1).await;
    let idle = idle_runner(&world).await;
    let healthy = run_health_check(&world, &image, &first).await;
    assert_eq!(healthy, 0, "the health check of the image fails:\n{}", logs(&world, &first).await);
    let lock = ContainerArchiveInfoOptionsBuilder::new().path("/var/lib/dayfly/lock").build();
    world.engine.get_container_archive_info(&first, Some(lock)).await.expect("the volume is used");
    // Within its grace: the engine kills it afterwards, and then it exits with 137.
    stop(&world, &first).await;

    // An update is a new container with the same volume and instance.
    let second = start(&world, &image, &shipped::docker_run(group)).await;
    world.github.enqueue(pool.job().named("by docker run"));
    served(&world, &second, 2).await;
    assert_eq!(world.github.count(Endpoint::DeleteRunner), 0, "the idle runner {idle} was not adopted");
    stop(&world, &second).await;
}

/// A volume of this test.
async fn volume(world: &World, name: &str) {
    let labels = HashMap::from([(LABEL_TEST.to_owned(), world.instance.clone())]);
    let name = Some(volume_name(world, name));
    world
        .engine
        .create_volume(VolumeCreateRequest { name, labels: Some(labels), ..VolumeCreateRequest::default() })
        .await
        .unwrap();
}

fn volume_name(world: &World, name: &str) -> String {
    format!("dayfly-e2e-{}-{name}", world.instance)
}

/// Puts configuration and token into the volume that stands for `/etc/dayfly`, with owner and mode as
/// documented: only root could do that to files of this machine.
async fn provide_files(world: &World) {
    let config = fs::read_to_string(world.config()).unwrap();
    // Both come from the image and the container's settings.
    let given = |line: &&str| ["instance = ", "state_dir = "].iter().any(|key| line.trim().starts_with(key));
    assert_eq!(config.lines().filter(given).count(), 2);
    let config: String = config.lines().filter(|line| !given(line)).flat_map(|line| [line, "\n"]).collect();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text, mode, user) in
        [("dayfly.toml", &config, 0o644, 0), ("token", &world.token, shipped::token_mode(), USER)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(user);
        header.set_gid(user);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let binds = vec![format!("{}:/files", volume_name(world, "etc"))];
    let host = HostConfig { binds: Some(binds), ..HostConfig::default() };
    let body = ContainerCreateBody {
        image: Some(world.image.clone()),
        cmd: Some(vec!["never".to_owned()]),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    let id = create(world, "files", body).await;
    let options = UploadToContainerOptionsBuilder::new().path("/files").build();
    let archive = body_full(archive.into_inner().unwrap().into());
    world.engine.upload_to_container(&id, Some(options), archive).await.unwrap();
}

async fn create(world: &World, name: &str, body: ContainerCreateBody) -> String {
    let labels = HashMap::from([(LABEL_TEST.to_owned(), world.instance.clone())]);
    let body = ContainerCreateBody { labels: Some(labels), ..body };
    let name = format!("dayfly-e2e-{}-{name}", world.instance);
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    world.engine.create_container(Some(options), body).await.unwrap().id
}

/// Starts the daemon's container. Three settings differ from the shipped ones: the instance is the
/// test's, the files of the machine are in volumes, and the network is the machine's, since the
/// simulated GitHub listens on its loopback address.
async fn start(world: &World, image: &str, settings: &Settings) -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut environment = settings.environment.clone();
    assert!(!environment.insert("DAYFLY_INSTANCE".to_owned(), world.instance.clone()).unwrap().is_empty());
    let inside = environment.insert("DAYFLY_HTTP__LISTEN".to_owned(), free.to_string()).unwrap();
    let (outside, port) = settings.port.rsplit_once(':').unwrap();
    assert!(outside.starts_with("127.0.0.1:"), "{outside} is open to other machines");
    assert_eq!(inside, format!("0.0.0.0:{port}"), "what is published is what is listened on");

    let bind = |volume: &String| {
        let (source, target) = volume.split_once(':').unwrap();
        match source {
            "/etc/dayfly" => format!("{}:{target}", volume_name(world, "etc")),
            SOCKET => volume.clone(),
            state => {
                assert!(
                    !state.starts_with('/') && target == "/var/lib/dayfly",
                    "{volume} is new to this test"
                );
                format!("{}:{target}", volume_name(world, "state"))
            }
        }
    };
    let restart = RestartPolicy {
        name: Some(settings.restart.parse::<RestartPolicyNameEnum>().unwrap()),
        maximum_retry_count: None,
    };
    let host = HostConfig {
        binds: Some(settings.volumes.iter().map(bind).collect()),
        network_mode: Some("host".to_owned()),
        readonly_rootfs: Some(settings.read_only),
        cap_drop: Some(settings.cap_drop.clone()),
        security_opt: Some(settings.security_opt.clone()),
        restart_policy: Some(restart),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        user: Some(settings.user.clone()),
        env: Some(environment.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    let id = create(world, settings.by, body).await;
    world.engine.start_container(&id, None).await.unwrap();
    id
}

async fn served(world: &World, container: &str, count: usize) {
    let reached = world.github.until(crate::world::DEADLINE, |now| now.succeeded == count).await;
    if let Err(end) = reached {
        panic!("job {count} was not served: {end:#?}\n{}", logs(world, container).await);
    }
}

async fn logs(world: &World, container: &str) -> String {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("60").build();
    let lines: Vec<_> = world.engine.logs(container, Some(options)).try_collect().await.unwrap();
    lines.iter().map(ToString::to_string).collect()
}

/// Waits until a runner idles that has its container.
async fn idle_runner(world: &World) -> String {
    until("a runner is idle", async || {
        let now = world.github.snapshot();
        let containers = engine::containers(&world.engine, &world.instance).await;
        let idle = containers.iter().find(|container| {
            now.runner(&container.runner).is_some_and(|runner| runner.online && runner.job.is_none())
        });
        idle.map(|container| container.runner.clone())
    })
    .await
}

/// Runs in the container what the engine would run in it to see whether it is healthy.
async fn run_health_check(world: &World, image: &str, container: &str) -> i64 {
    let image = world.engine.inspect_image(image).await.unwrap();
    let check = image.config.unwrap().healthcheck.unwrap().test.unwrap();
    assert_eq!(check[0], "CMD", "{check:?}");
    let exec = ExecConfig { cmd: Some(check[1..].to_vec()), ..ExecConfig::default() };
    let exec = world.engine.create_exec(container, exec).await.unwrap().id;
    let detached = StartExecOptions { detach: true, ..StartExecOptions::default() };
    world.engine.start_exec(&exec, Some(detached)).await.unwrap();
    until("the health check ends", async || world.engine.inspect_exec(&exec).await.unwrap().exit_code).await
}

async fn stop(world: &World, container: &str) {
    world.engine.stop_container(container, None::<StopContainerOptions>).await.unwrap();
    let state = engines::inspect_container(&world.engine, container).await.unwrap().state.unwrap();
    assert_eq!(state.exit_code, Some(0), "{}", logs(world, container).await);
    let options = RemoveContainerOptionsBuilder::new().build();
    world.engine.remove_container(container, Some(options)).await.unwrap();
}
