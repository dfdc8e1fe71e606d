//! What to request next, given the responses so far, and what they mean. No I/O and no clock: pauses are durations,
//! and times are given by the caller that makes the requests.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{ScaleSetPool, Waits, session_file::SavedSession};
use crate::{
    fleet::{
        ClockReading, Evidence, Instant, JobFacts, PoolName, Scope, Source, Timestamp, Trouble, TroubleKind,
        doubled,
    },
    github::{
        GithubError,
        scale_set::{
            Ensured, Job, JobMessage, Message, ScaleSet, ScaleSetError, ScaleSetId, Session, SessionId,
        },
    },
};

/// What to request from GitHub next.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// Find the set, or create it.
    EnsureSet,
    /// Close a session that was ours.
    Close(ScaleSetId, SessionId),
    Open(ScaleSetId),
    /// Set, on a set that is ours now, that its runners do not update themselves.
    DisableUpdate(ScaleSetId),
    /// Give the session a new token.
    Refresh(Session),
    /// Wait for a message after this one.
    Poll(Session, i64),
    /// Acquire the jobs of the pending message.
    Acquire(Session, Vec<i64>),
    Acknowledge(Session, i64),
}

/// How GitHub responded.
#[derive(Debug)]
pub(super) enum Response {
    Ensured(Result<Ensured, ScaleSetError>),
    /// Whether the session no longer exists; if not, the next request shows whether it is in the way.
    Closed(bool),
    Opened(Result<Session, ScaleSetError>),
    /// Or not: nothing waits for it.
    UpdateDisabled,
    Refreshed(Result<Session, ScaleSetError>),
    Polled(Result<Option<Message>, ScaleSetError>),
    Acquired(Result<Vec<i64>, ScaleSetError>),
    Acknowledged(Result<(), ScaleSetError>),
}

/// How far the session is.
#[derive(Debug)]
enum SessionStage {
    WithoutSet,
    /// With a set; the session that may still be ours is closed first.
    Closing(ScaleSetId, SessionId),
    /// With the session that may still be ours, since it could not be closed.
    Opening(ScaleSetId, Option<SessionId>),
    Open(Box<Session>, PendingMessage),
}

/// The message that an open session is at.
#[derive(Debug)]
enum PendingMessage {
    None,
    /// Its jobs are not acquired yet, and it is not applied.
    ToAcquire(Message),
    /// It is applied and not acknowledged.
    ToAcknowledge(i64),
}

/// The session of one pool's scale set.
#[derive(Debug)]
pub(super) struct SessionState {
    pool: PoolName,
    scope: Scope,
    labels: Vec<String>,
    waits: Waits,
    stage: SessionStage,
    /// The set that is ours, or why none is.
    set: Result<ScaleSetId, String>,
    /// How many jobs GitHub said last to have assigned, while the set is ours.
    assigned: Option<u32>,
    /// The session of a daemon before this one, until it was tried to close it.
    before: Option<SavedSession>,
    /// Whether the set's runners would update themselves.
    updates: bool,
    last_message: i64,
    /// Whether the token was refused, and how often since it was last accepted.
    refusals: u32,
    failures: u32,
    pause: Duration,
    /// When the last response was received.
    responded_at: Instant,
}

impl SessionState {
    /// No session so far, of a pool of this scope.
    pub(super) fn new(pool: &ScaleSetPool, scope: Scope, before: Option<SavedSession>) -> Self {
        Self {
            pool: pool.name.clone(),
            scope,
            labels: pool.labels.clone(),
            waits: pool.waits,
            stage: SessionStage::WithoutSet,
            set: Err("its session was not opened yet".to_owned()),
            assigned: None,
            before,
            updates: false,
            last_message: 0,
            refusals: 0,
            failures: 0,
            pause: Duration::ZERO,
            responded_at: Instant::default(),
        }
    }

