//! The streams of the engine: events and logs.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{Router, routing::get};
use dayfly::{
    fleet::{ContainerId, Resources, RunnerName, Said},
    host::{Happened, Host, HostError, LABEL_INSTANCE, LABEL_RUNNER},
};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener, UnixStream},
    sync::watch,
};

use crate::engines::TestEngine;

use super::stand::{DEADLINE, IDLE, LISTENING, Stand, bind, docker_at, until};

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it comes in time")
}

/// A runner that is not known to have a job.
pub(crate) fn idle() -> watch::Receiver<bool> {
    watch::channel(false).1
}

type Events = BoxStream<'static, Result<Happened, HostError>>;

/// Starts containers until one is reported: from then on all are.
async fn subscribed(stand: &Stand) -> Events {
    let mut events = stand.docker.events();
    let reported = async {
        loop {
            tokio::select! {
                event = events.next() => break event.unwrap().unwrap(),
                _ = stand.run("exit 0") => {}
            }
        }
    };
    soon(reported).await;
    events
}

fn whose(happened: &Happened) -> &RunnerName {
    match happened {
        Happened::Started { runner, .. }
        | Happened::Died { runner, .. }
        | Happened::Oom { runner, .. }
        | Happened::Sidecar { runner }
        | Happened::Destroyed { runner, .. } => runner,
        Happened::Changed => panic!("an event of a Swarm"),
    }
}

#[tokio::test]
async fn events_of_ours_and_of_no_one_else_are_reported() {
    let stand = Stand::new().await;
    let mut events = subscribed(&stand).await;
    let (other, name) =
        (format!("theirs-{}", stand.instance), "dayfly-edge-other-01jd0000000000000000000000");
    stand.foreign(&other, &[(LABEL_INSTANCE, "other"), (LABEL_RUNNER, name)]).await;
    let mut pool = stand.pool("sh -c 'a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done'; exit 0");
    pool.template.resources = Resources { memory: 32 << 20, cpu_millis: 0 };
    let (runner, id) = stand.run_pool(&pool).await;
    stand.ended(&id).await;
    stand.docker.remove(&id).await.unwrap();

    let mut reported = Vec::new();
    while !matches!(reported.last(), Some(Happened::Destroyed { .. })) {
        let happened = soon(events.next()).await.unwrap().unwrap();
        assert_eq!(whose(&happened).instance(), stand.instance.as_str());
        // The kernel may kill more than one process.
        if *whose(&happened) == runner && reported.last() != Some(&happened) {
            reported.push(happened);
        }
    }
    let (runner, id) = (|| runner.clone(), || id.clone());
    let mut expected = vec![
        Happened::Started { runner: runner(), id: id() },
        Happened::Oom { runner: runner(), id: id() },
        Happened::Died { runner: runner(), id: id(), code: Some(0) },
        Happened::Destroyed { runner: runner(), id: id() },
    ];
    if stand.is_podman().await {
        // It has no such event; the exit says it.
        expected.remove(1);
    }
    assert_eq!(reported, expected);
}

/// Stands between the edge and the engine, and can cut what is between them.
fn between(path: &Path) -> watch::Sender<()> {
    let listener = UnixListener::bind(path).unwrap();
    let (cut, was_cut) = watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut was_cut = was_cut.clone();
            was_cut.mark_unchanged();
            tokio::spawn(async move {
                let mut far = UnixStream::connect(TestEngine::usual().socket).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = was_cut.changed() => {}
                }
            });
        }
    });
    cut
}

#[tokio::test]
async fn a_cut_event_stream_ends_with_an_error_and_the_next_reports_what_was_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let cut = between(&path);
    let stand = Stand::at(&format!("unix://{}", path.display())).await;
    let mut events = subscribed(&stand).await;
    cut.send(()).unwrap();
    // Perhaps more came through before the cut.
    let error = soon(events.by_ref().filter_map(|event| std::future::ready(event.err())).next()).await;
    assert!(error.is_some());
    assert!(soon(events.next()).await.is_none(), "nothing follows the error");

    let (missed, missed_id) = stand.run("exit 0").await;
    stand.ended(&missed_id).await;
    let mut events = stand.docker.events();
    let died = Happened::Died { runner: missed, id: missed_id, code: Some(0) };
    soon(async { while events.next().await.unwrap().unwrap() != died {} }).await;
}

