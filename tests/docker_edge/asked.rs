//! Asking a container whether it has a job.

use dayfly::{
    fleet::{ContainerId, Occupation},
    host::Host,
};

use crate::stand::{IDLE, LISTENING, Stand};

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
        // A job that is over still holds the runner: its container has to end by itself.
    }
}

#[tokio::test]
async fn a_worker_process_is_a_job_also_without_a_line() {
    let stand = Stand::new().await;
    let (_, id) = stand.run(&format!("Runner.Worker 600 & echo ready; {IDLE}")).await;
    stand.logged(&id, "ready").await;
    assert_eq!(stand.docker.occupation(&id).await.unwrap(), Occupation::Busy(None));
}

#[tokio::test]
async fn a_worker_is_found_by_the_name_that_it_was_called_by() {
    let stand = Stand::new().await;
    let (_, id) = stand.run(&format!("/bin/../bin/Runner.Worker 600 & echo ready; {IDLE}")).await;
    stand.logged(&id, "ready").await;
    assert_eq!(stand.docker.occupation(&id).await.unwrap(), Occupation::Busy(None));
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
