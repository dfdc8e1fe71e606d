//! Launching: which pool is next, and on which host its runner starts.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use super::{
    Fleet, Pass, Tally,
    holds::{Refusal, Wish, of_all},
    round::{Reservation, Round},
};
use crate::{
    action::Action,
    cluster::{Need, why_none},
    devices::Devices,
    event::Event,
    fleet::{Committed, PoolState},
    mints::MintBudget,
    name::{HostName, PoolName},
    reasons::{Held, Why},
    runner::{InFlight, Runner},
    time::Instant,
};

/// How long the queued jobs of a pool may wait for room before its next runner comes before those of other pools of its
/// priority, however large it is and small its weight.
const PATIENCE: Duration = Duration::from_mins(5);

impl Fleet {
    /// Launches what the pools want and the hosts have room for, one runner after the other.
    pub(super) fn launch(&mut self, tallies: BTreeMap<PoolName, Tally>, pass: &mut Pass) {
        let mut round = Round {
            tallies,
            committed: self.committed(),
            probes: self.probes(),
            unplaced: self.unplaced(),
            reserved: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        let before = pass.actions.len();
        self.launch_all(self.order.clone(), &mut round, pass);
        self.spill(&mut round, pass);
        self.preempt(&mut round, pass);
        if pass.actions.len() > before {
            // Others have taken room since some pools were asked, so their reasons are those that the next pass would find.
            (round.held, round.reserved) = (BTreeMap::new(), BTreeMap::new());
            self.launch_all(self.order.clone(), &mut round, pass);
        }
        self.report_holds(round, pass);
    }

    /// Launches for these pools in turn, until each has what it wants or is held.
    pub(super) fn launch_all(&mut self, pools: Vec<PoolName>, round: &mut Round, pass: &mut Pass) {
        // A launch changes the rank of its own pool only.
        let mut wanting = BTreeMap::new();
        for (place, name) in pools.into_iter().enumerate() {
            let state = &self.pools[&name];
            match self.wish(state, state.queued, round, pass) {
                Wish::Satisfied => _ = round.held.remove(&name),
                Wish::Held(held, detail) => _ = round.held.insert(name, (held, detail)),
                Wish::Runner { .. } => _ = wanting.insert((self.rank(&name, round, pass.now), place), name),
            }
        }
        while let Some(((_, place), name)) = wanting.pop_first() {
            let state = &self.pools[&name];
            let refused = match self.wish(state, state.queued, round, pass) {
                Wish::Satisfied => None,
                Wish::Held(held, detail) => Some((held, detail)),
                Wish::Runner { why, hosts, refusals } => {
                    match self.choose_host(state, hosts, refusals, round) {
                        Ok((host, devices)) => {
                            self.launch_one(&name, host, devices, why, round, pass);
                            wanting.insert((self.rank(&name, round, pass.now), place), name);
                            continue;
                        }
                        Err(refusals) => {
                            let full = refusals.iter().filter(|(_, held, _)| held.is_full());
                            let full = full.map(|(host, held, _)| ((*host).clone(), *held)).collect();
                            let refused = of_all(refusals);
                            if why == Why::Demand {
                                self.wait_for_room(&name, full, round, pass);
                            }
                            Some(refused)
                        }
                    }
                }
            };
            match refused {
                Some(refused) => _ = round.held.insert(name, refused),
                None => _ = round.held.remove(&name),
            }
        }
    }

    /// Which pool is next: those of higher priority; then those with queued jobs that have waited for long; then the one
    /// that has the least, by its weight.
    fn rank(&self, name: &PoolName, round: &Round, now: Instant) -> impl Ord + use<> {
        let state = &self.pools[name];
        let room = round.tallies.get(name).map_or(0, |tally| tally.room);
        let share = (u64::from(room) + 1) * 1_000_000 / u64::from(state.pool.policy.weight.max(1));
        let overdue = state.waits_since.filter(|since| now.since(*since) >= PATIENCE);
        (Reverse(state.pool.policy.priority), overdue.is_none(), overdue, share)
    }

    /// The host for one more runner of a pool, of those that can start it, and the devices that it gets there.
    pub(super) fn choose_host<'a>(
        &self,
        state: &PoolState,
        hosts: Vec<&'a HostName>,
        mut refusals: Vec<Refusal<'a>>,
        round: &Round,
    ) -> Result<(HostName, Devices), Vec<Refusal<'a>>> {
        let (template, nothing) = (&state.pool.template, Committed::default());
        let mut candidates = Vec::with_capacity(hosts.len());
        for name in hosts {
            let Some(on_host) = self.hosts.get(name) else { continue };
            let committed = round.committed.get(name).unwrap_or(&nothing);
            let reserved = round.reserved.get(name).is_some_and(|kept| kept.is_kept_from(&state.pool));
            match committed.admit(&on_host.host, template) {
                Err(held) => {
                    let why = |nodes: &Vec<_>| why_none(nodes, &Need::of(template));
                    let nodes = on_host.host.nodes.as_ref().filter(|_| held == Held::NoNode);
                    refusals.push((name, held, nodes.map(why).unwrap_or_default()));
                }
                Ok(_) if reserved => refusals.push((name, Held::HostReserved, String::new())),
                Ok(devices) => {
                    let fullness = committed.fullness_with(&on_host.host, template.total_resources());
                    candidates.push((fullness, (name, devices)));
                }
            }
        }
        match state.pool.placement.choose(candidates.into_iter()) {
            Some((host, devices)) => Ok((host.clone(), devices)),
            None => Err(refusals),
        }
    }

    /// Keeps the room of one of these full hosts for a pool whose queued jobs wait for it, from all that are asked later:
    /// pools of lower priority, and when it has waited for long, those of its own. Otherwise small runners could take
    /// whatever becomes free, for ever.
    fn wait_for_room(
        &mut self,
        name: &PoolName,
        full: Vec<(HostName, Held)>,
        round: &mut Round,
        pass: &mut Pass,
    ) {
        let has_one = round.reserved.values().any(|reservation| reservation.pool == *name);
        let Some(state) = self.pools.get_mut(name).filter(|_| !full.is_empty() && !has_one) else { return };
        let since = *state.waits_since.get_or_insert(pass.now);
        let is_overdue = pass.due(since + PATIENCE);
        let (template, priority) = (&state.pool.template, state.pool.policy.priority);
        let nothing = Committed::default();
        let fullness = |host: &HostName| {
            let on_host = &self.hosts.get(host)?.host;
            let fits_when_empty = nothing.admit(on_host, template).is_ok();
            let committed = round.committed.get(host).unwrap_or(&nothing);
            fits_when_empty.then(|| committed.fullness_with(on_host, template.total_resources()))
        };
        let free = full.into_iter().filter(|(host, _)| !round.reserved.contains_key(host));
        let emptiest =
            free.filter_map(|one| Some((fullness(&one.0)?, one))).min_by_key(|(fullness, _)| *fullness);
        if let Some((_, (host, lacks))) = emptiest {
            let (pool, devices) = (name.clone(), template.devices.keys().cloned().collect());
            round.reserved.insert(host, Reservation { pool, lacks, devices, priority, is_overdue });
        }
    }

    fn launch_one(
        &mut self,
        pool: &PoolName,
        host: HostName,
        devices: Devices,
        why: Why,
        round: &mut Round,
        pass: &mut Pass,
    ) {
        let name = self.names.next(pool, self.clock.timestamp(pass.now));
        let Some(state) = self.pools.get_mut(pool) else { return };
        state.waits_since = None;
        let template = &state.pool.template;
        if let Some(on_host) = self.hosts.get(&host) {
            round.committed.entry(host.clone()).or_default().add(&on_host.host, template, &devices);
            if on_host.host.nodes.is_some() {
                round.unplaced.entry((pool.clone(), host.clone())).or_default();
            }
        }
        let tally = round.tallies.entry(pool.clone()).or_default();
        (tally.capacity, tally.room) = (tally.capacity + 1, tally.room + 1);
        if state.backoffs.is_failing() {
            for host in [None, Some(host.clone())] {
                *round.probes.entry((pool.clone(), host)).or_default() += 1;
            }
        }
        let mut runner = Runner::new(name.clone(), pass.now);
        runner.launched = true;
        runner.scope = Some(state.pool.scope.clone());
        runner.host = Some(host.clone());
        runner.template.clone_from(&state.digest);
        // A host without the image is not chosen.
        let image = self.hosts.get(&host).and_then(|host| host.present(&template.image));
        let image = image.unwrap_or(&template.image).to_owned();
        runner.image = Some(image.clone());
        runner.resources = template.resources;
        runner.attached.expect(template.sidecars());
        runner.devices = devices.clone();
        runner.in_flight = Some(InFlight::Launch(why));
        self.runners.insert(name.clone(), runner);
        self.mints.begin(MintBudget::of(&state.pool), pass.now);
        pass.actions.push(Action::Launch { runner: name, pool: pool.clone(), host, image, devices, why });
    }

    /// Records why launches are paused, and reports what has changed.
    fn report_holds(&mut self, mut round: Round, pass: &Pass) {
        for (name, state) in &mut self.pools {
            let (why, detail) = match round.held.remove(name) {
                Some((why, detail)) => (Some(why), detail),
                None => (None, String::new()),
            };
            if !why.is_some_and(Held::is_full) {
                state.waits_since = None;
            }
            state.held_detail.clone_from(&detail);
            if state.held != why {
                (state.held, state.held_since) = (why, pass.now);
                let is_starting = why.map_or(!state.held_reported, Held::is_starting);
                if !is_starting {
                    state.held_reported = why.is_some();
                }
                self.events.push(Event::Held { pool: name.clone(), held: why, detail, is_starting });
            }
        }
    }
}
