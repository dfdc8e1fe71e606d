//! Records the exits of containers, in one step or in two: that it exited, and how.

use std::time::Duration;

use super::Fleet;
use crate::{
    event::Event,
    evidence::Exit,
    name::RunnerName,
    reasons::{ExitReason, Held},
    report::Ending,
    runner::{Contained, Latch, Life, QUICK_EXIT},
    time::Instant,
};

impl Fleet {
    /// Records that a container exited, when only the exit code is known. It uses no resources from now on;
    /// its event waits for the rest.
    pub(super) fn died(&mut self, name: &RunnerName, code: i64, now: Instant) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Contained::Present { at, missed, life, .. } = &mut runner.contained else { return };
        if life.has_ended() {
            return;
        }
        let exit = Exit {
            at: self.clock.timestamp(now),
            ran: None,
            code,
            out_of_memory: runner.out_of_memory,
            job: None,
            result: None,
            version_deprecated: code == Exit::VERSION_DEPRECATED && runner.latch.is_none(),
            log_tail: "".into(),
        };
        (*at, *missed) = ((*at).max(now), false);
        let reason = runner.exit_reason(&exit, now);
        let counted_at = self.count_end(name, reason, Some(&exit), now);
        if let Some(runner) = self.runners.get_mut(name)
            && let Contained::Present { life, .. } = &mut runner.contained
        {
            *life = Life::Ended { exit, reason, counted_at };
        }
    }

    /// Records how a container exited.
    pub(super) fn exited(&mut self, name: &RunnerName, exit: Exit, now: Instant) {
        let Some(runner) = self.runners.get_mut(name) else { return };
        let Contained::Present { at, missed, life, .. } = &mut runner.contained else { return };
        if matches!(life, Life::Down(_)) {
            return;
        }
        (*at, *missed) = ((*at).max(now), false);
        let before = std::mem::replace(life, Life::Down(exit.clone()));
        let ended_at = runner.ended_at.filter(|_| before.has_ended()).unwrap_or(now);
        let reason = runner.exit_reason(&exit, ended_at);
        let job_duration = runner.latch.as_ref().map(|latch| ended_at.since(latch.since));
        if exit.job.is_some() {
            let latch =
                runner.latch.get_or_insert(Latch { since: ended_at, job: None, facts: None, origin: None });
            latch.job = latch.job.take().or_else(|| exit.job.clone());
        }
        let had_job = runner.latch.is_some();
        match before {
            Life::Ended { reason: counted, .. } if counted == reason && runner.job_ended == had_job => {}
            Life::Ended { counted_at, .. } => {
                // The full information replaces what was known at first.
                if let (Some(counted_at), Some(pool)) = (counted_at, self.pools.get_mut(name.pool())) {
                    pool.backoffs.of(runner.host.as_ref()).take_back(counted_at);
                }
                self.count_end(name, reason, Some(&exit), ended_at);
            }
            Life::Created { .. } | Life::Up | Life::Down(_) => {
                self.count_end(name, reason, Some(&exit), ended_at);
            }
        }
        self.tell_end(name, reason, Some(exit), job_duration);
    }

    /// Records that a container disappeared before its exit was read completely; `exit` is what is known, and `unseen`
    /// the reason if nothing is.
    pub(super) fn vanished(
        &mut self,
        name: &RunnerName,
        exit: Option<(Exit, ExitReason)>,
        unseen: ExitReason,
        now: Instant,
    ) {
        let Some(runner) = self.runners.get(name) else { return };
        let ended_at = runner.ended_at.filter(|_| exit.is_some()).unwrap_or(now);
        let job_duration = runner.latch.as_ref().map(|latch| ended_at.since(latch.since));
        let (exit, reason) = exit.unzip();
        if reason.is_none() {
            self.count_end(name, unseen, None, now);
        }
        self.tell_end(name, reason.unwrap_or(unseen), exit, job_duration);
    }

    /// Records what the exit of a container means for its pool. Returns when it was counted as a failure of
    /// the pool, if it was.
    fn count_end(
        &mut self,
        name: &RunnerName,
        reason: ExitReason,
        exit: Option<&Exit>,
        now: Instant,
    ) -> Option<Instant> {
        let runner = self.runners.get_mut(name)?;
        (runner.retries, runner.retry_at, runner.ended_at) = (0, Instant::default(), Some(now));
        let exit_code = exit.map(|exit| exit.code);
        runner.ending = Some(Ending { reason, at: self.clock.timestamp(now), exit_code });
        let had_job = runner.latch.is_some();
        let begun = runner.begun();
        let quick = runner.lived(exit, now) < QUICK_EXIT;
        let held = match reason {
            ExitReason::VersionDeprecated => Some(Held::VersionDeprecated),
            _ if had_job => None,
            ExitReason::QuickExit | ExitReason::Failed => Some(Held::BackingOff),
            ExitReason::OutOfMemory | ExitReason::Killed | ExitReason::Vanished if quick => {
                Some(Held::BackingOff)
            }
            _ => None,
        };
        // Once for each runner, as soon as it is known that it had a job.
        let job_ended = had_job && !std::mem::replace(&mut runner.job_ended, had_job);
        let pool = self.pools.get_mut(name.pool())?;
        if job_ended {
            pool.demand.runner_ended(name, now);
        }
        let backoff = pool.backoffs.of(runner.host.as_ref());
        held.map(|held| backoff.failed(held, &format!("{name} ended: {}", reason.as_str()), begun, now))
    }

    /// Reports the exit of a container, once everything about it is known.
    fn tell_end(
        &mut self,
        name: &RunnerName,
        reason: ExitReason,
        exit: Option<Exit>,
        job_duration: Option<Duration>,
    ) {
        let Some(runner) = self.runners.get(name) else { return };
        let job = runner.latch.as_ref().and_then(|latch| latch.job.clone());
        let facts = runner.latch.as_ref().and_then(|latch| latch.facts.clone());
        let result = exit.as_ref().and_then(|exit| exit.result.clone());
        let (pool, runner) = (name.pool().to_owned(), name.clone());
        self.events.push(Event::Exited { pool, runner, reason, exit, job, facts, job_duration, result });
    }
}
