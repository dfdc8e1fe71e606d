//! Jobs: queued, offered to a polling runner, taken, ended or lost.

use std::collections::btree_map::Entry;

use super::{
    HOSTED_GROUP, Session, World,
    job_record::{Conclusion, JobRecord, JobState, JobView},
};
use dayfly_fleet::Timestamp;

use crate::{
    Behaviour, Hold, Job,
    scope_path::is_enterprise,
    wire::{Message, Work},
};

impl World {
    pub(crate) fn enqueue(&mut self, job: Job, now: Timestamp) -> u64 {
        let repository = match &job.repository {
            Some(repository) => repository.to_ascii_lowercase(),
            None if job.scope.contains('/') => job.scope.to_ascii_lowercase(),
            None => format!("{}/jobs", job.scope.to_ascii_lowercase()),
        };
        let public = self.repository_facts(&repository).public;
        self.push(&repository, public, now);
        let (run, late) = self.run_for(&job, &repository, now);
        self.put(job, run, late, now)
    }

    /// Puts a job into a run that is there.
    pub(super) fn put(&mut self, job: Job, run: u64, late: bool, now: Timestamp) -> u64 {
        // As on GitHub, ids are no small numbers that could be taken for something else's.
        let id = 70_000_000_001 + self.jobs.len() as u64;
        let state = match job.held {
            Some(Hold::Approval) => JobState::Waiting,
            Some(Hold::Concurrency) => JobState::Pending,
            None if job.hosted => JobState::InProgress,
            None => JobState::Queued,
        };
        let (repository, run_attempt) =
            self.runs.get(&run).map(|run| (run.repository.clone(), run.attempt)).unwrap_or_default();
        let view = JobView {
            id,
            name: job.name.clone(),
            scope: job.scope.to_ascii_lowercase(),
            repository,
            run_id: run,
            run_attempt,
            state,
            runner: job.hosted.then(|| format!("GitHub Actions {id}")),
            queued_at: now,
            started_at: job.hosted.then_some(now),
            completed_at: None,
        };
        let group = job.hosted.then(|| (HOSTED_GROUP, "GitHub Actions".to_owned()));
        self.jobs.insert(id, JobRecord { view, job, late, group, registration: None, assigned: None });
        match state {
            JobState::Queued => drop(self.queued.insert(id)),
            JobState::InProgress => drop(self.running.insert(id)),
            JobState::Waiting | JobState::Pending | JobState::Completed(_) => {}
        }
        self.add_to_run(run, id, now);
        match state {
            JobState::Waiting => self.tell(id, "waiting", now),
            JobState::Queued => self.tell(id, "queued", now),
            JobState::InProgress => {
                self.tell(id, "queued", now);
                self.tell(id, "in_progress", now);
            }
            JobState::Pending | JobState::Completed(_) => {}
        }
        id
    }

    pub(crate) fn jobs(&self) -> Vec<JobView> {
        self.jobs.values().map(|record| record.view.clone()).collect()
    }

    /// Offers the oldest queued job that an idle, registered, polling runner may have.
    pub(crate) fn offer(&mut self, session: &str, now: Timestamp) -> Option<Message> {
        let polling = self.sessions.get(session).filter(|polling| polling.job.is_none())?;
        let group = self.registrations.get(&polling.registration)?.group;
        let may_have = |id: &&u64| {
            self.scale_sets.may_take(polling.registration, **id)
                && self.jobs.get(id).is_some_and(|record| self.serves(polling, group, record))
        };
        let id = *self.queued.iter().find(may_have)?;
        let group_name = self.groups().find(|(known, _)| *known == group).map(|(_, name)| name.to_owned());
        let polling = self.sessions.get_mut(session)?;
        let record = self.jobs.get_mut(&id)?;
        self.queued.remove(&id);
        self.running.insert(id);
        polling.job = Some(id);
        record.assigned = Some((session.to_owned(), now));
        record.view.runner = Some(polling.runner.clone());
        record.registration = Some(polling.registration);
        record.group = Some((group, group_name.unwrap_or_default()));
        let work = match &record.job.behaviour {
            Behaviour::Succeeds => Work::Succeed,
            Behaviour::Fails => Work::Fail,
            Behaviour::Allocates(bytes) => Work::Allocate(*bytes),
            Behaviour::Runs(script) => Work::Script(script.clone()),
            Behaviour::CrashesWorker => Work::CrashWorker,
            Behaviour::CrashesRunner => Work::CrashRunner,
        };
        let millis = u64::try_from(record.job.duration.as_millis()).unwrap_or(u64::MAX);
        Some(Message { job: id, name: record.view.name.clone(), millis, work })
    }

