//! Removal: the next step for each runner that is being removed, has finished, or was left over. The order is
//! check, deregister, settle, check, stop, remove.

use std::time::Duration;

use super::{Fleet, Pass, SETTLE};
use crate::{
    action::Action,
    evidence::Exit,
    fleet::PoolState,
    reasons::Why,
    runner::{Contained, FINISHED_GRACE, InFlight, Latch, Life, Registered, Runner, TakeDown},
};

/// How long a container may stay created but not started: the response to a start may have been lost.
const NEVER_STARTED_GRACE: Duration = Duration::from_secs(30);

/// How long a runner stays after its job until GitHub reports where that came from, if its caches may be promoted.
/// Webhooks come seconds late, and sometimes minutes.
const ORIGIN_WAIT: Duration = Duration::from_mins(2);

/// A job's result in the log, when it succeeded (`TaskResult` in actions/runner).
const SUCCEEDED: [&str; 2] = ["Succeeded", "SucceededWithIssues"];

/// How long a registration without a container must have been listed offline before it is removed.
const ORPHAN_CONFIRMATION: Duration = Duration::from_secs(5);

impl Fleet {
    /// Plans the next step for every runner that is being removed, has finished, or was left over.
    pub(super) fn clear_away(&mut self, pass: &mut Pass) {
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
            // Once: a removal that is retried would put an older state over a newer one.
            runner.promoted |= matches!(action, Action::Remove { promote: true, .. });
            if let (InFlight::Stop(_), Some(take_down)) = (in_flight, &mut runner.take_down) {
                take_down.stopped = true;
            }
            pass.actions.push(action);
        }
    }

    /// The next step for one runner, if there is one.
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
            // Its log is removed with it, so it is not removed before the log was read.
            Contained::Present { life: Life::Ended { .. }, .. } => None,
            Contained::Present { life: Life::Down(_), .. } => {
                if !pass.due(runner.retry_at) || self.waits_for_origin(runner, pass) {
                    return None;
                }
                let leftover = self.leftover(runner, pass);
                self.either(runner, leftover, Some(Why::Finished))
            }
            Contained::Never | Contained::Gone { .. } => {
                let (leftover, detached) = (self.leftover(runner, pass), self.left_attached(runner, pass));
                if leftover.is_none() && detached.is_none() || !pass.due(runner.retry_at) {
                    return None;
                }
                self.either(runner, leftover, detached)
            }
        }
    }

    /// Removes what is left on the host or the registration. Neither waits for the other when one of them fails.
    fn either(
        &self,
        runner: &Runner,
        leftover: Option<Why>,
        remove: Option<Why>,
    ) -> Option<(Action, InFlight)> {
        match leftover.and_then(|why| self.deregister(runner, why)) {
            Some(step) if runner.retries % 2 == 1 => Some(step),
            step => remove.and_then(|why| self.remove(runner, why)).or(step),
        }
    }

    /// Why the attachments of a runner without a container are to be removed, if they are.
    fn left_attached(&self, runner: &Runner, pass: &mut Pass) -> Option<Why> {
        if !runner.attached.is_listed() || runner.attached.is_uncertain() {
            None
        } else if runner.launch_failed {
            Some(Why::LaunchFailed)
        } else if matches!(runner.contained, Contained::Gone { .. }) {
            Some(Why::Finished)
        } else {
            // Another process may be launching it now.
            pass.due(runner.known_since + self.boot_timeout(runner)).then_some(Why::Orphaned)
        }
    }

    /// Whether its job succeeded, and its pool's caches may be promoted.
    fn may_promote(&self, runner: &Runner) -> bool {
        let ended_well = |exit: &Exit| {
            exit.code == 0 && exit.result.as_deref().is_some_and(|result| SUCCEEDED.contains(&result))
        };
        matches!(&runner.contained, Contained::Present { life: Life::Down(exit), .. } if ended_well(exit))
            && runner.latch.is_some()
            && runner.take_down.is_none()
            && !runner.attached.is_lost()
            && !runner.out_of_memory
            && self.pools.get(runner.name.pool()).is_some_and(|state| state.pool.template.promotes())
    }

    /// Whether it is not known yet where its job came from, and that matters.
    fn waits_for_origin(&self, runner: &Runner, pass: &mut Pass) -> bool {
        let is_known = runner.latch.as_ref().is_some_and(|latch| latch.origin.is_some());
        !is_known
            && self.may_promote(runner)
            && runner.ended_at.is_some_and(|ended_at| !pass.due(ended_at + ORIGIN_WAIT))
    }

    /// Whether its caches become the next bases: by what GitHub's records say of its job, never by what the job says.
    fn promotes(&self, runner: &Runner) -> bool {
        let Some(Latch { facts: Some(facts), origin: Some(origin), .. }) = &runner.latch else {
            return false;
        };
        let of_pool = |state: &PoolState| state.pool.scope == facts.repository;
        self.may_promote(runner)
            && origin.is_trusted(&facts.repository)
            && self.pools.get(runner.name.pool()).is_some_and(of_pool)
    }

    /// The next step for a running runner: check, deregister, settle, check, stop.
    fn next_step_down(&self, runner: &Runner, pass: &mut Pass) -> Option<(Action, InFlight)> {
        let TakeDown { why, deregistered_at, .. } = runner.take_down?;
        if !pass.due(runner.retry_at) {
            return None;
        }
        if why == Why::NodeLost && runner.has_lost_node() {
            return match deregistered_at {
                None => self.deregister(runner, why),
                Some(at) => pass.due(at + SETTLE).then(|| self.remove(runner, why))?,
            };
        }
        if !self.host_is_up(runner) {
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
            // After a job GitHub soon removes it by itself; Dayfly only removes what stays.
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
        if runner.may_have_been_created() {
            return None;
        }
        if runner.launch_failed {
            return matches!(runner.registered, Registered::Listed { .. } | Registered::Expected { .. })
                .then_some(Why::LaunchFailed);
        }
        // It may have a container on a host that cannot be listed, and while it is online it has a job.
        match runner.registered {
            Registered::Listed { at, offline_since: Some(since), .. }
                if at.since(since) >= ORPHAN_CONFIRMATION && self.no_host_has(runner) =>
            {
                let settled = runner.known_since + self.boot_timeout(runner);
                (pass.due(settled) && pass.due(runner.retry_at)).then_some(Why::Orphaned)
            }
            _ => None,
        }
    }

    /// How long a registration may belong to a runner that another process has just minted and is starting:
    /// where two machines have the same instance id, neither must remove the other's.
    fn boot_timeout(&self, runner: &Runner) -> Duration {
        let pool = self.pools.get(runner.name.pool()).filter(|_| !runner.launched);
        pool.map_or(Duration::ZERO, |state| state.pool.policy.boot_timeout)
    }

    /// Whether every host has been listed since the runner became known, and can be listed now.
    pub(super) fn no_host_has(&self, runner: &Runner) -> bool {
        self.hosts.values().all(|host| {
            host.sight.trouble.is_none() && host.sight.listed_at.is_some_and(|at| at > runner.known_since)
        })
    }

    fn deregister(&self, runner: &Runner, why: Why) -> Option<(Action, InFlight)> {
        if !self.scope_is_up(runner) {
            return None;
        }
        let ask = runner.container().filter(|_| runner.takes_room() && !runner.has_lost_node());
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
        if !self.host_is_listed(runner) {
            return None;
        }
        let action = Action::Remove {
            runner: runner.name.clone(),
            host: runner.host.clone()?,
            container: runner.container().map(|(_, container)| container.clone()),
            attached: runner.attached.is_listed()
                || self
                    .pools
                    .get(runner.name.pool())
                    .is_some_and(|state| state.pool.template.has_attachments()),
            promote: !runner.promoted && self.promotes(runner),
            why,
        };
        Some((action, InFlight::Remove { why, container: runner.container().is_some() }))
    }
}
