//! Asking a container whether it has a job.

use std::sync::Arc;

use axum::{Router, routing::get};
use dayfly::{
    fleet::{ContainerId, Occupation},
    host::{Docker, Host},
};
use http::StatusCode;

use super::stand::{IDLE, LISTENING, Stand, docker_at, until};

#[tokio::test]
async fn an_idle_runner_is_idle_whatever_it_prints() {
    let stand = Stand::new().await;
    let (_, id) = stand
        .run(&format!("{LISTENING}; echo 'x: Running job: y'; echo Runner.Worker; echo ready; {IDLE}"))
        .await;
    stand.logged(&id, "ready").await;
    assert_eq!(stand.docker.occupation(&id).await.unwrap(), Occupation::Idle);
}

#[tokio::test]
async fn a_job_in_the_log_is_a_job() {
    let stand = Stand::new().await;
    let trace = "[RUNNER 2026-01-01 00:00:00Z INFO Terminal] WRITE LINE: ";
    for line in [
        "2026-01-01 00:00:00Z: Running job: build",
        &format!("{trace}2026-01-01 00:00:00Z: Running job: build"),
    ] {
        let (_, id) = stand.run(&format!("{LISTENING}; echo '{line}'; echo ready; {IDLE}")).await;
        stand.logged(&id, "ready").await;
        assert_eq!(stand.docker.occupation(&id).await.unwrap(), Occupation::Busy(Some("build".to_owned())));
    }
}

#[tokio::test]
async fn a_worker_process_is_a_job_also_without_a_line() {
    let stand = Stand::new().await;
    let (_, id) = stand.run(&format!("Runner.Worker 600 & {IDLE}")).await;
    let busy = until("the worker is seen", async || {
        Some(stand.docker.occupation(&id).await.unwrap()).filter(|seen| *seen != Occupation::Idle)
    });
    assert_eq!(busy.await, Occupation::Busy(None));
}

#[tokio::test]
async fn what_does_not_run_is_down() {
    let stand = Stand::new().await;
    let (_, created) = stand.create(&stand.pool(IDLE)).await.unwrap();
    let (_, ended) = stand.run("echo '2026-01-01 00:00:00Z: Running job: build'").await;
    stand.ended(&ended).await;
    for id in [created, ended, ContainerId("absent".into())] {
        assert_eq!(stand.docker.occupation(&id).await.unwrap(), Occupation::Down);
    }
}

/// An engine with configured responses for processes and log; the real one rarely fails at just one of them.
async fn engine_with(top: (u16, &'static str), log: (u16, &'static str)) -> Docker {
    let answer = |(status, body): (u16, &'static str)| {
        move || std::future::ready((StatusCode::from_u16(status).unwrap(), body))
    };
    let app = Router::new()
        .route("/version", get(answer((200, r#"{"ApiVersion": "1.41"}"#))))
        .route("/containers/c/json", get(answer((200, r#"{"State": {"Status": "running"}}"#))))
        .route("/containers/c/top", get(answer(top)))
        .route("/containers/c/logs", get(answer(log)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    docker_at(&endpoint, &"ci1".parse().unwrap(), &Arc::default())
}

#[tokio::test]
async fn no_answer_is_not_idle_but_one_answer_is_enough_for_busy() {
    const FAILS: (u16, &str) = (500, "no");
    const NO_WORKER: (u16, &str) =
        (200, r#"{"Titles": ["PID"], "Processes": [["1", "run.sh", "/bin/run.sh"]]}"#);
    const WORKER: (u16, &str) =
        (200, r#"{"Titles": ["PID"], "Processes": [["1", "x", "/a/bin/Runner.Worker spawnclient"]]}"#);
    const NO_JOB: (u16, &str) = (200, "");
    // The engine's frame: stream 1, three bytes of nothing, the length.
    const JOB: (u16, &str) = (200, "\x01\0\0\0\0\0\0\x252026-01-01 00:00:00Z: Running job: x\n");
    // A frame of stream 3 is the engine's own error.
    const BROKEN: (u16, &str) = (200, "\x03\0\0\0\0\0\0\x02no");
    let named = || Some(Occupation::Busy(Some("x".to_owned())));
    for (top, log, expected) in [
        (NO_WORKER, NO_JOB, Some(Occupation::Idle)),
        (NO_WORKER, JOB, named()),
        (FAILS, JOB, named()),
        (WORKER, JOB, named()),
        (WORKER, NO_JOB, Some(Occupation::Busy(None))),
        (WORKER, FAILS, Some(Occupation::Busy(None))),
        (WORKER, BROKEN, Some(Occupation::Busy(None))),
        (NO_WORKER, FAILS, None),
        (NO_WORKER, BROKEN, None),
        (FAILS, NO_JOB, None),
        (FAILS, FAILS, None),
    ] {
        let docker = engine_with(top, log).await;
        let occupation = docker.occupation(&ContainerId("c".into())).await.ok();
        assert_eq!(occupation, expected, "{top:?} {log:?}");
    }
}
