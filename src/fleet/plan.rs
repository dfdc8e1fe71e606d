//! State becomes actions, each with its reason. Planning again on the same state does nothing more:
//! what was decided is in flight, or waits for a moment that [`Plan::wake_at`] names.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use super::{
    backoff::PROOF,
    evidence::ImageState,
    fleet::{Fleet, PoolState, count},
    name::PoolName,
    report::{Action, Event, Held, Plan, Why},
    runner::{Contained, FINISHED_GRACE, InFlight, Life, Registered, Runner, TakeDown},
    time::Timestamp,
};

/// How long after a deregistration a job that was already on its way may still arrive.
pub(super) const SETTLE: Duration = Duration::from_secs(10);

/// How long a registration must have been gone before its idle container is a ghost.
const GHOST_GRACE: Duration = Duration::from_mins(1);

/// How long a container may stay made but not started: the reply to a start may have been lost.
const NEVER_STARTED_GRACE: Duration = Duration::from_secs(30);

/// How long a registration without a container must have been listed offline before it is removed.
const ORPHAN_CONFIRMATION: Duration = Duration::from_secs(5);

/// How long a job can be queued: GitHub gives up on it then.
const MAX_QUEUE_AGE: Duration = Duration::from_hours(24);

/// One run through all decisions.
struct Pass {
    now: Timestamp,
    wake_at: Option<Timestamp>,
    actions: Vec<Action>,
}

impl Pass {
    /// Whether the moment has come; if not, asks to be woken then.
    fn due(&mut self, at: Timestamp) -> bool {
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
    /// With a job.
    busy: u32,
    /// Able to take a job now or soon.
    capacity: u32,
    /// Up, on their way, or not known to be down.
    room: u32,
    /// Launched since the last failure, and not yet proved.
    probes: u32,
}

impl Fleet {
    /// Decides. Actions are in flight until their outcome is observed.
    pub fn plan(&mut self, now: Timestamp) -> Plan {
        let mut pass = Pass { now, wake_at: None, actions: Vec::new() };
        self.end_streaks(&mut pass);
        self.mark_unfit(&mut pass);
        self.mark_surplus(&mut pass);
        self.clear_away(&mut pass);
        self.launch(&mut pass);
        self.update_phases(now);
        Plan { actions: pass.actions, events: std::mem::take(&mut self.events), wake_at: pass.wake_at }
    }

    /// Ends the failure streak of each pool in which a runner has proved itself.
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

    /// Marks the runners that have to go whatever the demand.
    fn mark_unfit(&mut self, pass: &mut Pass) {
        let mut rolling: BTreeMap<&str, u32> = BTreeMap::new();
        for runner in self.runners.values() {
            if runner.take_down.is_some_and(|take_down| take_down.why == Why::Outdated) {
                *rolling.entry(runner.name.pool()).or_default() += 1;
            }
        }
        let mut marked = Vec::new();
        for runner in self.runners.values() {
            let Some(why) = self.unfit(runner, pass) else { continue };
            if why == Why::Outdated {
                // One at a time, so that the pool can still take jobs meanwhile.
                let rolling = rolling.entry(runner.name.pool()).or_default();
                if *rolling > 0 {
                    continue;
                }
                *rolling += 1;
            }
            marked.push((runner.name.clone(), why));
        }
        for (name, why) in marked {
            let Some(runner) = self.runners.get_mut(&name) else { continue };
            take_down(runner, why, pass.now);
            if why == Why::BootTimeout
                && let Some(pool) = self.pools.get_mut(name.pool())
            {
                let detail = format!("{name} did not come online");
                pool.backoff.failed(Held::BackingOff, &detail, runner.known_since, pass.now);
            }
        }
    }

    /// Why a runner has to go, if it has to.
    fn unfit(&self, runner: &Runner, pass: &mut Pass) -> Option<Why> {
        let Contained::Present { life: Life::Up, missed: false, .. } = runner.contained else { return None };
        if runner.in_flight.is_some() || runner.take_down.is_some() || !self.host_is_up(runner) {
            return None;
        }
        let pool = self.pools.get(runner.name.pool());
        if let Some(latch) = &runner.latch {
            let max = pool?.pool.policy.max_job_age?;
            return pass.due(latch.since + max).then_some(Why::MaxJobAge);
        }
        if !self.scope_is_up(runner) || !pass.due(runner.retry_at) {
            return None;
        }
        if let Registered::Gone { at, .. } = runner.registered {
            return pass.due(at + GHOST_GRACE).then_some(Why::Ghost);
        }
        if runner.connection_lost() {
            return Some(Why::ConnectionLost);
        }
        if self.draining {
            return Some(Why::Draining);
        }
        let Some(PoolState { pool, digest, .. }) = pool else { return Some(Why::PoolGone) };
        let Some(ready_at) = runner.ready_at else {
            let boot_timeout = pool.policy.boot_timeout;
            return pass.due(runner.known_since + boot_timeout).then_some(Why::BootTimeout);
        };
        let image = self.hosts.get(&pool.host).and_then(|host| host.images.get(&pool.template.image));
        let other_image = match (&runner.image, image) {
            (Some(image), Some(ImageState::Present(newest))) => image != newest,
            _ => false,
        };
        if other_image || runner.template.as_ref().is_some_and(|template| template != digest) {
            return pass.due(ready_at + pool.policy.idle_confirmation).then_some(Why::Outdated);
        }
        None
    }

