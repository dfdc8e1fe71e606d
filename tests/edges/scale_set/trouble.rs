//! Faults that the service has at times, each with the issue of another client that reports it.

use dayfly::{
    fleet::Evidence,
    simulator::{Job, ScaleSetFault, ScaleSetRoute as Route, Settings, Simulator},
};

use super::stand::{Served, fails_with, is_trouble, is_up, is_waiting, pool, quick, stand, until};

const EXPIRED: ScaleSetFault = ScaleSetFault::Exception { status: 401, type_name: "", message: "expired" };
const DOWN: ScaleSetFault = ScaleSetFault::Exception { status: 503, type_name: "", message: "down" };

async fn served(settings: Settings) -> (Simulator, tempfile::TempDir, Served) {
    let (simulator, directory, sets) = stand(settings).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    (simulator, directory, served)
}

fn offering() -> Settings {
    let mut settings = quick();
    settings.scale_sets.assigns = false;
    settings
}

fn session_lost(evidence: &Evidence) -> bool {
    fails_with(evidence, "the session no longer exists")
}

#[tokio::test]
async fn a_refused_token_is_refreshed_once_wherever_it_is_refused() {
    for route in [Route::Poll, Route::Acknowledge, Route::Acquire] {
        let (simulator, _directory, served) = served(offering()).await;
        let knobs = simulator.scale_sets();
        knobs.fault(route, 1, EXPIRED);
        simulator.enqueue(Job::new("acme", &["linux"]));
        served.assigned(1).await;
        until("all is acknowledged", || knobs.view("linux").unwrap().unheard == 0).await;
        assert_eq!((knobs.count(route, 401), knobs.count(Route::Refresh, 200)), (1, 1), "{route:?}");
        assert_eq!((knobs.count(Route::Open, 200), served.count(is_trouble)), (1, 0), "{route:?}");
        served.end().await;
    }
}

#[tokio::test]
async fn a_token_that_expires_during_a_poll_is_refreshed_when_the_poll_ends() {
    let (simulator, _directory, served) = served(quick()).await;
    let knobs = simulator.scale_sets();
    knobs.expire_queue_tokens();
    until("it is refreshed", || knobs.count(Route::Refresh, 200) == 1).await;
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(1).await;
    assert_eq!(served.count(is_trouble), 0);
    served.end().await;
}

#[tokio::test]
async fn a_token_that_is_refused_after_a_refresh_costs_the_session_and_no_more() {
    let (simulator, _directory, served) = served(quick()).await;
    let knobs = simulator.scale_sets();
    knobs.fault(Route::Poll, 2, EXPIRED);
    served.heard("the loss", 1, session_lost).await;
    until("there is another session", || knobs.count(Route::Open, 200) == 2).await;
    // Its own session was not in the way, because it closed it first.
    assert_eq!((knobs.count(Route::Open, 409), knobs.count(Route::Close, 204)), (0, 1));
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(1).await;
    served.end().await;
}

#[tokio::test]
async fn a_session_that_is_gone_is_replaced_and_its_jobs_are_still_known() {
    // actions/scaleset#123: every fifty minutes or so.
    let (simulator, _directory, served) = served(quick()).await;
    let knobs = simulator.scale_sets();
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(1).await;
    assert!(knobs.evict("linux"));
    served.heard("the loss", 1, session_lost).await;
    let up = served.count(is_up);
    until("there is another session", || knobs.count(Route::Open, 200) == 2).await;
    served.heard("up", up.max(2), is_up).await;
    served.assigned(1).await;
    served.mint("linux").await.unwrap();
    // The same, reported by a refresh.
    knobs.expire_queue_tokens();
    let unknown = ScaleSetFault::Exception {
        status: 404,
        type_name: "GitHub.Actions.Runtime.WebApi.RunnerAdminException, GitHub.Actions.Runtime.WebApi",
        message: "session ID that doesn't exist",
    };
    knobs.fault(Route::Refresh, 1, unknown);
    until("there is a third session", || knobs.count(Route::Open, 200) == 3).await;
    // And by a poll that is refused (actions-runner-controller#4285).
    let expired = ScaleSetFault::Exception {
        status: 400,
        type_name: "GitHub.Actions.Runtime.WebApi.RunnerScaleSetSessionExpiredException, x",
        message: "expired",
    };
    knobs.fault(Route::Poll, 1, expired);
    until("there is a fourth session", || knobs.count(Route::Open, 200) == 4).await;
    served.end().await;
}

