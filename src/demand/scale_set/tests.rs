//! A session, response by response.

use std::time::Duration;

use super::{
    ScaleSetPool, Waits,
    session::{LabelDifference, Request, Response, SessionState, owner_in},
    session_file::{self, SavedSession},
};
use crate::{
    fleet::{ClockReading, Evidence, Instant, TroubleKind},
    github::{
        GithubError,
        scale_set::{Ensured, JobMessage, Message, ScaleSet, ScaleSetError, ScaleSetId, Session, SessionId},
    },
};

const SET: ScaleSetId = ScaleSetId(7);

fn pool(labels: &[&str]) -> ScaleSetPool {
    ScaleSetPool {
        name: "linux".parse().unwrap(),
        group: "Default".to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        owner: "me".to_owned(),
        session_file: None,
        waits: Waits::default(),
    }
}

fn found(labels: &[&str]) -> Response {
    found_with(labels, Some(true))
}

fn found_with(labels: &[&str], update_disabled: Option<bool>) -> Response {
    Response::Ensured(Ok(Ensured { set: set(labels, update_disabled), created: false }))
}

fn set(labels: &[&str], update_disabled: Option<bool>) -> ScaleSet {
    ScaleSet {
        id: SET,
        name: "linux".to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        update_disabled,
    }
}

fn session(id: &str) -> Session {
    let body = format!(
        r#"{{"sessionId":"{id}","messageQueueUrl":"https://queue.example","messageQueueAccessToken":"x"}}"#
    );
    Session::read(SET, body.as_bytes(), true).unwrap()
}

fn offers(id: i64, request: i64) -> Response {
    let jobs = vec![JobMessage::Available(request)];
    Response::Polled(Ok(Some(Message { id: Some(id), assigned: None, jobs })))
}

fn message(id: Option<i64>) -> Response {
    Response::Polled(Ok(Some(Message { id, ..Message::default() })))
}

fn down() -> ScaleSetError {
    GithubError::Failed { detail: "down".to_owned(), source: None }.into()
}

fn lost() -> ScaleSetError {
    ScaleSetError::SessionLost { says: "gone".to_owned() }
}

/// A session with the time since its begin, which each response takes a minute of unless it is said.
struct Walk(SessionState, Instant);

fn session_of(labels: &[&str], before: Option<SavedSession>) -> SessionState {
    SessionState::new(&pool(labels), "https://github.com/acme".parse().unwrap(), before)
}

impl Walk {
    fn begin() -> Self {
        Self(session_of(&["linux"], None), Instant::from_millis(0))
    }

    fn in_session() -> Self {
        let mut walk = Self::begin();
        walk.respond(found(&["linux"]));
        walk.respond(Response::Opened(Ok(session("one"))));
        walk
    }

    fn respond(&mut self, response: Response) -> Vec<Evidence> {
        self.respond_after(Duration::from_mins(1), response)
    }

    fn respond_after(&mut self, passed: Duration, response: Response) -> Vec<Evidence> {
        self.1 = self.1 + passed;
        self.0.on_response(response, self.1, ClockReading::default())
    }

    fn requests(&self) -> String {
        match self.0.next() {
            Request::EnsureSet => "ensure".to_owned(),
            Request::Close(_, session) => format!("close {}", session.as_str()),
            Request::Open(_) => "open".to_owned(),
            Request::DisableUpdate(_) => "disable update".to_owned(),
            Request::Refresh(session) => format!("refresh {}", session.id.as_str()),
            Request::Poll(_, last) => format!("poll after {last}"),
            Request::Acquire(_, requests) => format!("acquire {requests:?}"),
            Request::Acknowledge(_, id) => format!("acknowledge {id}"),
        }
    }

    fn pause(&self) -> u64 {
        self.0.pause().as_secs()
    }
}

#[test]
fn a_message_is_acquired_then_reported_then_acknowledged_and_only_then_left_behind() {
    let mut walk = Walk::in_session();
    assert_eq!(walk.requests(), "poll after 0");
    assert!(walk.respond(offers(5, 9)).is_empty());
    assert_eq!(walk.requests(), "acquire [9]");
    assert!(walk.0.has_pending_message());
    walk.respond(Response::Acquired(Ok(vec![])));
    assert_eq!(walk.requests(), "acknowledge 5");
    walk.respond(Response::Acknowledged(Ok(())));
    assert_eq!(walk.requests(), "poll after 5");
    assert!(!walk.0.has_pending_message());
}