    /// Marks the idle runners that a pool has too many of, the oldest first.
    fn mark_surplus(&mut self, pass: &mut Pass) {
        let tallies = self.tallies(pass.now);
        for (name, state) in &mut self.pools {
            let tally = tallies[name];
            state.demand.retain(|_, queued_at| pass.now.since(*queued_at) < MAX_QUEUE_AGE);
            let policy = &state.pool.policy;
            let spares = if self.draining { 0 } else { count(state.demand.len()) + policy.min_idle };
            state.desired = policy.max.min(tally.busy + spares);
        }
        let mut idle: BTreeMap<&str, Vec<(Timestamp, &Runner)>> = BTreeMap::new();
        for runner in self.runners.values() {
            let (Some(pool), Some(tally)) =
                (self.pools.get(runner.name.pool()), tallies.get(runner.name.pool()))
            else {
                continue;
            };
            if tally.busy + tally.capacity > pool.desired
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
        for name in marked {
            if let Some(runner) = self.runners.get_mut(&name) {
                take_down(runner, Why::Surplus, pass.now);
            }
        }
    }

    /// Takes the next step with everything that leaves, ended, or was left behind.
    fn clear_away(&mut self, pass: &mut Pass) {
        let mut steps = Vec::new();
        for runner in self.runners.values() {
            if runner.in_flight.is_some() {
                continue;
            }
            if let Some((action, in_flight)) = self.next_step(runner, pass) {
                steps.push((runner.name.clone(), action, in_flight));
            }
        }
        for (name, action, in_flight) in steps {
            let Some(runner) = self.runners.get_mut(&name) else { continue };
            runner.in_flight = Some(in_flight);
            if let (InFlight::Stop(_), Some(take_down)) = (in_flight, &mut runner.take_down) {
                take_down.stopped = true;
            }
            pass.actions.push(action);
        }
    }

    /// The next step with one runner, if there is one to take.
    fn next_step(&self, runner: &Runner, pass: &mut Pass) -> Option<(Action, InFlight)> {
        match &runner.contained {
            Contained::Present { life: Life::Up, .. } => self.next_step_down(runner, pass),
            Contained::Present { life: Life::Created { since }, at, .. } => {
                let due = pass.due(*since + NEVER_STARTED_GRACE) && at > since && pass.due(runner.retry_at);
                if !due || !self.host_is_up(runner) {
                    None
                } else if runner.registered.may_exist() && runner.registered.id().is_some() {
                    self.deregister(runner, Why::NeverStarted)
                } else {
                    self.remove(runner, Why::NeverStarted)
                }
            }
            Contained::Present { life: Life::Down(_), .. } => {
                if !pass.due(runner.retry_at) {
                    return None;
                }
                let leftover = self.leftover(runner, pass);
                // Neither half waits for the other when one of them fails.
                match leftover.and_then(|why| self.deregister(runner, why)) {
                    Some(step) if runner.retries % 2 == 1 => Some(step),
                    step => self.remove(runner, Why::Finished).or(step),
                }
            }
            Contained::Never | Contained::Gone { .. } => {
                let why = self.leftover(runner, pass)?;
                if pass.due(runner.retry_at) { self.deregister(runner, why) } else { None }
            }
        }
    }

    /// The next step with a runner that is up: ask, deregister, settle, ask, stop.
    fn next_step_down(&self, runner: &Runner, pass: &mut Pass) -> Option<(Action, InFlight)> {
        let TakeDown { why, deregistered_at, .. } = runner.take_down?;
        if !pass.due(runner.retry_at) || !self.host_is_up(runner) {
            return None;
        }
        let (host, container) = runner.container()?;
        let stop = |ask| {
            let (host, container) = (host.clone(), container.clone());
            Some((
                Action::Stop { runner: runner.name.clone(), host, container, ask, why },
                InFlight::Stop(why),
            ))
        };
        match deregistered_at {
            _ if why == Why::MaxJobAge => stop(false),
            None => self.deregister(runner, why),
            Some(at) => pass.due(at + SETTLE).then(|| stop(true))?,
        }
    }

    /// Why a registration without a living container is to be removed, if it is.
    fn leftover(&self, runner: &Runner, pass: &mut Pass) -> Option<Why> {
        if let Some(ended_at) = runner.ended_at {
            // After a job GitHub removes it by itself, soon; only what stays is ours to remove.
            return match runner.registered {
                Registered::Listed { .. } | Registered::Expected { id: Some(_), .. }
                    if runner.latch.is_none() =>
                {
                    Some(Why::Finished)
                }
                Registered::Listed { at, .. } => (at > ended_at + FINISHED_GRACE).then_some(Why::Finished),
                _ => None,
            };
        }
        if runner.launch_failed {
            return matches!(runner.registered, Registered::Listed { .. } | Registered::Expected { .. })
                .then_some(Why::LaunchFailed);
        }
        // It may have a container on a host that cannot be seen, and while it is online it has one.
        match runner.registered {
            Registered::Listed { at, offline_since: Some(since), .. }
                if at.since(since) >= ORPHAN_CONFIRMATION && self.no_host_has(runner) =>
            {
                pass.due(runner.retry_at).then_some(Why::Orphaned)
            }
            _ => None,
        }
    }

    /// Whether every host was looked at since the runner became known, and is seen now.
    fn no_host_has(&self, runner: &Runner) -> bool {
        self.hosts.values().all(|host| {
            host.sight.trouble.is_none() && host.sight.listed_at.is_some_and(|at| at > runner.known_since)
        })
    }

    fn deregister(&self, runner: &Runner, why: Why) -> Option<(Action, InFlight)> {
        if !self.scope_is_up(runner) {
            return None;
        }
        let ask = runner.container().filter(|_| runner.takes_room());
        let action = Action::Deregister {
            runner: runner.name.clone(),
            scope: runner.scope.clone()?,
            registration: runner.registered.id()?,
            ask: ask.map(|(host, container)| (host.clone(), container.clone())),
            why,
        };
        Some((action, InFlight::Deregister(why)))
    }

    fn remove(&self, runner: &Runner, why: Why) -> Option<(Action, InFlight)> {
        if !self.host_is_up(runner) {
            return None;
        }
        let (host, container) = runner.container()?;
        let (host, container) = (host.clone(), container.clone());
        let action = Action::Remove { runner: runner.name.clone(), host, container, why };
        Some((action, InFlight::Remove(why)))
    }

    /// Launches what the pools want and the hosts have room for, one pool after the other, those
    /// of higher priority first.
    fn launch(&mut self, pass: &mut Pass) {
        let mut committed = self.committed();
        let mut tallies = self.tallies(pass.now);
        let mut order = self.order.clone();
        order.sort_by_key(|name| Reverse(self.pools[name].pool.policy.priority));
        let mut held: BTreeMap<PoolName, (Held, String)> = BTreeMap::new();
        while !order.is_empty() {
            let first = self.pools[&order[0]].pool.policy.priority;
            let mut wanting = Vec::with_capacity(order.len());
            for name in order {
                let state = &self.pools[&name];
                // Lower priorities come after all of the higher ones have what they want.
                if state.pool.policy.priority < first {
                    wanting.push(name);
                    continue;
                }
                let tally = tallies.entry(name.clone()).or_default();
                let host = committed.entry(state.pool.host.clone()).or_default();
                match self.holds(state, *tally, pass) {
                    Wish::Satisfied => {}
                    Wish::Held(why, detail) => {
                        held.insert(name, (why, detail));
                    }
                    Wish::Runner(why) => {
                        let resources = state.pool.template.resources;
                        let budget = self.hosts.get(&state.pool.host).map(|host| &host.host);
                        if let Some(why) = budget.and_then(|budget| host.refuses(budget, resources)) {
                            held.insert(name, (why, String::new()));
                            continue;
                        }
                        host.add(resources);
                        tally.capacity += 1;
                        tally.room += 1;
                        tally.probes += 1;
                        self.launch_one(&name, why, pass);
                        wanting.push(name);
                    }
                }
            }
            order = wanting;
        }
        // Others may have taken more of a host since, so the reason is told as it is in the end.
        for (name, (why, _)) in &mut held {
            let PoolState { pool, .. } = &self.pools[name];
            if let (Held::HostFull | Held::HostMemory | Held::HostCpus, Some(host), Some(committed)) =
                (*why, self.hosts.get(&pool.host), committed.get(&pool.host))
            {
                *why = committed.refuses(&host.host, pool.template.resources).unwrap_or(*why);
            }
        }
        for (name, state) in &mut self.pools {
            let (why, detail) = match held.remove(name) {
                Some((why, detail)) => (Some(why), detail),
                None => (None, String::new()),
            };
            if state.held != why {
                state.held = why;
                self.events.push(Event::Held { pool: name.clone(), held: why, detail });
            }
        }
    }

    fn launch_one(&mut self, pool: &PoolName, why: Why, pass: &mut Pass) {
        let name = self.names.next(pool, pass.now);
        let state = &self.pools[pool];
        let mut runner = Runner::new(name.clone(), pass.now);
        runner.launched = true;
        runner.scope = Some(state.pool.scope.clone());
        runner.host = Some(state.pool.host.clone());
        runner.template = Some(state.digest.clone());
        runner.resources = state.pool.template.resources;
        runner.in_flight = Some(InFlight::Launch(why));
        self.runners.insert(name.clone(), runner);
        let (pool, host) = (pool.clone(), state.pool.host.clone());
        pass.actions.push(Action::Launch { runner: name, pool, host, why });
    }

    /// Whether a pool wants one more runner, and what holds it back if it may not have it.
    fn holds(&self, state: &PoolState, tally: Tally, pass: &mut Pass) -> Wish {
        let policy = &state.pool.policy;
        let queued = count(state.demand.len());
        let held = |held| Wish::Held(held, String::new());
        if self.draining {
            return held(Held::Draining);
        }
        // Spares stay on top of demand.
        if tally.capacity >= queued + policy.min_idle {
            return Wish::Satisfied;
        }
        let why = if tally.capacity < queued { Why::Demand } else { Why::Spare };
        let (Some(scope), Some(host)) =
            (self.scopes.get(&state.pool.scope), self.hosts.get(&state.pool.host))
        else {
            return held(Held::HostUnseen);
        };
        if host.sight.listed_at.is_none() {
            return held(Held::HostUnseen);
        }
        if host.sight.trouble.is_some() {
            return held(Held::HostUnreachable);
        }
        if scope.sight.listed_at.is_none() {
            return held(Held::ScopeUnseen);
        }
        if !pass.due(scope.limited_until) {
            return Wish::Held(Held::RateLimited, format!("until {}", scope.limited_until));
        }
        match host.images.get(&state.pool.template.image) {
            Some(ImageState::Present(_)) => {}
            Some(ImageState::Missing(detail)) => return Wish::Held(Held::ImageMissing, detail.clone()),
            // Not "missing": the reason is told once, and would be told without its cause.
            None => return Wish::Held(Held::HostUnseen, "the image was not looked for yet".to_owned()),
        }
        if let Some(cause) = state.backoff.holds(pass.now) {
            pass.due(state.backoff.retry_at);
            return Wish::Held(cause, state.backoff.detail.clone());
        }
        if state.backoff.probing()
            && tally.probes > 0
            && let Some(cause) = state.backoff.held
        {
            return Wish::Held(cause, state.backoff.detail.clone());
        }
        if host.disk_low {
            return held(Held::HostDisk);
        }
        if tally.room >= policy.max {
            return held(Held::AtMax);
        }
        Wish::Runner(why)
    }

    /// The configured pools' runners, counted.
    fn tallies(&self, now: Timestamp) -> BTreeMap<PoolName, Tally> {
        let mut tallies: BTreeMap<PoolName, Tally> =
            self.order.iter().map(|name| (name.clone(), Tally::default())).collect();
        for runner in self.runners.values().filter(|runner| runner.takes_room()) {
            let pool = runner.name.pool();
            let (Some(state), Some(tally)) = (self.pools.get(pool), tallies.get_mut(pool)) else { continue };
            tally.room += 1;
            tally.busy += u32::from(runner.is_busy());
            tally.capacity += u32::from(runner.is_capacity(state.pool.policy.boot_timeout, now));
            tally.probes += u32::from(
                state.backoff.failures > 0
                    && runner.latch.is_none()
                    && runner.known_since >= state.backoff.last_at,
            );
        }
        tallies
    }

    fn update_phases(&mut self, now: Timestamp) {
        let mut runners = std::mem::take(&mut self.runners);
        for runner in runners.values_mut() {
            let phase = runner.phase(self.host_is_up(runner), self.scope_is_up(runner), now);
            if phase != runner.phase {
                (runner.phase, runner.phase_since) = (phase, now);
            }
        }
        self.runners = runners;
    }
}

/// What a pool wants.
enum Wish {
    /// Nothing more.
    Satisfied,
    /// One more runner.
    Runner(Why),
    /// One more, which it may not have now.
    Held(Held, String),
}

fn take_down(runner: &mut Runner, why: Why, now: Timestamp) {
    // Without a number there is nothing to deregister.
    let deregistered_at = runner.registered.id().is_none().then_some(now);
    runner.take_down = Some(TakeDown { why, deregistered_at, stopped: false });
}
