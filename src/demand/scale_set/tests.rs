//! The course of a pool, answer by answer.

use std::time::Duration;

use super::{
    ScaleSetNews, ScaleSetPool, Waits,
    course::{Answer, Ask, Course, owner_in},
    remembered::{self, Remembered},
};
use crate::{
    fleet::Instant,
    github::{
        GithubError,
        scale_set::{
            Ensured, Job, JobMessage, Message, ScaleSet, ScaleSetError, ScaleSetId, Session, SessionId,
        },
    },
};

const SET: ScaleSetId = ScaleSetId(7);

fn pool(labels: &[&str]) -> ScaleSetPool {
    ScaleSetPool {
        name: "linux".to_owned(),
        group: "Default".to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        owner: "me".to_owned(),
        remembered: None,
        waits: Waits::default(),
    }
}

fn found(labels: &[&str]) -> Answer {
    found_with(labels, Some(true))
}

fn found_with(labels: &[&str], update_disabled: Option<bool>) -> Answer {
    let set = ScaleSet {
        id: SET,
        name: "linux".to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        update_disabled,
        statistics: None,
    };
    Answer::Ensured(Ok(Ensured { set, created: false }))
}

fn session(id: &str) -> Session {
    let body = format!(
        r#"{{"sessionId":"{id}","messageQueueUrl":"https://queue.example","messageQueueAccessToken":"x"}}"#
    );
    Session::read(SET, body.as_bytes(), true).unwrap()
}

fn offers(id: i64, request: i64) -> Answer {
    let job = Job { request, ..Job::default() };
    Answer::Polled(Ok(Some(Message {
        id: Some(id),
        statistics: None,
        jobs: vec![JobMessage::Available(job)],
    })))
}

fn message(id: Option<i64>) -> Answer {
    Answer::Polled(Ok(Some(Message { id, ..Message::default() })))
}

fn down() -> ScaleSetError {
    GithubError::Failed { detail: "down".to_owned(), source: None }.into()
}

fn lost() -> ScaleSetError {
    ScaleSetError::SessionLost { says: "gone".to_owned() }
}

/// A course with the time since its begin, which each answer takes a minute of unless it is said.
struct Walk(Course, Instant);

impl Walk {
    fn begin() -> Self {
        Self(Course::new(&pool(&["linux"]), None), Instant::from_millis(0))
    }

    fn in_session() -> Self {
        let mut walk = Self::begin();
        walk.hear(found(&["linux"]));
        walk.hear(Answer::Opened(Ok(session("one"))));
        walk
    }

    fn hear(&mut self, answer: Answer) -> Vec<ScaleSetNews> {
        self.hear_after(Duration::from_mins(1), answer)
    }

    fn hear_after(&mut self, passed: Duration, answer: Answer) -> Vec<ScaleSetNews> {
        self.1 = self.1 + passed;
        self.0.hear(answer, self.1)
    }

    fn asks(&self) -> String {
        match self.0.next() {
            Ask::Ensure => "ensure".to_owned(),
            Ask::Close(_, session) => format!("close {}", session.as_str()),
            Ask::Open(_) => "open".to_owned(),
            Ask::DisableUpdate(_) => "disable update".to_owned(),
            Ask::Refresh(session) => format!("refresh {}", session.id.as_str()),
            Ask::Poll(_, last) => format!("poll after {last}"),
            Ask::Acquire(_, requests) => format!("acquire {requests:?}"),
            Ask::Acknowledge(_, id) => format!("acknowledge {id}"),
        }
    }

    fn pause(&self) -> u64 {
        self.0.pause().as_secs()
    }
}

#[test]
fn a_message_is_acquired_then_reported_then_acknowledged_and_only_then_left_behind() {
    let mut walk = Walk::in_session();
    assert_eq!(walk.asks(), "poll after 0");
    assert!(walk.hear(offers(5, 9)).is_empty());
    assert_eq!(walk.asks(), "acquire [9]");
    assert!(walk.0.has_message_in_hand());
    walk.hear(Answer::Acquired(Ok(vec![])));
    assert_eq!(walk.asks(), "acknowledge 5");
    walk.hear(Answer::Acknowledged(Ok(())));
    assert_eq!(walk.asks(), "poll after 5");
    assert!(!walk.0.has_message_in_hand());
}

#[test]
fn a_set_is_changed_only_once_it_is_ours_and_then_once() {
    for (update_disabled, then) in
        [(Some(false), "disable update"), (Some(true), "poll after 0"), (None, "poll after 0")]
    {
        let mut walk = Walk::begin();
        walk.hear(found_with(&["linux"], update_disabled));
        assert_eq!(walk.asks(), "open");
        walk.hear(Answer::Opened(Err(ScaleSetError::Conflict { says: String::new() })));
        assert_eq!(walk.asks(), "open");
        walk.hear(Answer::Opened(Ok(session("one"))));
        assert_eq!(walk.asks(), then);
        walk.hear(Answer::UpdateDisabled);
        assert_eq!(walk.asks(), "poll after 0");
    }
}