    /// How long to wait before the next request.
    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// The session that is ours now.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.stage {
            SessionStage::Open(session, _) => Some(session),
            _ => None,
        }
    }

    /// The set that runners may be minted for, or why for none.
    pub(super) fn set(&self) -> Result<ScaleSetId, &str> {
        self.set.as_ref().map(|set| *set).map_err(String::as_str)
    }

    /// Whether a message was received and not acknowledged.
    pub(super) fn has_pending_message(&self) -> bool {
        let SessionStage::Open(_, pending) = &self.stage else { return false };
        !matches!(pending, PendingMessage::None)
    }

    pub(super) fn next(&self) -> Request {
        match &self.stage {
            SessionStage::WithoutSet => Request::EnsureSet,
            SessionStage::Closing(set, session) => Request::Close(*set, session.clone()),
            SessionStage::Opening(set, _) => Request::Open(*set),
            SessionStage::Open(session, _) if self.updates => Request::DisableUpdate(session.set),
            SessionStage::Open(session, _) if self.refusals == 1 => Request::Refresh(Session::clone(session)),
            SessionStage::Open(session, PendingMessage::None) => {
                Request::Poll(Session::clone(session), self.last_message)
            }
            SessionStage::Open(session, PendingMessage::ToAcquire(message)) => {
                Request::Acquire(Session::clone(session), message.requests())
            }
            SessionStage::Open(session, PendingMessage::ToAcknowledge(id)) => {
                Request::Acknowledge(Session::clone(session), *id)
            }
        }
    }

    /// Takes in a response that was received `at`, and returns what it proves. `github` is GitHub's clock, by which
    /// messages write their times.
    pub(super) fn on_response(
        &mut self,
        response: Response,
        at: Instant,
        github: ClockReading,
    ) -> Vec<Evidence> {
        self.pause = Duration::ZERO;
        let since = at.since(std::mem::replace(&mut self.responded_at, at));
        match response {
            Response::Ensured(Ok(found)) => self.on_set(&found, at),
            Response::Closed(gone) => {
                if let SessionStage::Closing(set, session) = &self.stage {
                    self.stage = SessionStage::Opening(*set, (!gone).then(|| session.clone()));
                }
                Vec::new()
            }
            Response::Opened(Ok(session)) => {
                self.last_message = 0;
                self.refusals = 0;
                self.set = Ok(session.set);
                self.begin(session, PendingMessage::None, at)
            }
            Response::Opened(Err(ScaleSetError::Conflict { says })) => {
                self.pause = self.waits.conflict;
                if let SessionStage::Opening(set, Some(session)) = &self.stage {
                    self.stage = SessionStage::Closing(*set, session.clone());
                }
                let whose = owner_in(&says)
                    .map_or(String::new(), |owner| format!("the session belongs to {owner}; "));
                let detail = format!("{whose}{says}");
                self.set_lost(format!("it has another open session ({says})"));
                let trouble = trouble(TroubleKind::SessionTaken, detail);
                vec![self.assigned_now(None, at), self.source(Some(trouble))]
            }
            Response::UpdateDisabled => {
                self.updates = false;
                Vec::new()
            }
            Response::Refreshed(Ok(session)) => {
                // Until something is accepted again, a further refusal means that refreshing is no use.
                self.refusals = 2;
                let pending = match std::mem::replace(&mut self.stage, SessionStage::WithoutSet) {
                    SessionStage::Open(_, pending) => pending,
                    _ => PendingMessage::None,
                };
                self.begin(session, pending, at)
            }
            Response::Polled(Ok(None)) => {
                self.all_is_well();
                // A server that does not hold the poll must not be polled without a pause.
                self.pause = self.waits.first.saturating_sub(since);
                // Nothing has changed since, so that what was said last is so now.
                let assigned = self.assigned.map(|jobs| self.assigned_now(Some(jobs), at));
                assigned.into_iter().chain([self.source(None)]).collect()
            }
            Response::Polled(Ok(Some(message))) => {
                self.refusals = 0;
                if message.id.is_none_or(|id| id <= self.last_message) {
                    // It is one that comes again, and may do so at once.
                    self.pause = self.waits.first.saturating_sub(since);
                }
                if message.requests().is_empty() {
                    self.apply(message, at, github)
                } else {
                    self.replace_pending(PendingMessage::ToAcquire(message));
                    Vec::new()
                }
            }
            Response::Acquired(Ok(_)) => {
                // Which were won does not matter: the statistics say how many runners are wanted.
                self.refusals = 0;
                match self.replace_pending(PendingMessage::None) {
                    PendingMessage::ToAcquire(message) => self.apply(message, at, github),
                    _ => Vec::new(),
                }
            }
            Response::Acknowledged(Ok(())) => {
                self.all_is_well();
                self.acknowledged();
                Vec::new()
            }
            Response::Polled(Err(ScaleSetError::TokenExpired))
            | Response::Acquired(Err(ScaleSetError::TokenExpired))
            | Response::Acknowledged(Err(ScaleSetError::TokenExpired)) => self.refused(at),
            Response::Acquired(Err(error)) => {
                // Not applied and not acknowledged, it is sent again.
                self.replace_pending(PendingMessage::None);
                self.failed(error, at)
            }
            Response::Acknowledged(Err(error)) => {
                // It was applied; should it be sent again, it is applied again.
                self.acknowledged();
                self.failed(error, at)
            }
            Response::Ensured(Err(error))
            | Response::Opened(Err(error))
            | Response::Refreshed(Err(error))
            | Response::Polled(Err(error)) => self.failed(error, at),
        }
    }

    fn on_set(&mut self, found: &Ensured, at: Instant) -> Vec<Evidence> {
        let Ensured { set, created } = found;
        let pool = &self.pool;
        let labels = LabelDifference::of(pool, &self.labels, set);
        if let Some(why) = labels.surplus {
            self.pause = self.waits.conflict;
            self.set_lost(why.clone());
            let trouble = trouble(TroubleKind::Refused, why);
            return vec![self.assigned_now(None, at), self.source(Some(trouble))];
        }
        let done = if *created { "created" } else { "found" };
        info!(%pool, set = %set.id, "{done} scale set {pool}");
        if let Some(why) = labels.missing {
            warn!(%pool, "{why}");
        }
        self.updates = set.update_disabled == Some(false);
        self.stage = match self.before.take() {
            Some(before) if before.set == set.id => SessionStage::Closing(set.id, before.session),
            _ => SessionStage::Opening(set.id, None),
        };
        Vec::new()
    }

    fn begin(&mut self, session: Session, pending: PendingMessage, at: Instant) -> Vec<Evidence> {
        let assigned = session.assigned;
        self.stage = SessionStage::Open(Box::new(session), pending);
        self.counted(assigned, at)
    }

    /// Takes up another pending message, and gives back the one before.
    fn replace_pending(&mut self, pending: PendingMessage) -> PendingMessage {
        match &mut self.stage {
            SessionStage::Open(_, before) => std::mem::replace(before, pending),
            _ => PendingMessage::None,
        }
    }

    fn apply(&mut self, message: Message, at: Instant, github: ClockReading) -> Vec<Evidence> {
        if let Some(id) = message.id {
            self.replace_pending(PendingMessage::ToAcknowledge(id));
        }
        // How many are wanted is known as of this message before it is published whose jobs are over.
        let mut evidence = self.counted(message.assigned, at);
        for job in message.jobs {
            match job {
                JobMessage::Available(_) => {}
                JobMessage::Started { runner, job } => {
                    let queued_at = job.queued_at.map_or(at, |queued_at| github.instant(queued_at));
                    if let Some(facts) = facts(&self.scope, job, github.timestamp(at)) {
                        evidence.push(Evidence::Took { runner, facts: Arc::new(facts), queued_at });
                    }
                }
                JobMessage::Completed { runner } => evidence.push(Evidence::JobOver { runner }),
            }
        }
        evidence
    }

    fn acknowledged(&mut self) {
        if let PendingMessage::ToAcknowledge(id) = self.replace_pending(PendingMessage::None) {
            self.last_message = id;
        }
    }

    fn all_is_well(&mut self) {
        self.failures = 0;
        self.refusals = 0;
    }

    /// The queue does not take the token: it is refreshed once, and then the session is given up.
    fn refused(&mut self, at: Instant) -> Vec<Evidence> {
        self.refusals += 1;
        if self.refusals == 1 {
            return Vec::new();
        }
        let says = "its token was rejected again after a refresh".to_owned();
        self.failed(ScaleSetError::SessionLost { says }, at)
    }

    fn failed(&mut self, error: ScaleSetError, at: Instant) -> Vec<Evidence> {
        let mut evidence = Vec::new();
        match &error {
            ScaleSetError::NoSuchSet => {
                self.stage = SessionStage::WithoutSet;
                self.refusals = 0;
                self.set_lost("it was deleted on GitHub".to_owned());
                evidence.push(self.assigned_now(None, at));
            }
            ScaleSetError::SessionLost { .. } => {
                if let SessionStage::Open(session, _) = &self.stage {
                    // Should it live on after all, it would be in the way of the next.
                    self.stage = SessionStage::Closing(session.set, session.id.clone());
                }
                self.refusals = 0;
            }
            _ => {}
        }
        self.pause = match &error {
            ScaleSetError::Github(GithubError::RateLimited { wait }) => (*wait).max(self.waits.first),
            // Nothing is wrong with one more attempt; with one after the other there is.
            ScaleSetError::NoSuchSet | ScaleSetError::SessionLost { .. } if self.failures == 0 => {
                Duration::ZERO
            }
            _ => doubled(self.waits.first, self.failures, self.waits.longest),
        };
        self.failures = self.failures.saturating_add(1);
        evidence.push(self.source(Some(error.into())));
        evidence
    }

    fn set_lost(&mut self, why: String) {
        self.set = Err(why);
    }

    /// What a count proves, where one was sent.
    fn counted(&mut self, assigned: Option<u32>, at: Instant) -> Vec<Evidence> {
        let Some(assigned) = assigned else { return Vec::new() };
        vec![self.assigned_now(Some(assigned), at), self.source(None)]
    }

    fn assigned_now(&mut self, jobs: Option<u32>, at: Instant) -> Evidence {
        self.assigned = jobs;
        Evidence::Assigned { pool: self.pool.clone(), jobs, at }
    }

    fn source(&self, trouble: Option<Trouble>) -> Evidence {
        Evidence::Source { pool: self.pool.clone(), source: Source::ScaleSet, trouble }
    }
}

