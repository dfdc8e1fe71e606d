//! What is the case now, for screens, tests and summaries.

use std::time::Duration;

use serde::Serialize;

use super::{
    Runner, World,
    job_record::{Conclusion, JobState},
};
use dayfly_fleet::Timestamp;

/// What is the case now.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// When.
    pub at: Timestamp,
    /// Jobs that an approval or a concurrency limit holds.
    pub held: usize,
    /// Jobs that no runner has.
    pub queued: usize,
    /// Jobs that a runner has.
    pub in_progress: usize,
    /// Jobs that were reported as done.
    pub succeeded: usize,
    /// Jobs that were reported as failed.
    pub failed: usize,
    /// Jobs whose runner vanished.
    pub lost: usize,
    /// Jobs that were cancelled.
    pub cancelled: usize,
    /// How long jobs waited from queued to taken; `None` before the first.
    pub queue_wait: Option<Waits>,
    /// Every registration of every scope.
    pub runners: Vec<RunnerView>,
}

/// A registration, and what its runner is truly doing.
#[derive(Clone, Debug, Serialize)]
pub struct RunnerView {
    /// GitHub's number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Organization or repository.
    pub scope: String,
    /// Whether GitHub says that it is connected.
    pub online: bool,
    /// Whether GitHub reports that it has a job.
    pub busy: bool,
    /// The job that it has in truth.
    pub job: Option<String>,
    /// When it was minted.
    pub minted_at: Timestamp,
    /// When its runner connected; `None` before.
    pub connected_at: Option<Timestamp>,
}

/// A distribution of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// Half of them were no longer than this.
    pub p50: Duration,
    /// 95 of 100 were no longer than this.
    pub p95: Duration,
    /// The longest.
    pub max: Duration,
}

impl Waits {
    /// The distribution of some waits (nearest rank); `None` of none.
    pub fn of(mut waits: Vec<Duration>) -> Option<Self> {
        waits.sort_unstable();
        let rank =
            |percent: usize| waits.get((waits.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { p50: rank(50)?, p95: rank(95)?, max: *waits.last()? })
    }
}

impl Snapshot {
    /// Jobs that are over.
    pub fn completed(&self) -> usize {
        self.succeeded + self.failed + self.lost + self.cancelled
    }

    /// Registrations that GitHub says are connected.
    pub fn online(&self) -> usize {
        self.runners.iter().filter(|runner| runner.online).count()
    }

    /// The registration with a name.
    pub fn runner(&self, name: &str) -> Option<&RunnerView> {
        self.runners.iter().find(|runner| runner.name == name)
    }
}

impl World {
    pub(crate) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let count = |state| self.jobs.values().filter(|record| record.view.state == state).count();
        let waits = self.jobs.values().filter_map(|record| {
            let started_at = record.view.started_at?;
            Some(started_at.since(record.view.queued_at))
        });
        let runners = self.registrations.values().map(|registration| {
            let look = self.look(registration, now);
            let session = match &registration.runner {
                Runner::Real { session, .. } => {
                    session.as_ref().and_then(|session| self.sessions.get(session))
                }
                Runner::Pretended(_) => None,
            };
            let job = session.and_then(|session| session.job).and_then(|job| self.jobs.get(&job));
            RunnerView {
                id: registration.id,
                name: registration.name.clone(),
                scope: registration.scope.clone(),
                online: look.online,
                busy: look.busy,
                job: job.map(|record| record.view.name.clone()),
                minted_at: registration.minted_at,
                connected_at: session.map(|session| session.opened_at),
            }
        });
        Snapshot {
            at: now,
            held: count(JobState::Waiting) + count(JobState::Pending),
            queued: count(JobState::Queued),
            in_progress: count(JobState::InProgress),
            succeeded: count(JobState::Completed(Conclusion::Succeeded)),
            failed: count(JobState::Completed(Conclusion::Failed)),
            lost: count(JobState::Completed(Conclusion::Lost)),
            cancelled: count(JobState::Completed(Conclusion::Cancelled)),
            queue_wait: Waits::of(waits.collect()),
            runners: runners.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_given_by_nearest_rank() {
        let ms = Duration::from_millis;
        assert_eq!(Waits::of(Vec::new()), None);
        let waits = Waits::of((1..=20).rev().map(ms).collect());
        assert_eq!(waits, Some(Waits { p50: ms(10), p95: ms(19), max: ms(20) }));
    }
}