#[test]
fn a_refused_token_is_refreshed_and_the_same_is_asked_again() {
    let mut walk = Walk::in_session();
    walk.hear(offers(5, 9));
    assert!(walk.hear(Answer::Acquired(Err(ScaleSetError::TokenExpired))).is_empty());
    assert_eq!((walk.asks().as_str(), walk.pause()), ("refresh one", 0));
    walk.hear(Answer::Refreshed(Err(down())));
    assert_eq!((walk.asks().as_str(), walk.pause()), ("refresh one", 1));
    walk.hear(Answer::Refreshed(Ok(session("one"))));
    assert_eq!(walk.asks(), "acquire [9]");
    walk.hear(Answer::Acquired(Ok(vec![9])));
    walk.hear(Answer::Acknowledged(Err(ScaleSetError::TokenExpired)));
    assert_eq!(walk.asks(), "refresh one");
    walk.hear(Answer::Refreshed(Ok(session("one"))));
    let news = walk.hear(Answer::Acknowledged(Err(ScaleSetError::TokenExpired)));
    assert!(matches!(news[..], [ScaleSetNews::Trouble { error: ScaleSetError::SessionLost { .. }, .. }]));
    assert_eq!(walk.asks(), "close one");
}

#[test]
fn a_lost_session_is_replaced_at_once_and_one_that_is_lost_again_and_again_with_increasing_delays() {
    let mut walk = Walk::in_session();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        walk.hear(Answer::Polled(Err(lost())));
        pauses.push(walk.pause());
        assert_eq!(walk.asks(), "close one");
        walk.hear(Answer::Closed(true));
        assert_eq!(walk.asks(), "open");
        walk.hear(Answer::Opened(Ok(session("one"))));
        assert_eq!(walk.asks(), "poll after 0");
    }
    assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 60, 60, 60]);
    walk.hear(Answer::Polled(Ok(None)));
    walk.hear(Answer::Polled(Err(lost())));
    assert_eq!(walk.pause(), 0, "a poll that was held ends the streak");
}

#[test]
fn failures_wait_ever_longer_and_a_limit_as_long_as_it_says() {
    let mut walk = Walk::begin();
    let pauses: Vec<u64> = (0..8)
        .map(|_| {
            walk.hear(Answer::Ensured(Err(down())));
            walk.pause()
        })
        .collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    let wait = Duration::from_mins(5);
    walk.hear(Answer::Ensured(Err(GithubError::RateLimited { wait }.into())));
    assert_eq!(walk.pause(), 300);
    for _ in 0..100 {
        walk.hear(Answer::Ensured(Err(down())));
    }
    assert_eq!(walk.pause(), 60);
}

#[test]
fn another_clients_session_is_waited_for_forever() {
    let mut walk = Walk::begin();
    walk.hear(found(&["linux"]));
    for _ in 0..1000 {
        let says = "scaleset linux already has an active session for owner dayfly/ci2@there.".to_owned();
        let news = walk.hear(Answer::Opened(Err(ScaleSetError::Conflict { says })));
        let [ScaleSetNews::Waiting { owner: Some(owner), .. }] = &news[..] else { panic!("{news:?}") };
        assert_eq!((owner.as_str(), walk.pause(), walk.asks().as_str()), ("dayfly/ci2@there", 30, "open"));
    }
    assert_eq!(owner_in("The actions runner scaleset x already has an active session."), None);
    assert_eq!(owner_in("for owner 'a b'"), Some("a".to_owned()));
}

#[test]
fn a_server_that_does_not_hold_polls_is_not_asked_without_a_pause() {
    let mut walk = Walk::in_session();
    walk.hear_after(Duration::from_millis(300), Answer::Polled(Ok(None)));
    assert_eq!(walk.0.pause(), Duration::from_millis(700));
    walk.hear_after(Duration::from_secs(50), Answer::Polled(Ok(None)));
    assert_eq!(walk.pause(), 0);
    walk.hear_after(Duration::ZERO, message(None));
    assert_eq!((walk.pause(), walk.asks().as_str()), (1, "poll after 0"));
    walk.hear_after(Duration::ZERO, message(Some(5)));
    assert_eq!((walk.pause(), walk.asks().as_str()), (0, "acknowledge 5"), "a new one is not held up");
    walk.hear_after(Duration::ZERO, Answer::Acknowledged(Ok(())));
    walk.hear_after(Duration::ZERO, message(Some(5)));
    assert_eq!((walk.pause(), walk.asks().as_str()), (1, "acknowledge 5"));
}