/// How the labels of a set differ from its pool's, each as one sentence with what to do about it.
#[derive(Debug)]
pub(super) struct LabelDifference {
    /// Labels that the pool does not have: the set is not served until a person has decided, since its labels
    /// cannot be changed.
    pub(super) surplus: Option<String>,
    /// Labels that only the pool has: jobs that ask for them do not come.
    pub(super) missing: Option<String>,
}

impl LabelDifference {
    pub(super) fn of(pool: &PoolName, labels: &[String], set: &ScaleSet) -> Self {
        let folded = |labels: &[String]| -> BTreeSet<String> {
            labels.iter().map(|label| label.to_lowercase()).collect()
        };
        let (wanted, kept) = (folded(labels), folded(&set.labels));
        let (name, folded_name) = (pool.as_str(), pool.as_str().to_lowercase());
        let list = |labels: Vec<&String>| {
            labels.iter().map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ")
        };
        // A server without labels of their own for sets keeps the name as the only one.
        let surplus: Vec<_> = kept.difference(&wanted).filter(|label| **label != folded_name).collect();
        let surplus = (!surplus.is_empty()).then(|| {
            format!(
                "the scale set {name:?} has the labels {}, which the pool does not have, and the labels of \
                 a scale set cannot be changed: give the pool the same labels, or remove the scale set with \
                 dayfly purge, so that it is created again",
                list(surplus)
            )
        });
        let missing: Vec<_> = wanted.difference(&kept).collect();
        let missing = (!missing.is_empty()).then(|| {
            format!(
                "the scale set {name:?} lacks the labels {} of its pool, so GitHub assigns no jobs that ask \
                 for them: if they are new in the pool, remove the scale set with dayfly purge, so that it \
                 is created again; GHES before 3.21 keeps only the name, unless its feature \
                 DistributedTask.AllowRunnerScaleSetCustomLabels is enabled",
                list(missing)
            )
        });
        Self { surplus, missing }
    }
}

/// The details of a job; `None` when its repository's name is invalid.
fn facts(scope: &Scope, job: Job, at: Timestamp) -> Option<JobFacts> {
    let repository = scope.repository(&job.repository)?;
    let run_id = job.run.unwrap_or_default();
    Some(JobFacts {
        url: format!("{repository}/actions/runs/{run_id}"),
        name: job.name,
        run_id,
        queued_at: job.queued_at.unwrap_or(at),
        repository,
    })
}

fn trouble(kind: TroubleKind, detail: String) -> Trouble {
    Trouble { kind, retry_after: None, detail }
}

impl From<ScaleSetError> for Trouble {
    fn from(error: ScaleSetError) -> Self {
        match error {
            ScaleSetError::Github(error) => error.into(),
            other => trouble(TroubleKind::GithubFailed, other.to_string()),
        }
    }
}

/// Whose session it is, as older servers say: "… already has an active session for owner NAME."
pub(super) fn owner_in(says: &str) -> Option<String> {
    let (_, rest) = says.split_once("for owner ")?;
    let name = rest.split([',', ' ']).next()?.trim_matches(['\'', '"', '.']);
    (!name.is_empty()).then(|| name.to_owned())
}
