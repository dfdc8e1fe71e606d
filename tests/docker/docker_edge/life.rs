//! Starting, listing, stopping and removing: each is idempotent, and touches only what is ours.

use std::time::{Duration, Instant};

use dayfly::{
    fleet::{ContainerId, ContainerState, Mount, Occupation, RegistrationId, Resources, RunnerName},
    host::{Docker, Host, HostError, LABEL_INSTANCE, LABEL_RUNNER},
};
use futures_util::StreamExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::engines;

use super::{
    launch::Log,
    stand::{IDLE, LISTENING, Stand, until},
    watch::idle,
};

const GRACE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn starting_twice_is_a_success_and_an_ended_container_is_not_started_again() {
    let stand = Stand::new().await;
    let (_, up) = stand.run(IDLE).await;
    stand.docker.start(&up).await.unwrap();

    let (_, down) = stand.run("exit 3").await;
    let exit = stand.ended(&down).await;
    stand.docker.start(&down).await.unwrap();
    assert_eq!(stand.docker.exit(&down).await.unwrap(), Some(exit));

    let error = stand.docker.start(&ContainerId("no-such-container".into())).await.unwrap_err();
    assert!(matches!(&error, HostError::Refused(why) if why.contains("no-such-container")), "{error}");
}

#[tokio::test]
async fn a_list_shows_all_that_is_ours_in_its_state() {
    let stand = Stand::new().await;
    let mut pool = stand.pool(IDLE);
    pool.template.resources = Resources { memory: 32 << 20, cpu_millis: 250 };
    let (created, created_id) = stand.create(&pool).await.unwrap();
    let (up, up_id) = stand.run_pool(&pool).await;
    let (down, down_id) = stand.run("echo bye; exit 4").await;
    stand.ended(&down_id).await;

    for _ in 0..2 {
        let listed = stand.docker.list().await.unwrap().containers;
        assert_eq!(listed.len(), 3);
        let found = stand.listed(&created).await.unwrap();
        assert_eq!((found.id, found.state), (created_id.clone(), ContainerState::Created));
        let found = stand.listed(&up).await.unwrap();
        assert_eq!(
            (found.registration, found.resources),
            (Some(RegistrationId(23)), pool.template.resources)
        );
        assert_eq!((found.scope, found.template), (Some(pool.scope.clone()), pool.template.digest()));
        assert_eq!((found.state, found.id), (ContainerState::Up, up_id.clone()));
        let ContainerState::Down(exit) = stand.listed(&down).await.unwrap().state else { panic!("not down") };
        assert_eq!((exit.code, &*exit.log_tail), (4, "bye\n"));
        assert!(exit.at >= down.minted_at() && exit.ran.is_some());
    }
    let inspections = stand.reports().iter().filter(|report| report.operation == "inspect").count();
    let before = stand.reports().len();
    stand.docker.list().await.unwrap();
    assert_eq!(stand.reports().len(), before + 1, "what is known is not asked for again ({inspections})");

    stand.docker.start(&created_id).await.unwrap();
    let found = stand.listed(&created).await.unwrap();
    assert!(matches!(found.state, ContainerState::Up));
    stand.docker.stop(&up_id, GRACE).await.unwrap();
    until_listed_down(&stand, &up).await;
    stand.docker.remove(&up_id).await.unwrap();
    assert_eq!(stand.listed(&up).await, None);
}

