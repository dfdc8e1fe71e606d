//! The rules of `design.md` §3, held against what the world truly is, by number.

use dayfly_fleet::{
    Action, ContainerId, ContainerState, Deregistered, Evidence, HostName, Phase, PoolName, RegistrationId,
    RunnerName, Said, Stopped, Why,
};

use crate::{
    calls::Ask,
    daemon::Day,
    lives::Nature,
    setting::{MINUTE, SECOND},
    world::{State, World, note},
};

/// How long after a deregistration a job on its way may still arrive.
const SETTLE: u64 = 10 * SECOND;

impl World {
    /// Rules 3 and 8, where a call begins.
    pub(crate) fn check_ask(&mut self, ask: &Ask) {
        match ask {
            Ask::Delete { id, .. } => self.check_delete(*id),
            Ask::Stop { id, .. } => self.check_stop(id),
            Ask::Remove(_, id) => self.check_remove(id),
            Ask::Detach { runner, .. } => self.check_detach(runner),
            _ => {}
        }
    }

    fn check_delete(&mut self, id: RegistrationId) {
        // What cannot be asked: see `Day::check_nodes`.
        if self.asking.why == Some(Why::NodeLost) {
            return;
        }
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        let Some(r) = self.registrations.get(index) else {
            return self.breach(8, "a registration that never was is deleted");
        };
        if r.pool.is_none() {
            let what = format!("{} is somebody else's and is deleted", r.name);
            return self.breach(8, &what);
        }
        let Some(index) = r.container else { return };
        let c = &self.containers[index];
        if c.is_up() && c.said_idle.is_none_or(|(serial, _)| serial != self.asking.serial) {
            let what = format!("{} is deregistered and its container was not asked", c.runner);
            self.breach(3, &what);
        }
    }

    fn check_stop(&mut self, id: &ContainerId) {
        if self.asking.why == Some(Why::MaxJobAge) {
            return;
        }
        let Some(index) = self.container(id) else { return };
        let c = &self.containers[index];
        if !c.is_up() {
            return;
        }
        let what = match (self.registrations[c.registration].gone_at, c.said_idle) {
            (None, _) => "is still registered",
            (_, None) => "was not asked",
            (_, Some((serial, _))) if serial != self.asking.serial => "was not asked again",
            (Some(gone_at), Some((_, asked_at))) if asked_at < gone_at + SETTLE => "did not settle",
            _ => return,
        };
        let what = format!("{} is stopped and {what}", c.runner);
        self.breach(3, &what);
    }

    fn check_remove(&mut self, id: &ContainerId) {
        let Some(index) = self.container(id) else { return };
        let c = &self.containers[index];
        if c.is_up() && !matches!(self.asking.why, Some(Why::NeverStarted | Why::NodeLost)) {
            let what = format!("{} runs and is removed", c.runner);
            self.breach(3, &what);
        }
    }

    /// Rule 1, at the instant when the signal arrives.
    pub(crate) fn check_stopping(&mut self, index: usize, why: Option<Why>) {
        let c = &self.containers[index];
        if c.has_job() && why != Some(Why::MaxJobAge) {
            let what = format!("{} has a job and is stopped", c.runner);
            self.breach(1, &what);
        }
    }
}

/// What the core was shown last of a scope or host in this life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Unseen,
    Clear,
    Trouble,
}

