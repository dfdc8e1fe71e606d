//! Jobs as GitHub has them: they arrive in bursts, wait, are cancelled, taken by whom GitHub believes
//! idle, and are over.

use std::sync::Arc;

use dayfly_fleet::{Job as FleetJob, JobFacts, JobId, JobState};

use crate::{
    setting::{MINUTE, SECOND, Source},
    world::{Fate, Happening, World, note},
};

/// A workflow job.
pub(crate) struct Job {
    /// The pool that it is meant for; `None` for none of these.
    pub(crate) pool: Option<usize>,
    pub(crate) repository: usize,
    pub(crate) run: u64,
    pub(crate) labels: Vec<String>,
    pub(crate) created_at: u64,
    /// When it is or was approved.
    pub(crate) queued_at: u64,
    pub(crate) started_at: Option<u64>,
    pub(crate) runner: Option<String>,
    pub(crate) ended_at: Option<u64>,
    pub(crate) takes: u64,
    pub(crate) fate: Fate,
}

impl Job {
    /// How far it was then, if it was there.
    pub(crate) fn state_at(&self, at: u64) -> Option<JobState> {
        if at < self.created_at {
            None
        } else if self.ended_at.is_some_and(|ended| ended <= at) {
            Some(JobState::Completed)
        } else if self.started_at.is_some_and(|started| started <= at) {
            Some(JobState::InProgress { runner: self.runner.clone() })
        } else if at < self.queued_at {
            Some(JobState::Waiting)
        } else {
            Some(JobState::Queued)
        }
    }
}

impl World {
    /// Jobs arrive together.
    pub(crate) fn burst(&mut self, pool: usize) {
        if self.calm || self.setting.pools[pool].gone {
            return;
        }
        let setting = &self.setting.pools[pool];
        let (gap, most, longest) = (setting.burst_gap, setting.burst, setting.job_for);
        let aged = setting.pool.policy.max_job_age.is_some();
        // No more than can be served in a while.
        let room = (2 * setting.pool.policy.max as usize).saturating_sub(self.waiting[pool].len());
        for _ in 0..self.random.within(1, most).min(room as u64) {
            let endless = aged && self.random.chance(10);
            let takes = if endless { 60 * MINUTE } else { self.random.within(SECOND, longest) };
            self.arrive(pool, takes);
        }
        note!(
            self,
            "world: {} jobs wait for {}",
            self.waiting[pool].len(),
            self.setting.pools[pool].pool.name
        );
        if self.random.chance(30) {
            self.arrive_for_nobody(pool);
        }
        let delay = self.random.within(0, 2 * SECOND);
        self.after(delay, Happening::Assign(pool));
        let gap = self.random.within(SECOND, gap);
        self.after(gap, Happening::Burst(pool));
    }

    fn a_repository_of(&mut self, pool: usize) -> usize {
        let all = 0..self.setting.repositories.len();
        let covered: Vec<usize> = all.filter(|&repository| self.setting.covers(pool, repository)).collect();
        covered[self.random.index(covered.len())]
    }

    fn labels_for(&mut self, pool: usize) -> Vec<String> {
        let name = self.setting.pools[pool].pool.name.to_string();
        match self.random.index(3) {
            0 => vec![name],
            1 => vec!["Self-Hosted".to_owned(), name.to_uppercase()],
            _ => vec!["self-hosted".to_owned(), name],
        }
    }

    fn arrive(&mut self, pool: usize, takes: u64) {
        let (repository, labels) = (self.a_repository_of(pool), self.labels_for(pool));
        let waits = self.random.chance(50);
        let approval = if waits { self.random.within(SECOND, 3 * MINUTE) } else { 0 };
        let job = self.add_job(Some(pool), repository, labels, approval, takes);
        if waits {
            self.met.insert("a job waits for its approval");
            self.after(approval, Happening::Approve(job));
        } else {
            self.approve(job);
        }
        if self.random.chance(40) {
            let delay = self.random.within(0, 2 * MINUTE);
            self.after(approval / 2 + delay, Happening::Cancel(job));
        } else if self.setting.pools[pool].source != Source::ScaleSet && self.random.chance(30) {
            let delay = self.random.within(SECOND, MINUTE);
            self.after(approval + delay, Happening::Stranger(job));
        }
    }

    /// A job that no pool serves: with an unknown label, or for runners of GitHub.
    fn arrive_for_nobody(&mut self, pool: usize) {
        let repository = self.a_repository_of(pool);
        let labels = if self.random.chance(500) {
            vec!["self-hosted".to_owned(), "nobody".to_owned()]
        } else {
            vec!["ubuntu-latest".to_owned()]
        };
        let job = self.add_job(None, repository, labels, 0, 0);
        self.approve(job);
        let delay = self.random.within(SECOND, 5 * MINUTE);
        self.after(delay, Happening::Cancel(job));
    }

    fn add_job(
        &mut self,
        pool: Option<usize>,
        repository: usize,
        labels: Vec<String>,
        approval: u64,
        takes: u64,
    ) -> usize {
        let job = self.jobs.len();
        // A run has several jobs, and a new attempt of one is a job of the same run.
        let run = if self.random.chance(300) { job.saturating_sub(1) } else { job } as u64;
        self.jobs.push(Job {
            pool,
            repository,
            run,
            labels,
            created_at: self.now,
            queued_at: self.now + approval,
            started_at: None,
            runner: None,
            ended_at: None,
            takes,
            fate: Fate::Waiting,
        });
        self.open[repository].push(job);
        if approval > 0 {
            self.send_hint(job, 0);
        }
        job
    }

