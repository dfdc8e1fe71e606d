//! What GitHub knows of runner scale sets: sets, their sessions and messages, and which jobs are whose.
//! Messages are made by comparing the last report of a job with its state, so they always match the jobs; a
//! set's job is taken only by the set's runners.

mod jobs;

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use dayfly_fleet::Timestamp;

use crate::{
    random::Random,
    scale_sets::{
        request::{ScaleSetFault, ScaleSetRequest, ScaleSetRoute},
        tokens::RegistrationTokens,
    },
};

/// Requests kept.
const KEPT: usize = 10_000;

/// Everything about scale sets.
#[derive(Default)]
pub(crate) struct ScaleSets {
    pub(crate) tokens: RegistrationTokens,
    /// What goes wrong, and how often still.
    pub(crate) faults: Vec<(ScaleSetRoute, u32, ScaleSetFault)>,
    log: VecDeque<ScaleSetRequest>,
    sets: BTreeMap<i64, Set>,
    /// The sets of registrations.
    runners: BTreeMap<u64, i64>,
    made: i64,
}

struct Set {
    scope: String,
    group: i64,
    name: String,
    labels: Vec<String>,
    update_disabled: bool,
    capacity: u32,
    session: Option<Session>,
    jobs: BTreeMap<u64, Told>,
    pending: VecDeque<Value>,
    /// Sent and not acknowledged.
    unheard: BTreeMap<i64, Vec<Value>>,
    sent: i64,
    claimed: Option<u32>,
}

struct Session {
    id: String,
    owner: String,
    token: String,
    token_until: Timestamp,
    polls: u32,
    heard_at: Timestamp,
}

/// The last report of a job to a set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Offered,
    Assigned,
    Started,
}

/// Another client has a session with the set.
pub(crate) struct OpenRefused {
    pub(crate) set: String,
    pub(crate) owner: String,
}

impl ScaleSets {
    pub(crate) fn note(&mut self, request: ScaleSetRequest) {
        if self.log.len() == KEPT {
            self.log.pop_front();
        }
        self.log.push_back(request);
    }

    pub(crate) fn requests(&self) -> Vec<ScaleSetRequest> {
        self.log.iter().cloned().collect()
    }

    pub(crate) fn all_tokens(&self) -> Vec<String> {
        let sessions = self.sets.values().filter_map(|set| Some(&set.session.as_ref()?.token));
        self.tokens.all().chain(sessions).cloned().collect()
    }

    pub(crate) fn expire_admin_tokens(&mut self) {
        self.tokens.expire_admin();
    }

    pub(crate) fn expire_queue_tokens(&mut self, now: Timestamp) {
        for session in self.sets.values_mut().filter_map(|set| set.session.as_mut()) {
            session.token_until = now;
        }
    }

    pub(crate) fn evict(&mut self, name: &str) -> bool {
        let mut named = self.sets.values_mut().filter(|set| set.name == name);
        named.any(|set| set.session.take().is_some())
    }

    pub(crate) fn vanish(&mut self, name: &str) -> bool {
        let before = self.sets.len();
        self.sets.retain(|_, set| set.name != name);
        before > self.sets.len()
    }

    pub(crate) fn claim_assigned(&mut self, name: &str, assigned: Option<u32>) {
        self.sets.values_mut().filter(|set| set.name == name).for_each(|set| set.claimed = assigned);
    }

    pub(crate) fn set_of(&self, scope: &str, id: i64) -> Option<&str> {
        self.sets.get(&id).filter(|set| set.scope == scope).map(|set| set.name.as_str())
    }