impl Day {
    /// The rules that an action keeps or breaks when it is planned.
    pub(crate) fn check_action(&mut self, action: &Action) {
        self.check_nodes(action);
        match action {
            Action::Launch { runner, pool, host, devices, .. } => {
                self.check_free(runner, pool, host, devices);
                self.check_launch(runner, pool, host);
            }
            Action::Deregister { runner, ask, why, scope, .. } => {
                let seen = self.scope_index(scope).map(|index| self.world().scope_sight[index]);
                self.check_sight("scope", seen, runner);
                if let Some((host, _)) = ask {
                    self.check_sight("host", self.host_sight_of(host), runner);
                }
                self.check_why(runner, *why, ask.is_some());
            }
            Action::Stop { runner, host, why, ask, .. } => {
                self.check_sight("host", self.host_sight_of(host), runner);
                if *ask == (*why == Why::MaxJobAge) {
                    self.breach(3, &format!("{runner} is to be stopped for {why:?}, asked: {ask}"));
                }
                self.check_why(runner, *why, true);
            }
            Action::Remove { runner, host, why, .. } => {
                self.check_sight("host", self.host_sight_of(host), runner);
                self.check_why(runner, *why, false);
            }
            Action::DrainNode { .. } => {}
        }
    }

    /// Remembers what the daemon must not forget in this life.
    pub(crate) fn learn(&mut self, evidence: &Evidence) {
        self.learn_of_nodes(evidence);
        let shared = std::sync::Arc::clone(&self.shared);
        self.beliefs.learn(evidence, &shared.try_lock().expect("the world is free"));
        match evidence {
            Evidence::Said { runner, said: Said::RunningJob { .. }, .. }
            | Evidence::Deregister { runner, outcome: Deregistered::Busy | Deregistered::Vetoed(_) }
            | Evidence::Stop { runner, outcome: Stopped::Vetoed(_) } => {
                self.told_busy.insert(runner.clone());
            }
            Evidence::Deregister { runner, outcome: Deregistered::NotFound } => {
                self.told_unknown.insert(runner.clone());
            }
            Evidence::Exited { runner, .. } => _ = self.told_end.insert(runner.clone()),
            Evidence::Containers { containers, .. } => {
                let ended = containers.iter().filter(|c| matches!(c.state, ContainerState::Down(_)));
                self.told_end.extend(ended.map(|c| c.runner.clone()));
            }
            Evidence::Registrations { registrations, .. } => {
                for registration in registrations.iter().filter(|registration| registration.busy) {
                    self.told_busy.extend(RunnerName::parse(&registration.name));
                }
            }
            _ => {}
        }
    }

    /// Rule 1: a veto sets the latch at once.
    pub(crate) fn check_latched(&self, runner: &RunnerName) {
        let phase = self.status().runners.into_iter().find(|r| &r.name == runner).map(|r| r.phase);
        if let Some(Phase::Starting | Phase::Idle | Phase::Stopping | Phase::Ghost) = phase {
            self.breach(1, &format!("{runner} was just seen to have a job, and is {phase:?}"));
        }
    }

    /// Rule 2: what cannot be seen is left alone.
    fn check_sight(&self, what: &str, sight: Option<Sight>, runner: &RunnerName) {
        if sight != Some(Sight::Clear) {
            self.breach(2, &format!("{runner} is taken down while its {what} is {sight:?}"));
        }
    }

