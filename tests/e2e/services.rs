//! Services that runners use: `check` tries to reach them as a runner would, and an engine of a runner pulls through a
//! registry mirror.

use std::{
    collections::HashMap,
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use bollard::query_parameters::ListContainersOptionsBuilder;
use dayfly::simulator::Behaviour;
use serde_json::Value;

use crate::{
    docker_in_jobs::{drained, with_dind},
    engine::BINARY,
    engines::TestEngine,
    job_image,
    registry::Registry,
    world::{World, pool, quick, until},
};

/// The lines of `check` that have this part.
fn checked(world: &World, options: &[&str], part: &str) -> Vec<(String, String)> {
    let checked = Command::new(BINARY)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(["check", "--json", "--config"])
        .arg(world.config())
        .args(options)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let lines = report["lines"].as_array().unwrap().iter();
    lines
        .map(|line| (text(line, "verdict"), text(line, "text")))
        .filter(|(_, text)| text.contains(part))
        .collect()
}

#[tokio::test]
async fn check_tries_to_reach_services_from_where_runners_are_only_when_asked_to() {
    let world = World::new().await;
    let serves = TcpListener::bind((world.at.host, 0)).unwrap();
    let (cache, closed) = (serves.local_addr().unwrap(), TcpListener::bind((world.at.host, 0)).unwrap());
    let proxy = closed.local_addr().unwrap();
    drop(closed);
    let pool = pool("linux", "acme")
        .container(&format!("env = {{ ACTIONS_RESULTS_URL = \"http://{cache}/\" }}"))
        .container(&format!("proxy = {{ http = \"http://{proxy}\" }}"));
    world.configure(&[&pool]);
    let part = "its runners";
    let untried = checked(&world, &[], part);
    assert_eq!(untried.len(), 1, "{untried:?}");
    assert_eq!(untried[0].0, "skip");
    assert!(untried[0].1.contains("--from-runners"), "{untried:?}");

    let tried = checked(&world, &["--from-runners"], part);
    let reached = ("ok".to_owned(), format!("its runners reach cache server http://{cache}/"));
    assert_eq!((tried.len(), &tried[0]), (2, &reached), "{tried:?}");
    let (verdict, text) = &tried[1];
    assert!(verdict == "fail" && text.contains(&format!("http://{proxy}: Connection refused")), "{tried:?}");
    let filter = HashMap::from([("label", vec![format!("dev.dayfly.check={}", world.instance)])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    until("its container is removed", async || {
        let listed = world.engine.list_containers(Some(options.clone())).await.unwrap();
        listed.is_empty().then_some(())
    })
    .await;
}

/// Debian's registry as a mirror of another one. Dropping it ends it.
struct Mirror {
    process: Child,
    address: String,
    _files: tempfile::TempDir,
}

impl Mirror {
    #[expect(clippy::print_stderr, reason = "the output shows what was not checked")]
    fn start(engine: &TestEngine, upstream: &str) -> Option<Self> {
        let files = tempfile::tempdir().unwrap();
        let free = TcpListener::bind((engine.host, 0)).unwrap();
        let address = free.local_addr().unwrap().to_string();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\nproxy:\n  \
             remoteurl: http://{upstream}\n",
            files.path().display()
        );
        let path = files.path().join("config.yml");
        fs::write(&path, config).unwrap();
        drop(free);
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(process) => Some(Self { process, address, _files: files }),
            Err(error) => {
                assert!(std::env::var_os("DAYFLY_REQUIRE_REGISTRY").is_none(), "docker-registry: {error}");
                eprintln!("skipped: docker-registry (Debian's package of this name) cannot be run: {error}");
                None
            }
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The runner's engine has no other way to Docker Hub than the mirror, and this mirror none but the test's registry.
#[tokio::test]
async fn an_engine_of_a_runner_pulls_through_a_registry_mirror() {
    let Some(engine) = TestEngine::privileged("a registry mirror") else { return };
    // The end of an archive: an empty one.
    let hub = Registry::start(true, vec![0; 1024]).await;
    hub.push("tools", "1", "of the hub");
    let Some(mirror) = Mirror::start(&engine, &hub.address) else { return };
    let mut world = World::on(engine, quick()).await;
    let Some(image) = job_image::make(&world, "a registry mirror").await else { return };
    let pool = pool("jobs", "acme").image(image).command(job_image::COMMAND);
    let pool = with_dind(pool, &format!(", registry_mirrors = [\"http://{}\"]", mirror.address));
    world.configure(&[&pool]);
    until("the mirror answers", async || {
        let tried = checked(&world, &["--from-runners"], "its runners reach registry mirror");
        (!tried.is_empty()).then_some(())
    })
    .await;
    world.start().await;
    let script = "docker pull --quiet tools:1\n\
                  test \"$(docker image inspect --format '{{.Config.Labels.mark}}' tools:1)\" = 'of the hub'\n";
    world.github.enqueue(pool.job().named("pulls").that(Behaviour::Runs(script.to_owned())));
    let now = world.github_until("the job is served", |now| now.completed() == 1).await;
    assert_eq!(now.succeeded, 1, "{:#?}", world.github.jobs());
    drained(&world).await;
}
