//! State becomes actions, each with its reason. Planning again on the same state does nothing more: what was
//! decided is in flight, or waits for the moment in [`Plan::wake_at`].

mod clear;
mod elsewhere;
mod launch;
mod stuck;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    action::{Action, Plan},
    backoff::PROOF,
    fleet::{Fleet, HostState, Nearby, PoolState},
    name::PoolName,
    reasons::{Held, Why},
    runner::{Contained, Life, QUICK_EXIT, Runner, TakeDown},
    time::{ClockReading, Instant},
};

/// How long after a deregistration a job that was already assigned may still arrive.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

/// How long a registration must have been gone before its idle container counts as a ghost.
const GHOST_GRACE: Duration = Duration::from_mins(1);

/// One pass through all decisions.
struct Pass {
    now: Instant,
    wake_at: Option<Instant>,
    actions: Vec<Action>,
}

impl Pass {
    /// Whether the moment has come; if not, requests to be woken then.
    fn due(&mut self, at: Instant) -> bool {
        if self.now >= at {
            return true;
        }
        self.wake_at = Some(self.wake_at.map_or(at, |wake| wake.min(at)));
        false
    }
}

/// A pool's runners, counted.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    busy: u32,
    /// Able to take a job now or soon.
    capacity: u32,
    /// Running, in flight, or not known to have ended.
    room: u32,
    /// Launched since the last failure, and not yet proven to work.
    probes: u32,
}

impl Fleet {
    /// Makes all decisions. Actions are in flight until their outcome is observed.
    pub fn plan(&mut self, now: Instant) -> Plan {
        self.planned = Some(self.clock);
        let mut pass = Pass { now, wake_at: None, actions: Vec::new() };
        self.end_streaks(&mut pass);
        self.mark_unfit(&mut pass);
        let tallies = self.mark_surplus(&mut pass);
        self.clear_away(&mut pass);
        self.launch(tallies, &mut pass);
        self.update_phases(now);
        self.tell_stuck(&mut pass);
        self.report_elsewhere(&mut pass);
        let events = std::mem::take(&mut self.events);
        self.keep_failures(&events, now);
        Plan { actions: pass.actions, events, wake_at: pass.wake_at }
    }

    /// Ends the failure streak of each pool in which a runner has proven to work.
    fn end_streaks(&mut self, pass: &mut Pass) {
        if self.pools.values().all(|pool| pool.backoff.failures == 0) {
            return;
        }
        for runner in self.runners.values() {
            let Some(pool) = self.pools.get_mut(runner.name.pool()) else { continue };
            if pool.backoff.failures > 0
                && runner.known_since >= pool.backoff.last_at
                && runner.takes_room()
                && let Some(ready_at) = runner.ready_at
                && pass.due(ready_at + PROOF)
            {
                pool.backoff.succeeded(runner.known_since);
            }
        }
    }

    /// Marks the runners that must be removed regardless of demand.
    fn mark_unfit(&mut self, pass: &mut Pass) {
        let (mut marked, mut nearby) = (Vec::new(), self.nearby());
        for runner in self.runners.values() {
            if let Some(why) = self.unfit(runner, &mut nearby, pass) {
                marked.push((runner.name.clone(), why));
            }
        }
        if marked.iter().any(|(_, why)| *why == Why::Outdated) {
            let mut rolling = self.rolling(pass.now);
            // One at a time, so that the pool can still take jobs.
            marked.retain(|(name, why)| *why != Why::Outdated || rolling.insert(name.pool().to_owned()));
        }
        for (name, why) in marked {
            let Some(runner) = self.runners.get_mut(&name) else { continue };
            take_down(runner, why, pass.now);
            let detail = match why {
                Why::BootTimeout => format!("{name} did not come online"),
                Why::SidecarLost if runner.launched && pass.now.since(runner.boots_since) < QUICK_EXIT => {
                    format!("a sidecar of {name} stopped soon after its start")
                }
                _ => continue,
            };
            if let Some(pool) = self.pools.get_mut(name.pool()) {
                pool.backoff.failed(Held::BackingOff, &detail, runner.known_since, pass.now);
            }
        }
    }