    pub(crate) fn find(&self, scope: &str, group: Option<i64>, name: Option<&str>) -> Vec<i64> {
        let wanted = |set: &Set| {
            set.scope == scope
                && group.is_none_or(|group| set.group == group)
                && name.is_none_or(|name| set.name.eq_ignore_ascii_case(name))
        };
        self.sets.iter().filter(|(_, set)| wanted(set)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn create(
        &mut self,
        scope: &str,
        group: i64,
        name: &str,
        mut labels: Vec<String>,
        update_disabled: bool,
    ) -> i64 {
        if labels.is_empty() {
            labels.push(name.to_owned());
        }
        self.made += 1;
        let set = Set {
            scope: scope.to_owned(),
            group,
            name: name.to_owned(),
            labels,
            update_disabled,
            capacity: 0,
            session: None,
            jobs: BTreeMap::new(),
            pending: VecDeque::new(),
            unheard: BTreeMap::new(),
            // As at GitHub, numbers are no small ones that could be taken for something else's.
            sent: 100_000_000,
            claimed: None,
        };
        self.sets.insert(self.made, set);
        self.made
    }

    pub(crate) fn set_update_disabled(&mut self, id: i64, disabled: bool) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.update_disabled = disabled;
        }
    }

    pub(crate) fn open(
        &mut self,
        id: i64,
        owner: &str,
        token_until: Timestamp,
        random: &mut Random,
        now: Timestamp,
    ) -> Result<(), OpenRefused> {
        let Some(set) = self.sets.get_mut(&id) else { return Ok(()) };
        if let Some(session) = &set.session {
            return Err(OpenRefused { set: set.name.clone(), owner: session.owner.clone() });
        }
        let text = random.text();
        let id = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..32]].join("-");
        let (owner, token) = (owner.to_owned(), random.text());
        set.session = Some(Session { id, owner, token, token_until, polls: 0, heard_at: now });
        Ok(())
    }

    /// Id, owner and token of a set's session.
    pub(crate) fn session(&self, id: i64) -> Option<(&str, &str, &str)> {
        let session = self.sets.get(&id)?.session.as_ref()?;
        Some((&session.id, &session.owner, &session.token))
    }

    /// Gives a session another token; `false` when there is no such session.
    pub(crate) fn refresh(
        &mut self,
        id: i64,
        session: &str,
        token_until: Timestamp,
        random: &mut Random,
    ) -> bool {
        let open = self.sets.get_mut(&id).and_then(|set| set.session.as_mut());
        let Some(open) = open.filter(|open| open.id == session) else { return false };
        open.token = random.text();
        open.token_until = token_until;
        true
    }

    pub(crate) fn close(&mut self, id: i64, session: &str) -> bool {
        let Some(set) = self.sets.get_mut(&id) else { return false };
        set.session.take_if(|open| open.id == session).is_some()
    }

    /// Whether a token is good for a set's session; `None` when there is no such session.
    pub(crate) fn check_token(
        &self,
        id: i64,
        session: Option<&str>,
        token: &str,
        now: Timestamp,
    ) -> Option<bool> {
        let open = self.sets.get(&id)?.session.as_ref()?;
        let same = session.is_none_or(|session| session == open.id);
        same.then(|| open.token == token && now < open.token_until)
    }

    pub(crate) fn poll_begins(&mut self, id: i64, capacity: u32) {
        let Some(set) = self.sets.get_mut(&id) else { return };
        set.capacity = capacity;
        if let Some(session) = &mut set.session {
            session.polls += 1;
        }
    }

    pub(crate) fn poll_ends(&mut self, id: i64, session: &str, now: Timestamp) {
        let open = self.sets.get_mut(&id).and_then(|set| set.session.as_mut());
        if let Some(open) = open.filter(|open| open.id == session) {
            open.polls = open.polls.saturating_sub(1);
            open.heard_at = now;
        }
    }

    pub(crate) fn acknowledge(&mut self, id: i64, message: i64) {
        if let Some(set) = self.sets.get_mut(&id) {
            set.unheard.remove(&message);
        }
    }

    /// Whether the runner with a registration may take a job: its set's, or one that is no set's.
    pub(super) fn may_take(&self, registration: u64, job: u64) -> bool {
        let assigned = |set: &Set| matches!(set.jobs.get(&job), Some(Told::Assigned | Told::Started));
        match self.runners.get(&registration) {
            Some(set) => self.sets.get(set).is_some_and(assigned),
            None => !self.sets.values().any(assigned),
        }
    }
}

impl Set {
    fn assigned(&self) -> usize {
        self.jobs.values().filter(|reported| **reported != Told::Offered).count()
    }
}
