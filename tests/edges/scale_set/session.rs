//! A session as it should go: from the set's creation to its orderly end.

use std::os::unix::fs::PermissionsExt as _;

use dayfly::{
    fleet::Evidence,
    simulator::{Job, ScaleSetFault, ScaleSetRoute as Route},
};

use super::stand::{
    Served, delete, eventually, fails_with, is_trouble, is_up, is_waiting, pool, quick, stand, until,
};
use crate::captured_log::CapturedLog;

#[tokio::test]
async fn a_cold_start_creates_the_set_and_an_orderly_end_closes_the_session_and_keeps_the_set() {
    let (simulator, directory, sets) = stand(quick()).await;
    let mut pool = pool("linux", &["self-hosted", "linux"]);
    let note = directory.path().join("state/sessions/linux");
    pool.session_file = Some(note.clone());
    let served = Served::begin(&sets, pool.clone());
    served.heard("up", 1, is_up).await;
    assert_eq!(simulator.scale_sets().count(Route::Create, 200), 1);
    let view = simulator.scale_sets().view("linux").unwrap();
    assert_eq!((view.owner.as_deref(), view.labels.len()), (Some("dayfly/ci1@here"), 2));
    assert_eq!(std::fs::metadata(&note).unwrap().permissions().mode() & 0o777, 0o600);
    served.end().await;
    assert!(!note.exists());
    assert_eq!(simulator.scale_sets().view("linux").unwrap().owner, None);

    let again = Served::begin(&sets, pool);
    again.heard("up", 1, is_up).await;
    assert_eq!(simulator.scale_sets().count(Route::Create, 200), 1, "it is found");
    assert_eq!(again.count(is_trouble), 0);
    again.end().await;
}

#[tokio::test]
async fn after_a_kill_the_old_session_is_closed_and_not_waited_for() {
    let (simulator, directory, sets) = stand(quick()).await;
    let mut pool = pool("linux", &["linux"]);
    pool.session_file = Some(directory.path().join("linux"));
    let killed = Served::begin(&sets, pool.clone());
    killed.heard("up", 1, is_up).await;
    killed.task.abort();
    assert!(eventually(|| killed.task.is_finished()).await);
    let next = Served::begin(&sets, pool);
    next.heard("up", 1, is_up).await;
    assert_eq!(next.count(is_waiting), 0);
    assert_eq!(simulator.scale_sets().count(Route::Open, 409), 0);
    next.end().await;
}

#[tokio::test]
async fn an_old_session_that_could_not_be_closed_at_first_is_closed_later() {
    let (simulator, directory, sets) = stand(quick()).await;
    let mut pool = pool("linux", &["linux"]);
    pool.session_file = Some(directory.path().join("linux"));
    let killed = Served::begin(&sets, pool.clone());
    killed.heard("up", 1, is_up).await;
    killed.task.abort();
    assert!(eventually(|| killed.task.is_finished()).await);
    let down = ScaleSetFault::Exception { status: 502, type_name: "", message: "down" };
    simulator.scale_sets().fault(Route::Close, 2, down);
    let next = Served::begin(&sets, pool);
    next.heard("up", 1, is_up).await;
    let knobs = simulator.scale_sets();
    assert_eq!((knobs.count(Route::Close, 502), knobs.count(Route::Close, 204)), (2, 1));
    assert_eq!(knobs.count(Route::Open, 409), 2);
    next.end().await;
}

#[tokio::test]
async fn a_set_with_labels_of_its_own_is_not_served_until_someone_decides() {
    let (simulator, _directory, sets) = stand(quick()).await;
    sets.ensure("Default", "linux", &["linux".to_owned(), "arm64".to_owned()]).await.unwrap();
    let served = Served::begin(&sets, pool("linux", &["linux", "x64"]));
    let changed =
        |evidence: &Evidence| fails_with(evidence, "\"arm64\"") && fails_with(evidence, "dayfly purge");
    served.heard("the labels", 2, changed).await;
    assert_eq!(simulator.scale_sets().count(Route::Open, 200), 0);
    assert!(served.mint("linux").await.is_err());
    delete(&sets, "linux").await.unwrap();
    served.heard("up", 1, is_up).await;
    assert_eq!(simulator.scale_sets().view("linux").unwrap().labels, ["linux", "x64"]);
    served.end().await;
}