    /// The pools in which no outdated runner may be removed now: one is being removed, what replaces it does not
    /// listen for jobs yet, or no replacement could be launched.
    fn rolling(&self, now: Instant) -> BTreeSet<String> {
        let mut rolling = BTreeSet::new();
        for runner in self.runners.values() {
            let is_removed = || runner.take_down.is_some_and(|take_down| take_down.why == Why::Outdated);
            let is_starting = || {
                let pool = self.pools.get(runner.name.pool());
                runner.ready_at.is_none()
                    && pool.is_some_and(|pool| runner.is_capacity(pool.pool.policy.boot_timeout, now))
            };
            if runner.takes_room() && (is_removed() || is_starting()) {
                rolling.insert(runner.name.pool().to_owned());
            }
        }
        for (name, tally) in self.tallies(now) {
            let state = &self.pools[&name];
            let image = &state.pool.template.image;
            let is_possible = |host: &HostState| !host.disk_low && host.present(image).is_some();
            // A full host may never have room for what the pool wants.
            let has_room = !matches!(
                state.held,
                Some(Held::HostFull | Held::HostMemory | Held::HostCpus | Held::HostGpus | Held::HostDevices)
            );
            let is_owed = has_room && tally.busy + tally.capacity < state.desired;
            if is_owed || !self.hosts.get(&state.pool.host).is_some_and(is_possible) {
                rolling.insert(name.as_str().to_owned());
            }
        }
        rolling
    }

    /// Why a runner must be removed, if it must.
    fn unfit(&self, runner: &Runner, nearby: &mut Nearby<'_>, pass: &mut Pass) -> Option<Why> {
        let Contained::Present { life: Life::Up, missed: false, .. } = runner.contained else { return None };
        if runner.in_flight.is_some() || runner.take_down.is_some() || !nearby.host_is_up(runner) {
            return None;
        }
        let pool = nearby.pool(runner);
        if let Some(latch) = &runner.latch {
            let max = pool?.pool.policy.max_job_age?;
            return pass.due(latch.since + max).then_some(Why::MaxJobAge);
        }
        if !nearby.scope_is_up(runner) || !pass.due(runner.retry_at) {
            return None;
        }
        if let Some(at) = runner.registered.gone_since() {
            return pass.due(at + GHOST_GRACE).then_some(Why::Ghost);
        }
        if runner.connection_lost() {
            return Some(Why::ConnectionLost);
        }
        if runner.attached.is_lost() {
            return Some(Why::SidecarLost);
        }
        if self.draining {
            return Some(Why::Draining);
        }
        let Some(PoolState { pool, digest, .. }) = pool else { return Some(Why::PoolGone) };
        let Some(ready_at) = runner.ready_at else {
            let boot_timeout = pool.policy.boot_timeout;
            return pass.due(runner.boots_since + boot_timeout).then_some(Why::BootTimeout);
        };
        let newest = self.hosts.get(&pool.host).and_then(|host| host.present(&pool.template.image));
        let other_image = runner.image.as_deref().zip(newest).is_some_and(|(image, newest)| image != newest);
        let other_template = match (&runner.template, digest) {
            (Some(template), Some(newest)) => template != newest,
            _ => false,
        };
        if other_image || other_template {
            return pass.due(ready_at + pool.policy.idle_confirmation).then_some(Why::Outdated);
        }
        None
    }

