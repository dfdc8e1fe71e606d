//! What GitHub knows: scopes, registrations and the sessions of runners. Plain values; time is passed
//! in, and nothing here knows of HTTP but status codes. Jobs, runs and groups have rooms of their own.

pub(super) mod job_record;
mod queue;
pub(super) mod run_record;
mod runs;
pub(super) mod scale_sets;
pub(super) mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::http::StatusCode;

use super::{
    apps::Issued,
    faults::Faults,
    github::{limits::Limits, log::Log},
    hooks::Hooks,
    jit::Jit,
    random::Random,
    scope_path::is_repository,
    settings::{Presence, Settings},
};
use dayfly_fleet::Timestamp;

use self::{
    job_record::JobRecord,
    run_record::{Repository, Run},
    scale_sets::ScaleSets,
};

/// The version that a connected runner reports.
pub(super) const RUNNER_VERSION: &str = "2.336.0";

/// The group id that GitHub keeps for its own runners.
const HOSTED_GROUP: u64 = 2;

/// Everything.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) faults: Faults,
    pub(super) limits: Limits,
    pub(super) log: Log,
    pub(super) hooks: Hooks,
    pub(super) random: Random,
    pub(super) issued: Issued,
    runner_url: String,
    registrations: BTreeMap<u64, Registration>,
    sessions: BTreeMap<String, Session>,
    next_registration: u64,
    jobs: BTreeMap<u64, JobRecord>,
    queued: BTreeSet<u64>,
    running: BTreeSet<u64>,
    repositories: BTreeMap<String, Repository>,
    runs: BTreeMap<u64, Run>,
    pub(super) scale_sets: ScaleSets,
}

/// GitHub's record of a runner.
pub(super) struct Registration {
    pub(super) id: u64,
    /// Path of the scope, lower-cased: `acme`, `acme/widgets` or `enterprises/acme`.
    scope: String,
    pub(super) name: String,
    pub(super) group: u64,
    /// Lower-cased and sorted.
    pub(super) labels: Vec<String>,
    minted_at: Timestamp,
    runner: Runner,
}

/// What stands behind a registration.
enum Runner {
    /// A simulated runner, perhaps: it holds this secret, and has connected once it has a session.
    Real { secret: String, session: Option<String> },
    /// Nothing.
    Pretended(Presence),
}

/// A connection of a simulated runner. It outlives the registration, as a runner with a job does.
struct Session {
    registration: u64,
    runner: String,
    scope: String,
    labels: Vec<String>,
    opened_at: Timestamp,
    /// Since when nothing polls; `None` while something does.
    quiet_since: Option<Timestamp>,
    left: bool,
    job: Option<u64>,
}

/// What a registration looks like from outside.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) online: bool,
    pub(super) busy: bool,
    pub(super) connected_once: bool,
}

/// Why a mint is refused.
pub(super) enum MintRefused {
    NameTaken,
    NoSuchGroup,
    HostedGroup,
    GroupFull(usize),
}

/// What `config.sh` gives a runner by itself; a JIT config does not.
const READ_ONLY: [&str; 4] = ["self-hosted", "linux", "x64", "arm64"];

impl Registration {
    /// Whether a label of it cannot be removed. Runners by JIT config have no such labels.
    pub(super) fn is_read_only(&self, label: &str) -> bool {
        matches!(self.runner, Runner::Pretended(_)) && READ_ONLY.contains(&label)
    }
}

impl World {
    pub(super) fn new(settings: Settings, runner_url: String) -> Self {
        Self {
            random: Random(settings.seed),
            issued: Issued::default(),
            limits: Limits::default(),
            settings,
            runner_url,
            faults: Faults::default(),
            log: Log::default(),
            hooks: Hooks::default(),
            registrations: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_registration: 1,
            jobs: BTreeMap::new(),
            queued: BTreeSet::new(),
            running: BTreeSet::new(),
            repositories: BTreeMap::new(),
            runs: BTreeMap::new(),
            scale_sets: ScaleSets::default(),
        }
    }