#[test]
fn what_cannot_be_acquired_or_acknowledged_is_left_for_the_next_time() {
    let mut walk = Walk::in_session();
    walk.hear(offers(5, 9));
    walk.hear(Answer::Acquired(Err(down())));
    assert_eq!((walk.asks().as_str(), walk.pause()), ("poll after 0", 1));
    walk.hear(offers(5, 9));
    walk.hear(Answer::Acquired(Err(down())));
    assert_eq!(walk.pause(), 2, "a poll that is answered is no end of such a streak");
    walk.hear(offers(5, 9));
    walk.hear(Answer::Acquired(Ok(vec![9])));
    walk.hear(Answer::Acknowledged(Err(down())));
    assert_eq!(walk.asks(), "poll after 5");
}

#[test]
fn a_set_that_is_gone_is_looked_for_by_name_and_its_old_session_is_not_closed() {
    let mut walk = Walk::in_session();
    walk.hear(Answer::Polled(Err(ScaleSetError::NoSuchSet)));
    assert_eq!((walk.asks().as_str(), walk.pause()), ("ensure", 0));
    assert!(walk.0.session().is_none());
    walk.hear(found(&["linux"]));
    assert_eq!(walk.asks(), "open");
    walk.hear(Answer::Opened(Err(ScaleSetError::NoSuchSet)));
    assert_eq!((walk.asks().as_str(), walk.pause()), ("ensure", 2));
}

#[test]
fn the_session_of_a_daemon_before_us_is_closed_if_it_was_of_this_set() {
    let before = |set| Remembered { set, session: SessionId::parse("old").unwrap() };
    for (set, asks) in [(SET, "close old"), (ScaleSetId(8), "open")] {
        let course = Course::new(&pool(&["linux"]), Some(before(set)));
        let mut walk = Walk(course, Instant::default());
        walk.hear(found(&["linux"]));
        assert_eq!(walk.asks(), asks);
        walk.hear(Answer::Closed(true));
        assert_eq!(walk.asks(), "open");
    }
}

#[test]
fn a_session_of_ours_that_could_not_be_closed_is_closed_when_it_is_in_the_way() {
    let before = Remembered { set: SET, session: SessionId::parse("old").unwrap() };
    let mut walk = Walk(Course::new(&pool(&["linux"]), Some(before)), Instant::default());
    let in_the_way = || Answer::Opened(Err(ScaleSetError::Conflict { says: String::new() }));
    walk.hear(found(&["linux"]));
    for _ in 0..3 {
        assert_eq!(walk.asks(), "close old");
        walk.hear(Answer::Closed(false));
        assert_eq!((walk.asks().as_str(), walk.pause()), ("open", 0));
        walk.hear(Answer::Opened(Err(down())));
        assert_eq!(walk.asks(), "open");
        walk.hear(in_the_way());
        assert_eq!(walk.pause(), 30);
    }
    assert_eq!(walk.asks(), "close old");
    walk.hear(Answer::Closed(true));
    walk.hear(in_the_way());
    assert_eq!(walk.asks(), "open", "what is in the way is somebody else's");
}

#[test]
fn labels_are_compared_without_letter_case_and_the_sets_name_is_always_allowed() {
    for (wanted, kept, served, told) in [
        (&["linux", "x64"][..], &["X64", "Linux"][..], true, 1),
        (&["x64"], &["linux", "x64"], true, 1),
        (&["x64", "gpu"], &["linux"], true, 2),
        (&["linux"], &["linux", "x64"], false, 1),
    ] {
        let mut walk = Walk(Course::new(&pool(wanted), None), Instant::default());
        let news = walk.hear(found(kept));
        assert_eq!((walk.asks() == "open", news.len()), (served, told), "{wanted:?} {kept:?}: {news:?}");
        assert_eq!(walk.pause(), if served { 0 } else { 30 });
    }
}

#[test]
fn a_note_comes_back_and_a_broken_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions/linux");
    assert_eq!(remembered::recall(&file), None);
    let session = SessionId::parse("6f1d4b5e-0c39").unwrap();
    remembered::remember(&file, SET, &session).unwrap();
    assert_eq!(remembered::recall(&file), Some(Remembered { set: SET, session }));
    for broken in ["", "7", "x y", "7 ../../x", "7 a b"] {
        std::fs::write(&file, broken).unwrap();
        assert_eq!(remembered::recall(&file), None, "{broken}");
    }
    remembered::forget(&file);
    remembered::forget(&file);
    assert!(!file.exists());
}

#[test]
fn an_owner_names_the_instance_and_the_machine() {
    let owner = super::owner(&"ci1".parse().unwrap());
    assert!(owner.starts_with("dayfly/ci1") && owner.is_ascii(), "{owner}");
}
