//! Which repository's queue is polled next, and when: the active ones at the configured interval, the
//! quiet ones less and less often, all of them within what GitHub allows. Time is passed in.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    fleet::{Instant, Scope, doubled},
    github::{HELD_RUNS_INTERVAL, Look, Rate},
};

/// How long after a push or a job a repository counts as active.
const ACTIVE: Duration = Duration::from_mins(15);

/// The interval of a quiet repository is the time since it was last active, divided by this.
const QUIETER: u32 = 15;

/// Requests a minute for the queues of all scopes of one credential. GitHub allows 900 points to everything
/// that it does (docs.github.com, "Rate limits for the REST API"); the other half is for listing, minting
/// and removing runners.
pub const REQUESTS_PER_MINUTE: u32 = 350;

/// How often an organization's repositories are listed by when they were pushed to.
pub const FIND_INTERVAL: Duration = Duration::from_mins(1);

/// How far polls may run ahead of that pace.
const BURST: Duration = Duration::from_secs(30);

/// No repository is polled more often, however often it is reported.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest wait after failures in a row.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// The assumed cost of a poll before the first one: two lists, and the jobs of a run.
const USUAL_REQUESTS: f64 = 3.0;

/// Of a poll's requests as many are assumed to be charged as were lately; this is the weight of the newest.
const NEWEST: f64 = 0.2;

/// Why a repository is polled, which determines how rarely it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It is the pool's own scope: always at the configured interval.
    Own,
    /// The configuration names it: when quiet, every minute.
    Named,
    /// It was pushed to lately: when quiet, down to every quarter of an hour.
    Found,
}

impl Reach {
    fn longest(self, base: Duration) -> Duration {
        match self {
            Self::Own => base,
            Self::Named => base.max(Duration::from_mins(1)),
            Self::Found => base.max(Duration::from_mins(15)),
        }
    }
}

/// What polling of queues would need, and what it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// Repositories that are polled.
    pub repositories: usize,
    /// Requests an hour that the configured interval needs.
    pub wanted: u64,
    /// Requests an hour that GitHub's limits leave for it.
    pub allowed: u64,
    /// How often an active repository is polled instead.
    pub interval: Duration,
}

/// All repositories of a scope.
pub(super) struct Schedule {
    base: Duration,
    /// Among how many scopes the credential's limits are shared.
    shared_by: u32,
    turns: BTreeMap<Scope, Turn>,
    /// When the requests so far would have been over at this scope's share of [`REQUESTS_PER_MINUTE`].
    paid_until: Instant,
}

struct Turn {
    reach: Reach,
    /// When it was last pushed to, or had jobs that were not over.
    active_at: Instant,
    /// Whether jobs waited for a runner at the last poll.
    queued: bool,
    polled_at: Option<Instant>,
    /// Whether a poll is under way.
    is_polled: bool,
    /// Whether there is a notification.
    soon: bool,
    /// Failures in a row, and when to try again.
    failures: u32,
    retry_at: Instant,
    requests: f64,
    charged: f64,
}

impl Schedule {
    pub(super) fn new(base: Duration, shared_by: u32) -> Self {
        Self {
            base: base.max(SHORTEST),
            shared_by: shared_by.max(1),
            turns: BTreeMap::new(),
            paid_until: Instant::default(),
        }
    }

    /// Polls a repository from now on, or updates when it was last pushed to.
    pub(super) fn add(&mut self, repository: &Scope, reach: Reach, pushed_at: Instant) {
        let turn = self.turns.entry(repository.clone()).or_insert(Turn {
            reach,
            active_at: pushed_at,
            queued: false,
            polled_at: None,
            is_polled: false,
            soon: false,
            failures: 0,
            retry_at: Instant::default(),
            requests: USUAL_REQUESTS,
            charged: NEWEST,
        });
        turn.reach = turn.reach.min(reach);
        turn.active_at = turn.active_at.max(pushed_at);
    }

    /// Keeps of the found repositories only those that pass, and those with jobs; returns the others.
    pub(super) fn forget_found(&mut self, keep: impl Fn(&Scope) -> bool, now: Instant) -> Vec<Scope> {
        let gone = |(repository, turn): (&Scope, &Turn)| {
            let stays = turn.reach != Reach::Found
                || turn.is_polled
                || turn.soon
                || keep(repository)
                || now.since(turn.active_at) < ACTIVE;
            (!stays).then(|| repository.clone())
        };
        let gone: Vec<Scope> = self.turns.iter().filter_map(gone).collect();
        for repository in &gone {
            self.turns.remove(repository);
        }
        gone
    }

    /// There is news of a repository; false when it is none of these.
    pub(super) fn poll_soon(&mut self, repository: &Scope) -> bool {
        self.turns.get_mut(repository).map(|turn| turn.soon = true).is_some()
    }

    /// A runner took a job or ended: where jobs waited, fewer may.
    pub(super) fn poll_queued_soon(&mut self) {
        for turn in self.turns.values_mut().filter(|turn| turn.queued || turn.reach == Reach::Own) {
            turn.soon = true;
        }
    }

    /// The repository whose turn is next, and when.
    pub(super) fn next(&self, rate: Option<&Rate>, now: Instant) -> Option<(Scope, Instant)> {
        let stretch = self.stretch(rate, now);
        let paced = self.paid_until - BURST;
        let turns = self.turns.iter().filter(|(_, turn)| !turn.is_polled);
        let due = turns.map(|(repository, turn)| (turn.due(self.base, stretch, now), repository));
        // Of those that are due the one that was reported, then the one that waits for longest.
        let (due, repository) = due.min_by_key(|&(due, _)| due)?;
        Some((repository.clone(), due.max(paced)))
    }

