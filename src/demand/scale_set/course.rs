//! What to ask next, given what was answered. No I/O and no clock: pauses are durations, and times
//! are told by whoever asks.

use std::{collections::BTreeSet, time::Duration};

use super::{ScaleSetNews, ScaleSetPool, Waits, remembered::Remembered};
use crate::{
    fleet::Instant,
    github::{
        GithubError,
        scale_set::{Ensured, JobMessage, Message, ScaleSetError, ScaleSetId, Session, SessionId},
    },
};

/// What to ask of GitHub next.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Find the set, or create it.
    Ensure,
    /// Close a session that was ours.
    Close(ScaleSetId, SessionId),
    /// Open a session.
    Open(ScaleSetId),
    /// Tell the set, which is ours now, that its runners do not update themselves.
    DisableUpdate(ScaleSetId),
    /// Give the session a new token.
    Refresh(Session),
    /// Wait for a message after this one.
    Poll(Session, i64),
    /// Acquire the jobs of the message in hand.
    Acquire(Session, Vec<i64>),
    /// Say that a message was heard.
    Acknowledge(Session, i64),
}

/// What GitHub answered.
#[derive(Debug)]
pub(super) enum Answer {
    Ensured(Result<Ensured, ScaleSetError>),
    /// Whether the session is gone; if not, the next request tells whether it is in the way.
    Closed(bool),
    Opened(Result<Session, ScaleSetError>),
    /// Or not: nothing waits for it.
    UpdateDisabled,
    Refreshed(Result<Session, ScaleSetError>),
    Polled(Result<Option<Message>, ScaleSetError>),
    Acquired(Result<Vec<i64>, ScaleSetError>),
    Acknowledged(Result<(), ScaleSetError>),
}

/// Where in its course a pool is.
#[derive(Debug)]
enum Place {
    Without,
    /// With a set; the session that may still be ours is closed first.
    Closing(ScaleSetId, SessionId),
    /// With the session that may still be ours, since it could not be closed.
    Opening(ScaleSetId, Option<SessionId>),
    With(Box<Session>, Hand),
}

/// What is in hand during a session.
#[derive(Debug)]
enum Hand {
    Nothing,
    /// A message whose jobs are not acquired yet, and that is not applied.
    Offers(Message),
    /// A message that is applied and not acknowledged.
    Applied(i64),
}

/// The course of one pool.
#[derive(Debug)]
pub(super) struct Course {
    labels: Vec<String>,
    name: String,
    waits: Waits,
    place: Place,
    /// The session of a daemon before us, until it was tried to close it.
    before: Option<Remembered>,
    /// Whether the set's runners would update themselves.
    updates: bool,
    last_message: i64,
    /// Whether the token was refused, and how often since it was last accepted.
    refusals: u32,
    failures: u32,
    pause: Duration,
    /// When the last answer was received.
    heard_at: Instant,
}

impl Course {
    pub(super) fn new(pool: &ScaleSetPool, before: Option<Remembered>) -> Self {
        Self {
            labels: pool.labels.clone(),
            name: pool.name.clone(),
            waits: pool.waits,
            place: Place::Without,
            before,
            updates: false,
            last_message: 0,
            refusals: 0,
            failures: 0,
            pause: Duration::ZERO,
            heard_at: Instant::default(),
        }
    }

