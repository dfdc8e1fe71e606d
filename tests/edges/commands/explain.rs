//! `dayfly explain`, on jobs that a pool serves and on jobs that none does.

use std::collections::BTreeMap;

use axum::{Json, Router, routing::get};
use dayfly::simulator::{GroupPolicy, Hold, Job, Settings, Simulator};

use serde_json::json;

use super::stand::{Said, Stand, finish, pool};

const SERVED: &[&str] = &["self-hosted", "Linux"];

async fn simulator(policy: GroupPolicy) -> Simulator {
    let group_policies = BTreeMap::from([("Default".to_owned(), policy)]);
    Simulator::start(Settings { group_policies, ..Settings::default() }).await.unwrap()
}

fn job(labels: &[&str]) -> Job {
    Job::new("acme", labels).of("acme/widgets")
}

fn address(simulator: &Simulator, job: u64) -> String {
    format!("{}/actions/runs/1/job/{job}?pr=7", simulator.scope_url("acme/widgets"))
}

fn organization(simulator: &Simulator) -> Stand {
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    stand
}

async fn explain(stand: &Stand, simulator: &Simulator, job: u64) -> Said {
    let said = stand.run(&["explain", &address(simulator, job)]).await;
    assert_eq!(said.err, "");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_pool_serves_is_reported_with_the_pool_and_nothing_is_changed() {
    let simulator = simulator(GroupPolicy::default()).await;
    let stand = organization(&simulator);
    let job = simulator.enqueue(job(SERVED).named("build"));
    let said = explain(&stand, &simulator, job).await;
    assert_eq!(said.code(), 0);
    for part in [
        "Job \"build\" of acme/widgets has been queued since ",
        "asks for self-hosted, Linux.",
        "Pool linux serves it.",
        "demand = [\"idle\"]",
        "What the daemon is doing about it is not known: http.listen has port 0",
    ] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let json = stand.run(&["explain", "--json", &address(&simulator, job)]).await;
    let read = json.json();
    assert_eq!(
        (json.code(), &read["pool"], &read["unmatched"]),
        (0, &"linux".into(), &().into()),
        "{read:#}"
    );
    assert_eq!((&read["job"]["state"], &read["job"]["id"]), (&"queued".into(), &job.into()), "{read:#}");
    assert!(read["sentences"].as_array().unwrap().len() >= 3, "{read:#}");
    assert!(simulator.requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_no_pool_has_is_named_with_a_hint() {
    let simulator = simulator(GroupPolicy::default()).await;
    let stand = organization(&simulator);
    let said = explain(&stand, &simulator, simulator.enqueue(job(&["self-hosted", "gpu"]))).await;
    assert_eq!(said.code(), 1);
    for part in
        ["No pool serves it.", "Pool linux lacks gpu; add gpu to the pool's labels, or change runs-on."]
    {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_runner_group_refuses_is_reported_as_such() {
    let selected = GroupPolicy {
        visibility: "selected",
        repositories: vec!["acme/other".to_owned()],
        ..GroupPolicy::default()
    };
    let workflows = GroupPolicy {
        workflows: vec!["acme/widgets/.github/workflows/deploy.yml@refs/heads/main".to_owned()],
        ..GroupPolicy::default()
    };
    for (policy, public, part) in [
        (selected, false, "runner group \"Default\" does not allow acme/widgets"),
        (
            GroupPolicy::default(),
            true,
            "acme/widgets is public, and pool linux's runner group \"Default\" does not allow",
        ),
        (workflows, false, "runner group \"Default\" allows other workflows only"),
    ] {
        let simulator = simulator(policy).await;
        let stand = organization(&simulator);
        simulator.push("acme/widgets", public);
        let said = explain(&stand, &simulator, simulator.enqueue(job(SERVED))).await;
        assert!(said.code() == 1 && said.out.contains(part), "{part}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_someone_is_no_runners_fault() {
    let simulator = simulator(GroupPolicy::default()).await;
    let stand = organization(&simulator);
    let said = explain(&stand, &simulator, simulator.enqueue(job(SERVED).held(Hold::Approval))).await;
    assert!(said.code() == 0 && said.out.contains("needs no runner yet"), "{said:?}");
    let cancelled = simulator.enqueue(job(&["gpu"]));
    assert!(simulator.cancel(cancelled));
    let said = explain(&stand, &simulator, cancelled).await;
    assert!(said.code() == 0 && said.out.contains("has finished."), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_determined_is_an_error_with_the_reason() {
    let simulator = simulator(GroupPolicy::default()).await;
    let stand = organization(&simulator);
    simulator.push("acme/widgets", false);
    let url = simulator.scope_url("acme/widgets");
    for (address, parts) in [
        (format!("{url}/actions/runs/1/job/999"), &["has no job 999", "\"Actions: read\""][..]),
        (format!("{url}/actions/runs/1"), &["invalid job address", "the address of a run"]),
        (
            "https://git.example.com/a/b/actions/runs/1/job/2".to_owned(),
            &["no pool's url is on https://git.example.com"],
        ),
    ] {
        let said = stand.run(&["explain", &address]).await;
        assert_eq!((said.code(), said.out.as_str()), (2, ""), "{said:?}");
        for part in parts {
            assert!(said.err.contains(part), "{part}: {said:?}");
        }
    }
}

/// What is said of a job while a daemon of this instance is at its limit.
async fn explain_beside(instance: &str, stand: &Stand, address: &str) -> Said {
    let document = json!({
        "instance": instance, "version": "0", "started_at": "2026-01-01T00:00:00Z", "runners": [],
        "pools": [
            {
                "name": "linux", "url": "", "hosts": ["a", "b"], "held_detail": "a: timed out; b: it is full", "placement": "spread", "desired": 9, "min_idle": 1, "max": 4,
                "phases": { "busy": 3, "idle": 0, "starting": 1, "something new": 7 }, "held": "at_max",
            },
            { "name": "gone", "url": "", "hosts": ["local"], "placement": "spread", "desired": 0, "min_idle": 1, "max": 4, "held": null },
        ],
    });
    let router = Router::new().route("/api/v1/status", get(|| async { Json(document) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listens = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut command = stand.command(&["explain", address]);
    command.env("DAYFLY_HTTP__LISTEN", listens);
    finish(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn why_launches_are_paused_comes_from_the_daemon() {
    let simulator = simulator(GroupPolicy::default()).await;
    let stand = organization(&simulator);
    let job = simulator.enqueue(job(SERVED));
    let (own, address) = (format!("cmd{}", std::process::id() % 1_000_000), address(&simulator, job));
    let said = explain_beside(&own, &stand, &address).await;
    assert!(
        said.out.contains(
            "It has 0 idle, 1 starting and 3 busy runners of at most 4, and its launches are paused"
        ),
        "{said:?}"
    );
    assert!(said.out.contains("paused: max is reached (a: timed out; b: it is full)."), "{said:?}");
    let said = explain_beside("other", &stand, &address).await;
    assert!(said.code() == 0 && said.out.contains("belongs to another instance"), "{said:?}");
}
