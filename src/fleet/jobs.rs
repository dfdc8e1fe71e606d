//! The jobs that are known, and the demand that they are: a set of job ids for each pool, so that what is
//! told twice, late or out of order changes nothing but latency.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    evidence::Trouble,
    explain::explain,
    fleet::{Fleet, PoolState, count},
    job::{Demand, GroupPolicy, Job, JobFacts, JobId, JobState, MAX_QUEUE_AGE},
    matching::{Placement, group_of, place},
    name::{PoolName, RunnerName},
    report::{Event, JobReport, Source, Unmatched},
    scope::Scope,
    time::Timestamp,
};

/// How old what was told of a job must be before a list that lacks it counts: lists lag.
const QUEUE_LAG: Duration = Duration::from_secs(10);

/// How often jobs that cannot matter any more are dropped.
const SWEEP: Duration = Duration::from_hours(1);

/// All jobs that are ours or look like it, by repository.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    known: BTreeMap<(Scope, JobId), Known>,
    /// When the newest complete look at each repository's queue began.
    looked_at: BTreeMap<Scope, Timestamp>,
    swept_at: Timestamp,
}

/// A job that is known. What is over stays until GitHub would have given up on it, so that a late
/// "queued" does not bring it back.
#[derive(Debug)]
struct Known {
    job: Job,
    state: JobState,
    /// When the look began that said so last, or when the webhook came.
    seen_at: Timestamp,
    placement: Placement,
    told: Option<Unmatched>,
}

/// A queued job in its pool's demand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) queued_at: Timestamp,
    /// When it was last known to be queued.
    pub(super) seen_at: Timestamp,
}

impl PoolState {
    /// Jobs that wait for a runner, `busy` runners of the pool having one.
    ///
    /// Between a job's start and the look that shows it, it would count twice: as queued and as a busy
    /// runner. So each runner that took some job since a job was last seen queued takes one away.
    pub(super) fn waiting(&self, busy: u32) -> u32 {
        if self.pool.demand == Demand::ScaleSet {
            let Some((assigned, at)) = self.assigned else { return 0 };
            let ended = self.finished.iter().filter(|&&ended| ended >= at).count();
            return assigned.saturating_sub(count(ended)).saturating_sub(busy);
        }
        if self.taken.is_empty() {
            return count(self.demand.len());
        }
        let mut taken: Vec<Timestamp> = self.taken.values().copied().collect();
        taken.sort_unstable();
        let mut seen: Vec<Timestamp> = self.demand.values().map(|waiting| waiting.seen_at).collect();
        seen.sort_unstable();
        let mut jobs = seen.iter().peekable();
        let accounted = taken.iter().filter(|&&at| jobs.next_if(|&&seen_at| seen_at <= at).is_some()).count();
        count(seen.len() - accounted)
    }

    /// Forgets what can take nothing away any more.
    fn settle_taken(&mut self) {
        let oldest = self.demand.values().map(|waiting| waiting.seen_at).min();
        self.taken.retain(|_, at| oldest.is_some_and(|oldest| oldest <= *at));
    }

    fn is_down(&self, source: Source) -> bool {
        self.sources.contains_key(&source)
    }

    /// Whether another session holds its scale set.
    pub(super) fn session_is_taken(&self) -> bool {
        let trouble = self.sources.get(&Source::ScaleSet);
        trouble.is_some_and(|trouble| trouble.kind == super::TroubleKind::SessionTaken)
    }
}

impl Fleet {
    /// Takes in a complete look at a repository's queue.
    pub(super) fn queue_looked_at(
        &mut self,
        repository: &Scope,
        began: Timestamp,
        jobs: Vec<(Job, JobState)>,
        now: Timestamp,
    ) {
        let before = self.jobs.looked_at.get(repository).copied().unwrap_or_default();
        if began < before {
            return;
        }
        self.jobs.looked_at.insert(repository.clone(), began);
        let shown: std::collections::BTreeSet<JobId> = jobs.iter().map(|(job, _)| job.id).collect();
        for (job, state) in jobs {
            self.job_seen(job, state, began, true, now);
        }
        let range = (repository.clone(), JobId(0))..=(repository.clone(), JobId(u64::MAX));
        let absent: Vec<JobId> = self
            .jobs
            .known
            .range(range)
            .filter(|((_, id), known)| {
                !shown.contains(id)
                    && known.state != JobState::Completed
                    && began >= known.seen_at + QUEUE_LAG
            })
            .map(|((_, id), _)| *id)
            .collect();
        for id in absent {
            self.job_gone(repository, id, began);
        }
        for pool in self.pools.values_mut() {
            pool.settle_taken();
        }
    }