    /// A poll begins.
    pub(super) fn began(&mut self, repository: &Scope, now: Instant) {
        if let Some(turn) = self.turns.get_mut(repository) {
            (turn.is_polled, turn.soon, turn.polled_at) = (true, false, Some(now));
        }
    }

    /// A poll has succeeded.
    pub(super) fn polled(&mut self, repository: &Scope, look: &Look, now: Instant) {
        let Some(turn) = self.turns.get_mut(repository) else { return };
        (turn.is_polled, turn.failures) = (false, 0);
        turn.queued = look.jobs.iter().any(|(_, state)| *state == crate::fleet::JobState::Queued);
        if !look.jobs.is_empty() {
            turn.active_at = now;
        }
        let mean = |before: f64, newest: u32| before * (1.0 - NEWEST) + f64::from(newest) * NEWEST;
        turn.requests = mean(turn.requests, look.requests);
        turn.charged = mean(turn.charged, look.charged);
        self.pay(look.requests, now);
    }

    /// A poll has failed, and another is useless before `retry_at`, where GitHub says so.
    pub(super) fn failed(&mut self, repository: &Scope, retry_at: Option<Instant>, now: Instant) {
        let base = self.base;
        let Some(turn) = self.turns.get_mut(repository) else { return };
        let wait = doubled(base, turn.failures, LONGEST_RETRY.max(base));
        turn.is_polled = false;
        turn.failures = turn.failures.saturating_add(1);
        turn.retry_at = retry_at.unwrap_or(now + wait);
        self.pay(1, now);
    }

    /// What the limits do not allow of what the configured interval needs.
    pub(super) fn shortfall(&self, rate: Option<&Rate>, now: Instant) -> Option<Shortfall> {
        let per_second = self.per_second(|turn| turn.requests, now);
        let by_pace = per_second * 60.0 * f64::from(self.shared_by) / f64::from(REQUESTS_PER_MINUTE);
        let stretch = self.stretch(rate, now).max(by_pace);
        (stretch > 1.0 + 1e-6).then(|| Shortfall {
            repositories: self.turns.len(),
            wanted: whole(per_second * 3600.0),
            allowed: whole(per_second * 3600.0 / stretch),
            interval: self.base.mul_f64(stretch),
        })
    }

    /// How much longer all intervals must be for the rate limit to last until its window ends, if polls
    /// go on to be charged as they were.
    fn stretch(&self, rate: Option<&Rate>, now: Instant) -> f64 {
        let Some(rate) = rate.filter(|rate| now < rate.reset_at) else { return 1.0 };
        let left = u32::try_from(rate.remaining.saturating_sub(rate.reserve())).unwrap_or(u32::MAX);
        let needed = self.per_second(|turn| turn.charged, now) * rate.reset_at.since(now).as_secs_f64();
        (needed * f64::from(self.shared_by) / f64::from(left.max(1))).clamp(1.0, 1000.0)
    }

    fn per_second(&self, of: impl Fn(&Turn) -> f64, now: Instant) -> f64 {
        let each = |turn: &Turn| of(turn) / turn.interval(self.base, now).as_secs_f64();
        self.turns.values().map(each).sum()
    }

    fn pay(&mut self, requests: u32, now: Instant) {
        let each = Duration::from_mins(1) * self.shared_by / REQUESTS_PER_MINUTE;
        self.paid_until = self.paid_until.max(now) + each * requests;
    }
}

impl Turn {
    /// How often it is polled while the limits allow it.
    fn interval(&self, base: Duration, now: Instant) -> Duration {
        let quiet = now.since(self.active_at);
        if quiet < ACTIVE {
            return base;
        }
        (quiet / QUIETER).clamp(base, self.reach.longest(base))
    }

    fn due(&self, base: Duration, stretch: f64, now: Instant) -> Instant {
        let Some(polled_at) = self.polled_at else { return Instant::default() };
        let due = if self.soon {
            polled_at + SHORTEST
        } else {
            polled_at + self.interval(base, now).mul_f64(stretch)
        };
        if self.failures > 0 { self.retry_at } else { due }
    }
}

/// The requests that polling of queues makes in an hour, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestsPerHour {
    /// With nothing waiting: all of them conditional, and none charged while nothing changes. Each run
    /// with jobs that are not over adds one for each poll.
    pub at_rest: u64,
    /// Those that are charged for each job: its run in the lists, and its states.
    pub charged_per_job: u64,
}

/// What a job costs that is a run of its own and is seen in every state: it comes into the list of queued
/// runs (and its own list of jobs is new), changes to the list of those in progress (three lists change),
/// and goes. Jobs of one run share the lists.
const CHARGED_PER_JOB: u64 = 6;

/// What polling needs at this interval with so many active and quiet repositories.
pub fn requests_per_hour(interval: Duration, active: u32, quiet: u32, reach: Reach) -> RequestsPerHour {
    let base = interval.max(SHORTEST);
    let polls = |count: u32, every: Duration| f64::from(count) * 3600.0 / every.as_secs_f64();
    let polls_each_hour = polls(active, base) + polls(quiet, reach.longest(base));
    // Two lists a poll, and two more at times; and the list of what was pushed to.
    let held = polls(active, base.max(HELD_RUNS_INTERVAL)) + polls(quiet, reach.longest(base));
    let found = if reach == Reach::Found { polls(1, FIND_INTERVAL) } else { 0.0 };
    RequestsPerHour {
        at_rest: whole(polls_each_hour * 2.0 + held * 2.0 + found),
        charged_per_job: CHARGED_PER_JOB,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, never negative, and far from the end"
)]
fn whole(number: f64) -> u64 {
    number.round().max(0.0) as u64
}

#[cfg(test)]
mod tests;
