//! The jobs that a pool is wanted for. There are two kinds: queued jobs, which are known individually, and jobs that
//! GitHub assigns to the pool and only counts.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    job::{Demand, JobId, MAX_QUEUE_AGE},
    name::RunnerName,
    time::Instant,
};

/// The longest time that polling a queue can take: a runner that took a job is remembered that long for polls
/// that began before.
const LOOK: std::time::Duration = std::time::Duration::from_mins(1);

/// A pool's demand, by the kind of its job source.
#[derive(Debug)]
pub(super) enum DemandState {
    /// No jobs are known: runners that take some are replaced.
    Idle,
    Queued(QueuedJobs),
    Assigned(AssignedJobs),
}

/// Queued jobs by their ids.
#[derive(Debug, Default)]
pub(super) struct QueuedJobs {
    waiting: BTreeMap<JobId, WaitingJob>,
    /// The runners that took jobs which are not known yet, and when.
    taken: BTreeMap<RunnerName, Instant>,
    /// Those that were reported as stuck.
    stuck: BTreeSet<JobId>,
}

/// A queued job that is part of its pool's demand.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitingJob {
    pub(super) queued_at: Instant,
    /// When it was last certain that it is queued.
    pub(super) sure_at: Instant,
}

/// The number of jobs that GitHub has assigned.
#[derive(Debug, Default)]
pub(super) struct AssignedJobs {
    /// The number, and when it was reported; `None` while it is not known.
    count: Option<(u32, Instant)>,
    /// The runners that have exited after their jobs since then, and when.
    finished: BTreeMap<RunnerName, Instant>,
    /// Running runners whose jobs are no longer assigned.
    jobs_over: BTreeSet<RunnerName>,
}

impl DemandState {
    pub(super) fn of(demand: Demand) -> Self {
        match demand {
            Demand::IDLE => Self::Idle,
            Demand::Jobs { .. } => Self::Queued(QueuedJobs::default()),
            Demand::ScaleSet => Self::Assigned(AssignedJobs::default()),
        }
    }

    /// The number of jobs that wait for a runner, while `busy` runners of the pool have one.
    pub(super) fn waiting(&self, busy: u32) -> u32 {
        match self {
            Self::Idle => 0,
            Self::Queued(jobs) => jobs.waiting(),
            Self::Assigned(jobs) => jobs.waiting(busy),
        }
    }

    /// Whether the number of jobs that wait is known.
    pub(super) const fn is_known(&self) -> bool {
        !matches!(self, Self::Assigned(AssignedJobs { count: None, .. }))
    }

    /// When the oldest of the queued jobs was queued.
    pub(super) fn oldest_queued_at(&self) -> Option<Instant> {
        self.queued().map(|(_, waiting)| waiting.queued_at).min()
    }

    /// The queued jobs, where they are known individually.
    pub(super) fn queued(&self) -> impl Iterator<Item = (JobId, WaitingJob)> {
        let jobs = match self {
            Self::Queued(jobs) => Some(jobs),
            Self::Idle | Self::Assigned(_) => None,
        };
        jobs.into_iter().flat_map(|jobs| jobs.waiting.iter().map(|(&id, &waiting)| (id, waiting)))
    }

    /// Records that a job is queued.
    pub(super) fn add(&mut self, id: JobId, waiting: WaitingJob) {
        if let Self::Queued(jobs) = self {
            jobs.waiting.insert(id, waiting);
        }
    }

    /// Records that a job is no longer queued.
    pub(super) fn remove(&mut self, id: JobId) {
        if let Self::Queued(jobs) = self {
            jobs.waiting.remove(&id);
        }
    }

    /// Records that a runner took a job that is not known yet.
    pub(super) fn job_taken(&mut self, runner: &RunnerName, now: Instant) {
        if let Self::Queued(jobs) = self {
            jobs.taken.insert(runner.clone(), now);
        }
    }

    /// Records that the job of a runner is known, so that no other is subtracted for it.
    pub(super) fn job_known(&mut self, runner: &RunnerName) {
        if let Self::Queued(jobs) = self {
            jobs.taken.remove(runner);
        }
    }

