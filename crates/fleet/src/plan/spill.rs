//! Queued jobs of a pool that cannot start them go to another pool with the same labels that can.

use std::collections::BTreeSet;

use super::{Fleet, Pass, holds::Wish, round::Round};
use crate::{
    demand::DemandState,
    fleet::PoolState,
    job::{JobId, JobState},
    known_jobs::KnownJob,
    matching::{Matched, Verdict, verdict},
    name::PoolName,
    scope::Scope,
};

impl Fleet {
    /// Moves jobs, and launches for them. A job moves only to where it can start now, so it never moves back and forth.
    pub(super) fn spill(&mut self, round: &mut Round, pass: &mut Pass) {
        let waits = |name: &&PoolName| {
            let capacity = round.tallies.get(*name).map_or(0, |tally| tally.capacity);
            round.held.contains_key(*name) && self.pools[*name].queued > capacity
        };
        let waiting: Vec<PoolName> = self.order.iter().filter(waits).cloned().collect();
        for from in waiting {
            let others = self.with_same_labels(&from);
            if others.is_empty() {
                continue;
            }
            let capacity = round.tallies.get(&from).map_or(0, |tally| tally.capacity);
            let surplus = self.pools[&from].queued.saturating_sub(capacity);
            for key in self.newest_jobs_of(&from, surplus as usize) {
                let able = |to: &&PoolName| self.serves(to, &key) && self.can_start_one_more(to, round, pass);
                if let Some(to) = others.iter().find(able).cloned() {
                    self.replace_job(&key, Matched::Pool(to.clone()), pass.now);
                    for pool in [&from, &to] {
                        self.count_demand(pool, round);
                    }
                    self.launch_all(vec![to, from.clone()], round, pass);
                }
            }
        }
    }

    /// The other pools whose jobs are known one by one and that have the same labels, those of higher priority first.
    fn with_same_labels(&self, name: &PoolName) -> Vec<PoolName> {
        let labels = |state: &PoolState| -> BTreeSet<String> {
            state.pool.labels.iter().map(|label| label.to_ascii_lowercase()).collect()
        };
        let own = labels(&self.pools[name]);
        let is_other = |other: &&PoolName| {
            let state = &self.pools[*other];
            *other != name && matches!(state.demand, DemandState::Queued(_)) && labels(state) == own
        };
        let mut others: Vec<PoolName> = self.order.iter().filter(is_other).cloned().collect();
        others.sort_by_key(|other| std::cmp::Reverse(self.pools[other].pool.policy.priority));
        others
    }

    /// The newest of a pool's queued jobs, the oldest of these first.
    fn newest_jobs_of(&self, name: &PoolName, count: usize) -> Vec<(Scope, JobId)> {
        let of_pool = |job: &(&(Scope, JobId), &KnownJob)| {
            job.1.state == JobState::Queued && job.1.matched == Matched::Pool(name.clone())
        };
        let mut jobs: Vec<_> = self.jobs.known.iter().filter(of_pool).collect();
        jobs.sort_by_key(|(_, known)| known.job.queued_at);
        let others = jobs.len().saturating_sub(count);
        jobs.into_iter().skip(others).map(|(key, _)| key.clone()).collect()
    }

    fn serves(&self, name: &PoolName, key: &(Scope, JobId)) -> bool {
        let pool = &self.pools[name].pool;
        verdict(&self.jobs.known[key].job, pool, self.group_of(pool)) == Verdict::Serves
    }

    /// Whether a pool has a runner for one more job, or can launch it now.
    fn can_start_one_more(&self, name: &PoolName, round: &Round, pass: &mut Pass) -> bool {
        let state = &self.pools[name];
        match self.wish(state, state.queued + 1, round, pass) {
            Wish::Satisfied => true,
            Wish::Held(..) => false,
            Wish::Runner { hosts, refusals, .. } => self.choose_host(state, hosts, refusals, round).is_ok(),
        }
    }

    fn count_demand(&mut self, name: &PoolName, round: &Round) {
        let busy = round.tallies.get(name).map_or(0, |tally| tally.busy);
        if let Some(state) = self.pools.get_mut(name) {
            state.count_demand(busy, self.draining);
        }
    }
}