#[tokio::test]
async fn an_event_stream_that_ends_in_silence_ends_with_an_error() {
    let app = Router::new()
        .route("/version", get(async || r#"{"ApiVersion": "1.41"}"#))
        .route("/events", get(async || ""));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let docker = docker_at(&endpoint, &"ci1".parse().unwrap(), &Arc::default());
    let reported: Vec<_> = soon(docker.events().collect()).await;
    assert!(matches!(reported[..], [Err(HostError::Failed { .. })]), "{reported:?}");
}

#[tokio::test]
async fn a_runner_is_followed_until_it_has_a_job() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let mut pool = stand.pool(&format!(
        "printf '\\377\\376\\n'; a=x; i=0; while [ $i -lt 20 ]; do a=$a$a; i=$((i+1)); done
         printf '%s2026-01-01 00:00:00Z: Running job: posing\\n' \"$a\"
         {LISTENING}; while [ ! -e /host/go ]; do sleep 0.05; done
         echo '2026-01-01 00:00:01Z: Running job: a Listening for Jobs' >&2; {IDLE}"
    ));
    pool.template.mounts = vec![bind(dir.path(), "/host")];
    let (_, id) = stand.run_pool(&pool).await;
    let mut said = stand.docker.follow(&id, idle());
    assert_eq!(soon(said.next()).await.unwrap().unwrap(), Said::Listening);
    std::fs::write(dir.path().join("go"), "").unwrap();
    let job = "a Listening for Jobs".to_owned();
    let began = "2026-01-01T00:00:01Z".parse().ok();
    assert_eq!(soon(said.next()).await.unwrap().unwrap(), Said::RunningJob { job, began });
    assert!(soon(said.next()).await.is_none());
    assert!(stand.running(&id).await);
}

#[tokio::test]
async fn following_ends_with_the_container() {
    let stand = Stand::new().await;
    let (_, id) = stand
        .run(&format!("{LISTENING}; printf '2026-01-01 00:00:01Z: Job x completed with result: Canceled'"))
        .await;
    for _ in 0..2 {
        let said: Vec<_> = soon(stand.docker.follow(&id, idle()).map(Result::unwrap).collect()).await;
        assert_eq!(said, [Said::Listening, Said::JobCompleted("Canceled".to_owned())]);
    }
    stand.docker.remove(&id).await.unwrap();
    assert!(soon(stand.docker.follow(&id, idle()).next()).await.is_none());
    assert!(soon(stand.docker.follow(&ContainerId("absent".into()), idle()).next()).await.is_none());
}

#[tokio::test]
async fn a_log_that_breaks_off_while_the_container_runs_is_an_error() {
    let stand = Stand::new().await;
    let (_, id) = stand.run(&format!("{LISTENING}; {IDLE}")).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let cut = between(&path);
    let docker = docker_at(&format!("unix://{}", path.display()), &stand.instance, &Arc::default());
    let mut said = docker.follow(&id, idle());
    assert_eq!(soon(said.next()).await.unwrap().unwrap(), Said::Listening);
    cut.send(()).unwrap();
    soon(said.next()).await.unwrap().unwrap_err();
    assert!(soon(said.next()).await.is_none());
    // And a second call starts from the beginning.
    assert_eq!(soon(docker.follow(&id, idle()).next()).await.unwrap().unwrap(), Said::Listening);
}

/// Stands between the edge and the engine. Connections on which events were requested before the last word of
/// the sender are half-open: nothing comes through any more, and nothing says so.
fn forgetful(path: &Path) -> watch::Sender<u64> {
    let listener = UnixListener::bind(path).unwrap();
    let (forget, forgotten) = watch::channel(1);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (requests, answers) = (forgotten.clone(), forgotten.clone());
            let far = UnixStream::connect(TestEngine::usual().socket).await.unwrap();
            let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
                (near.into_split(), far.into_split());
            let requested = Arc::new(AtomicU64::new(u64::MAX));
            let requested_at = Arc::clone(&requested);
            tokio::spawn(async move {
                let mut chunk = vec![0; 1 << 16];
                while let Ok(read @ 1..) = from_near.read(&mut chunk).await {
                    if String::from_utf8_lossy(&chunk[..read]).contains("/events?") {
                        requested_at.store(*requests.borrow(), Ordering::SeqCst);
                    }
                    to_far.write_all(&chunk[..read]).await.unwrap();
                }
            });
            tokio::spawn(async move {
                let mut chunk = vec![0; 1 << 16];
                while let Ok(read @ 1..) = from_far.read(&mut chunk).await {
                    if *answers.borrow() <= requested.load(Ordering::SeqCst)
                        && to_near.write_all(&chunk[..read]).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    forget
}

#[tokio::test]
async fn a_dead_event_stream_is_detected_by_a_list_and_the_next_reports_what_was_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let forget = forgetful(&path);
    let stand = Stand::at(&format!("unix://{}", path.display())).await;
    let mut events = subscribed(&stand).await;
    let (_, idler) = stand.run(&format!("{LISTENING}; {IDLE}")).await;
    let mut said = stand.docker.follow(&idler, idle());
    assert_eq!(soon(said.next()).await.unwrap().unwrap(), Said::Listening);
    forget.send(2).unwrap();

    let (missed, missed_id) = stand.run("exit 3").await;
    until("it has ended", async || (!stand.running(&missed_id).await).then_some(())).await;
    stand.docker.list().await.unwrap();
    // Perhaps more came through before.
    let error = soon(events.by_ref().filter_map(|event| std::future::ready(event.err())).next()).await;
    assert!(error.unwrap().to_string().contains("monitor events: the stream is stale"));
    soon(said.next()).await.unwrap().unwrap_err();

    let mut events = stand.docker.events();
    let died = Happened::Died { runner: missed, id: missed_id, code: Some(3) };
    soon(async { while events.next().await.unwrap().unwrap() != died {} }).await;
}

#[tokio::test]
async fn the_log_of_a_runner_with_a_job_is_not_read_for_ever() {
    let stand = Stand::new().await;
    let long = "a=xxxxxxxxxxxxxxxx; while [ ${#a} -lt 4000 ]; do a=$a$a; done";
    let (_, id) = stand.run(&format!("{long}; while :; do echo $a; done")).await;
    // It was not known at first.
    let (busy, known) = watch::channel(false);
    let mut said = stand.docker.follow(&id, known);
    busy.send(true).unwrap();
    assert!(soon(said.next()).await.is_none());
    assert!(stand.running(&id).await);
    stand.docker.stop(&id, std::time::Duration::ZERO).await.unwrap();

    // Not so much that the engine rotates the log, and with it the line away.
    let much = format!("{long}; i=0; while [ $i -lt 100 ]; do echo $a; i=$((i + 1)); done; {IDLE}");
    let (_, id) = stand.run(&format!("echo '2026-01-01 00:00:01Z: Running job: build'; {much}")).await;
    let mut said = stand.docker.follow(&id, watch::channel(true).1);
    assert_eq!(
        soon(said.next()).await.unwrap().unwrap(),
        Said::RunningJob { job: "build".to_owned(), began: "2026-01-01T00:00:01Z".parse().ok() }
    );
}

#[tokio::test]
async fn a_log_that_is_followed_before_its_container_starts_is_to_be_followed_again() {
    let stand = Stand::new().await;
    let (_, id) = stand.create(&stand.pool(&format!("{LISTENING}; {IDLE}"))).await.unwrap();
    let early = soon(stand.docker.follow(&id, idle()).next()).await;
    assert!(matches!(early, Some(Err(_))), "not taken for an end: {early:?}");
    stand.docker.start(&id).await.unwrap();
    assert_eq!(soon(stand.docker.follow(&id, idle()).next()).await.unwrap().unwrap(), Said::Listening);
}
