//! How containers end: code, memory, job, result, and what the log leaves behind.

use dayfly::{
    fleet::{ContainerId, Exit, Resources},
    host::{Host, HostError, LABEL_INSTANCE, LABEL_RUNNER},
};

use super::stand::{IDLE, Stand, bind};

async fn exit_of(stand: &Stand, script: &str) -> Exit {
    let (_, id) = stand.run(script).await;
    stand.ended(&id).await
}

#[tokio::test]
async fn an_exit_has_code_job_result_and_the_end_of_the_log() {
    let stand = Stand::new().await;
    let exit = exit_of(
        &stand,
        "echo '2026-01-01 00:00:00Z: Listening for Jobs'
         echo '2026-01-01 00:00:01Z: Running job: build (1, x)'
         echo '2026-01-01 00:00:02Z: Job build (1, x) completed with result: Failed' >&2
         printf 'the end'; exit 5",
    )
    .await;
    assert_eq!((exit.code, exit.out_of_memory, exit.version_deprecated), (5, false, false));
    assert_eq!((exit.job.as_deref(), exit.result.as_deref()), (Some("build (1, x)"), Some("Failed")));
    assert!(exit.log_tail.contains("Listening") && exit.log_tail.contains("the end"), "{}", exit.log_tail);
}

#[tokio::test]
async fn a_refused_version_is_reported_by_code_or_log() {
    let stand = Stand::new().await;
    let words = "Error: Forbidden Runner version v2.1.0 is deprecated and cannot receive messages.";
    for (script, refused) in [
        ("exit 7".to_owned(), true),
        (format!("echo 'An error occurred: {words}' >&2"), true),
        (format!("echo '2026-01-01 00:00:00Z: Running job: {words}'"), false),
        ("echo '2026-01-01 00:00:00Z: Running job: x'; exit 7".to_owned(), false),
        ("exit 0".to_owned(), false),
    ] {
        assert_eq!(exit_of(&stand, &script).await.version_deprecated, refused, "{script}");
    }
}

#[tokio::test]
async fn what_has_not_ended_has_no_exit() {
    let stand = Stand::new().await;
    let (_, created) = stand.create(&stand.pool(IDLE)).await.unwrap();
    assert_eq!(stand.docker.exit(&created).await.unwrap(), None);
    let (_, up) = stand.run(IDLE).await;
    assert_eq!(stand.docker.exit(&up).await.unwrap(), None);
    assert_eq!(stand.docker.exit(&ContainerId("absent".into())).await.unwrap(), None);
}

/// A shell variable that doubles until the kernel has enough.
const EAT: &str = "a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done";

#[tokio::test]
async fn a_child_killed_for_memory_is_reported_after_the_exit_although_the_code_is_zero() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "trap 'exit 0' TERM; sh -c '{EAT}'; echo \"child: $?\"; while [ ! -e /host/go ]; do sleep 0.05; \
         done; exit 0"
    );
    let mut pool = stand.pool(&script);
    pool.template.resources = Resources { memory: 32 << 20, cpu_millis: 0 };
    pool.template.mounts = vec![bind(dir.path(), "/host")];
    let (_, id) = stand.run_pool(&pool).await;
    stand.logged(&id, "child: 137").await;
    assert!(stand.running(&id).await);
    std::fs::write(dir.path().join("go"), "").unwrap();
    let exit = stand.ended(&id).await;
    assert_eq!((exit.code, exit.out_of_memory), (0, true));
}

#[tokio::test]
async fn a_manual_kill_is_not_out_of_memory() {
    let stand = Stand::new().await;
    let (_, id) = stand.run(IDLE).await;
    stand.engine.kill_container(&id.0, None).await.unwrap();
    let exit = stand.ended(&id).await;
    assert_eq!((exit.code, exit.out_of_memory), (137, false));
}

#[tokio::test]
async fn a_log_of_any_bytes_and_any_length_of_line_is_survived() {
    let stand = Stand::new().await;
    // A line of a mebibyte that ends in what looks like the runner's words.
    let exit = exit_of(
        &stand,
        "printf '\\377\\376\\0\\n'
         a=x; i=0; while [ $i -lt 20 ]; do a=$a$a; i=$((i+1)); done
         printf '%s2026-01-01 00:00:00Z: Running job: posing\\n' \"$a\"
         echo '2026-01-01 00:00:01Z: Running job: real'
         i=0; while [ $i -lt 2000 ]; do echo \"2026-01-01 00:00:02Z: x $i\"; i=$((i+1)); done
         echo '2026-01-01 00:00:03Z: Job real completed with result: Succeeded'
         printf '\\377end'",
    )
    .await;
    // The job's own line lies behind what is read of the beginning; its result near the end is not.
    assert_eq!((exit.job.as_deref(), exit.result.as_deref()), (Some("real"), Some("Succeeded")));
    assert!(exit.log_tail.ends_with("\u{fffd}end"));
    assert!(exit.log_tail.len() <= 3 * 16 * 1024);
}

#[tokio::test]
async fn a_tail_that_does_not_follow_the_head_is_not_joined_to_it() {
    let stand = Stand::new().await;
    let exit = exit_of(
        &stand,
        "a=x; i=0; while [ $i -lt 19 ]; do a=$a$a; i=$((i+1)); done
         echo '2026-01-01 00:00:01Z: Running job: real'; echo $a
         i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done",
    )
    .await;
    assert_eq!(exit.job.as_deref(), Some("real"));
    assert!(exit.log_tail.starts_with("100\n") && exit.log_tail.ends_with("499\n"), "{}", exit.log_tail);
}

#[tokio::test]
async fn a_container_whose_log_cannot_be_read_has_an_exit_and_no_answer_on_jobs() {
    let stand = Stand::new().await;
    let runner = stand.name();
    let labels = [(LABEL_INSTANCE, stand.instance.as_str()), (LABEL_RUNNER, runner.as_str())];
    let id = stand.foreign_with(runner.as_str(), &labels, "none").await;
    let error = stand.docker.occupation(&id).await.unwrap_err();
    assert!(matches!(error, HostError::Failed { .. } | HostError::Refused(_)), "{error}");

    stand.engine.kill_container(&id.0, None).await.unwrap();
    let exit = stand.ended(&id).await;
    assert_eq!((exit.code, exit.job), (137, None));
    assert!(exit.log_tail.starts_with("(failed to read its log: "), "{}", exit.log_tail);
    assert!(stand.listed(&runner).await.is_some());
}
