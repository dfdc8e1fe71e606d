//! No secret leaves: the test searches for the token and all JIT configs wherever the daemon writes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use dayfly::simulator::{Behaviour, Endpoint, Fault, FaultKind, Settings};

use crate::{
    engine::Container,
    engines,
    world::{World, pool, quick},
};

const JIT: &str = "ACTIONS_RUNNER_INPUT_JITCONFIG=";

/// A secret need not be whole to be one: any piece of this length would be too much.
const PIECE: usize = 40;

#[tokio::test]
async fn no_secret_leaves() {
    let mut world = World::with(Settings { lease: Duration::from_secs(5), ..quick() }).await;
    let pool = pool("linux", "acme").sized(2, 3).container("memory = \"64MiB\"");
    world.configure(&[&pool]);
    let mut secrets = Vec::new();
    let mut shown = String::new();
    // By the flag, and by the environment: the one that asks for most.
    for flag in [true, false] {
        world
            .start_as(|command| {
                let _ = if flag { command.arg("-vv") } else { command.env("RUST_LOG", "trace") };
            })
            .await;
        for behaviour in [Behaviour::Succeeds, Behaviour::CrashesRunner, Behaviour::Allocates(1 << 30)] {
            let idle = world.idle("linux", 2).await;
            keep_secrets(&world, &idle, &mut secrets).await;
            let ended = world.github.snapshot().completed();
            world.github.enqueue(pool.job().that(behaviour));
            world.github_until("the job is over", |now| now.completed() == ended + 1).await;
        }
        let idle = world.idle("linux", 2).await;
        keep_secrets(&world, &idle, &mut secrets).await;
        // Errors are reported in full, but without secrets.
        for kind in [FaultKind::EmptyJitConfig, FaultKind::Html(500), FaultKind::Status(403)] {
            world.github.fault(Fault::new(kind).on(Endpoint::Mint).times(1));
        }
        world.docker_kill(&idle[0]).await;
        world.until_exits("linux", "killed", 1).await;
        shown += &world.get("/metrics").await;
        shown += &world.get("/api/v1/status").await;
        world.github.clear_faults();
        world.kill();
    }
    // Of the runners that served or failed, and of those that the last start found.
    assert!(secrets.len() >= 8, "{}", secrets.len());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.state_dir().join("failed")), 0o700);
    let failed: Vec<_> = fs::read_dir(world.state_dir().join("failed")).unwrap().collect();
    assert!(failed.iter().flatten().all(|file| mode(&file.path()) == 0o600), "{failed:?}");
    let failed = failed.into_iter();
    let records: Vec<_> = failed.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(records.len() >= 4, "{records:?}");
    shown += &records.concat();
    let log = world.log.lock().unwrap().join("\n");
    assert!(log.contains("\"level\":\"DEBUG\""), "everything was logged");
    for (what, text) in [("log", &log), ("metrics, status or record", &shown)] {
        for secret in secrets.iter().chain([&world.token]) {
            let pieces = secret.as_bytes().chunks_exact(PIECE.min(secret.len()));
            for piece in pieces.map(|piece| std::str::from_utf8(piece).unwrap()) {
                let line = text.lines().find(|line| line.contains(piece));
                assert!(line.is_none(), "{what}: {line:?}");
            }
        }
    }
}

/// Notes the containers' JIT configs, and that nothing else of theirs is a secret.
async fn keep_secrets(world: &World, containers: &[Container], secrets: &mut Vec<String>) {
    for container in containers {
        let found = engines::inspect_container(&world.engine, &container.id).await.unwrap();
        let environment = found.config.as_ref().unwrap().env.as_ref().unwrap();
        let jit = environment.iter().find_map(|variable| variable.strip_prefix(JIT)).unwrap().to_owned();
        let inspected = serde_json::to_string(&found).unwrap();
        assert!(!inspected.contains(&world.token));
        assert_eq!(inspected.matches(&jit).count(), 1, "in its environment alone");
        if !secrets.contains(&jit) {
            secrets.push(jit);
        }
    }
}
