//! `dayfly demo` as a process: it serves all jobs though its daemon is killed, and leaves nothing
//! behind, however it ends.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    engine::{self, Container},
    engines::TestEngine,
    world::{World, clear, until},
};

/// A demo whose folder is in a directory of the test's own, where no other demo is found.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(engine::binary());
    command.args(["demo", "--json", "--rate", "20", "--max", "4", "--min-idle", "2"]).args(arguments);
    command.env("DOCKER_HOST", TestEngine::usual().endpoint());
    command.env("TMPDIR", temporary).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Not on the thread that GitHub is simulated on.
async fn finish(demo: Child) -> (Output, Value) {
    let output = tokio::task::spawn_blocking(move || demo.wait_with_output().unwrap()).await.unwrap();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}:\n{}", String::from_utf8_lossy(&output.stderr));
    });
    (output, summary)
}

/// The instances whose folders are in a directory.
fn instances(temporary: &Path) -> Vec<String> {
    let names = fs::read_dir(temporary).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter_map(|name| Some(name.strip_prefix("dayfly-")?.to_owned())).collect()
}

/// A demo with jobs that take long. Dropping it kills it and removes its containers.
struct Long {
    process: Option<Child>,
    instance: String,
    containers: Vec<Container>,
}

impl Drop for Long {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
        if !self.instance.is_empty() {
            clear(&TestEngine::usual(), &self.instance);
        }
    }
}

/// Starts a demo, and waits until some of its runners are up.
async fn start_long(world: &World, temporary: &Path) -> Long {
    let known = instances(temporary);
    let arguments = ["--jobs", "20", "--job-seconds", "600", "--listen", "127.0.0.1:0"];
    let process = demo(temporary, &arguments).spawn().unwrap();
    let mut long = Long { process: Some(process), instance: String::new(), containers: Vec::new() };
    (long.instance, long.containers) = until("the demo has runners", async || {
        let instance = instances(temporary).into_iter().find(|instance| !known.contains(instance))?;
        let containers = engine::containers(&world.engine, &instance).await;
        // One that could not be started may be replaced.
        let running: Vec<_> = containers.into_iter().filter(|c| c.state == "running").collect();
        (running.len() >= 2).then_some((instance, running))
    })
    .await;
    long
}

#[tokio::test]
async fn all_jobs_of_a_demo_are_served_though_its_daemon_is_killed() {
    // Holds the image.
    let _world = World::new().await;
    let temporary = TempDir::new().unwrap();
    for demand in ["queue,webhook", "scale-set"] {
        let arguments = ["--jobs", "12", "--job-seconds", "1.5", "--demand", demand];
        let (output, summary) = finish(demo(temporary.path(), &arguments).spawn().unwrap()).await;
        assert!(output.status.success(), "{summary:#}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((&summary["succeeded"], &summary["lost"]), (&12.into(), &0.into()), "{summary:#}");
        assert!(summary["killed"]["runners"].as_u64().is_some_and(|runners| runners > 0), "{summary:#}");
        assert_eq!(instances(temporary.path()), [""; 0], "its folder is gone");
    }
}

#[tokio::test]
async fn a_demo_that_ends_early_leaves_nothing_for_long() {
    let world = World::new().await;
    let temporary = TempDir::new().unwrap();
    let mut killed = start_long(&world, temporary.path()).await;
    let mut alive = start_long(&world, temporary.path()).await;
    let mut process = killed.process.take().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let left = engine::containers(&world.engine, &killed.instance).await;
    assert!(!left.is_empty(), "kill -9 leaves containers");

    let (output, summary) = finish(demo(temporary.path(), &["--jobs", "1"]).spawn().unwrap()).await;
    assert!(output.status.success(), "{summary:#}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(summary["remains_removed"].as_u64().is_some_and(|removed| removed >= 2), "{summary:#}");
    let left = engine::containers(&world.engine, &killed.instance).await;
    assert!(left.is_empty(), "the next demo removes them: {left:?}");
    let still = engine::containers(&world.engine, &alive.instance).await;
    assert!(alive.containers.iter().all(|c| still.iter().any(|s| s.id == c.id)), "but no others");
    assert_eq!(instances(temporary.path()), [alive.instance.clone()]);

    // Its terminal is closed.
    let process = alive.process.take().unwrap();
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    let (_, summary) = finish(process).await;
    assert_eq!(summary["interrupted"], true, "{summary:#}");
    assert!(engine::containers(&world.engine, &alive.instance).await.is_empty());
    assert_eq!(instances(temporary.path()), [""; 0]);
}
