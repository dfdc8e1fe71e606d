//! Repositories, the runs of their workflows, and what people do to the jobs of a run: hold, release,
//! cancel, run again.

use super::{
    World,
    job_record::{Conclusion, JobRecord, JobState},
    run_record::{Repository, Run},
};
use crate::{job::Job, scope_path::is_repository};
use dayfly_fleet::Timestamp;

impl World {
    /// A repository that is known as a scope or has had a job.
    pub(crate) fn repository_facts(&self, path: &str) -> Repository {
        let known = self.repositories.get(path);
        known.map_or(Repository { public: false, pushed_at: Timestamp::default() }, |known| Repository {
            public: known.public,
            pushed_at: known.pushed_at,
        })
    }

    pub(crate) fn push(&mut self, path: &str, public: bool, now: Timestamp) {
        let path = path.to_ascii_lowercase();
        if self.scope_number(&path).is_none() {
            self.settings.scopes.push(path.clone());
        }
        self.repositories.insert(path, Repository { public, pushed_at: now });
    }

    /// The repositories of an owner, or all, with their paths, in no particular order.
    pub(crate) fn repository_paths(&self, owner: Option<&str>) -> Vec<String> {
        let paths = self.settings.scopes.iter().map(|path| path.to_ascii_lowercase());
        let of_owner = |path: &String| {
            let of = path.split('/').next();
            is_repository(path) && owner.is_none_or(|owner| Some(owner) == of)
        };
        paths.filter(of_owner).collect()
    }

    /// The runs of a repository, newest first.
    pub(crate) fn runs_of(&self, repository: &str) -> impl Iterator<Item = &Run> {
        self.runs.values().rev().filter(move |run| run.repository == repository)
    }

    pub(crate) fn run(&self, repository: &str, id: u64) -> Option<&Run> {
        self.runs.get(&id).filter(|run| run.repository == repository)
    }

    /// The jobs of a run's latest attempt, or of all.
    pub(crate) fn jobs_of(&self, run: &Run, all: bool) -> impl Iterator<Item = &JobRecord> {
        let attempt = run.attempt;
        let records = run.jobs.iter().filter_map(|id| self.jobs.get(id));
        records.filter(move |record| all || record.view.run_attempt == attempt)
    }

    pub(crate) fn repository_of(&self, job: u64) -> Option<String> {
        Some(self.jobs.get(&job)?.view.repository.clone())
    }

    pub(crate) fn job_of(&self, repository: &str, id: u64) -> Option<(&Run, &JobRecord)> {
        let record = self.jobs.get(&id)?;
        Some((self.run(repository, record.view.run_id)?, record))
    }

    /// The run that a new job belongs to, and whether that had begun before.
    pub(super) fn run_for(&mut self, job: &Job, repository: &str, now: Timestamp) -> (u64, bool) {
        let same = |run: &&Run| run.word == job.run && run.repository == repository;
        let known = job.run.as_ref().and_then(|_| self.runs.values().find(same));
        if let Some(run) = known {
            let begun = self
                .jobs_of(run, false)
                .any(|record| matches!(record.view.state, JobState::InProgress | JobState::Completed(_)));
            return (run.id, begun);
        }
        let id = 29_000_000_001 + self.runs.len() as u64;
        let run = Run {
            id,
            repository: repository.to_owned(),
            workflow: job.workflow.clone(),
            calls: job.calls.clone(),
            event: job.event.clone(),
            branch: job.branch.clone(),
            fork: job.fork.as_ref().map(|path| path.to_ascii_lowercase()),
            attempt: 1,
            created_at: now,
            started_at: now,
            updated_at: now,
            status: "queued",
            word: job.run.clone(),
            jobs: Vec::new(),
        };
        self.runs.insert(id, run);
        (id, false)
    }

    pub(super) fn add_to_run(&mut self, run: u64, job: u64, now: Timestamp) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.jobs.push(job);
        }
        self.settle_run(run, now);
    }

    /// Works out what a run's status is now: that of its least advanced job, where jobs that were
    /// released after the run had begun do not set it back.
    pub(super) fn settle_run(&mut self, id: u64, now: Timestamp) {
        let Some(run) = self.runs.get(&id) else { return };
        let open = || self.jobs_of(run, false).filter(|record| !record.is_completed());
        let least =
            open().filter(|record| !record.late).map(JobRecord::status).min_by_key(|&status| rank(status));
        let status = match least {
            Some(least) => least,
            None if open().next().is_some() => "in_progress",
            None => "completed",
        };
        if let Some(run) = self.runs.get_mut(&id).filter(|run| run.status != status) {
            (run.status, run.updated_at) = (status, now);
        }
    }

    /// Whether a group's runners may serve a run's jobs.
    pub(super) fn admits(&self, group: u64, run: &Run) -> bool {
        let name = self.groups().find(|(id, _)| *id == group).map(|(_, name)| name);
        let policy = name.and_then(|name| self.settings.group_policies.get(name));
        let policy = policy.cloned().unwrap_or_default();
        let public = self.repository_facts(&run.repository).public;
        let selected = || policy.repositories.iter().any(|name| name.eq_ignore_ascii_case(&run.repository));
        let visible = match policy.visibility {
            "private" => !public,
            "selected" => selected(),
            _ => true,
        };
        let allowed = |workflow: &String| run.workflows().any(|known| known == *workflow);
        visible
            && (policy.allows_public_repositories || !public)
            && (policy.workflows.is_empty() || policy.workflows.iter().any(allowed))
    }

    pub(crate) fn release_held(&mut self, job: u64, now: Timestamp) -> bool {
        let Some(record) = self.jobs.get_mut(&job) else { return false };
        if !matches!(record.view.state, JobState::Waiting | JobState::Pending) {
            return false;
        }
        record.view.state = JobState::Queued;
        let run = record.view.run_id;
        self.queued.insert(job);
        self.settle_run(run, now);
        self.tell(job, "queued", now);
        true
    }

    pub(crate) fn cancel(&mut self, job: u64, now: Timestamp) -> bool {
        if self.jobs.get(&job).is_none_or(JobRecord::is_completed) {
            return false;
        }
        let session = self.jobs.get(&job).and_then(|record| record.session().map(str::to_owned));
        self.queued.remove(&job);
        self.end(job, Conclusion::Cancelled, now);
        // The runner had its one job.
        let registration = session.and_then(|session| Some(self.sessions.get(&session)?.registration));
        registration.map(|registration| self.forget(registration));
        true
    }

    pub(crate) fn rerun(&mut self, run: u64, now: Timestamp) -> Vec<u64> {
        let Some(known) = self.runs.get(&run) else { return Vec::new() };
        if known.status != "completed" {
            return Vec::new();
        }
        let again: Vec<Job> = self.jobs_of(known, false).map(|record| record.job.clone()).collect();
        if let Some(known) = self.runs.get_mut(&run) {
            known.attempt += 1;
            known.started_at = now;
        }
        again.into_iter().map(|job| self.put(job, run, false, now)).collect()
    }
}

/// The order of states, the least advanced first.
fn rank(status: &str) -> usize {
    ["waiting", "pending", "queued", "in_progress"].iter().position(|known| *known == status).unwrap_or(4)
}