    /// Records that a job was reported as stuck.
    pub(super) fn stuck_reported(&mut self, id: JobId) {
        if let Self::Queued(jobs) = self {
            jobs.stuck.insert(id);
        }
    }

    /// Whether a job was reported as stuck.
    pub(super) fn is_reported_stuck(&self, id: JobId) -> bool {
        matches!(self, Self::Queued(jobs) if jobs.stuck.contains(&id))
    }

    /// Records how many jobs GitHub has assigned; `None` when that is no longer known.
    pub(super) fn assigned(&mut self, count: Option<u32>, at: Instant) {
        if let Self::Assigned(jobs) = self {
            jobs.assigned(count, at);
        }
    }

    /// Records that the job of a runner is no longer assigned; `is_up`: whether that runner is running.
    pub(super) fn job_over(&mut self, runner: &RunnerName, is_up: bool) {
        if let Self::Assigned(jobs) = self
            && jobs.finished.remove(runner).is_none()
            && is_up
        {
            jobs.jobs_over.insert(runner.clone());
        }
    }

    /// Records that a runner that had a job has exited; called once for each.
    pub(super) fn runner_ended(&mut self, runner: &RunnerName, now: Instant) {
        if let Self::Assigned(jobs) = self {
            // Its job may have been reported as finished before; and before the first count there is none to
            // subtract from.
            if !jobs.jobs_over.remove(runner) && jobs.count.is_some() {
                jobs.finished.insert(runner.clone(), now);
            }
        }
    }

    /// Drops what no longer matters.
    pub(super) fn settle(&mut self, now: Instant) {
        if let Self::Queued(jobs) = self {
            jobs.settle(now);
        }
    }

    /// Whether no runner changes the count.
    #[cfg(test)]
    pub(super) fn has_no_runner_to_subtract(&self) -> bool {
        match self {
            Self::Idle => true,
            Self::Queued(jobs) => jobs.taken.is_empty(),
            Self::Assigned(jobs) => jobs.finished.is_empty() && jobs.jobs_over.is_empty(),
        }
    }
}

impl QueuedJobs {
    /// Between a job's start and the poll that shows it, it would count twice: as queued and as a busy
    /// runner. So each runner that took an unknown job since a job was last certain to be queued is subtracted.
    fn waiting(&self) -> u32 {
        if self.taken.is_empty() {
            return count(self.waiting.len());
        }
        let mut taken: Vec<Instant> = self.taken.values().copied().collect();
        taken.sort_unstable();
        let mut sure: Vec<Instant> = self.waiting.values().map(|waiting| waiting.sure_at).collect();
        sure.sort_unstable();
        let mut jobs = sure.iter().peekable();
        let accounted = taken.iter().filter(|&&at| jobs.next_if(|&&sure_at| sure_at <= at).is_some()).count();
        count(sure.len() - accounted)
    }

    /// Drops jobs that GitHub has given up on, and runners that can no longer be subtracted.
    fn settle(&mut self, now: Instant) {
        self.waiting.retain(|_, waiting| now.since(waiting.queued_at) < MAX_QUEUE_AGE);
        self.stuck.retain(|job| self.waiting.contains_key(job));
        if !self.taken.is_empty() {
            let oldest = self.waiting.values().map(|waiting| waiting.sure_at).min();
            let matters = |at| oldest.is_some_and(|oldest| oldest <= at) || now.since(at) < LOOK;
            self.taken.retain(|_, at| matters(*at));
        }
    }
}

impl AssignedJobs {
    /// The assigned jobs that no runner has are waiting. GitHub counts a job until it has finished, and a runner is
    /// busy until its container exits.
    fn waiting(&self, busy: u32) -> u32 {
        let Some((assigned, at)) = self.count else { return 0 };
        let counted = self.finished.values().filter(|&&ended| ended >= at).count();
        let busy = busy.saturating_sub(count(self.jobs_over.len()));
        assigned.saturating_sub(count(counted)).saturating_sub(busy)
    }

    fn assigned(&mut self, count: Option<u32>, at: Instant) {
        let Some(count) = count else {
            *self = Self::default();
            return;
        };
        if self.count.is_none_or(|(_, before)| before <= at) {
            self.count = Some((count, at));
            self.finished.retain(|_, ended| *ended >= at);
        }
    }
}

/// A length as a count.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
