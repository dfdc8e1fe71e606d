//! How fast runners are launched on one engine, on three and on a Swarm, each beside what the engines themselves need for as
//! many containers. `DAYFLY_RATES` is the number of runners, a few by default; docs/benchmarks.md has results.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt::Write as _,
    io::Write as _,
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    models::{
        ContainerCreateBody, HostConfig, NetworkAttachmentConfig, ServiceSpec, ServiceSpecMode,
        ServiceSpecModeReplicatedJob, TaskSpec, TaskSpecContainerSpec, TaskState,
    },
    query_parameters::{CreateContainerOptions, ListTasksOptionsBuilder},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::site::{Site, on_swarm};
use crate::{
    engine::{self, LABEL_TEST},
    engines::TestEngine,
    several_hosts::Cleared,
    ssh::Sshd,
    world::{Pool, World, pool, quick, within},
};

/// Runners by default.
const RUNNERS: usize = 3;

/// Requests at once to one engine, as the daemon's.
const AT_ONCE: usize = 8;

/// How long any of it may take.
const PATIENCE: Duration = Duration::from_mins(4);

fn runners() -> usize {
    std::env::var("DAYFLY_RATES").map_or(RUNNERS, |runners| runners.parse().unwrap())
}

/// A command that runs until it is killed.
fn command() -> Vec<String> {
    ["/dayfly", "egress-proxy", "--mode", "audit", "--listen", "127.0.0.1:0"].map(str::to_owned).into()
}

fn label(instance: &str) -> HashMap<String, String> {
    HashMap::from([(LABEL_TEST.to_owned(), instance.to_owned())])
}

/// Containers on these engines in turn.
async fn containers(engines: &[&Docker], world: &World) -> Duration {
    let began = Instant::now();
    let launches = stream::iter(0..runners()).map(|number| async move {
        let body = ContainerCreateBody {
            image: Some(world.image.clone()),
            cmd: Some(command()),
            labels: Some(label(&world.instance)),
            host_config: Some(HostConfig {
                network_mode: Some("host".to_owned()),
                init: Some(true),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let engine = engines[number % engines.len()];
        let id = engine.create_container(None::<CreateContainerOptions>, body).await?.id;
        engine.start_container(&id, None).await
    });
    launches.buffer_unordered(AT_ONCE * engines.len()).try_collect::<()>().await.unwrap();
    began.elapsed()
}

/// Services with one task each, until all of them run.
async fn services(site: &Site) -> Duration {
    let (began, instance) = (Instant::now(), &site.world.instance);
    let launches = stream::iter(0..runners()).map(|number| async move {
        let spec = ServiceSpec {
            name: Some(format!("rates-{instance}-{number}")),
            labels: Some(label(instance)),
            mode: Some(ServiceSpecMode {
                replicated_job: Some(ServiceSpecModeReplicatedJob::default()),
                ..ServiceSpecMode::default()
            }),
            task_template: Some(TaskSpec {
                container_spec: Some(TaskSpecContainerSpec {
                    image: Some(site.world.image.clone()),
                    command: Some(command()),
                    init: Some(true),
                    ..TaskSpecContainerSpec::default()
                }),
                networks: Some(vec![NetworkAttachmentConfig {
                    target: Some("host".to_owned()),
                    ..NetworkAttachmentConfig::default()
                }]),
                ..TaskSpec::default()
            }),
            ..ServiceSpec::default()
        };
        site.manager.create_service(spec, None).await
    });
    launches.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await.unwrap();
    within(PATIENCE, "all tasks run", async || {
        let filters = [("name", vec![format!("rates-{instance}-")])].into();
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        let tasks = site.manager.list_tasks(Some(options)).await.unwrap();
        let states = tasks.iter().filter_map(|task| task.status.as_ref()?.state);
        (states.filter(|state| *state == TaskState::RUNNING).count() == runners()).then_some(())
    })
    .await;
    began.elapsed()
}

/// As many idle runners, from the start of the daemon until GitHub has all of them online.
async fn by_dayfly(world: &mut World, pool: Pool) -> Duration {
    world.configure(&[&pool]);
    started(world, None).await
}

/// The same with what was configured before; with another search path for programs.
async fn started(world: &mut World, path: Option<OsString>) -> Duration {
    let began = Instant::now();
    world
        .start_as(|command| {
            command.envs(path.map(|path| ("PATH", path)));
        })
        .await;
    within(PATIENCE, "all are online", async || {
        (world.github.snapshot().online() == runners()).then_some(())
    })
    .await;
    began.elapsed()
}

fn report(what: &str, floor: Duration, dayfly: Duration) {
    let (floor, dayfly) = (floor.as_millis(), dayfly.as_millis());
    // Not a print macro: the test harness would swallow it.
    let _ = writeln!(
        std::io::stderr(),
        "{} runners on {what}: the engines alone {floor} ms until running, Dayfly {dayfly} ms until online",
        runners()
    );
}

#[tokio::test]
async fn launches_on_one_engine_on_three_and_on_a_swarm() {
    let test = "launches on one engine, on three and on a Swarm";
    let (Some(mut site), Some(third)) = (Site::new(test).await, TestEngine::privileged(test)) else { return };
    let idle = |pool: Pool| pool.sized(runners(), runners());
    {
        let mut world = World::new().await;
        let engine = world.engine.clone();
        let floor = containers(&[&engine], &world).await;
        report("one engine", floor, by_dayfly(&mut world, idle(pool("linux", "acme"))).await);
    }
    {
        let mut world = World::new().await;
        let engine = world.engine.clone();
        let floor = containers(&[&engine], &world).await;
        if let Some(sshd) = Sshd::start(&world) {
            world.configure_by(&sshd.endpoint(&world), &[&idle(pool("linux", "acme"))]);
            report("one engine by ssh", floor, started(&mut world, Some(sshd.path())).await);
            world.halt();
        }
    }
    {
        let worker = site.at[1].clone();
        let mut world = World::on(TestEngine::usual(), third.reached_by(quick())).await;
        let mut others = Vec::new();
        let mut cleared = Vec::new();
        for (name, at) in [("b", &third), ("c", &worker)] {
            let engine = engine::connect(at).await;
            cleared.push(Cleared(at.clone(), world.instance.clone()));
            engine::image(&engine, &world.instance).await;
            write!(world.extra, "\nhosts.{name}.endpoint = \"{}\"", at.endpoint()).unwrap();
            others.push(engine);
        }
        let engine = world.engine.clone();
        let floor = containers(&[&engine, &others[0], &others[1]], &world).await;
        let pool = idle(pool("linux", "acme")).policy("host = [\"local\", \"b\", \"c\"]");
        report("three engines of one machine", floor, by_dayfly(&mut world, pool).await);
        world.halt();
    }
    let floor = services(&site).await;
    let dayfly = by_dayfly(&mut site.world, idle(on_swarm("linux"))).await;
    report("a Swarm of two nodes of one machine", floor, dayfly);
}
