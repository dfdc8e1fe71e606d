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
    time::Instant,
};

/// How old what was told of a job must be before a list that lacks it counts: lists lag.
pub(super) const QUEUE_LAG: Duration = Duration::from_secs(10);

/// How often jobs that cannot matter any more are dropped.
const SWEEP: Duration = Duration::from_hours(1);

/// How long a job that is over is remembered, so that a late "queued" does not bring it back.
const REMEMBERED: Duration = Duration::from_hours(3);

/// How long a look at a queue can take at most: a runner that took a job is remembered so long for the
/// looks that began before.
const LOOK: Duration = Duration::from_mins(1);

/// How exact a reading of GitHub's clock is at least: its `Date` has whole seconds, and an answer takes a moment.
const CLOCK_PRECISION: Duration = Duration::from_secs(5);

/// Jobs that are kept, and ends that are remembered, at most: more than any pool can serve.
const MOST: usize = 100_000;

/// All jobs that are ours or look like it, by repository.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    known: BTreeMap<(Scope, JobId), Known>,
    /// When those that are over were told to be, or were missing.
    over: BTreeMap<(Scope, JobId), Instant>,
    /// When the newest complete look at each repository's queue began.
    looked_at: BTreeMap<Scope, Instant>,
    swept_at: Instant,
}

/// A job that is known and not over.
#[derive(Debug)]
struct Known {
    job: Job,
    state: JobState,
    /// When the look began that said so last, or when the webhook came.
    seen_at: Instant,
    /// When it was so for certain: a webhook comes after the fact, and often after the runner's own log.
    sure_at: Instant,
    placement: Placement,
    told: Option<Unmatched>,
}

/// A queued job in its pool's demand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) queued_at: Instant,
    /// When it was last certain to be queued.
    pub(super) sure_at: Instant,
}

impl PoolState {
    /// Jobs that wait for a runner, `busy` runners of the pool having one.
    ///
    /// Between a job's start and the look that shows it, it would count twice: as queued and as a busy
    /// runner. So each runner that took some job since a job was last certain to be queued takes one away.
    /// A scale set's jobs are not told one by one: what is assigned and no runner has, waits.
    pub(super) fn waiting(&self, busy: u32) -> u32 {
        if self.pool.demand == Demand::ScaleSet {
            let Some((assigned, at)) = self.assigned else { return 0 };
            // GitHub counts a job until it is over, and a runner is busy until its container ends.
            let counted = self.finished.values().filter(|&&ended| ended >= at).count();
            let busy = busy.saturating_sub(count(self.jobs_over.len()));
            return assigned.saturating_sub(count(counted)).saturating_sub(busy);
        }
        if self.taken.is_empty() {
            return count(self.demand.len());
        }
        let mut taken: Vec<Instant> = self.taken.values().copied().collect();
        taken.sort_unstable();
        let mut sure: Vec<Instant> = self.demand.values().map(|waiting| waiting.sure_at).collect();
        sure.sort_unstable();
        let mut jobs = sure.iter().peekable();
        let accounted = taken.iter().filter(|&&at| jobs.next_if(|&&sure_at| sure_at <= at).is_some()).count();
        count(sure.len() - accounted)
    }

    /// Forgets what can take nothing away any more.
    pub(super) fn settle_taken(&mut self, now: Instant) {
        if !self.taken.is_empty() {
            let oldest = self.demand.values().map(|waiting| waiting.sure_at).min();
            let matters = |at| oldest.is_some_and(|oldest| oldest <= at) || now.since(at) < LOOK;
            self.taken.retain(|_, at| matters(*at));
        }
    }

    /// Whether nobody can say now how many jobs wait for it.
    pub(super) fn demand_is_unknown(&self) -> bool {
        self.pool.demand == Demand::ScaleSet && (self.assigned.is_none() || self.session_is_taken())
    }

    fn is_down(&self, source: Source) -> bool {
        self.sources.contains_key(&source)
    }

    /// Whether another session holds its scale set.
    pub(super) fn session_is_taken(&self) -> bool {
        let trouble = self.sources.get(&Source::ScaleSet);
        trouble.is_some_and(|(_, trouble)| trouble.kind == super::TroubleKind::SessionTaken)
    }
}

impl Fleet {
    /// Takes in a complete look at a repository's queue.
    pub(super) fn queue_looked_at(
        &mut self,
        repository: &Scope,
        began: Instant,
        jobs: Vec<(Job, JobState)>,
        now: Instant,
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
            .filter(|((_, id), known)| !shown.contains(id) && began >= known.seen_at + QUEUE_LAG)
            .map(|((_, id), _)| *id)
            .collect();
        for id in absent {
            self.job_gone(repository, id, began);
        }
    }

