//! The end of a day: when faults have stopped, all must come in order and stay so.

use std::collections::BTreeMap;

use dayfly_fleet::{Fleet, Phase, PoolName, Status};

use super::{Day, INTERVAL, SETTLED_WITHIN, STAYS_SETTLED, WAIT_APART};
use crate::world::{Fate, Happening, State};

impl Day {
    /// Whether all is in order, once all is calm; false when that has been so for long enough.
    pub(super) fn check(&mut self) -> bool {
        let now = self.world().now;
        match self.unsettled() {
            Some(why) if self.settled_since.is_some() => {
                self.breach(7, &format!("it was settled, and no more: {why}"));
            }
            Some(why) if now > self.calm_at + SETTLED_WITHIN => {
                self.breach(4, &format!("not settled long after the last fault: {why}"));
            }
            Some(_) => {}
            None if self.tasks.iter().flatten().any(|task| task.lane.is_some()) => {}
            None => {
                let since = *self.settled_since.get_or_insert(now);
                if self.last_action_at > since {
                    self.breach(7, "it was settled, and acted again");
                }
                if now > since + STAYS_SETTLED {
                    self.figures.longest_settling = since - self.calm_at;
                    self.final_check();
                    return false;
                }
            }
        }
        self.world().after(INTERVAL, Happening::Check);
        true
    }

    pub(crate) fn status(&self) -> Status {
        self.fleet.as_ref().map(Fleet::status).unwrap_or_default()
    }

    /// What is left of the day: of each pool what it wants, what waits, and how many runners are idle.
    pub(crate) fn end(&self) -> BTreeMap<PoolName, (u32, u32, u32)> {
        let pools = self.status().pools.into_iter();
        pools.map(|p| (p.name, (p.desired, p.queued, p.phases.of(Phase::Idle)))).collect()
    }

    /// What must be true of the whole day.
    fn final_check(&mut self) {
        let status = self.status();
        for pool in &status.pools {
            let idle = pool.phases.of(Phase::Idle);
            if idle != pool.min_idle.min(pool.max) {
                self.breach(6, &format!("{} says it has {idle} idle runners", pool.name));
            }
            if pool.desired != pool.min_idle.min(pool.max) {
                self.breach(10, &format!("{} says it wants {} runners", pool.name, pool.desired));
            }
            if pool.held.is_some() {
                self.breach(9, &format!("{} says it is held: {:?}", pool.name, pool.held));
            }
        }
        if !status.scopes.iter().all(|scope| scope.up) || !status.hosts.iter().all(|host| host.up) {
            self.breach(9, "a scope or host is said to be down and is not");
        }
        let mut world = self.world();
        let unserved =
            world.jobs.iter().filter(|job| matches!(job.fate, Fate::Waiting | Fate::Assigned)).count();
        if unserved > 0 {
            world.breach(1, &format!("{unserved} jobs were not served"));
        }
        let waited = world.longest_wait_apart;
        if waited > WAIT_APART {
            world.breach(9, &format!("a job waited {waited} ms where nothing failed"));
        }
    }

    /// Why the fleet is not yet as it should be once all is calm, if it is not.
    fn unsettled(&self) -> Option<String> {
        if self.fleet.is_none() {
            return Some("the daemon is dead".to_owned());
        }
        let status = self.status();
        if let Some(pool) = status.pools.iter().find(|pool| pool.queued > 0 || !pool.sources_down.is_empty())
        {
            let (queued, down) = (pool.queued, &pool.sources_down);
            return Some(format!("{} says that {queued} jobs wait, and {down:?} do not work", pool.name));
        }
        if let Some(job) = status.jobs.first() {
            return Some(format!("{} is said to be queued", job.facts.name));
        }
        for runner in status.runners {
            if runner.phase != Phase::Idle {
                return Some(format!("{} is said to be {}", runner.name, runner.phase.as_str()));
            }
        }
        let world = self.world();
        if let Some(job) = world.jobs.iter().position(|job| job.ended_at.is_none()) {
            return Some(format!("job {job} is not over"));
        }
        if world.sources.hints_coming > 0 {
            return Some("webhooks are on their way".to_owned());
        }
        for (index, setting) in world.setting.pools.iter().enumerate() {
            let name = &setting.pool.name;
            if !world.waiting[index].is_empty() && !setting.gone {
                return Some(format!("{name}: {} jobs wait", world.waiting[index].len()));
            }
            let idle = world.present.iter().flatten().map(|&c| &world.containers[c]).filter(|c| {
                c.pool == index
                    && c.is_up()
                    && c.job.is_none()
                    && c.connected_at.is_some()
                    && !world.lost_sidecars.contains(&c.runner)
                    && !world.registrations[c.registration].deaf
                    && world.registrations[c.registration].online
            });
            let (idle, wanted) = (idle.count(), setting.pool.policy.min_idle.min(setting.pool.policy.max));
            let wanted = if setting.gone { 0 } else { wanted as usize };
            if idle != wanted {
                return Some(format!("{name}: {idle} runners are idle, and {wanted} should be"));
            }
        }
        for c in world.present.iter().flatten().map(|&c| &world.containers[c]) {
            if c.template != world.setting.pools[c.pool].pool.template.digest() {
                return Some(format!("{} is outdated", c.runner));
            }
            let registered = world.registrations[c.registration].gone_at.is_none();
            match c.state {
                State::Up(_) if c.job.is_none() && registered => {}
                _ => return Some(format!("{} is left: {:?}, registered: {registered}", c.runner, c.state)),
            }
        }
        if let Some(left) = world.left_beside() {
            return Some(left);
        }
        for r in world.listed.iter().flatten().map(|&r| &world.registrations[r]) {
            let contained = r.container.is_some_and(|c| world.containers[c].is_up());
            if r.pool.is_some() && r.gone_at.is_none() && !contained {
                return Some(format!("{} is registered and has no container", r.name));
            }
        }
        None
    }
}