    /// The number of a scope (1, 2, …) if there is one with this path, letter case aside.
    pub(super) fn scope_number(&self, path: &str) -> Option<usize> {
        self.settings.scopes.iter().position(|scope| scope.eq_ignore_ascii_case(path)).map(|at| at + 1)
    }

    /// The path of the scope with a number.
    pub(super) fn scope_path(&self, number: usize) -> Option<String> {
        Some(self.settings.scopes.get(number.checked_sub(1)?)?.to_ascii_lowercase())
    }

    /// The runner groups of organizations: id and name.
    pub(super) fn groups(&self) -> impl Iterator<Item = (u64, &str)> {
        let ids = (1..).filter(|&id| id != HOSTED_GROUP);
        ids.zip(self.settings.groups.iter().map(String::as_str))
    }

    /// Mints a runner: its registration exists from now on. Returns its id and its JIT config.
    pub(super) fn mint(
        &mut self,
        scope: &str,
        name: &str,
        group: u64,
        labels: Vec<String>,
        work_folder: &str,
        now: Timestamp,
    ) -> Result<(u64, String), MintRefused> {
        let there = || self.registrations.values().filter(|there| there.scope == scope);
        if group == HOSTED_GROUP {
            return Err(MintRefused::HostedGroup);
        }
        let known = if is_repository(scope) { group == 1 } else { self.groups().any(|(id, _)| id == group) };
        if !known {
            return Err(MintRefused::NoSuchGroup);
        }
        let inherited = |&(id, name): &(u64, &str)| {
            id == group && self.settings.group_policies.get(name).is_some_and(|policy| policy.inherited)
        };
        if !is_repository(scope) && self.groups().any(|group| inherited(&group)) {
            return Err(MintRefused::HostedGroup);
        }
        if there().any(|there| there.name == name) {
            return Err(MintRefused::NameTaken);
        }
        let max = self.settings.max_registrations;
        if there().filter(|there| there.group == group).count() >= max {
            return Err(MintRefused::GroupFull(max));
        }
        let secret = self.random.text();
        let runner = Runner::Real { secret: secret.clone(), session: None };
        let id = self.record(scope, name, group, labels, runner, now);
        let jit =
            Jit { server_url: self.runner_url.clone(), agent_id: id, agent_name: name.to_owned(), secret };
        Ok((id, jit.encode(work_folder)))
    }

    /// Puts a registration there that nothing stands behind.
    pub(super) fn register(
        &mut self,
        scope: &str,
        name: &str,
        labels: Vec<String>,
        presence: Presence,
        now: Timestamp,
    ) -> Option<u64> {
        let scope = self.scope_path(self.scope_number(scope)?)?;
        Some(self.record(&scope, name, 1, labels, Runner::Pretended(presence), now))
    }

    fn record(
        &mut self,
        scope: &str,
        name: &str,
        group: u64,
        mut labels: Vec<String>,
        runner: Runner,
        now: Timestamp,
    ) -> u64 {
        tidy(&mut labels);
        let id = self.next_registration;
        self.next_registration += 1;
        let (scope, name) = (scope.to_owned(), name.to_owned());
        self.registrations
            .insert(id, Registration { id, scope, name, group, labels, minted_at: now, runner });
        id
    }

    /// Gives a registration these labels; jobs go by them at once.
    pub(super) fn relabel(&mut self, id: u64, mut labels: Vec<String>) {
        tidy(&mut labels);
        for session in self.sessions.values_mut().filter(|session| session.registration == id) {
            session.labels.clone_from(&labels);
        }
        if let Some(there) = self.registrations.get_mut(&id) {
            there.labels = labels;
        }
    }

    /// Removes a registration; says whether it was there.
    pub(super) fn forget(&mut self, id: u64) -> bool {
        self.registrations.remove(&id).is_some()
    }

    /// The registration of a scope with this id.
    pub(super) fn registration(&self, scope: &str, id: u64) -> Option<&Registration> {
        self.registrations.get(&id).filter(|there| there.scope == scope)
    }