    /// Takes in one job: what GitHub answered when it was asked, or a hint.
    pub(super) fn job_seen(&mut self, job: Job, state: JobState, at: Timestamp, asked: bool, now: Timestamp) {
        self.sweep(now);
        if let JobState::InProgress { runner: Some(runner) } = &state {
            self.took(runner, &job.facts, now);
        }
        let key = (job.facts.repository.clone(), job.id);
        let placement = self.place(&job);
        if placement == Placement::Foreign {
            return;
        }
        match self.jobs.known.get_mut(&key) {
            None => {
                let known = Known { job, state, seen_at: at, placement, told: None };
                self.jobs.known.insert(key.clone(), known);
            }
            // A job that is over has been told so by GitHub; a new attempt has a new number.
            Some(known) if known.state == JobState::Completed => return,
            Some(known) => {
                let forward = state.rank() > known.state.rank();
                let newer = at >= known.seen_at;
                // A hint may be late; only who asked may be told of a step back.
                if !forward && !(newer && (asked || state.rank() == known.state.rank())) {
                    return;
                }
                let before = std::mem::replace(&mut known.job, job);
                known.job.public = known.job.public.or(before.public);
                known.job.enterprise = known.job.enterprise.take().or(before.enterprise);
                if known.job.workflows.is_empty() {
                    known.job.workflows = before.workflows;
                }
                (known.state, known.seen_at) = (state, known.seen_at.max(at));
            }
        }
        self.replace_job(&key, now);
    }

    /// Takes in that GitHub does not have a job any more, or not in its queue.
    pub(super) fn job_gone(&mut self, repository: &Scope, id: JobId, at: Timestamp) {
        let key = (repository.clone(), id);
        let over = |known: &Known| known.state == JobState::Completed || known.seen_at > at;
        if self.jobs.known.get(&key).is_none_or(over) {
            return;
        }
        self.jobs.known.remove(&key);
        for pool in self.pools.values_mut() {
            pool.demand.remove(&id);
        }
    }

    /// Takes in that a runner, perhaps one of ours, has this job.
    pub(super) fn took(&mut self, runner: &str, facts: &Arc<JobFacts>, now: Timestamp) {
        let Some(name) = RunnerName::parse(runner) else { return };
        if name.instance() != self.names.instance().as_str() || !self.runners.contains_key(&name) {
            return;
        }
        self.latch(&name, Some(facts.name.clone()), now);
        // Which job it took is known now, so it takes away no other.
        if let Some(pool) = self.pools.get_mut(name.pool()) {
            pool.taken.remove(&name);
        }
        let Some(latch) = self.runners.get_mut(&name).and_then(|runner| runner.latch.as_mut()) else {
            return;
        };
        if latch.facts.is_none() {
            latch.facts = Some(facts.clone());
            let (pool, queued) = (name.pool().to_owned(), latch.since.since(facts.queued_at));
            self.events.push(Event::JobKnown { pool, runner: name, facts: facts.clone(), queued });
        }
    }

    /// Takes in a scope's runner groups, which may change where jobs belong.
    pub(super) fn groups_read(&mut self, scope: &Scope, groups: Vec<GroupPolicy>, now: Timestamp) {
        let Some(state) = self.scopes.get_mut(scope) else { return };
        if state.groups == groups {
            return;
        }
        state.groups = groups;
        let keys: Vec<_> = self.jobs.known.keys().cloned().collect();
        for key in keys {
            self.replace_job(&key, now);
        }
    }