    /// The job waits for a runner from now on.
    pub(crate) fn approve(&mut self, job: usize) {
        if self.jobs[job].ended_at.is_some() {
            return;
        }
        self.send_hint(job, 1);
        if let Some(pool) = self.jobs[job].pool {
            if self.setting.pools[pool].gone {
                return self.cancel(job);
            }
            self.waiting[pool].push_back(job);
            self.set_changes(pool);
            self.after(100, Happening::Assign(pool));
        }
    }

    /// Takes a job out of the queue; false if it is not there.
    fn unqueue(&mut self, job: usize) -> bool {
        let Some(pool) = self.jobs[job].pool else { return true };
        let waiting = &mut self.waiting[pool];
        let place = waiting.iter().position(|&other| other == job);
        place.is_some_and(|place| waiting.remove(place).is_some())
    }

    pub(crate) fn cancel(&mut self, job: usize) {
        let j = &self.jobs[job];
        if j.ended_at.is_some() || j.fate != Fate::Waiting {
            return;
        }
        if self.unqueue(job) {
            self.met.insert("a queued job is cancelled");
        }
        note!(self, "world: job {job} is cancelled");
        self.jobs[job].fate = Fate::Withdrawn;
        self.job_ends(job);
    }

    pub(crate) fn stranger_takes(&mut self, job: usize) {
        if self.jobs[job].fate == Fate::Waiting && self.unqueue(job) {
            note!(self, "world: a stranger takes job {job}");
            self.met.insert("a stranger takes a job");
            self.jobs[job].fate = Fate::Withdrawn;
            self.job_starts(job, "my-runner-7".to_owned());
            let takes = self.jobs[job].takes;
            self.after(takes, Happening::JobEnds(job));
        }
    }

    /// A runner has begun it.
    pub(crate) fn job_starts(&mut self, job: usize, runner: String) {
        let now = self.now;
        self.jobs[job].started_at = Some(now);
        self.jobs[job].runner = Some(runner);
        self.send_hint(job, 2);
        self.set_started(job);
    }

    pub(crate) fn job_ends(&mut self, job: usize) {
        if self.jobs[job].ended_at.is_some() {
            return;
        }
        let now = self.now;
        self.jobs[job].ended_at = Some(now);
        self.send_hint(job, 3);
        self.set_over(job);
    }

    /// What GitHub says of a job.
    pub(crate) fn job(&self, job: usize) -> FleetJob {
        let (index, job) = (job, &self.jobs[job]);
        FleetJob {
            id: JobId(index as u64),
            labels: job.labels.clone(),
            enterprise: None,
            public: Some(false),
            workflows: Vec::new(),
            queued_at: self.by_github(job.created_at),
            facts: Arc::new(JobFacts {
                name: format!("job {index}"),
                repository: self.setting.repositories[job.repository].clone(),
                run_id: job.run,
                url: String::new(),
                queued_at: self.github_writes(job.created_at),
            }),
        }
    }

    /// GitHub gives waiting jobs to runners that it believes idle.
    pub(crate) fn assign(&mut self, pool: usize) {
        for index in 0..self.setting.pools[pool].serves.len() {
            self.assign_from(self.setting.pools[pool].serves[index]);
        }
    }

    fn assign_from(&mut self, queue: usize) {
        let mut place = 0;
        while let Some(&job) = self.waiting[queue].get(place) {
            let repository = self.jobs[job].repository;
            let serving = |pool: usize| {
                self.setting.pools[pool].serves.contains(&queue)
                    && self.setting.covers(pool, repository)
                    && self.admits(self.setting.pools[pool].scope, repository)
            };
            let serving: Vec<bool> = (0..self.setting.pools.len()).map(serving).collect();
            let serves =
                |&r: &usize| self.registrations[r].pool.is_some_and(|pool| serving[pool]) && self.is_free(r);
            let choices: Vec<usize> = self.listed.iter().flatten().copied().filter(serves).collect();
            if choices.is_empty() {
                place += 1;
                continue;
            }
            if serving.iter().filter(|serves| **serves).count() > 1 {
                self.met.insert("two pools can take a job");
            }
            // Any of them, as GitHub likes.
            let registration = choices[self.random.index(choices.len())];
            let Some(container) = self.registrations[registration].container else { return };
            self.waiting[queue].remove(place);
            self.give(job, registration, container);
            if self.setting.is_apart(queue) && !self.calm {
                self.longest_wait_apart = self.longest_wait_apart.max(self.now - self.jobs[job].queued_at);
            }
        }
    }

    fn give(&mut self, job: usize, registration: usize, container: usize) {
        self.jobs[job].fate = Fate::Assigned;
        self.containers[container].job = Some(job);
        self.containers[container].assigned_at = Some(self.now);
        note!(self, "world: job {job} is assigned to {}", self.containers[container].runner);
        // A job on its way arrives within ten seconds, which is what `settle` waits for.
        let way = if self.random.chance(600) { SECOND } else { 9500 };
        let delay = self.random.within(0, way);
        self.after(delay, Happening::Deliver(container));
        let lag = match self.random.index(4) {
            0 => 0,
            1 => self.random.within(0, 5 * SECOND),
            _ => self.random.within(0, MINUTE),
        };
        self.after(lag, Happening::ShowBusy(registration));
    }

    fn is_free(&self, registration: usize) -> bool {
        let r = &self.registrations[registration];
        let takes = |c: usize| {
            let c = &self.containers[c];
            c.is_up() && c.job.is_none() && !c.stop_sent
        };
        r.online && !r.deaf && r.gone_at.is_none() && r.container.is_some_and(takes)
    }
}