    /// Takes in one job: what GitHub answered when it was asked, or a hint.
    pub(super) fn job_seen(&mut self, mut job: Job, state: JobState, at: Instant, asked: bool, now: Instant) {
        self.sweep(now);
        let key = (job.facts.repository.clone(), job.id);
        if let Some(known) = self.jobs.known.get(&key) {
            // Its record tells when it was made; an approval may have come long after.
            let queued_at = match (&known.state, &state) {
                (JobState::Waiting, JobState::Queued) => job.queued_at.max(known.seen_at),
                _ => job.queued_at.max(known.job.queued_at),
            };
            if queued_at != job.queued_at {
                let later = queued_at.since(job.queued_at);
                job.queued_at = queued_at;
                // A reading of GitHub's clock is exact to the second, and what people see need not change for that.
                if later >= CLOCK_PRECISION {
                    let facts = Arc::make_mut(&mut job.facts);
                    facts.queued_at = facts.queued_at + later;
                }
            }
        }
        if let JobState::InProgress { runner: Some(runner) } = &state {
            self.took(runner, &job.facts, job.queued_at, now);
        }
        if let Some(&over_at) = self.jobs.over.get(&key) {
            // A new attempt has a new number, so only a list that missed it once can show it again.
            if !asked || state == JobState::Completed || at < over_at + QUEUE_LAG {
                return;
            }
            self.jobs.over.remove(&key);
        }
        if state == JobState::Completed {
            if self.jobs.known.contains_key(&key) || self.place(&job) != Placement::Foreign {
                self.job_over(key, at);
            }
            return;
        }
        let sure_at = if asked { at } else { at.min(job.queued_at) };
        let Some(known) = self.jobs.known.get_mut(&key) else {
            let placement = self.place(&job);
            if placement != Placement::Foreign && self.jobs.known.len() < MOST {
                let known =
                    Known { job, state, seen_at: at, sure_at, placement: placement.clone(), told: None };
                self.jobs.known.insert(key.clone(), known);
                self.replace_job(&key, placement, now);
            }
            return;
        };
        let (before, after) = (known.state.rank(), state.rank());
        // A hint may be late, so it renews nothing and takes nothing back; and lists lag.
        let believed = asked && at >= known.seen_at && (before == after || at >= known.seen_at + QUEUE_LAG);
        if after <= before && !believed {
            return;
        }
        // What was known of it once need not be told again.
        let Job { labels, enterprise, public, workflows, .. } = &known.job;
        job.public = job.public.or(*public);
        job.enterprise = job.enterprise.or_else(|| enterprise.clone());
        if job.workflows.is_empty() {
            job.workflows.clone_from(workflows);
        }
        let same = (&job.labels, &job.enterprise, &job.public, &job.workflows)
            == (labels, enterprise, public, workflows);
        (known.job, known.state) = (job, state);
        (known.seen_at, known.sure_at) = (known.seen_at.max(at), known.sure_at.max(sure_at));
        let placement = known.placement.clone();
        let placement = if same { placement } else { self.place(&self.jobs.known[&key].job) };
        self.replace_job(&key, placement, now);
    }

    /// Takes in that GitHub does not have a job any more, or not in its queue.
    pub(super) fn job_gone(&mut self, repository: &Scope, id: JobId, at: Instant) {
        let key = (repository.clone(), id);
        if self.jobs.known.get(&key).is_some_and(|known| known.seen_at <= at) {
            self.job_over(key, at);
        }
    }

    /// Forgets a job but for its number.
    fn job_over(&mut self, key: (Scope, JobId), at: Instant) {
        if let Some(Known { placement: Placement::Pool(pool), .. }) = self.jobs.known.remove(&key)
            && let Some(pool) = self.pools.get_mut(&pool)
        {
            pool.demand.remove(&key.1);
        }
        if self.jobs.over.len() >= MOST {
            self.jobs.over.pop_first();
        }
        self.jobs.over.insert(key, at);
    }

    /// Takes in that a runner, perhaps one of ours, has this job.
    pub(super) fn took(&mut self, runner: &str, facts: &Arc<JobFacts>, queued_at: Instant, now: Instant) {
        let Some(name) = RunnerName::parse(runner) else { return };
        if name.instance() != self.names.instance().as_str() || !self.runners.contains_key(&name) {
            return;
        }
        self.latch(&name, Some(facts.name.clone()), now);
        // Which job it took is known now, so it takes away no other.
        if let Some(pool) = self.pools.get_mut(name.pool()) {
            pool.taken.remove(&name);
        }
        let Some(runner) = self.runners.get_mut(&name) else { return };
        let known_since = runner.known_since;
        let launched = runner.launched;
        let Some(latch) = &mut runner.latch else { return };
        if latch.facts.is_none() {
            latch.facts = Some(facts.clone());
            // When one that was found with its job took it is not known.
            let watched = launched || latch.since.since(known_since) >= QUEUE_LAG;
            let (pool, queued) = (name.pool().to_owned(), watched.then(|| latch.since.since(queued_at)));
            self.events.push(Event::JobKnown { pool, runner: name, facts: facts.clone(), queued });
        }
    }