#[test]
fn a_set_is_changed_only_once_it_is_ours_and_then_once() {
    for (update_disabled, then) in
        [(Some(false), "disable update"), (Some(true), "poll after 0"), (None, "poll after 0")]
    {
        let mut walk = Walk::begin();
        walk.respond(found_with(&["linux"], update_disabled));
        assert_eq!(walk.requests(), "open");
        walk.respond(Response::Opened(Err(ScaleSetError::Conflict { says: String::new() })));
        assert_eq!(walk.requests(), "open");
        walk.respond(Response::Opened(Ok(session("one"))));
        assert_eq!(walk.requests(), then);
        walk.respond(Response::UpdateDisabled);
        assert_eq!(walk.requests(), "poll after 0");
    }
}

#[test]
fn a_refused_token_is_refreshed_and_the_same_is_asked_again() {
    let mut walk = Walk::in_session();
    walk.respond(offers(5, 9));
    assert!(walk.respond(Response::Acquired(Err(ScaleSetError::TokenExpired))).is_empty());
    assert_eq!((walk.requests().as_str(), walk.pause()), ("refresh one", 0));
    walk.respond(Response::Refreshed(Err(down())));
    assert_eq!((walk.requests().as_str(), walk.pause()), ("refresh one", 1));
    walk.respond(Response::Refreshed(Ok(session("one"))));
    assert_eq!(walk.requests(), "acquire [9]");
    walk.respond(Response::Acquired(Ok(vec![9])));
    walk.respond(Response::Acknowledged(Err(ScaleSetError::TokenExpired)));
    assert_eq!(walk.requests(), "refresh one");
    walk.respond(Response::Refreshed(Ok(session("one"))));
    let news = walk.respond(Response::Acknowledged(Err(ScaleSetError::TokenExpired)));
    assert!(trouble(&news).is_some_and(|(kind, why)| {
        kind == TroubleKind::GithubFailed && why.contains("the session no longer exists")
    }));
    assert_eq!(walk.0.set(), Ok(SET), "it is still ours");
    assert_eq!(walk.requests(), "close one");
}

#[test]
fn a_lost_session_is_replaced_at_once_and_one_that_is_lost_again_and_again_with_increasing_delays() {
    let mut walk = Walk::in_session();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        walk.respond(Response::Polled(Err(lost())));
        pauses.push(walk.pause());
        assert_eq!(walk.requests(), "close one");
        walk.respond(Response::Closed(true));
        assert_eq!(walk.requests(), "open");
        walk.respond(Response::Opened(Ok(session("one"))));
        assert_eq!(walk.requests(), "poll after 0");
    }
    assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 60, 60, 60]);
    walk.respond(Response::Polled(Ok(None)));
    walk.respond(Response::Polled(Err(lost())));
    assert_eq!(walk.pause(), 0, "a poll that was held ends the streak");
}

#[test]
fn failures_wait_ever_longer_and_a_limit_as_long_as_it_says() {
    let mut walk = Walk::begin();
    let pauses: Vec<u64> = (0..8)
        .map(|_| {
            walk.respond(Response::Ensured(Err(down())));
            walk.pause()
        })
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    let wait = Duration::from_mins(5);
    walk.respond(Response::Ensured(Err(GithubError::RateLimited { wait }.into())));
    assert_eq!(walk.pause(), 300);
    for _ in 0..100 {
        walk.respond(Response::Ensured(Err(down())));
    }
    assert_eq!(walk.pause(), 60);
}

