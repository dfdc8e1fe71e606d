//! How reports of jobs change the known jobs and the demand of each pool: a set of job ids, so that duplicate,
//! late or reordered reports change nothing but latency.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    demand::WaitingJob,
    event::Event,
    evidence::Trouble,
    explain::explain,
    fleet::{Fleet, PoolState},
    job::{GroupPolicy, Job, JobFacts, JobId, JobOrigin, JobState, MAX_QUEUE_AGE, QUEUE_LAG},
    known_jobs::{KnownJob, KnownJobs},
    matching::{Matched, match_pool},
    name::{PoolName, RunnerName},
    pool::Pool,
    reasons::Source,
    report::JobReport,
    runner::Runner,
    scope::Scope,
    time::Instant,
};

/// How often jobs that no longer matter are dropped.
const SWEEP: Duration = Duration::from_hours(1);

/// How long a finished job is remembered, so that a late "queued" does not bring it back.
const REMEMBERED: Duration = Duration::from_hours(3);

/// The accuracy of a reading of GitHub's clock: its `Date` has whole seconds, and a response takes a moment.
const CLOCK_PRECISION: Duration = Duration::from_secs(5);

/// The maximum number of jobs and of finished jobs that are kept: more than any pool can serve.
const MOST: usize = 100_000;

