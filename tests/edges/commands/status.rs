//! `dayfly status`, with a daemon and without.

use std::{process::Stdio, time::Instant};

use axum::{Json, Router, http::StatusCode, routing::get};
use dayfly::simulator::{Settings, Simulator};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

use super::stand::{DEADLINE, Said, Stand, finish, pool};

/// A daemon that this test has started.
struct Running {
    child: Child,
    address: String,
}

impl Running {
    /// Starts the daemon and waits until it logs its address.
    async fn start(stand: &Stand) -> Self {
        let mut command = stand.command(&["run", "--log-format", "json"]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = timeout(DEADLINE, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the daemon says where it listens");
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                if let Some(address) = find(&line, "address") {
                    break address;
                }
            }
        });
        let address = address.await.unwrap();
        // Read on, or the daemon would block at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, address }
    }

    fn ask(&self, stand: &Stand, arguments: &[&str]) -> Command {
        let mut command = stand.command(arguments);
        command.env("DAYFLY_HTTP__LISTEN", &self.address);
        command
    }
}

/// A text field of this name, wherever a log line has it.
fn find(line: &serde_json::Value, name: &str) -> Option<String> {
    let fields = line.as_object()?;
    fields
        .get(name)
        .and_then(|value| value.as_str().map(str::to_owned))
        .or_else(|| fields.values().find_map(|value| find(value, name)))
}

/// Asks again until the answer is as wanted.
pub(crate) async fn until(mut ask: impl FnMut() -> Command, wanted: impl Fn(&Said) -> bool) -> Said {
    let began = Instant::now();
    loop {
        let said = finish(ask()).await;
        if wanted(&said) {
            return said;
        }
        assert!(began.elapsed() < DEADLINE, "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_there_is_one_line_and_a_failure() {
    let stand = Stand::new();
    stand.configure(&pool("https://github.com/acme"));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for arguments in [&["status"][..], &["status", "--json"], &["status", "--quiet"]] {
        let mut command = stand.command(arguments);
        command.env("DAYFLY_HTTP__LISTEN", free.to_string());
        let said = finish(command).await;
        assert_eq!((said.code(), said.out.as_str(), said.err.lines().count()), (2, "", 1), "{said:?}");
        assert!(said.err.contains(&free.to_string()) && said.err.contains("dayfly run"), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_plan_is_not_healthy() {
    let stand = Stand::new();
    stand.configure(&pool("https://github.com/acme"));
    let document = json!({
        "instance": "ci1", "version": "9.0", "started_at": "2026-11-22T12:00:00Z", "pools": [], "runners": [],
    });
    let router = Router::new()
        .route("/healthz", get(async || (StatusCode::SERVICE_UNAVAILABLE, "nothing planned for 80 s\n")))
        .route("/api/v1/status", get(async move || Json(document)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (arguments, shows) in [(&["status", "--quiet"][..], ""), (&["status"], "dayfly 9.0, instance ci1")] {
        let mut command = stand.command(arguments);
        command.env("DAYFLY_HTTP__LISTEN", &address);
        let said = finish(command).await;
        assert_eq!((said.code(), said.err.lines().count()), (1, 1), "{said:?}");
        assert!(said.err.contains("nothing planned for 80 s") && said.out.starts_with(shows), "{said:?}");
        assert_eq!(said.out.is_empty(), shows.is_empty(), "{said:?}");
    }
    let said = stand.run(&["status"]).await;
    assert!(said.code() == 2 && said.err.contains("http.listen has port 0"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_at_the_address_is_no_daemon_and_does_not_hang_the_command() {
    let stand = Stand::new();
    stand.configure(&pool("https://github.com/acme"));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = Simulator::start(Settings::default()).await.unwrap();
    for (address, says) in [
        (silent.local_addr().unwrap().to_string(), "did not answer within 5 s"),
        (other.url().replace("http://", ""), "is not a dayfly daemon"),
    ] {
        let mut command = stand.command(&["status"]);
        command.env("DAYFLY_HTTP__LISTEN", address);
        let said = finish(command).await;
        assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
        assert!(said.err.contains(says), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_reports_its_pools_and_what_holds_them_and_ends_by_sigterm() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    let mut daemon = Running::start(&stand).await;
    let paused = "its host does not have its image: the engine has no image";
    let said = until(|| daemon.ask(&stand, &["status"]), |said| said.out.contains(paused)).await;
    assert_eq!((said.code(), said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("no runners") && said.out.contains("/acme"), "{said:?}");

    // A user who requests the status may not be allowed to read the token.
    std::fs::remove_file(stand.path().join("token")).unwrap();
    let said = finish(daemon.ask(&stand, &["status", "--json"])).await;
    let document = said.json();
    assert_eq!(document["pools"][0]["held"], "image_missing", "{document:#}");
    let said = finish(daemon.ask(&stand, &["status", "--quiet"])).await;
    assert_eq!((said.code(), said.out.as_str(), said.err.as_str()), (0, "", ""), "{said:?}");

    // The same address is taken, by this daemon, which is as it should be.
    stand.token(super::stand::TOKEN);
    let said = finish(daemon.ask(&stand, &["check"])).await;
    assert!(said.line(&["http.listen", "the daemon of this instance"]).starts_with("[ok]"), "{said:?}");

    terminate(&daemon.child);
    let began = Instant::now();
    let status = timeout(DEADLINE, daemon.child.wait()).await.unwrap().unwrap();
    assert!(status.success() && began.elapsed().as_secs() < 5, "{status} after {:?}", began.elapsed());
    let said = finish(daemon.ask(&stand, &["status", "--quiet"])).await;
    assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
}

/// Sends SIGTERM to the child.
pub(crate) fn terminate(child: &Child) {
    let id = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failures_are_shown_by_themselves() {
    let stand = Stand::new();
    stand.configure(&pool("https://github.com/acme"));
    let document = json!({
        "instance": "ci1", "version": "9.0", "started_at": "2026-11-22T12:00:00Z", "pools": [], "runners": [],
        "failures": [{"at": "2026-11-22T12:00:00Z", "pool": "linux", "runner": "dayfly-linux-ci1-a", "step": "launch",
            "reason": "engine_failed", "exit_code": null, "job": null, "detail": "no space left\u{1b}[2J"}],
    });
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/api/v1/status", get(move || async move { Json(document) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let ask = |arguments: &[&str]| {
        let mut command = stand.command(arguments);
        command.env("DAYFLY_HTTP__LISTEN", &address);
        finish(command)
    };
    let said = ask(&["status"]).await;
    assert!(said.code() == 0 && said.out.contains("FAILED RUNNER"), "{said:?}");
    let said = ask(&["status", "--failed"]).await;
    assert!(said.code() == 0 && said.out.lines().count() == 2, "{said:?}");
    assert!(said.out.contains("at launch (engine_failed)\n    no space left\\u{1b}[2J\n"), "{said:?}");
    let said = ask(&["status", "--failed", "--json"]).await;
    assert_eq!(
        (said.json()[0]["reason"].as_str(), said.json()[0]["exit_code"].clone()),
        (Some("engine_failed"), json!(null))
    );
}