/// The list of Engine 26 shows a container as running for a moment after the answer to its stop.
async fn until_listed_down(stand: &Stand, runner: &RunnerName) {
    until("the list shows the stop", async || {
        let state = stand.listed(runner).await.unwrap().state;
        matches!(state, ContainerState::Down(_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_container_restarted_manually_is_up_again() {
    let stand = Stand::new().await;
    let (runner, id) = stand.run(IDLE).await;
    stand.docker.stop(&id, GRACE).await.unwrap();
    until_listed_down(&stand, &runner).await;
    stand.engine.start_container(&id.0, None).await.unwrap();
    assert!(matches!(stand.listed(&runner).await.unwrap().state, ContainerState::Up));
    stand.engine.pause_container(&id.0).await.unwrap();
    assert!(matches!(stand.listed(&runner).await.unwrap().state, ContainerState::Up));
    stand.engine.unpause_container(&id.0).await.unwrap();
}

#[tokio::test]
async fn what_is_not_ours_is_unlisted_and_left_alone() {
    let stand = Stand::new().await;
    let (ours, _) = stand.run(IDLE).await;
    let other = "dayfly-edge-other-01jd0000000000000000000000";
    let name = |what: &str| format!("{what}-{}", stand.instance);
    let foreign = [
        stand.foreign(&name("theirs"), &[(LABEL_INSTANCE, "other"), (LABEL_RUNNER, other)]).await,
        stand.foreign(&name("unlabelled"), &[]).await,
        stand.foreign(&name("nameless"), &[(LABEL_INSTANCE, stand.instance.as_str())]).await,
        stand
            .foreign(
                &name("broken"),
                &[(LABEL_INSTANCE, stand.instance.as_str()), (LABEL_RUNNER, "../../images/json")],
            )
            .await,
        stand
            .foreign(
                &name("posing"),
                &[(LABEL_INSTANCE, stand.instance.as_str()), (LABEL_RUNNER, ours.as_str())],
            )
            .await,
    ];

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    crate::subscribers::allow_several();
    let guard = subscriber.set_default();
    for _ in 0..2 {
        let listed = stand.docker.list().await.unwrap().containers;
        assert_eq!(listed.iter().map(|one| &one.runner).collect::<Vec<_>>(), [&ours]);
    }
    drop(guard);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 3, "one for each that bears our instance, once:\n{log}");
    for (id, warned) in foreign.iter().zip([false, false, true, true, true]) {
        assert!(stand.running(id).await);
        assert_eq!(warnings.iter().any(|line| line.contains(&*id.0)), warned, "{log}");
    }
}

#[tokio::test]
async fn stopping_lets_the_runner_finish_and_is_idempotent() {
    let stand = Stand::new().await;
    let (_, id) = stand.run(&format!("trap 'echo bye; exit 9' TERM; {LISTENING}; sleep 600 & wait")).await;
    stand.logged(&id, "Listening").await;
    stand.docker.stop(&id, GRACE).await.unwrap();
    let exit = stand.docker.exit(&id).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.log_tail.ends_with("bye\n")), (9, true));
    stand.docker.stop(&id, GRACE).await.unwrap();
    stand.docker.remove(&id).await.unwrap();
    stand.docker.stop(&id, GRACE).await.unwrap();

    let (_, created) = stand.create(&stand.pool(IDLE)).await.unwrap();
    stand.docker.stop(&created, GRACE).await.unwrap();
}

#[tokio::test]
async fn whoever_ignores_the_stop_is_killed_after_the_grace() {
    let stand = Stand::new().await;
    let (_, id) = stand.run(&format!("trap '' TERM; {LISTENING}; sleep 600; sleep 600")).await;
    stand.logged(&id, "Listening").await;
    let began = Instant::now();
    stand.docker.stop(&id, Duration::from_millis(1500)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
    let exit = stand.docker.exit(&id).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.out_of_memory), (137, false));
}

#[tokio::test]
async fn removing_refuses_what_runs_and_is_idempotent() {
    let stand = Stand::new().await;
    let volume = stand.image.clone();
    let mut pool = stand.pool(IDLE);
    pool.template.mounts = vec![Mount { source: volume.clone(), target: "/cache".into(), read_only: false }];
    let (_, id) = stand.run_pool(&pool).await;
    let mounts = engines::inspect_container(&stand.engine, &id.0).await.unwrap().mounts.unwrap();
    let anonymous = mounts.iter().find(|mount| mount.destination.as_deref() == Some("/scratch")).unwrap();
    let anonymous = anonymous.name.clone().unwrap();

    let podman = stand.is_podman().await;
    for pause in [false, true] {
        if pause {
            stand.engine.pause_container(&id.0).await.unwrap();
        }
        let error = stand.docker.remove(&id).await.unwrap_err();
        // Podman answers that its server failed.
        assert!(podman || matches!(error, HostError::Refused(_)), "{error}");
        assert!(stand.running(&id).await);
    }
    stand.engine.unpause_container(&id.0).await.unwrap();
    stand.docker.stop(&id, GRACE).await.unwrap();
    let (first, second) = tokio::join!(stand.docker.remove(&id), stand.docker.remove(&id));
    first.unwrap();
    second.unwrap();
    stand.docker.remove(&id).await.unwrap();
    assert!(!stand.exists(&id).await);
    assert!(stand.engine.inspect_volume(&anonymous).await.is_err(), "the anonymous volume is gone");
    stand.engine.inspect_volume(&volume).await.expect("the named volume stays");
}

#[tokio::test]
async fn an_id_that_would_be_another_request_is_refused_by_every_call() {
    let stand = Stand::new().await;
    let asked = stand.reports().len();
    for text in ["", "../images/json", "a/../../images/json?x=1#f", "a b", "a%2f", "-a", "ä"] {
        let id = ContainerId(text.into());
        let docker: &Docker = &stand.docker;
        let mut refused = vec![
            docker.start(&id).await.unwrap_err(),
            docker.stop(&id, GRACE).await.unwrap_err(),
            docker.remove(&id).await.unwrap_err(),
            docker.exit(&id).await.unwrap_err(),
            docker.occupation(&id).await.unwrap_err(),
        ];
        refused.extend(docker.follow(&id, idle()).next().await.unwrap().err());
        assert_eq!(refused.len(), 6);
        for error in refused {
            assert!(matches!(&error, HostError::Refused(why) if why.contains("container id")), "{error}");
        }
    }
    assert_eq!(stand.reports().len(), asked, "the engine was asked");
    assert_eq!(stand.docker.occupation(&ContainerId("absent".into())).await.unwrap(), Occupation::Down);
}
