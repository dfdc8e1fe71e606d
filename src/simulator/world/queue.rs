//! Jobs: queued, offered to a polling runner, taken, ended or lost.

use std::collections::btree_map::Entry;

use serde::Serialize;

use super::World;
use crate::{
    fleet::Timestamp,
    simulator::{
        Behaviour, Job,
        wire::{Message, Work},
    },
};

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for a runner, or offered to one that has not taken it yet.
    Queued,
    /// A runner has it.
    InProgress,
    /// Over.
    Completed(Conclusion),
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The runner reported success.
    Succeeded,
    /// The runner reported failure: the job's own, its worker's, or that the runner was told to stop.
    Failed,
    /// The runner vanished and its lease ended.
    Lost,
}

/// A job as it went.
#[derive(Clone, Debug, Serialize)]
pub struct JobView {
    /// Its id.
    pub id: u64,
    /// Display name.
    pub name: String,
    /// Organization or repository.
    pub scope: String,
    /// Where it is.
    pub state: JobState,
    /// The runner that has or had it.
    pub runner: Option<String>,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When a runner took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// A job and how it went so far.
pub(super) struct Record {
    pub(super) view: JobView,
    job: Job,
    assigned: Option<(String, Timestamp)>,
}

impl Record {
    /// When it was offered to the runner that has it.
    pub(super) fn assigned_at(&self) -> Option<Timestamp> {
        self.assigned.as_ref().map(|&(_, at)| at)
    }
}

impl Record {
    /// What `runs-on` says.
    pub(super) fn labels(&self) -> &[String] {
        &self.job.labels
    }
}

impl World {
    pub(in crate::simulator) fn enqueue(&mut self, job: Job, now: Timestamp) -> u64 {
        // As on GitHub, ids are no small numbers that could be taken for something else's.
        let id = 70_000_000_001 + self.jobs.len() as u64;
        let view = JobView {
            id,
            name: job.name.clone(),
            scope: job.scope.to_ascii_lowercase(),
            state: JobState::Queued,
            runner: None,
            queued_at: now,
            started_at: None,
            completed_at: None,
        };
        self.jobs.insert(id, Record { view, job, assigned: None });
        self.queued.insert(id);
        id
    }

    pub(in crate::simulator) fn jobs(&self) -> Vec<JobView> {
        self.jobs.values().map(|record| record.view.clone()).collect()
    }

    /// Offers the oldest queued job that an idle, registered, polling runner may have.
    pub(in crate::simulator) fn offer(&mut self, session: &str, now: Timestamp) -> Option<Message> {
        let polling = self.sessions.get_mut(session)?;
        if polling.job.is_some() || !self.registrations.contains_key(&polling.registration) {
            return None;
        }
        let may_have = |record: &&mut Record| {
            let JobView { scope, .. } = &record.view;
            let owner = scope.split('/').next();
            (polling.scope == *scope || Some(polling.scope.as_str()) == owner)
                && record
                    .job
                    .labels
                    .iter()
                    .all(|wanted| polling.labels.iter().any(|label| label.eq_ignore_ascii_case(wanted)))
        };
        let registration = polling.registration;
        let id = *self.queued.iter().find(|&id| {
            self.scale_sets.may_take(registration, *id)
                && self.jobs.get_mut(id).as_ref().is_some_and(may_have)
        })?;
        let record = self.jobs.get_mut(&id)?;
        self.queued.remove(&id);
        self.running.insert(id);
        polling.job = Some(id);
        record.assigned = Some((session.to_owned(), now));
        record.view.runner = Some(polling.runner.clone());
        let work = match record.job.behaviour {
            Behaviour::Succeeds => Work::Succeed,
            Behaviour::Fails => Work::Fail,
            Behaviour::Allocates(bytes) => Work::Allocate(bytes),
            Behaviour::CrashesWorker => Work::CrashWorker,
            Behaviour::CrashesRunner => Work::CrashRunner,
        };
        let millis = u64::try_from(record.job.duration.as_millis()).unwrap_or(u64::MAX);
        Some(Message { job: id, name: record.view.name.clone(), millis, work })
    }

    /// A runner takes the job that it was offered.
    pub(in crate::simulator) fn acquire(&mut self, session: &str, job: u64, now: Timestamp) -> bool {
        let Some(record) = self.assigned_to(session, job) else { return false };
        record.view.state = JobState::InProgress;
        record.view.started_at = Some(now);
        true
    }

    /// A runner could not take its job: somebody else may, and its registration is used up.
    pub(in crate::simulator) fn decline(&mut self, session: &str, job: u64) -> bool {
        if self.assigned_to(session, job).is_none() {
            return false;
        }
        self.requeue(job);
        let registration = self.sessions.get(session).map(|session| session.registration);
        registration.is_some_and(|registration| self.forget(registration))
    }

    /// A runner reports its job's end, and its registration goes.
    pub(in crate::simulator) fn complete(
        &mut self,
        session: &str,
        job: u64,
        succeeded: bool,
        now: Timestamp,
    ) -> bool {
        if self.assigned_to(session, job).is_none() {
            return false;
        }
        self.end(job, if succeeded { Conclusion::Succeeded } else { Conclusion::Failed }, now);
        if let Some(registration) = self.sessions.get(session).map(|session| session.registration) {
            self.forget(registration);
        }
        true
    }

    /// Whether a job's runner has had its time: to take it, or to be heard of again.
    pub(super) fn is_over(&self, job: u64, now: Timestamp) -> bool {
        let Some(record) = self.jobs.get(&job) else { return false };
        let Some((session, assigned_at)) = &record.assigned else { return false };
        match record.view.state {
            JobState::Queued => *assigned_at + self.settings.pickup_timeout <= now,
            JobState::InProgress => {
                self.silence(session, now).is_some_and(|silence| silence >= self.settings.lease)
            }
            JobState::Completed(_) => false,
        }
    }

    /// Takes a job from a runner that has had its time.
    pub(super) fn release(&mut self, job: u64, now: Timestamp) {
        match self.jobs.get(&job).map(|record| record.view.state) {
            Some(JobState::Queued) => self.requeue(job),
            Some(JobState::InProgress) => self.end(job, Conclusion::Lost, now),
            Some(JobState::Completed(_)) | None => {}
        }
    }

    fn assigned_to(&mut self, session: &str, job: u64) -> Option<&mut Record> {
        let Entry::Occupied(record) = self.jobs.entry(job) else { return None };
        let record = record.into_mut();
        record.assigned.as_ref().is_some_and(|(to, _)| to == session).then_some(record)
    }

    fn requeue(&mut self, job: u64) {
        self.detach(job);
        if let Some(record) = self.jobs.get_mut(&job) {
            record.view.runner = None;
            self.queued.insert(job);
        }
    }

    fn end(&mut self, job: u64, conclusion: Conclusion, now: Timestamp) {
        self.detach(job);
        if let Some(record) = self.jobs.get_mut(&job) {
            record.view.state = JobState::Completed(conclusion);
            record.view.completed_at = Some(now);
        }
    }

    fn detach(&mut self, job: u64) {
        self.running.remove(&job);
        let assigned = self.jobs.get_mut(&job).and_then(|record| record.assigned.take());
        if let Some(session) = assigned.and_then(|(session, _)| self.sessions.get_mut(&session)) {
            session.job = None;
        }
    }
}