    /// Whether a runner may have a job: it is of the job's repository or its owner, has all its
    /// labels, and, unless it is the repository's own, is in a group that the job may use.
    fn serves(&self, polling: &Session, group: u64, record: &JobRecord) -> bool {
        let repository = record.view.repository.as_str();
        let owner = repository.split('/').next();
        let has = |wanted: &String| polling.labels.iter().any(|label| label.eq_ignore_ascii_case(wanted));
        let admitted = || {
            let run = self.runs.get(&record.view.run_id);
            run.is_some_and(|run| self.admits(group, run))
        };
        // Every organization here is of every enterprise.
        let above = Some(polling.scope.as_str()) == owner || is_enterprise(&polling.scope);
        record.job.labels.iter().all(has) && (polling.scope == repository || (above && admitted()))
    }

    /// A runner takes the job that it was offered.
    pub(crate) fn acquire(&mut self, session: &str, job: u64, now: Timestamp) -> bool {
        let Some(record) = self.assigned_to(session, job) else { return false };
        record.view.state = JobState::InProgress;
        record.view.started_at = Some(now);
        let run = record.view.run_id;
        self.settle_run(run, now);
        self.tell(job, "in_progress", now);
        true
    }

    /// A runner could not take its job: another one may, and its registration is used up.
    pub(crate) fn decline(&mut self, session: &str, job: u64) -> bool {
        if self.assigned_to(session, job).is_none() {
            return false;
        }
        self.requeue(job);
        let registration = self.sessions.get(session).map(|session| session.registration);
        registration.is_some_and(|registration| self.forget(registration))
    }

    /// A runner reports its job's end, and its registration goes.
    pub(crate) fn complete(&mut self, session: &str, job: u64, succeeded: bool, now: Timestamp) -> bool {
        if self.assigned_to(session, job).is_none() {
            return false;
        }
        self.end(job, if succeeded { Conclusion::Succeeded } else { Conclusion::Failed }, now);
        if let Some(registration) = self.sessions.get(session).map(|session| session.registration) {
            self.forget(registration);
        }
        true
    }

    /// Whether a job's runner has exceeded its time to take it, or to send a sign of life.
    pub(super) fn is_over(&self, job: u64, now: Timestamp) -> bool {
        let Some(record) = self.jobs.get(&job) else { return false };
        if record.job.hosted {
            let started_at = record.view.started_at;
            return started_at.is_some_and(|started_at| started_at + record.job.duration <= now);
        }
        let Some((session, assigned_at)) = &record.assigned else { return false };
        match record.view.state {
            JobState::Queued => *assigned_at + self.settings.pickup_timeout <= now,
            JobState::InProgress => {
                self.silence(session, now).is_some_and(|silence| silence >= self.settings.lease)
            }
            JobState::Waiting | JobState::Pending | JobState::Completed(_) => false,
        }
    }

    /// Takes a job from a runner that has had its time.
    pub(super) fn release(&mut self, job: u64, now: Timestamp) {
        let Some(record) = self.jobs.get(&job) else { return };
        match record.view.state {
            JobState::Queued => self.requeue(job),
            JobState::InProgress if record.job.hosted => self.end(job, Conclusion::Succeeded, now),
            JobState::InProgress => self.end(job, Conclusion::Lost, now),
            JobState::Waiting | JobState::Pending | JobState::Completed(_) => {}
        }
    }

    fn assigned_to(&mut self, session: &str, job: u64) -> Option<&mut JobRecord> {
        let Entry::Occupied(record) = self.jobs.entry(job) else { return None };
        let record = record.into_mut();
        record.assigned.as_ref().is_some_and(|(to, _)| to == session).then_some(record)
    }

    fn requeue(&mut self, job: u64) {
        self.detach(job);
        if let Some(record) = self.jobs.get_mut(&job) {
            (record.view.runner, record.registration, record.group) = (None, None, None);
            self.queued.insert(job);
        }
    }

    pub(super) fn end(&mut self, job: u64, conclusion: Conclusion, now: Timestamp) {
        self.detach(job);
        if let Some(record) = self.jobs.get_mut(&job) {
            record.view.state = JobState::Completed(conclusion);
            record.view.completed_at = Some(now);
            let run = record.view.run_id;
            self.settle_run(run, now);
            self.tell(job, "completed", now);
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