    /// Takes in a scope's runner groups, which may change where jobs belong.
    pub(super) fn groups_read(&mut self, scope: &Scope, groups: Vec<GroupPolicy>, now: Instant) {
        let Some(state) = self.scopes.get_mut(scope) else { return };
        if state.groups == groups {
            return;
        }
        state.groups = groups;
        let keys: Vec<_> = self.jobs.known.keys().cloned().collect();
        for key in keys {
            let placement = self.place(&self.jobs.known[&key].job);
            self.replace_job(&key, placement, now);
        }
    }

    /// Takes in whether a pool's source of waiting jobs works.
    pub(super) fn source_tried(
        &mut self,
        pool: &PoolName,
        source: Source,
        trouble: Option<Trouble>,
        now: Instant,
    ) {
        let Some(state) = self.pools.get_mut(pool) else { return };
        let before = state.sources.remove(&source);
        if let Some(trouble) = &trouble {
            let since = before.as_ref().map_or(now, |(since, _)| *since);
            state.sources.insert(source, (since, trouble.clone()));
        }
        if before.map(|(_, trouble)| trouble.kind) != trouble.as_ref().map(|trouble| trouble.kind) {
            self.events.push(Event::Source { pool: pool.clone(), source, trouble });
        }
    }

    /// Takes in how many jobs GitHub has assigned to a scale set.
    pub(super) fn assigned(&mut self, pool: &PoolName, jobs: Option<u32>, at: Instant) {
        let Some(state) = self.pools.get_mut(pool) else { return };
        let Some(jobs) = jobs else {
            state.assigned = None;
            state.finished.clear();
            state.jobs_over.clear();
            return;
        };
        if state.assigned.is_none_or(|(_, before)| before <= at) {
            state.assigned = Some((jobs, at));
            state.finished.retain(|_, ended| *ended >= at);
        }
    }

    /// Takes in that the job of a runner, perhaps one of ours, is not assigned to its scale set any more.
    pub(super) fn job_of_runner_over(&mut self, runner: &str, now: Instant) {
        let Some(name) = RunnerName::parse(runner) else { return };
        let Some(up) = self.runners.get(&name).map(super::runner::Runner::takes_room) else { return };
        self.latch(&name, None, now);
        if let Some(pool) = self.pools.get_mut(name.pool())
            && pool.finished.remove(&name).is_none()
            && up
        {
            pool.jobs_over.insert(name);
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
                seen_at: self.clock.timestamp(known.seen_at),
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
    fn replace_job(&mut self, key: &(Scope, JobId), placement: Placement, now: Instant) {
        let Some(known) = self.jobs.known.get(key) else { return };
        let queued = known.state == JobState::Queued && now.since(known.job.queued_at) < MAX_QUEUE_AGE;
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
            let waiting = Waiting { queued_at: known.job.queued_at, sure_at: known.sure_at };
            pool.demand.insert(key.1, waiting);
        }
    }

    /// Drops the jobs that GitHub has given up on, and what can come too late no more.
    fn sweep(&mut self, now: Instant) {
        if now.since(self.jobs.swept_at) < SWEEP {
            return;
        }
        self.jobs.swept_at = now;
        let Jobs { known, over, looked_at, .. } = &mut self.jobs;
        let pools = &mut self.pools;
        known.retain(|(_, id), known| {
            // A moment that is yet to come is not believed.
            let keeps = now.since(known.job.queued_at.min(known.seen_at)) < MAX_QUEUE_AGE + SWEEP;
            if let Placement::Pool(pool) = &known.placement
                && !keeps
                && let Some(pool) = pools.get_mut(pool)
            {
                pool.demand.remove(id);
            }
            keeps
        });
        over.retain(|_, at| now.since(*at) < REMEMBERED);
        looked_at.retain(|_, began| now.since(*began) < MAX_QUEUE_AGE);
    }

    /// The sources of a pool that do not work.
    pub(super) fn sources_down(pool: &PoolState) -> Vec<Source> {
        Source::ALL.iter().copied().filter(|&source| pool.is_down(source)).collect()
    }
}

#[cfg(test)]
mod tests;