#[test]
fn another_clients_session_is_waited_for_forever() {
    let mut walk = Walk::begin();
    walk.respond(found(&["linux"]));
    for _ in 0..1000 {
        let says = "scaleset linux already has an active session for owner dayfly/ci2@there.".to_owned();
        let news = walk.respond(Response::Opened(Err(ScaleSetError::Conflict { says })));
        assert!(matches!(news[0], Evidence::Assigned { jobs: None, .. }), "{news:?}");
        let (kind, why) = trouble(&news).unwrap();
        assert_eq!(kind, TroubleKind::SessionTaken);
        assert!(why.starts_with("the session belongs to dayfly/ci2@there; scaleset linux already"), "{why}");
        assert_eq!((walk.pause(), walk.requests().as_str()), (30, "open"));
        assert!(walk.0.set().is_err_and(|why| why.contains("dayfly/ci2@there")));
    }
    assert_eq!(owner_in("The actions runner scaleset x already has an active session."), None);
    assert_eq!(owner_in("for owner 'a b'"), Some("a".to_owned()));
}

#[test]
fn a_server_that_does_not_hold_polls_is_not_asked_without_a_pause() {
    let mut walk = Walk::in_session();
    walk.respond_after(Duration::from_millis(300), Response::Polled(Ok(None)));
    assert_eq!(walk.0.pause(), Duration::from_millis(700));
    walk.respond_after(Duration::from_secs(50), Response::Polled(Ok(None)));
    assert_eq!(walk.pause(), 0);
    walk.respond_after(Duration::ZERO, message(None));
    assert_eq!((walk.pause(), walk.requests().as_str()), (1, "poll after 0"));
    walk.respond_after(Duration::ZERO, message(Some(5)));
    assert_eq!((walk.pause(), walk.requests().as_str()), (0, "acknowledge 5"), "a new one is not held up");
    walk.respond_after(Duration::ZERO, Response::Acknowledged(Ok(())));
    walk.respond_after(Duration::ZERO, message(Some(5)));
    assert_eq!((walk.pause(), walk.requests().as_str()), (1, "acknowledge 5"));
}

#[test]
fn what_cannot_be_acquired_or_acknowledged_is_left_for_the_next_time() {
    let mut walk = Walk::in_session();
    walk.respond(offers(5, 9));
    walk.respond(Response::Acquired(Err(down())));
    assert_eq!((walk.requests().as_str(), walk.pause()), ("poll after 0", 1));
    walk.respond(offers(5, 9));
    walk.respond(Response::Acquired(Err(down())));
    assert_eq!(walk.pause(), 2, "a poll that is answered is no end of such a streak");
    walk.respond(offers(5, 9));
    walk.respond(Response::Acquired(Ok(vec![9])));
    walk.respond(Response::Acknowledged(Err(down())));
    assert_eq!(walk.requests(), "poll after 5");
}

#[test]
fn a_set_that_is_gone_is_looked_for_by_name_and_its_old_session_is_not_closed() {
    let mut walk = Walk::in_session();
    walk.respond(Response::Polled(Err(ScaleSetError::NoSuchSet)));
    assert_eq!((walk.requests().as_str(), walk.pause()), ("ensure", 0));
    assert!(walk.0.session().is_none());
    walk.respond(found(&["linux"]));
    assert_eq!(walk.requests(), "open");
    walk.respond(Response::Opened(Err(ScaleSetError::NoSuchSet)));
    assert_eq!((walk.requests().as_str(), walk.pause()), ("ensure", 2));
}

#[test]
fn the_session_of_a_daemon_before_us_is_closed_if_it_was_of_this_set() {
    let before = |set| SavedSession { set, session: SessionId::parse("old").unwrap() };
    for (set, asks) in [(SET, "close old"), (ScaleSetId(8), "open")] {
        let mut walk = Walk(session_of(&["linux"], Some(before(set))), Instant::default());
        walk.respond(found(&["linux"]));
        assert_eq!(walk.requests(), asks);
        walk.respond(Response::Closed(true));
        assert_eq!(walk.requests(), "open");
    }
}