#[tokio::test]
async fn labels_that_the_server_did_not_keep_are_reported_and_the_set_is_served() {
    let log = CapturedLog::default();
    let _guard = log.listen_at("warn");
    let mut settings = quick();
    settings.scale_sets.keeps_labels = false;
    let (_simulator, _directory, sets) = stand(settings).await;
    let served = Served::begin(&sets, pool("linux", &["linux", "x64"]));
    served.heard("up", 1, is_up).await;
    served.end().await;
    let logged = log.text();
    assert!(logged.contains("lacks the labels \"x64\"") && logged.contains("3.21"), "{logged}");
}

#[tokio::test]
async fn the_number_of_wanted_runners_comes_from_the_statistics_and_not_from_the_messages() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    let knobs = simulator.scale_sets();
    // It counts as none until a poll has reported it.
    until("a poll tells the capacity", || knobs.view("linux").unwrap().capacity == 100).await;
    served.capacity.send_replace(0);
    until("a poll tells no capacity", || knobs.view("linux").unwrap().capacity == 0).await;
    for _ in 0..60 {
        simulator.enqueue(Job::new("acme", &["linux"]));
    }
    let quiet = knobs.count(Route::Poll, 202);
    until("a poll without news", || knobs.count(Route::Poll, 202) > quiet).await;
    assert_eq!(knobs.view("linux").unwrap().assigned, 0, "a draining pool gets no jobs");
    served.capacity.send_replace(100);
    served.assigned(60).await;
    // The last count stays valid through polls without news.
    let (up, quiet) = (served.count(is_up), knobs.count(Route::Poll, 202));
    until("more polls without news", || knobs.count(Route::Poll, 202) >= quiet + 2).await;
    served.heard("the same again", up + 2, is_up).await;
    served.assigned(60).await;
    knobs.claim_assigned("linux", Some(7));
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(7).await;
    served.end().await;
}

#[tokio::test]
async fn polls_say_what_was_heard_last_and_a_message_is_acknowledged_after_it_was_reported() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    for jobs in 1..=3 {
        simulator.enqueue(Job::new("acme", &["linux"]));
        served.assigned(jobs).await;
    }
    let knobs = simulator.scale_sets();
    until("all is acknowledged", || knobs.count(Route::Acknowledge, 204) == 3).await;
    until("a poll follows", || {
        knobs.requests().last().is_some_and(|asked| {
            asked.route == Route::Poll
                && asked.query.iter().any(|(key, value)| key == "lastMessageId" && value == "100000003")
        })
    })
    .await;
    let requests = knobs.requests();
    let polls: Vec<_> = requests.iter().filter(|asked| asked.route == Route::Poll).collect();
    let first = polls.first().unwrap();
    assert!(!first.query.iter().any(|(key, _)| key == "lastMessageId"), "there was none to begin with");
    assert!(polls.iter().all(|poll| poll.capacity == Some(100)));
    assert!(polls.iter().all(|poll| poll.query.contains(&("kind".to_owned(), "jobs".to_owned()))));
    assert_eq!(knobs.count(Route::Open, 200), 1);
    served.end().await;
}

#[tokio::test]
async fn an_offered_job_is_acquired_before_its_message_is_acknowledged() {
    let mut settings = quick();
    settings.scale_sets.assigns = false;
    let (simulator, _directory, sets) = stand(settings).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(1).await;
    let order: Vec<Route> = simulator.scale_sets().requests().iter().map(|asked| asked.route).collect();
    let at = |route| order.iter().position(|asked| *asked == route).unwrap();
    assert!(at(Route::Acquire) < at(Route::Acknowledge), "{order:?}");
    served.end().await;
}

#[tokio::test]
async fn a_stop_finishes_the_message_in_hand_and_closes_the_session() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin_with(&sets, pool("linux", &["linux"]), |evidence, stop| {
        if matches!(evidence, Evidence::Assigned { jobs: Some(1), .. }) {
            stop.cancel();
        }
    });
    served.heard("up", 1, is_up).await;
    simulator.enqueue(Job::new("acme", &["linux"]));
    until("it ends by itself", || served.task.is_finished()).await;
    let view = simulator.scale_sets().view("linux").unwrap();
    assert_eq!((view.unheard, view.owner, view.assigned), (0, None, 1));
    assert!(served.mint("linux").await.is_err(), "nothing is minted after the end");
}
