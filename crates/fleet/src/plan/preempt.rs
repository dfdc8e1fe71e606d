//! Idle runners are taken back where a queued job of a pool with a higher priority needs their room. Busy ones never are.

use std::collections::BTreeMap;

use super::{Fleet, Pass, holds::Wish, round::Round, take_down};
use crate::{
    fleet::{Committed, PoolState},
    name::{HostName, PoolName, RunnerName},
    reasons::Why,
    runner::Runner,
    time::Instant,
};

/// A runner that may be taken back: the lowest priority comes first, then the one that has been idle for longest.
type Candidate<'a> = (i32, Instant, &'a Runner);

impl Fleet {
    /// Takes back what is needed.
    pub(super) fn preempt(&mut self, round: &mut Round, pass: &mut Pass) {
        let marked = self.to_take_back(round, pass);
        if marked.is_empty() {
            return;
        }
        let mut pools = Vec::new();
        for name in marked {
            let Some((pool, tally)) = round.tallies.iter_mut().find(|(pool, _)| pool.as_str() == name.pool())
            else {
                continue;
            };
            tally.capacity = tally.capacity.saturating_sub(1);
            pools.push(pool.clone());
            if let Some(runner) = self.runners.get_mut(&name) {
                take_down(runner, Why::Preempted, pass.now);
            }
        }
        self.clear_away(pass);
        pools.dedup();
        self.launch_all(pools, round, pass);
    }

    /// The runners that are taken back.
    fn to_take_back(&self, round: &Round, pass: &mut Pass) -> Vec<RunnerName> {
        let lowest = self.pools.values().map(|state| state.pool.policy.priority).min();
        let waits = |name: &&PoolName| {
            let state = &self.pools[*name];
            round.held.get(*name).is_some_and(|(held, _)| held.is_full())
                && lowest.is_some_and(|lowest| state.pool.policy.priority > lowest)
                && state.queued > capacity(round, name)
        };
        let mut waiting: Vec<PoolName> = self.order.iter().filter(waits).cloned().collect();
        if waiting.is_empty() {
            return Vec::new();
        }
        waiting.sort_by_key(|name| std::cmp::Reverse(self.pools[name].pool.policy.priority));
        // What will be taken when those that are being removed are gone.
        let mut committed = self.committed_by(|runner| runner.takes_room() && runner.take_down.is_none());
        let mut marked: Vec<RunnerName> = Vec::new();
        for name in waiting {
            let state = &self.pools[&name];
            // What could not start there has no use for the room.
            let Wish::Runner { hosts, .. } = self.wish(state, state.queued, round, pass) else { continue };
            let missing = state.queued.min(state.pool.policy.max) - capacity(round, &name).min(state.queued);
            for _ in 0..missing {
                let Some((host, victims)) = self.room_for(state, &hosts, &committed, &marked, pass) else {
                    break;
                };
                let on_host = committed.entry(host.clone()).or_default();
                for victim in victims {
                    on_host.remove(victim);
                    marked.push(victim.name.clone());
                }
                let template = &state.pool.template;
                let Some(host) = self.hosts.get(&host) else { break };
                let Ok(devices) = on_host.admit(&host.host, template) else { break };
                on_host.add(&host.host, template, &devices);
            }
        }
        marked
    }

    /// The host that has room for a runner of a pool when the fewest others are taken back, and those.
    fn room_for(
        &self,
        state: &PoolState,
        hosts: &[&HostName],
        committed: &BTreeMap<HostName, Committed>,
        marked: &[RunnerName],
        pass: &mut Pass,
    ) -> Option<(HostName, Vec<&Runner>)> {
        let template = &state.pool.template;
        let mut found: Option<(HostName, Vec<&Runner>)> = None;
        for &name in hosts {
            let Some(on_host) = self.hosts.get(name) else { continue };
            let admits = |committed: &Committed| committed.admit(&on_host.host, template).is_ok();
            let mut left = committed.get(name).cloned().unwrap_or_default();
            let mut victims = Vec::new();
            if !admits(&left) {
                for (.., runner) in self.candidates(name, state.pool.policy.priority, marked, pass) {
                    left.remove(runner);
                    victims.push(runner);
                    if admits(&left) {
                        break;
                    }
                }
                if !admits(&left) {
                    continue;
                }
                // What turned out to be too small stays.
                victims.retain(|runner| {
                    let mut kept = left.clone();
                    kept.put_back(runner);
                    let is_needed = !admits(&kept);
                    if !is_needed {
                        left = kept;
                    }
                    is_needed
                });
            }
            if found.as_ref().is_none_or(|(_, others)| victims.len() < others.len()) {
                found = Some((name.clone(), victims));
            }
        }
        found
    }

    /// The idle runners on a host that may be taken back for a pool of this priority.
    fn candidates(
        &self,
        host: &HostName,
        priority: i32,
        marked: &[RunnerName],
        pass: &mut Pass,
    ) -> Vec<Candidate<'_>> {
        let mut candidates = Vec::new();
        for runner in self.runners.values().filter(|runner| runner.host.as_ref() == Some(host)) {
            let Some(state) = self.pools.get(runner.name.pool()) else { continue };
            let policy = &state.pool.policy;
            if policy.priority < priority
                && let Some(ready_at) = runner.ready_at
                && runner.is_capacity(policy.boot_timeout, pass.now)
                && !marked.contains(&runner.name)
                && self.has_idled(runner, ready_at + policy.idle_confirmation, pass)
            {
                candidates.push((policy.priority, ready_at, runner));
            }
        }
        candidates.sort_by_key(|(priority, ready_at, _)| (*priority, *ready_at));
        candidates
    }
}

fn capacity(round: &Round, name: &PoolName) -> u32 {
    round.tallies.get(name).map_or(0, |tally| tally.capacity)
}