    /// Takes in whether a pool's source of waiting jobs works.
    pub(super) fn source_tried(&mut self, pool: &PoolName, source: Source, trouble: Option<Trouble>) {
        let Some(state) = self.pools.get_mut(pool) else { return };
        let before = match &trouble {
            Some(trouble) => state.sources.insert(source, trouble.clone()),
            None => state.sources.remove(&source),
        };
        if before.map(|trouble| trouble.kind) != trouble.as_ref().map(|trouble| trouble.kind) {
            self.events.push(Event::Source { pool: pool.clone(), source, trouble });
        }
    }

    /// Takes in how many jobs GitHub has assigned to a scale set.
    pub(super) fn assigned(&mut self, pool: &PoolName, jobs: u32, at: Timestamp) {
        let Some(state) = self.pools.get_mut(pool) else { return };
        if state.assigned.is_none_or(|(_, before)| before <= at) {
            state.assigned = Some((jobs, at));
            state.finished.retain(|&ended| ended >= at);
        }
    }

    /// The queued jobs, as people see them.
    pub(super) fn job_reports(&self) -> Vec<JobReport> {
        let queued = self.jobs.known.values().filter(|known| known.state == JobState::Queued);
        let report = |known: &Known| {
            let (pool, unmatched) = match &known.placement {
                Placement::Pool(pool) => (Some(pool.clone()), None),
                Placement::Unmatched(reason) => (None, Some(*reason)),
                Placement::Foreign => (None, None),
            };
            JobReport {
                id: known.job.id,
                facts: known.job.facts.clone(),
                labels: known.job.labels.clone(),
                pool,
                unmatched,
                seen_at: known.seen_at,
            }
        };
        queued.map(report).collect()
    }

    /// Where a job belongs.
    fn place(&self, job: &Job) -> Placement {
        place(job, self.pools_with_groups())
    }

    fn pools_with_groups(&self) -> impl Iterator<Item = (&super::Pool, Option<&GroupPolicy>)> + Clone {
        self.order.iter().map(|name| {
            let pool = &self.pools[name].pool;
            let groups = self.scopes.get(&pool.scope).map_or(&[][..], |scope| &scope.groups);
            (pool, group_of(pool, groups))
        })
    }

    /// Puts a job into the demand of the pool that it belongs to now, and out of any other's.
    fn replace_job(&mut self, key: &(Scope, JobId), now: Timestamp) {
        let Some(known) = self.jobs.known.get(key) else { return };
        let placement = self.place(&known.job);
        let queued = known.state == JobState::Queued && now.since(known.job.facts.queued_at) < MAX_QUEUE_AGE;
        let reason = match &placement {
            Placement::Unmatched(reason) if queued && known.told != Some(*reason) => Some(*reason),
            _ => None,
        };
        if let Some(reason) = reason {
            let detail = explain(&known.job, &known.state, self.pools_with_groups(), None).join(" ");
            let job = Box::new(known.job.clone());
            self.events.push(Event::JobUnmatched { job, reason, detail });
        }
        let Some(known) = self.jobs.known.get_mut(key) else { return };
        known.told = reason.or(known.told);
        if let Placement::Pool(before) = &known.placement
            && (placement != known.placement || !queued)
            && let Some(pool) = self.pools.get_mut(before)
        {
            pool.demand.remove(&key.1);
        }
        known.placement = placement;
        if let Placement::Pool(name) = &known.placement
            && queued
            && let Some(pool) = self.pools.get_mut(name)
            && pool.pool.demand.counts_jobs()
        {
            let waiting = Waiting { queued_at: known.job.facts.queued_at, seen_at: known.seen_at };
            pool.demand.insert(key.1, waiting);
        }
    }

    /// Drops the jobs that GitHub has given up on.
    fn sweep(&mut self, now: Timestamp) {
        if now.since(self.jobs.swept_at) < SWEEP {
            return;
        }
        self.jobs.swept_at = now;
        self.jobs.known.retain(|_, known| now.since(known.job.facts.queued_at) < MAX_QUEUE_AGE + SWEEP);
    }

    /// The sources of a pool that do not work.
    pub(super) fn sources_down(pool: &PoolState) -> Vec<Source> {
        Source::ALL.iter().copied().filter(|&source| pool.is_down(source)).collect()
    }
}
