//! Passes: plan, hold the plan against the rules, begin its actions.

use std::sync::Arc;

use dayfly_fleet::{Action, Event, Evidence, Instant, TroubleKind, Unmatched, Why};

use super::{Day, LANES, brief::brief_action};
use crate::{
    lives::Nature,
    world::{Happening, note},
};

impl Day {
    /// Plans, and holds the plan against the rules.
    pub(super) fn pass(&mut self) {
        let wall = self.world().wall();
        let now = wall.at;
        self.world().clock_of_pass = wall;
        let Some(fleet) = &mut self.fleet else { return };
        fleet.observe(Evidence::WallClock(wall), now);
        let plan = fleet.plan(now);
        self.figures.passes += 1;
        self.cases.plan(&plan);
        if self.random.chance(250) {
            self.plan_again(now);
        }
        for event in &plan.events {
            self.count_failure(event, now.as_millis());
            note!(self.world(), "event: {event:?}");
            match event {
                Event::Ready { .. } | Event::JobStarted { .. } => self.mend_pace(event),
                Event::JobUnmatched { job, reason, .. } => {
                    self.world().met.insert(match reason {
                        Unmatched::Group => "unmatched: group",
                        _ => "unmatched: labels",
                    });
                    if !self.beliefs.is_first(job.id, *reason) {
                        self.breach(9, &format!("{} is told to be unmatched twice", job.facts.name));
                    }
                }
                Event::Exited { runner, .. } if !self.ended.insert(runner.clone()) => {
                    self.breach(7, &format!("the end of {runner} is told twice"));
                }
                _ => {}
            }
        }
        if let Some(at) = plan.wake_at {
            let at = at.as_millis();
            if at <= now.as_millis() {
                self.breach(7, "the next pass is asked for at once");
            }
            if self.wake_at.is_none_or(|before| at < before) {
                self.wake_at = Some(at);
                let mut world = self.world();
                let life = world.life;
                world.at(at, Happening::Wake(life));
            }
        }
        if !plan.actions.is_empty() {
            self.last_action_at = now.as_millis();
        }
        for action in plan.actions {
            self.begin(action);
        }
    }

    /// Rules 7 and 10: with nothing new, and with repeated reports of old demand, nothing is planned.
    pub(super) fn plan_again(&mut self, now: Instant) {
        let stirred = (self.random.index(3) == 0).then(|| {
            let (which, hint) = (self.random.next(), self.random.chance(500));
            let mut world = self.world();
            let again = if hint { self.beliefs.a_hint(which, now) } else { world.a_look_again(which) };
            let case = if hint { "an old webhook is told again" } else { "an old look is told again" };
            if again.is_some() {
                world.met.insert(case);
            }
            again
        });
        let Some(fleet) = &mut self.fleet else { return };
        let rule = if let Some(Some(evidence)) = stirred {
            fleet.observe(evidence, now);
            10
        } else {
            7
        };
        let again = fleet.plan(now);
        // A poll may name a runner that was not known yet at its first report.
        let news = again.events.iter().any(|event| !matches!(event, Event::JobKnown { .. }));
        let is_late = again.events.iter().any(|event| matches!(event, Event::JobStarted { .. }));
        if (!again.actions.is_empty() || news) && !is_late {
            self.breach(rule, &format!("planned again: {:?} {:?}", again.actions, again.events));
        }
    }

    fn count_failure(&mut self, event: &Event, now: u64) {
        let runner = match event {
            Event::LaunchFailed { runner, trouble, .. } if trouble.kind != TroubleKind::RateLimited => runner,
            Event::Exited { runner, reason, .. } if reason.is_failure() => runner,
            _ => return,
        };
        let pool = self.world().setting.pools.iter().position(|p| p.pool.name.as_str() == runner.pool());
        if let Some(pool) = pool {
            self.paces[pool].bad_since.get_or_insert(now);
        }
    }

    /// A pool whose runner is truly good is not failing.
    pub(super) fn mend_pace(&mut self, event: &Event) {
        let (Event::Ready { runner, .. } | Event::JobStarted { runner, .. }) = event else { return };
        let world = self.world();
        let good = world.container_of(runner).filter(|c| c.nature != Nature::Deprecated).map(|c| c.pool);
        drop(world);
        if let Some(pool) = good {
            self.paces[pool].bad_since = None;
        }
    }

    pub(super) fn begin(&mut self, action: Action) {
        note!(self.world(), "action: {}", brief_action(&action));
        self.figures.actions += 1;
        self.check_action(&action);
        let host = match &action {
            Action::Launch { host, .. }
            | Action::Stop { host, .. }
            | Action::Remove { host, .. }
            | Action::DrainNode { host, .. } => Some(host),
            Action::Deregister { ask, runner, why, .. } => {
                self.launched.remove(runner);
                let pool = runner.pool().parse().ok().and_then(|pool| self.pool_index(&pool));
                if let (Why::Surplus, Some(pool)) = (why, pool) {
                    let source = self.world().setting.pools[pool].source;
                    self.figures.surplus_by[source as usize] += 1;
                }
                ask.as_ref().map(|(host, _)| host)
            }
        };
        if let Action::Launch { runner, .. } = &action {
            let now = self.world().now;
            self.world().planned_at.insert(runner.clone(), now);
            self.figures.launches += 1;
        }
        let host = host.and_then(|host| self.host_index(host)).unwrap_or(0);
        self.lanes[host].waiting.push_back(action);
        self.fill(host);
    }

    /// Begins what there is room for.
    pub(super) fn fill(&mut self, host: usize) {
        while self.lanes[host].running < LANES {
            let Some(action) = self.lanes[host].waiting.pop_front() else { return };
            self.lanes[host].running += 1;
            let why = match &action {
                Action::Launch { why, .. }
                | Action::Deregister { why, .. }
                | Action::Stop { why, .. }
                | Action::Remove { why, .. } => Some(*why),
                Action::DrainNode { .. } => None,
            };
            let edges = Arc::clone(&self.edges);
            self.spawn(Box::pin(async move { edges.carry_out(action).await }), Some(host), why);
        }
    }
}