    /// Marks a pool's surplus idle runners, oldest first. Returns the counts without them.
    fn mark_surplus(&mut self, pass: &mut Pass) -> BTreeMap<PoolName, Tally> {
        let tallies = self.tallies(pass.now);
        for (name, state) in &mut self.pools {
            let tally = tallies[name];
            state.demand.settle(pass.now);
            state.queued = state.demand.waiting(tally.busy);
            state.keep_to_schedule(self.clock, pass);
            let spares = if self.draining { 0 } else { state.queued + state.min_idle };
            state.desired = state.pool.policy.max.min(tally.busy + spares);
        }
        let too_many = |(name, state): (&PoolName, &PoolState)| {
            let tally = tallies[name];
            tally.busy + tally.capacity > state.desired && state.unknown_demand().is_none()
        };
        if !self.pools.iter().any(too_many) {
            return tallies;
        }
        let mut idle: BTreeMap<&str, Vec<(Instant, &Runner)>> = BTreeMap::new();
        for runner in self.runners.values() {
            let (Some(pool), Some(tally)) =
                (self.pools.get(runner.name.pool()), tallies.get(runner.name.pool()))
            else {
                continue;
            };
            if tally.busy + tally.capacity > pool.desired
                && pool.unknown_demand().is_none()
                && let Some(ready_at) = runner.ready_at
                && runner.is_capacity(pool.pool.policy.boot_timeout, pass.now)
            {
                idle.entry(runner.name.pool()).or_default().push((ready_at, runner));
            }
        }
        let mut marked = Vec::new();
        for (pool, mut idle) in idle {
            let (tally, state) = (tallies[pool], &self.pools[pool]);
            let policy = &state.pool.policy;
            let patience = policy.idle_timeout.max(policy.idle_confirmation);
            let surplus = (tally.busy + tally.capacity).saturating_sub(state.desired);
            idle.sort_by_key(|(ready_at, _)| *ready_at);
            for (ready_at, runner) in idle.into_iter().take(surplus as usize) {
                if runner.in_flight.is_none()
                    && self.host_is_up(runner)
                    && self.scope_is_up(runner)
                    && pass.due(ready_at + patience)
                    && pass.due(runner.retry_at)
                {
                    marked.push(runner.name.clone());
                }
            }
        }
        if marked.is_empty() {
            return tallies;
        }
        for name in marked {
            if let Some(runner) = self.runners.get_mut(&name) {
                take_down(runner, Why::Surplus, pass.now);
            }
        }
        self.tallies(pass.now)
    }
    /// The configured pools' runners, counted.
    fn tallies(&self, now: Instant) -> BTreeMap<PoolName, Tally> {
        let mut tallies: BTreeMap<PoolName, Tally> =
            self.order.iter().map(|name| (name.clone(), Tally::default())).collect();
        let mut runners = self.runners.values().peekable();
        // Runners are sorted by pool.
        while let Some(pool) = runners.peek().map(|runner| runner.name.pool()) {
            let mut counted = self.pools.get(pool).zip(tallies.get_mut(pool));
            while let Some(runner) = runners.next_if(|runner| runner.name.pool() == pool) {
                let Some((state, tally)) = counted.as_mut() else { continue };
                if runner.runs_elsewhere() {
                    tally.room += 1;
                }
                if !runner.takes_room() {
                    continue;
                }
                tally.room += 1;
                tally.busy += u32::from(runner.is_busy());
                tally.capacity += u32::from(runner.is_capacity(state.pool.policy.boot_timeout, now));
                tally.probes += u32::from(
                    state.backoff.failures > 0
                        && runner.latch.is_none()
                        && runner.known_since >= state.backoff.last_at,
                );
            }
        }
        tallies
    }

    fn update_phases(&mut self, now: Instant) {
        let mut runners = std::mem::take(&mut self.runners);
        let mut nearby = self.nearby();
        for runner in runners.values_mut() {
            let phase = runner.phase(nearby.host_is_up(runner), nearby.scope_is_up(runner), now);
            if phase != runner.phase {
                (runner.phase, runner.phase_since) = (phase, now);
            }
        }
        self.runners = runners;
    }
}

impl PoolState {
    /// Evaluates the schedule when the wall clock reaches its next change, and again when the clock was set
    /// back before the last change.
    fn keep_to_schedule(&mut self, clock: ClockReading, pass: &mut Pass) {
        let wall = clock.timestamp(pass.now);
        if wall < self.min_idle_at || self.min_idle_until.is_some_and(|until| until <= wall) {
            let policy = &self.pool.policy;
            (self.min_idle, self.min_idle_until) = policy.schedule.min_idle_at(policy.min_idle, wall);
            self.min_idle_at = wall;
        }
        if let Some(until) = self.min_idle_until {
            pass.due(clock.instant(until));
        }
    }
}

fn take_down(runner: &mut Runner, why: Why, now: Instant) {
    // Without an id there is nothing to deregister.
    let deregistered_at = runner.registered.id().is_none().then_some(now);
    runner.take_down = Some(TakeDown { why, deregistered_at, stopped: false });
}