    /// Whether the reason is true, or can at least be believed.
    fn check_why(&self, runner: &RunnerName, why: Why, asks: bool) {
        let world = self.world();
        let now = world.now;
        let Some(c) = world.container_of(runner) else { return };
        let up = c.is_up();
        let policy = &world.setting.pools[c.pool].pool.policy;
        let since = |at: Option<u64>| at.map_or(0, |at| now - at);
        let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).expect("short");
        let launching = self.in_flight.contains_key(runner);
        let wrong = match why {
            _ if launching => Some((4, "is still being launched")),
            _ if asks && up && self.told_busy.contains(runner) && why != Why::MaxJobAge => {
                Some((1, "was seen to have a job, and is taken down"))
            }
            _ if asks && up && self.told_unknown.contains(runner) && why != Why::Ghost => {
                Some((3, "was unknown to GitHub, which is not a sign of idleness, and is taken down"))
            }
            Why::Finished if !self.told_end.contains(runner) && !c.removed => {
                Some((3, "is cleared away, and how it ended was not read"))
            }
            Why::Finished if up => Some((3, "runs and is taken for finished")),
            Why::LaunchFailed if up => Some((3, "runs and its launch is taken for failed")),
            Why::SidecarLost if !world.lost_sidecars.contains(runner) => Some((1, "has its sidecar")),
            Why::Orphaned if up => Some((2, "runs and is taken for orphaned")),
            Why::Surplus if self.beliefs.session_taken(c.pool) => {
                Some((2, "is surplus while another session holds the scale set"))
            }
            Why::Surplus
                if since(c.connected_at) < millis(policy.idle_timeout.max(policy.idle_confirmation)) =>
            {
                Some((1, "is surplus and was idle for too short a time"))
            }
            Why::Outdated | Why::Preempted if since(c.connected_at) < millis(policy.idle_confirmation) => {
                Some((1, "is taken back and was idle for too short a time"))
            }
            Why::Preempted
                if !world.setting.configured().any(|p| p.pool.policy.priority > policy.priority) =>
            {
                Some((6, "is taken back for a pool of no higher priority"))
            }
            Why::Outdated if c.template == world.setting.pools[c.pool].pool.template.digest() => {
                Some((6, "is as configured and is taken for outdated"))
            }
            Why::BootTimeout if now - world.planned_at[runner] < millis(policy.boot_timeout) => {
                Some((6, "may still boot"))
            }
            Why::ConnectionLost if c.connected_at.is_none() => Some((2, "never connected and has lost it")),
            Why::NodeLost if !self.shown.is_lost(c.host, runner) => Some((2, "has a node")),
            Why::PoolGone if !world.setting.pools[c.pool].gone => Some((2, "has a pool")),
            Why::Draining
                if world.under.draining[0] == 0 && !self.just_drained && !self.shown.was_to_drain(runner) =>
            {
                Some((2, "is drained for nothing"))
            }
            Why::MaxJobAge => match policy.max_job_age {
                None => Some((1, "has no max_job_age")),
                Some(max) if since(c.assigned_at) < millis(max) && !c.job_done && c.is_up() => {
                    Some((1, "has a job that is younger than max_job_age"))
                }
                Some(_) => None,
            },
            _ => None,
        };
        drop(world);
        if let Some((rule, what)) = wrong {
            self.breach(rule, &format!("{runner} {what}"));
        }
    }

    /// Rule 5, and rules 2, 6 and 7 as far as launches go.
    fn check_launch(&mut self, runner: &RunnerName, pool: &PoolName, host: &HostName) {
        if self.in_flight.contains_key(runner) {
            self.breach(4, &format!("{runner} is launched twice"));
        }
        let (Some(pool), Some(host)) = (self.pool_index(pool), self.host_index(host)) else {
            return self.breach(5, "a launch for a pool or host that is not there");
        };
        if self.world().runners.contains_key(runner) {
            self.breach(4, &format!("the name {runner} was used before"));
        }
        self.in_flight.insert(runner.clone(), (pool, host));
        let sight = self.world().host_sight[host];
        self.check_sight("host", Some(sight), runner);
        self.check_room(runner, pool, host);
        if self.beliefs.session_taken(pool) {
            self.breach(9, &format!("{runner} is launched while another session holds the scale set"));
        }
        let world = self.world();
        let setting = &world.setting.pools[pool];
        if world.scope_sight[setting.scope] == Sight::Unseen {
            drop(world);
            return self.breach(2, "a launch in a scope that was never listed");
        }
        let (mut of_pool, mut on_host, mut memory, mut cpu_millis, mut coming) = (0, 0, 0, 0, 0);
        for (at, present) in world.present.iter().enumerate() {
            for c in present.iter().map(|&c| &world.containers[c]) {
                if !c.takes_room() || self.in_flight.contains_key(&c.runner) {
                    continue;
                }
                of_pool += u32::from(c.pool == pool);
                if at == host {
                    on_host += 1;
                    memory += c.resources.memory;
                    cpu_millis += c.resources.cpu_millis;
                }
                let young = world.now - world.planned_at[&c.runner] < 50 * SECOND;
                let booting = c.connected_at.is_none() && !matches!(c.nature, Nature::DiesAtBoot(_)) && young;
                let comes = booting && self.launched.contains(&c.runner) && !self.shown.waits(&c.runner);
                coming += u32::from(c.pool == pool && comes);
            }
        }
        for sidecar in world.beside[host].iter().filter_map(|&index| world.attached[index].running(&world)) {
            memory += sidecar.resources.memory;
            cpu_millis += sidecar.resources.cpu_millis;
        }
        for (runner, &(other, at)) in &self.in_flight {
            let container = world.container_of(runner);
            // It may have ended, or have taken a job, before its launch was answered.
            if container.is_some_and(|c| !c.takes_room() && c.state != State::Created) {
                continue;
            }
            // A launch on a host that does not answer counts as no capacity.
            let comes = world.host_sight[at] == Sight::Clear
                && !self.shown.waits(runner)
                && !self.shown.is_lost(at, runner);
            coming += u32::from(comes && other == pool && container.is_none_or(|c| c.connected_at.is_none()));
            of_pool += u32::from(other == pool);
            if at == host {
                on_host += 1;
                let total = world.setting.pools[other].pool.template.total_resources();
                let counted = world.sidecars_of(host, runner);
                memory += total.memory.saturating_sub(counted.memory);
                cpu_millis += total.cpu_millis.saturating_sub(counted.cpu_millis);
            }
        }
        let policy = &setting.pool.policy;
        let budget = &world.setting.hosts[host];
        let over = |used: u64, limit: u64| limit > 0 && used > limit;
        let mut wrong = None;
        if of_pool > policy.max {
            wrong = Some((5, format!("{of_pool} runners, and {} at most", policy.max)));
        } else if budget.max_runners.is_some_and(|max| on_host > max) {
            wrong = Some((5, format!("{on_host} runners on the host, and {:?} at most", budget.max_runners)));
        } else if over(memory, budget.budget.memory) || over(cpu_millis, budget.budget.cpu_millis) {
            wrong = Some((5, "the host's budget is overdrawn".to_owned()));
        } else {
            let queued = self.beliefs.wanted(&world, pool);
            if coming > queued + policy.min_idle {
                let wanted = policy.min_idle + queued;
                wrong = Some((7, format!("{coming} runners are on their way, and {wanted} are wanted")));
            }
        }
        let (name, max, now) = (setting.pool.name.clone(), policy.max as usize, world.now);
        drop(world);
        if let Some((rule, what)) = wrong {
            if rule == 7 {
                let status = self.status();
                let jobs: Vec<_> = status.jobs.iter().map(|job| (job.id, &job.pool)).collect();
                note!(
                    self.world(),
                    "the daemon believes in {jobs:?} {:?}",
                    status.pools.iter().map(|p| (p.queued, p.desired, p.phases)).collect::<Vec<_>>()
                );
            }
            return self.breach(rule, &format!("{name}: {what}"));
        }
        self.check_pace(pool, max, now);
    }

    /// Rule 9: what fails is retried with a growing delay. Three minutes after the first failure without
    /// one good runner since, every runner that is wanted may have failed twice in a minute (before
    /// and after the last one that was thought good), and a few have been tried singly.
    fn check_pace(&mut self, pool: usize, max: usize, now: u64) {
        let pace = &mut self.paces[pool];
        pace.launches.push_back(now);
        while pace.launches.front().is_some_and(|&at| at + MINUTE < now) {
            pace.launches.pop_front();
        }
        let launches = pace.launches.len();
        if pace.bad_since.is_some_and(|since| now - since > 3 * MINUTE) && launches > 2 * max + 6 {
            self.breach(9, &format!("{launches} launches in a minute, and none has been good for long"));
        }
    }
}