    /// The registrations of a scope that its lists show.
    pub(super) fn listed(&self, scope: &str, now: Timestamp) -> impl Iterator<Item = &Registration> {
        let lag = self.settings.list_lag;
        self.registrations.values().filter(move |there| there.scope == scope && there.minted_at + lag <= now)
    }

    /// What a registration looks like, lags included.
    pub(super) fn look(&self, registration: &Registration, now: Timestamp) -> Look {
        match &registration.runner {
            Runner::Pretended(presence) => Look {
                online: matches!(presence, Presence::Idle | Presence::Busy),
                busy: matches!(presence, Presence::Busy | Presence::OfflineBusy),
                connected_once: *presence != Presence::Offline,
            },
            Runner::Real { session, .. } => {
                let Some(session) = session.as_ref().and_then(|session| self.sessions.get(session)) else {
                    return Look { online: false, busy: false, connected_once: false };
                };
                let lost = |since| since + self.settings.offline_after <= now;
                let online = !session.left && !session.quiet_since.is_some_and(lost);
                let job = session.job.and_then(|job| self.jobs.get(&job));
                let seen = |assigned_at| assigned_at + self.settings.busy_lag <= now;
                let busy = job.and_then(JobRecord::assigned_at).is_some_and(seen);
                Look { online, busy, connected_once: true }
            }
        }
    }

    /// Opens the one session that a JIT config is good for.
    pub(super) fn connect(&mut self, id: u64, secret: &str, now: Timestamp) -> Result<String, StatusCode> {
        let there = self.registrations.get_mut(&id).ok_or(StatusCode::NOT_FOUND)?;
        let Runner::Real { secret: right, session } = &mut there.runner else {
            return Err(StatusCode::NOT_FOUND);
        };
        if *right != secret {
            return Err(StatusCode::FORBIDDEN);
        }
        if session.is_some() {
            return Err(StatusCode::CONFLICT);
        }
        let opened = self.random.text();
        *session = Some(opened.clone());
        let session = Session {
            registration: id,
            runner: there.name.clone(),
            scope: there.scope.clone(),
            labels: there.labels.clone(),
            opened_at: now,
            quiet_since: Some(now),
            left: false,
            job: None,
        };
        self.sessions.insert(opened.clone(), session);
        Ok(opened)
    }

    /// A runner polls; `false` when its registration is gone and it has no job to go on with.
    pub(super) fn poll_begins(&mut self, session: &str) -> bool {
        let Some(session) = self.sessions.get_mut(session).filter(|session| !session.left) else {
            return false;
        };
        session.quiet_since = None;
        session.job.is_some() || self.registrations.contains_key(&session.registration)
    }

    /// A runner's poll has ended, answered or cut off.
    pub(super) fn poll_ends(&mut self, session: &str, now: Timestamp) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.quiet_since = Some(now);
        }
    }

    /// A runner says good-bye. A job that it still has is lost when its lease ends.
    pub(super) fn leave(&mut self, session: &str) -> bool {
        let left = self.sessions.get_mut(session);
        left.is_some_and(|session| !std::mem::replace(&mut session.left, true))
    }

    /// Brings up to date what time alone brings about.
    pub(super) fn settle(&mut self, now: Timestamp) {
        let over: Vec<u64> = self.running.iter().copied().filter(|&job| self.is_over(job, now)).collect();
        for job in over {
            self.release(job, now);
        }
        self.settle_scale_sets(now);
    }

    /// How long ago a session last sent a request; `None` while it polls.
    fn silence(&self, session: &str, now: Timestamp) -> Option<Duration> {
        let session = self.sessions.get(session)?;
        session.quiet_since.map(|since| now.since(since))
    }
}

/// Labels as GitHub keeps them.
fn tidy(labels: &mut Vec<String>) {
    for label in &mut *labels {
        label.make_ascii_lowercase();
    }
    labels.sort_unstable();
    labels.dedup();
}
