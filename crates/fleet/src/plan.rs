//! State becomes actions, each with its reason. Planning again on the same state does nothing more: what was
//! decided is in flight, or waits for the moment in [`Plan::wake_at`].

mod clear;
mod elsewhere;
mod holds;
mod launch;
mod nodes;
mod preempt;
mod round;
mod spill;
mod stuck;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    action::{Action, Plan},
    backoff::{Backoff, PROOF},
    fleet::{Fleet, HostState, Nearby, PoolState},
    name::{HostName, PoolName},
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
}

/// How many runners were launched since a pool's last failure, or that on one host, and have not yet proven to work.
type Probes = BTreeMap<(PoolName, Option<HostName>), u32>;

impl Fleet {
    /// Makes all decisions. Actions are in flight until their outcome is observed.
    pub fn plan(&mut self, now: Instant) -> Plan {
        self.planned = Some(self.clock);
        let mut pass = Pass { now, wake_at: None, actions: Vec::new() };
        self.end_streaks(&mut pass);
        self.mark_unfit(&mut pass);
        let tallies = self.mark_surplus(&mut pass);
        self.clear_away(&mut pass);
        self.drain_nodes(&mut pass);
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
        if !self.pools.values().any(|pool| pool.backoffs.is_failing()) {
            return;
        }
        for runner in self.runners.values().filter(|runner| runner.takes_room()) {
            let Some(pool) = self.pools.get_mut(runner.name.pool()) else { continue };
            for backoff in pool.backoffs.ended_on(runner.host.as_ref()) {
                if backoff.failures > 0
                    && runner.known_since >= backoff.last_at
                    && let Some(ready_at) = runner.ready_at
                    && pass.due(ready_at + PROOF)
                {
                    backoff.succeeded(runner.known_since);
                }
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
                let backoff = pool.backoffs.of(runner.host.as_ref());
                backoff.failed(Held::BackingOff, &detail, runner.known_since, pass.now);
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
            let has_room = !state.held.is_some_and(Held::is_full);
            let is_owed = has_room && tally.busy + tally.capacity < state.desired;
            let mut hosts = state.pool.hosts.iter().filter_map(|host| self.hosts.get(host));
            if is_owed || !hosts.any(is_possible) {
                rolling.insert(name.as_str().to_owned());
            }
        }
        rolling
    }

    /// Why a runner must be removed, if it must.
    fn unfit(&self, runner: &Runner, nearby: &mut Nearby<'_>, pass: &mut Pass) -> Option<Why> {
        let Contained::Present { life: Life::Up, missed: false, .. } = runner.contained else { return None };
        if runner.in_flight.is_some() {
            return None;
        }
        if runner.has_lost_node() {
            // Another removal cannot go on there.
            let is_marked = runner.take_down.is_some_and(|take_down| take_down.why == Why::NodeLost);
            return (!is_marked && self.is_given_up(runner, nearby, pass)).then_some(Why::NodeLost);
        }
        if runner.take_down.is_some() || !nearby.host_is_up(runner) {
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
        if self.draining || self.drains_node(runner) {
            return Some(Why::Draining);
        }
        let Some(PoolState { pool, digest, .. }) = pool else { return Some(Why::PoolGone) };
        let Some(ready_at) = runner.ready_at else {
            let boot_timeout = pool.policy.boot_timeout;
            return pass.due(runner.boots_since + boot_timeout).then_some(Why::BootTimeout);
        };
        let host = runner.host.as_ref();
        let moved = host.is_some_and(|host| !pool.hosts.contains(host));
        let newest =
            host.and_then(|host| self.hosts.get(host)).and_then(|host| host.present(&pool.template.image));
        let other_image = runner.image.as_deref().zip(newest).is_some_and(|(image, newest)| image != newest);
        let other_template = match (&runner.template, digest) {
            (Some(template), Some(newest)) => template != newest,
            _ => false,
        };
        if moved || other_image || other_template {
            return pass.due(ready_at + pool.policy.idle_confirmation).then_some(Why::Outdated);
        }
        None
    }

    /// Whether GitHub has given up a runner whose node is lost: what runs there cannot be asked.
    fn is_given_up(&self, runner: &Runner, nearby: &mut Nearby<'_>, pass: &mut Pass) -> bool {
        nearby.scope_is_up(runner)
            && self.host_is_listed(runner)
            && runner.given_up_at().is_some_and(|at| pass.due(at + GHOST_GRACE))
            && pass.due(runner.retry_at)
    }

    /// Marks a pool's surplus idle runners, oldest first. Returns the counts without them.
    fn mark_surplus(&mut self, pass: &mut Pass) -> BTreeMap<PoolName, Tally> {
        let tallies = self.tallies(pass.now);
        for (name, state) in &mut self.pools {
            let tally = tallies[name];
            state.demand.settle(pass.now);
            state.keep_to_schedule(self.clock, pass);
            state.count_demand(tally.busy, self.draining);
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
                if self.has_idled(runner, ready_at + patience, pass) {
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

    /// Whether an idle runner may be removed for others' sake, from a moment on.
    fn has_idled(&self, runner: &Runner, from: Instant, pass: &mut Pass) -> bool {
        runner.in_flight.is_none()
            && self.host_is_up(runner)
            && self.scope_is_up(runner)
            && pass.due(from)
            && pass.due(runner.retry_at)
    }

    /// The configured pools' runners, counted.
    fn tallies(&self, now: Instant) -> BTreeMap<PoolName, Tally> {
        let mut tallies: BTreeMap<PoolName, Tally> =
            self.order.iter().map(|name| (name.clone(), Tally::default())).collect();
        let (mut runners, mut nearby) = (self.runners.values().peekable(), self.nearby());
        // Runners are sorted by pool.
        while let Some(pool) = runners.peek().map(|runner| runner.name.pool()) {
            let mut counted = self.pools.get(pool).zip(tallies.get_mut(pool));
            while let Some(runner) = runners.next_if(|runner| runner.name.pool() == pool) {
                let Some((state, tally)) = counted.as_mut() else { continue };
                if runner.runs_elsewhere() || self.may_run_unseen(runner, state) {
                    tally.room += 1;
                }
                if !runner.takes_room() {
                    continue;
                }
                tally.room += 1;
                tally.busy += u32::from(runner.is_busy());
                // A launch on a host that does not answer may take minutes; another host may be faster.
                let comes = !runner.is_launching() || nearby.host_is_up(runner);
                tally.capacity += u32::from(comes && runner.is_capacity(state.pool.policy.boot_timeout, now));
            }
        }
        tallies
    }

    /// Whether it may run on a host that has not been listed since the daemon's start, of which only its registration
    /// tells.
    fn may_run_unseen(&self, runner: &Runner, state: &PoolState) -> bool {
        let is_unseen = |host| self.hosts.get(host).is_some_and(|host| host.sight.listed_at.is_none());
        let hosts = &state.pool.hosts;
        hosts.len() > 1
            && runner.contained == Contained::Never
            && runner.in_flight.is_none()
            && !runner.launch_failed
            && !runner.runs_elsewhere()
            && runner.registered.may_exist()
            && hosts.iter().any(is_unseen)
    }

    /// Counts the probes of the pools that fail.
    fn probes(&self) -> Probes {
        let mut probes = Probes::new();
        if !self.pools.values().any(|state| state.backoffs.is_failing()) {
            return probes;
        }
        for runner in self.runners.values().filter(|runner| runner.takes_room() && runner.latch.is_none()) {
            let Some((name, state)) = self.pools.get_key_value(runner.name.pool()) else { continue };
            let mut count = |backoff: &Backoff, host: Option<&HostName>| {
                if backoff.failures > 0 && runner.known_since >= backoff.last_at {
                    *probes.entry((name.clone(), host.cloned())).or_default() += 1;
                }
            };
            count(&state.backoffs.anywhere, None);
            if let Some(host) = &runner.host
                && let Some(backoff) = state.backoffs.on(host)
            {
                count(backoff, Some(host));
            }
        }
        probes
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
    /// Counts its queued jobs, and the runners that it should have.
    fn count_demand(&mut self, busy: u32, draining: bool) {
        self.queued = self.demand.waiting(busy);
        let spares = if draining { 0 } else { self.queued + self.min_idle };
        self.desired = self.pool.policy.max.min(busy + spares);
    }

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