    /// How long to wait before the next request.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// The session that is ours now.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.place {
            Place::With(session, _) => Some(session),
            _ => None,
        }
    }

    /// Whether a message was taken up and not acknowledged.
    pub(super) fn has_message_in_hand(&self) -> bool {
        matches!(self.place, Place::With(_, Hand::Offers(_) | Hand::Applied(_)))
    }

    pub(super) fn next(&self) -> Ask {
        match &self.place {
            Place::Without => Ask::Ensure,
            Place::Closing(set, session) => Ask::Close(*set, session.clone()),
            Place::Opening(set, _) => Ask::Open(*set),
            Place::With(session, _) if self.updates => Ask::DisableUpdate(session.set),
            Place::With(session, _) if self.refusals == 1 => Ask::Refresh(Session::clone(session)),
            Place::With(session, Hand::Nothing) => Ask::Poll(Session::clone(session), self.last_message),
            Place::With(session, Hand::Offers(message)) => {
                Ask::Acquire(Session::clone(session), message.requests())
            }
            Place::With(session, Hand::Applied(id)) => Ask::Acknowledge(Session::clone(session), *id),
        }
    }

    /// Takes in an answer that was received `at` and tells what it means for the pool.
    pub(super) fn hear(&mut self, answer: Answer, at: Instant) -> Vec<ScaleSetNews> {
        self.pause = Duration::ZERO;
        let since = at.since(std::mem::replace(&mut self.heard_at, at));
        match answer {
            Answer::Ensured(Ok(found)) => self.found(&found),
            Answer::Closed(gone) => {
                if let Place::Closing(set, session) = &self.place {
                    self.place = Place::Opening(*set, (!gone).then(|| session.clone()));
                }
                Vec::new()
            }
            Answer::Opened(Ok(session)) => {
                self.last_message = 0;
                self.refusals = 0;
                self.begin(session, Hand::Nothing, at)
            }
            Answer::Opened(Err(ScaleSetError::Conflict { says })) => {
                self.pause = self.waits.conflict;
                if let Place::Opening(set, Some(session)) = &self.place {
                    self.place = Place::Closing(*set, session.clone());
                }
                vec![ScaleSetNews::Waiting { owner: owner_in(&says), says, retry_in: self.pause }]
            }
            Answer::UpdateDisabled => {
                self.updates = false;
                Vec::new()
            }
            Answer::Refreshed(Ok(session)) => {
                // Until something is accepted again, a further refusal means that refreshing is no use.
                self.refusals = 2;
                let hand = match std::mem::replace(&mut self.place, Place::Without) {
                    Place::With(_, hand) => hand,
                    _ => Hand::Nothing,
                };
                self.begin(session, hand, at)
            }
            Answer::Polled(Ok(None)) => {
                self.all_is_well();
                // A server that does not hold the poll must not be asked again and again.
                self.pause = self.waits.first.saturating_sub(since);
                vec![ScaleSetNews::Quiet { at }]
            }
            Answer::Polled(Ok(Some(message))) => {
                self.refusals = 0;
                if message.id.is_none_or(|id| id <= self.last_message) {
                    // It is one that comes again, and may do so at once.
                    self.pause = self.waits.first.saturating_sub(since);
                }
                if message.requests().is_empty() {
                    self.apply(message, at)
                } else {
                    self.hold(Hand::Offers(message));
                    Vec::new()
                }
            }
            Answer::Acquired(Ok(_)) => {
                // Which were won does not matter: the statistics tell how many runners are wanted.
                self.refusals = 0;
                match self.hold(Hand::Nothing) {
                    Hand::Offers(message) => self.apply(message, at),
                    _ => Vec::new(),
                }
            }
            Answer::Acknowledged(Ok(())) => {
                self.all_is_well();
                self.acknowledged();
                Vec::new()
            }
            Answer::Polled(Err(ScaleSetError::TokenExpired))
            | Answer::Acquired(Err(ScaleSetError::TokenExpired))
            | Answer::Acknowledged(Err(ScaleSetError::TokenExpired)) => self.refused(),
            Answer::Acquired(Err(error)) => {
                // Not applied and not acknowledged, it is sent again.
                self.hold(Hand::Nothing);
                self.failed(error)
            }
            Answer::Acknowledged(Err(error)) => {
                // It was applied; should it be sent again, it is applied again.
                self.acknowledged();
                self.failed(error)
            }
            Answer::Ensured(Err(error))
            | Answer::Opened(Err(error))
            | Answer::Refreshed(Err(error))
            | Answer::Polled(Err(error)) => self.failed(error),
        }
    }

    fn found(&mut self, found: &Ensured) -> Vec<ScaleSetNews> {
        let Ensured { set, created } = found;
        let folded = |labels: &[String]| -> BTreeSet<String> {
            labels.iter().map(|label| label.to_lowercase()).collect()
        };
        let (wanted, kept) = (folded(&self.labels), folded(&set.labels));
        let name = &self.name;
        let list = |labels: Vec<&String>| {
            labels.iter().map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ")
        };
        // A server without labels of their own for sets keeps the name as the only one.
        let surplus: Vec<_> =
            kept.difference(&wanted).filter(|label| **label != name.to_lowercase()).collect();
        if !surplus.is_empty() {
            self.pause = self.waits.conflict;
            let why = format!(
                "the scale set {name:?} has the labels {}, which the pool does not have, and the labels of \
                 a scale set cannot be changed: give the pool the same labels, or remove the scale set with \
                 dayfly purge, so that it is created again",
                list(surplus)
            );
            return vec![ScaleSetNews::LabelsChanged { why, retry_in: self.pause }];
        }
        self.updates = set.update_disabled == Some(false);
        let mut news = vec![ScaleSetNews::Found { set: set.id, created: *created }];
        let missing: Vec<_> = wanted.difference(&kept).collect();
        if !missing.is_empty() {
            let why = format!(
                "the scale set {name:?} lacks the labels {} of its pool, so GitHub assigns no jobs that ask \
                 for them: if they are new in the pool, remove the scale set with dayfly purge, so that it \
                 is created again; GHES before 3.21 keeps only the name, unless its feature \
                 DistributedTask.AllowRunnerScaleSetCustomLabels is enabled",
                list(missing)
            );
            news.push(ScaleSetNews::LabelsMissing { why });
        }
        self.place = match self.before.take() {
            Some(before) if before.set == set.id => Place::Closing(set.id, before.session),
            _ => Place::Opening(set.id, None),
        };
        news
    }

    fn begin(&mut self, session: Session, hand: Hand, at: Instant) -> Vec<ScaleSetNews> {
        let statistics = session.statistics;
        self.place = Place::With(Box::new(session), hand);
        statistics.map(|statistics| ScaleSetNews::Up { at, statistics }).into_iter().collect()
    }

    /// Takes up what is to be in hand and gives back what was.
    fn hold(&mut self, hand: Hand) -> Hand {
        match &mut self.place {
            Place::With(_, held) => std::mem::replace(held, hand),
            _ => Hand::Nothing,
        }
    }

    fn apply(&mut self, message: Message, at: Instant) -> Vec<ScaleSetNews> {
        if let Some(id) = message.id {
            self.hold(Hand::Applied(id));
        }
        let up = message.statistics.map(|statistics| ScaleSetNews::Up { at, statistics });
        let jobs = message.jobs.into_iter().filter_map(|job| match job {
            JobMessage::Available(_) => None,
            JobMessage::Assigned(job) => Some(ScaleSetNews::JobAssigned { at, job }),
            JobMessage::Started { runner, job } => Some(ScaleSetNews::JobStarted { at, runner, job }),
            JobMessage::Completed { runner, result, job } => {
                Some(ScaleSetNews::JobCompleted { at, runner, result, job })
            }
        });
        // How many are wanted is known as of this message before it is told whose jobs are over.
        up.into_iter().chain(jobs).collect()
    }

    fn acknowledged(&mut self) {
        if let Hand::Applied(id) = self.hold(Hand::Nothing) {
            self.last_message = id;
        }
    }

    fn all_is_well(&mut self) {
        self.failures = 0;
        self.refusals = 0;
    }

    /// The queue does not take the token: it is refreshed once, and then the session is given up.
    fn refused(&mut self) -> Vec<ScaleSetNews> {
        self.refusals += 1;
        if self.refusals == 1 {
            return Vec::new();
        }
        let says = "its token was rejected again after a refresh".to_owned();
        self.failed(ScaleSetError::SessionLost { says })
    }

    fn failed(&mut self, error: ScaleSetError) -> Vec<ScaleSetNews> {
        match &error {
            ScaleSetError::NoSuchSet => {
                self.place = Place::Without;
                self.refusals = 0;
            }
            ScaleSetError::SessionLost { .. } => {
                if let Place::With(session, _) = &self.place {
                    // Should it live on after all, it would be in the way of the next.
                    self.place = Place::Closing(session.set, session.id.clone());
                }
                self.refusals = 0;
            }
            _ => {}
        }
        let doubled = self.waits.first.saturating_mul(1 << self.failures.min(16));
        self.pause = match &error {
            ScaleSetError::Github(GithubError::RateLimited { wait }) => (*wait).max(self.waits.first),
            // Nothing is wrong with asking once more; with asking again and again there is.
            ScaleSetError::NoSuchSet | ScaleSetError::SessionLost { .. } if self.failures == 0 => {
                Duration::ZERO
            }
            _ => doubled.min(self.waits.longest),
        };
        self.failures = self.failures.saturating_add(1);
        vec![ScaleSetNews::Trouble { error, retry_in: self.pause }]
    }
}

/// Whose session it is, as older servers say: "… already has an active session for owner NAME."
pub(super) fn owner_in(says: &str) -> Option<String> {
    let (_, rest) = says.split_once("for owner ")?;
    let name = rest.split([',', ' ']).next()?.trim_matches(['\'', '"', '.']);
    (!name.is_empty()).then(|| name.to_owned())
}