#[tokio::test]
async fn a_set_that_vanished_is_created_again() {
    // actions-runner-controller#3935, #4370.
    let (simulator, _directory, served) = served(quick()).await;
    let knobs = simulator.scale_sets();
    let before = knobs.view("linux").unwrap().id;
    assert!(knobs.vanish("linux"));
    until("there is a set again", || knobs.view("linux").is_some_and(|set| set.id != before)).await;
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(1).await;
    served.mint("linux").await.unwrap();
    assert_eq!(knobs.view("linux").unwrap().runners.len(), 1, "minted into the new set");
    served.end().await;
}

#[tokio::test]
async fn a_message_is_sent_again_until_it_is_acknowledged_and_reported_twice_changes_nothing() {
    let (simulator, _directory, served) = served(quick()).await;
    let knobs = simulator.scale_sets();
    knobs.fault(Route::Acknowledge, 2, DOWN);
    simulator.enqueue(Job::new("acme", &["linux"]));
    until("it is acknowledged", || knobs.count(Route::Acknowledge, 204) >= 1).await;
    assert!(served.count(is_trouble) >= 2);
    let again = knobs.count(Route::Poll, 200);
    assert!(again >= 2, "sent {again} times");
    served.assigned(1).await;
    served.end().await;
}

#[tokio::test]
async fn offers_whose_acquisition_fails_are_not_lost() {
    let (simulator, _directory, served) = served(offering()).await;
    let knobs = simulator.scale_sets();
    knobs.fault(Route::Acquire, 3, DOWN);
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(1).await;
    assert_eq!((knobs.count(Route::Acquire, 503), knobs.count(Route::Acquire, 200)), (3, 1));
    served.end().await;
}

#[tokio::test]
async fn answers_that_are_none_are_survived() {
    let (simulator, _directory, served) = served(quick()).await;
    let knobs = simulator.scale_sets();
    // actions-runner-controller#4285.
    let up = served.count(is_up);
    knobs.fault(Route::Poll, 3, ScaleSetFault::Empty);
    served.heard("the same again", up + 3, is_up).await;
    assert_eq!(served.count(is_trouble), 0);
    knobs.fault(Route::Poll, 1, ScaleSetFault::Text(400, "capacity is wrong"));
    let wrong = |evidence: &Evidence| fails_with(evidence, "400 (capacity is wrong");
    served.heard("the text", 1, wrong).await;
    // actions-runner-controller#4370: a burst of failures, and a session without a queue.
    knobs.fault(Route::Poll, 5, DOWN);
    served.heard("trouble", 6, is_trouble).await;
    knobs.fault(Route::Open, 2, ScaleSetFault::NoQueueAddress);
    knobs.evict("linux");
    simulator.enqueue(Job::new("acme", &["linux"]));
    let no_queue = |evidence: &Evidence| fails_with(evidence, "has no queue URL");
    served.heard("the missing address", 1, no_queue).await;
    // That session is open, and cannot be closed without its id; the pool waits for its expiry.
    served.heard("waiting", 1, is_waiting).await;
    knobs.evict("linux");
    served.assigned(1).await;
    served.end().await;
}

#[tokio::test]
async fn an_outage_is_waited_out_and_what_was_reported_last_stands() {
    let (simulator, _directory, served) = served(quick()).await;
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(1).await;
    simulator.outage(true);
    served.heard("trouble", 3, is_trouble).await;
    served.assigned(1).await;
    simulator.outage(false);
    simulator.enqueue(Job::new("acme", &["linux"]));
    served.assigned(2).await;
    assert_eq!(simulator.scale_sets().count(Route::Open, 200), 1, "the session outlived it");
    served.end().await;
}

#[tokio::test]
async fn a_session_that_no_one_polls_expires_and_the_waiting_one_takes_over() {
    let mut settings = quick();
    settings.scale_sets.session_lifetime = std::time::Duration::from_millis(300);
    let (_simulator, _directory, sets) = stand(settings).await;
    let first = Served::begin(&sets, pool("linux", &["linux"]));
    first.heard("up", 1, is_up).await;
    let second = Served::begin(&sets, pool("linux", &["linux"]));
    second.heard("waiting", 2, is_waiting).await;
    first.task.abort();
    second.heard("up", 1, is_up).await;
    second.end().await;
}