impl Fleet {
    /// Records a complete listing of a repository's queue.
    pub(crate) fn queue_looked_at(
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
        let shown: BTreeSet<JobId> = jobs.iter().map(|(job, _)| job.id).collect();
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

    /// Records one job: GitHub's response to a request, or a hint.
    pub(crate) fn job_seen(&mut self, mut job: Job, state: JobState, at: Instant, asked: bool, now: Instant) {
        self.sweep(now);
        let key = (job.facts.repository.clone(), job.id);
        if let Some(known) = self.jobs.known.get(&key) {
            // Its record has the creation time; an approval may have come long after.
            let queued_at = match (&known.state, &state) {
                (JobState::Waiting, JobState::Queued) => job.queued_at.max(known.seen_at),
                _ => job.queued_at.max(known.job.queued_at),
            };
            if queued_at != job.queued_at {
                let later = queued_at.since(job.queued_at);
                job.queued_at = queued_at;
                // A reading of GitHub's clock is accurate to the second; the displayed time should not change
                // because of that.
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
            // A new attempt has a new id, so only a list that missed it once can show it again.
            if !asked || state == JobState::Completed || at < over_at + QUEUE_LAG {
                return;
            }
            self.jobs.over.remove(&key);
        }
        if state == JobState::Completed {
            if self.jobs.known.contains_key(&key) || self.match_pool(&job) != Matched::Foreign {
                self.job_over(key, at);
            }
            return;
        }
        let sure_at = if asked { at } else { at.min(job.queued_at) };
        let Some(known) = self.jobs.known.get_mut(&key) else {
            let matched = self.match_pool(&job);
            if matched != Matched::Foreign && self.jobs.known.len() < MOST {
                let known =
                    KnownJob { job, state, seen_at: at, sure_at, matched: matched.clone(), reported: None };
                self.jobs.known.insert(key.clone(), known);
                self.replace_job(&key, matched, now);
            }
            return;
        };
        let (before, after) = (known.state.rank(), state.rank());
        // A hint may be late, so it neither renews nor reverts anything; and lists lag.
        let believed = asked && at >= known.seen_at && (before == after || at >= known.seen_at + QUEUE_LAG);
        if after <= before && !believed {
            return;
        }
        // KnownJob details are kept when a report lacks them.
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
        let matched = known.matched.clone();
        let matched = if same { matched } else { self.match_pool(&self.jobs.known[&key].job) };
        self.replace_job(&key, matched, now);
    }

    /// Records that GitHub no longer has a job, or no longer in its queue.
    pub(crate) fn job_gone(&mut self, repository: &Scope, id: JobId, at: Instant) {
        let key = (repository.clone(), id);
        if self.jobs.known.get(&key).is_some_and(|known| known.seen_at <= at) {
            self.job_over(key, at);
        }
    }

    /// Drops a job except for its id.
    fn job_over(&mut self, key: (Scope, JobId), at: Instant) {
        if let Some(KnownJob { matched: Matched::Pool(pool), .. }) = self.jobs.known.remove(&key)
            && let Some(pool) = self.pools.get_mut(&pool)
        {
            pool.demand.remove(key.1);
        }
        if self.jobs.over.len() >= MOST {
            self.jobs.over.pop_first();
        }
        self.jobs.over.insert(key, at);
    }

    /// Records that a runner, possibly of this instance, has this job.
    pub(crate) fn took(&mut self, runner: &str, facts: &Arc<JobFacts>, queued_at: Instant, now: Instant) {
        let Some(name) = RunnerName::parse(runner) else { return };
        if name.instance() != self.names.instance().as_str() || !self.runners.contains_key(&name) {
            return;
        }
        self.latch(&name, Some(facts.name.clone()), now);
        // The job that it took is known now, so no other is subtracted for it.
        if let Some(pool) = self.pools.get_mut(name.pool()) {
            pool.demand.job_known(&name);
        }
        let Some(runner) = self.runners.get_mut(&name) else { return };
        let known_since = runner.known_since;
        let launched = runner.launched;
        let Some(latch) = &mut runner.latch else { return };
        if latch.facts.is_none() {
            latch.facts = Some(facts.clone());
            // When a runner that was found with its job took it is not known.
            let watched = launched || latch.since.since(known_since) >= QUEUE_LAG;
            let (pool, queued) = (name.pool().to_owned(), watched.then(|| latch.since.since(queued_at)));
            self.events.push(Event::JobKnown { pool, runner: name, facts: facts.clone(), queued });
        }
    }

    /// Records where the jobs of a run come from, of which runners may have some.
    pub(crate) fn origin(&mut self, repository: &Scope, run_id: u64, origin: &JobOrigin) {
        for latch in self.runners.values_mut().filter_map(|runner| runner.latch.as_mut()) {
            if latch.facts.as_ref().is_some_and(|job| job.repository == *repository && job.run_id == run_id) {
                latch.origin = Some(origin.clone());
            }
        }
    }

    /// Records a scope's runner groups, which may change which pool jobs belong to.
    pub(crate) fn groups_read(&mut self, scope: &Scope, groups: Vec<GroupPolicy>, now: Instant) {
        let Some(state) = self.scopes.get_mut(scope) else { return };
        if state.groups == groups {
            return;
        }
        state.groups = groups;
        let keys: Vec<_> = self.jobs.known.keys().cloned().collect();
        for key in keys {
            let matched = self.match_pool(&self.jobs.known[&key].job);
            self.replace_job(&key, matched, now);
        }
    }

    /// Records whether a pool's job source works.
    pub(crate) fn source_tried(
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

    /// Records how many jobs GitHub has assigned to a pool.
    pub(crate) fn assigned(&mut self, pool: &PoolName, jobs: Option<u32>, at: Instant) {
        if let Some(state) = self.pools.get_mut(pool) {
            state.demand.assigned(jobs, at);
        }
    }

    /// Records that the job of a runner, possibly of this instance, is no longer assigned.
    pub(crate) fn job_of_runner_over(&mut self, runner: &str, now: Instant) {
        let Some(name) = RunnerName::parse(runner) else { return };
        let Some(up) = self.runners.get(&name).map(Runner::takes_room) else { return };
        self.latch(&name, None, now);
        if let Some(pool) = self.pools.get_mut(name.pool()) {
            pool.demand.job_over(&name, up);
        }
    }

    /// The queued jobs, for display.
    pub(crate) fn job_reports(&self) -> Vec<JobReport> {
        let queued = self.jobs.known.values().filter(|known| known.state == JobState::Queued);
        let report = |known: &KnownJob| {
            let (pool, unmatched) = match &known.matched {
                Matched::Pool(pool) => (Some(pool.clone()), None),
                Matched::Unmatched(reason) => (None, Some(*reason)),
                Matched::Foreign => (None, None),
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

    /// The pool that a job belongs to.
    fn match_pool(&self, job: &Job) -> Matched {
        match_pool(job, self.pools_with_groups())
    }

    fn pools_with_groups(&self) -> impl Iterator<Item = (&Pool, Option<&GroupPolicy>)> + Clone {
        self.order.iter().map(|name| {
            let pool = &self.pools[name].pool;
            (pool, self.group_of(pool))
        })
    }

    /// Adds a job to the demand of the pool that it belongs to now, and removes it from any other's.
    pub(crate) fn replace_job(&mut self, key: &(Scope, JobId), matched: Matched, now: Instant) {
        let Some(known) = self.jobs.known.get(key) else { return };
        let queued = known.state == JobState::Queued && now.since(known.job.queued_at) < MAX_QUEUE_AGE;
        let reason = match &matched {
            Matched::Unmatched(reason) if queued && known.reported != Some(*reason) => Some(*reason),
            _ => None,
        };
        if let Some(reason) = reason {
            let detail = explain(&known.job, &known.state, self.pools_with_groups(), None).join(" ");
            let job = Box::new(known.job.clone());
            self.events.push(Event::JobUnmatched { job, reason, detail });
        }
        let Some(known) = self.jobs.known.get_mut(key) else { return };
        known.reported = reason.or(known.reported);
        if let Matched::Pool(before) = &known.matched
            && (matched != known.matched || !queued)
            && let Some(pool) = self.pools.get_mut(before)
        {
            pool.demand.remove(key.1);
        }
        known.matched = matched;
        if let Matched::Pool(name) = &known.matched
            && queued
            && let Some(pool) = self.pools.get_mut(name)
        {
            let waiting = WaitingJob { queued_at: known.job.queued_at, sure_at: known.sure_at };
            pool.demand.add(key.1, waiting);
        }
    }

    /// Drops the jobs that GitHub has cancelled, and entries for which no late report can arrive.
    fn sweep(&mut self, now: Instant) {
        if now.since(self.jobs.swept_at) < SWEEP {
            return;
        }
        self.jobs.swept_at = now;
        let KnownJobs { known, over, looked_at, .. } = &mut self.jobs;
        let pools = &mut self.pools;
        known.retain(|(_, id), known| {
            // A time in the future is not trusted.
            let keeps = now.since(known.job.queued_at.min(known.seen_at)) < MAX_QUEUE_AGE + SWEEP;
            if let Matched::Pool(pool) = &known.matched
                && !keeps
                && let Some(pool) = pools.get_mut(pool)
            {
                pool.demand.remove(*id);
            }
            keeps
        });
        over.retain(|_, at| now.since(*at) < REMEMBERED);
        looked_at.retain(|_, began| now.since(*began) < MAX_QUEUE_AGE);
    }

    /// The failing job sources of a pool.
    pub(crate) fn sources_down(pool: &PoolState) -> Vec<Source> {
        pool.sources.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests;
