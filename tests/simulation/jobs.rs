//! Jobs: they arrive in bursts, GitHub gives them to whom it believes idle, and the daemon is told.

use std::sync::Arc;

use dayfly::fleet::{Evidence, Job as FleetJob, JobFacts, JobId, JobState, Timestamp};

use crate::{
    setting::{MINUTE, SECOND},
    world::{Fate, Happening, Job, World, note},
};

impl World {
    /// Jobs arrive together.
    pub(crate) fn burst(&mut self, pool: usize) {
        if self.calm || self.setting.pools[pool].gone {
            return;
        }
        let setting = &self.setting.pools[pool];
        let (gap, most, longest) = (setting.burst_gap, setting.burst, setting.job_for);
        let aged = setting.pool.policy.max_job_age.is_some();
        let telling = setting.demand;
        // No more than can be served in a while.
        let room = (2 * setting.pool.policy.max as usize).saturating_sub(self.waiting[pool].len());
        for _ in 0..self.random.within(1, most).min(room as u64) {
            let endless = aged && self.random.chance(10);
            let takes = if endless { 60 * MINUTE } else { self.random.within(SECOND, longest) };
            self.jobs.push(Job { queued_at: self.now, takes, fate: Fate::Waiting });
            self.waiting[pool].push_back(self.jobs.len() - 1);
        }
        note!(
            self,
            "world: {} jobs wait for {}",
            self.waiting[pool].len(),
            self.setting.pools[pool].pool.name
        );
        let delay = self.random.within(0, 2 * SECOND);
        self.after(delay, Happening::Assign(pool));
        // A webhook, if it is not lost.
        if telling && !self.fails(100) {
            let delay = self.random.within(50, 2 * SECOND);
            self.after(delay, Happening::TellQueue(pool, 0));
        }
        let delay = if self.setting.alone.is_some() { gap } else { self.random.within(SECOND, gap) };
        self.after(delay, Happening::Burst(pool));
    }

    /// Tells the daemon which jobs wait; now and then what it was told before, once more.
    pub(crate) fn tell_queue(&mut self, pool: usize) {
        if !self.alive {
            return;
        }
        let late = self.fails(50);
        if !late {
            self.told_queue[pool].clear();
            self.told_queue[pool].extend(self.waiting[pool].iter());
        }
        let evidence = self.queued(pool, false);
        self.tell(evidence);
    }

    /// The set that was told last; as a set it is the same in any order, and with doubles.
    pub(crate) fn queued(&self, pool: usize, stirred: bool) -> Evidence {
        let pool_of = &self.setting.pools[pool].pool;
        let repository = pool_of
            .scope
            .repository(&format!("{}/{}", pool_of.scope.path(), pool_of.name))
            .expect("it is a repository");
        let job = |&job: &usize| {
            let facts = JobFacts {
                name: format!("job {job}"),
                repository: repository.clone(),
                run_id: 1,
                url: String::new(),
                queued_at: Timestamp::from_millis(self.jobs[job].queued_at),
            };
            let job = FleetJob {
                id: JobId(job as u64),
                labels: pool_of.labels.clone(),
                enterprise: None,
                public: None,
                workflows: Vec::new(),
                facts: Arc::new(facts),
            };
            (job, JobState::Queued)
        };
        let mut jobs: Vec<_> = self.told_queue[pool].iter().map(job).collect();
        if stirred {
            jobs.reverse();
            jobs.extend_from_within(..jobs.len().min(3));
        }
        let began = Timestamp::from_millis(self.now);
        Evidence::Queue { repository, began, jobs }
    }

    /// GitHub gives waiting jobs to runners that it believes idle.
    pub(crate) fn assign(&mut self, pool: usize) {
        while !self.waiting[pool].is_empty() {
            let choices = self.listed[self.setting.pools[pool].scope].iter();
            let mut choices = choices.copied().filter(|&registration| self.is_free(registration, pool));
            let Some(mut registration) = choices.next() else { return };
            // Any of them, as GitHub likes.
            let mut seen = 1;
            let mut random = self.random.clone();
            for other in choices {
                seen += 1;
                if random.index(seen) == 0 {
                    registration = other;
                }
            }
            self.random = random;
            let (Some(job), Some(container)) =
                (self.waiting[pool].pop_front(), self.registrations[registration].container)
            else {
                return;
            };
            self.jobs[job].fate = Fate::Assigned;
            self.containers[container].job = Some(job);
            self.containers[container].assigned_at = Some(self.now);
            note!(self, "world: job {job} is assigned to {}", self.containers[container].runner);
            if self.setting.is_apart(pool) && !self.calm {
                self.longest_wait_apart = self.longest_wait_apart.max(self.now - self.jobs[job].queued_at);
            }
            // A job on its way arrives within ten seconds, which is what `settle` waits for.
            let way = if self.random.chance(800) { SECOND } else { 9500 };
            let delay = self.random.within(0, way);
            self.after(delay, Happening::Deliver(container));
            let lag = match self.random.index(4) {
                0 => 0,
                1 => self.random.within(0, 5 * SECOND),
                _ => self.random.within(0, MINUTE),
            };
            self.after(lag, Happening::ShowBusy(registration));
        }
    }

    fn is_free(&self, registration: usize, pool: usize) -> bool {
        let r = &self.registrations[registration];
        let takes = |c: usize| {
            let c = &self.containers[c];
            c.is_up() && c.job.is_none() && !c.stop_sent
        };
        r.pool == Some(pool) && r.online && !r.deaf && r.gone_at.is_none() && r.container.is_some_and(takes)
    }
}