#[test]
fn a_session_of_ours_that_could_not_be_closed_is_closed_when_it_is_in_the_way() {
    let before = SavedSession { set: SET, session: SessionId::parse("old").unwrap() };
    let mut walk = Walk(session_of(&["linux"], Some(before)), Instant::default());
    let in_the_way = || Response::Opened(Err(ScaleSetError::Conflict { says: String::new() }));
    walk.respond(found(&["linux"]));
    for _ in 0..3 {
        assert_eq!(walk.requests(), "close old");
        walk.respond(Response::Closed(false));
        assert_eq!((walk.requests().as_str(), walk.pause()), ("open", 0));
        walk.respond(Response::Opened(Err(down())));
        assert_eq!(walk.requests(), "open");
        walk.respond(in_the_way());
        assert_eq!(walk.pause(), 30);
    }
    assert_eq!(walk.requests(), "close old");
    walk.respond(Response::Closed(true));
    walk.respond(in_the_way());
    assert_eq!(walk.requests(), "open", "what is in the way is somebody else's");
}

#[test]
fn labels_are_compared_without_letter_case_and_the_sets_name_is_always_allowed() {
    for (wanted, kept, surplus, missing) in [
        (&["linux", "x64"][..], &["X64", "Linux"][..], false, false),
        (&["x64"], &["linux", "x64"], false, false),
        (&["x64", "gpu"], &["linux"], false, true),
        (&["linux"], &["linux", "x64"], true, false),
    ] {
        let labels: Vec<String> = wanted.iter().map(|&label| label.to_owned()).collect();
        let difference = LabelDifference::of(&"linux".parse().unwrap(), &labels, &set(kept, None));
        assert_eq!(
            (difference.surplus.is_some(), difference.missing.is_some()),
            (surplus, missing),
            "{wanted:?}"
        );
        let mut walk = Walk(session_of(wanted, None), Instant::default());
        let news = walk.respond(found(kept));
        assert_eq!((walk.requests() == "open", walk.pause()), (!surplus, if surplus { 30 } else { 0 }));
        assert_eq!(trouble(&news).map(|(kind, _)| kind), surplus.then_some(TroubleKind::Refused), "{news:?}");
    }
}

#[test]
fn what_was_counted_last_is_published_again_as_long_as_nothing_else_is_known() {
    let mut walk = Walk::in_session();
    let counts = |evidence: Vec<Evidence>| -> Vec<Option<u32>> {
        let count = |evidence: &Evidence| match evidence {
            Evidence::Assigned { jobs, .. } => Some(*jobs),
            _ => None,
        };
        evidence.iter().filter_map(count).collect()
    };
    assert_eq!(counts(walk.respond(Response::Polled(Ok(None)))), [], "nothing was counted so far");
    let counted = Message { id: Some(1), assigned: Some(3), jobs: Vec::new() };
    assert_eq!(counts(walk.respond(Response::Polled(Ok(Some(counted))))), [Some(3)]);
    walk.respond(Response::Acknowledged(Ok(())));
    assert_eq!(counts(walk.respond(Response::Polled(Err(down())))), []);
    assert_eq!(counts(walk.respond(Response::Polled(Ok(None)))), [Some(3)]);
    assert_eq!(counts(walk.respond(Response::Polled(Err(ScaleSetError::NoSuchSet)))), [None]);
    assert!(walk.0.set().is_err());
}

/// Why the source does not work, by the last fact.
fn trouble(evidence: &[Evidence]) -> Option<(TroubleKind, &str)> {
    match evidence.last()? {
        Evidence::Source { trouble: Some(trouble), .. } => Some((trouble.kind, &trouble.detail)),
        _ => None,
    }
}

#[test]
fn a_session_file_comes_back_and_a_broken_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions/linux");
    assert_eq!(session_file::read(&file), None);
    let session = SessionId::parse("6f1d4b5e-0c39").unwrap();
    session_file::write(&file, SET, &session).unwrap();
    assert_eq!(session_file::read(&file), Some(SavedSession { set: SET, session }));
    for broken in ["", "7", "x y", "7 ../../x", "7 a b"] {
        std::fs::write(&file, broken).unwrap();
        assert_eq!(session_file::read(&file), None, "{broken}");
    }
    session_file::remove(&file);
    session_file::remove(&file);
    assert!(!file.exists());
}

#[test]
fn an_owner_names_the_instance_and_the_machine() {
    let owner = super::pool::owner(&"ci1".parse().unwrap());
    assert!(owner.starts_with("dayfly/ci1") && owner.is_ascii(), "{owner}");
}
