//! Launching: which pool wants one more runner, why its launches may be paused, and which pool is next.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Fleet, Pass, Tally};
use crate::{
    action::Action,
    devices::Devices,
    event::Event,
    evidence::ImageState,
    fleet::PoolState,
    mints::MintBudget,
    name::PoolName,
    reasons::{Held, Why},
    runner::{InFlight, Runner},
};

/// What a pool wants.
enum Wish {
    /// Nothing more.
    Satisfied,
    /// One more runner.
    Runner(Why),
    /// One more, but launches are paused.
    Held(Held, String),
}

impl Fleet {
    /// Launches what the pools want and the hosts have room for, one pool after the other, those
    /// of higher priority first.
    pub(super) fn launch(&mut self, mut tallies: BTreeMap<PoolName, Tally>, pass: &mut Pass) {
        let mut committed = self.committed();
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
                        let template = &state.pool.template;
                        let Some(budget) = self.hosts.get(&state.pool.host).map(|host| &host.host) else {
                            continue;
                        };
                        let devices = match host.admit(budget, template) {
                            Ok(devices) => devices,
                            Err(why) => {
                                held.insert(name, (why, String::new()));
                                continue;
                            }
                        };
                        host.add(template.total_resources(), &devices);
                        tally.capacity += 1;
                        tally.room += 1;
                        tally.probes += 1;
                        self.launch_one(&name, devices, why, pass);
                        wanting.push(name);
                    }
                }
            }
            order = wanting;
        }
        // Other pools may have taken more of a host since, so the final reason is reported.
        for (name, (why, _)) in &mut held {
            let PoolState { pool, .. } = &self.pools[name];
            if let (
                Held::HostFull | Held::HostMemory | Held::HostCpus | Held::HostGpus | Held::HostDevices,
                Some(host),
                Some(committed),
            ) = (*why, self.hosts.get(&pool.host), committed.get(&pool.host))
            {
                *why = committed.admit(&host.host, &pool.template).err().unwrap_or(*why);
            }
        }
        for (name, state) in &mut self.pools {
            let (why, detail) = match held.remove(name) {
                Some((why, detail)) => (Some(why), detail),
                None => (None, String::new()),
            };
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

    fn launch_one(&mut self, pool: &PoolName, devices: Devices, why: Why, pass: &mut Pass) {
        let name = self.names.next(pool, self.clock.timestamp(pass.now));
        let state = &self.pools[pool];
        let mut runner = Runner::new(name.clone(), pass.now);
        runner.launched = true;
        runner.scope = Some(state.pool.scope.clone());
        runner.host = Some(state.pool.host.clone());
        runner.template.clone_from(&state.digest);
        // A pool without its image wants nothing.
        let image =
            self.hosts.get(&state.pool.host).and_then(|host| host.present(&state.pool.template.image));
        let image = image.unwrap_or(&state.pool.template.image).to_owned();
        runner.image = Some(image.clone());
        runner.resources = state.pool.template.resources;
        runner.attached.expect(state.pool.template.sidecars());
        runner.devices = devices.clone();
        runner.in_flight = Some(InFlight::Launch(why));
        self.runners.insert(name.clone(), runner);
        self.mints.begin(MintBudget::of(&state.pool), pass.now);
        let (pool, host) = (pool.clone(), state.pool.host.clone());
        pass.actions.push(Action::Launch { runner: name, pool, host, image, devices, why });
    }

    /// Whether a pool wants one more runner, and why its launches are paused if they are.
    fn holds(&self, state: &PoolState, tally: Tally, pass: &mut Pass) -> Wish {
        let policy = &state.pool.policy;
        let queued = state.queued;
        let held = |held| Wish::Held(held, String::new());
        if self.draining {
            return held(Held::Draining);
        }
        // Spares stay on top of demand.
        if tally.capacity >= queued + state.min_idle {
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
        if let Some(unknown) = state.unknown_demand() {
            return held(unknown);
        }
        let budget = MintBudget::of(&state.pool);
        let limited_until = self.mints.limited_until(&budget);
        if !pass.due(limited_until) {
            return Wish::Held(Held::RateLimited, format!("until {}", self.clock.timestamp(limited_until)));
        }
        let template = &state.pool.template;
        for image in std::iter::once(template.image.as_str()).chain(template.sidecar_images()) {
            match host.images.get(image) {
                Some(ImageState::Present(_)) => {}
                Some(ImageState::Pulling) => return held(Held::ImagePulling),
                Some(ImageState::Missing(detail)) => return Wish::Held(Held::ImageMissing, detail.clone()),
                Some(ImageState::Unknown(detail)) => return Wish::Held(Held::ImageUnknown, detail.clone()),
                None => return Wish::Held(Held::HostUnseen, format!("{image} has not been checked yet")),
            }
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
        if let Some(until) = self.mints.paced_until(&budget, pass.now) {
            pass.due(until);
            return held(Held::Paced);
        }
        Wish::Runner(why)
    }
}
