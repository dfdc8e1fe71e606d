//! Scale sets: sessions that are taken, lost and opened again, and messages with statistics that are
//! late or, for a while, wrong.

use dayfly_fleet::{Evidence, Instant, Job as FleetJob, Source as FleetSource, TroubleKind};

use crate::{
    setting::{SECOND, Source},
    world::{Happening, World, note},
};

/// How long a poll waits for a message.
const POLL: u64 = 50 * SECOND;

/// A scale set as GitHub has it.
#[derive(Default)]
pub(crate) struct Set {
    open: bool,
    /// A message is on its way.
    coming_at: Option<u64>,
    /// Runners and jobs that began, and runners whose jobs have finished, that have not been reported yet.
    started: Vec<(String, usize)>,
    over: Vec<String>,
    /// The last report.
    pub(crate) reported: u32,
    told_at: u64,
}

impl World {
    pub(crate) fn is_set(&self, pool: usize) -> bool {
        self.setting.pools[pool].source == Source::ScaleSet && !self.setting.pools[pool].gone
    }

    /// Jobs that are queued or run.
    fn assigned(&mut self, pool: usize) -> u32 {
        let now = self.now;
        let counts = |job: &&usize| {
            let job = &self.jobs[**job];
            job.pool == Some(pool) && job.ended_at.is_none() && job.queued_at <= now
        };
        let truth = self.open.iter().flatten().filter(counts).count();
        let phantoms = if self.under.phantom[pool] > 0 { 3 } else { 0 };
        u32::try_from(truth).expect("few") + phantoms
    }

    pub(crate) fn open_session(&mut self, pool: usize) {
        if !self.is_set(pool) {
            return;
        }
        self.sets[pool].open = false;
        let kind = if self.under.session_taken[pool] > 0 {
            self.met.insert("a session is taken");
            Some(TroubleKind::SessionTaken)
        } else if self.is_unreachable(self.setting.pools[pool].scope)
            || self.fails(self.setting.faults.github)
        {
            Some(TroubleKind::GithubFailed)
        } else {
            None
        };
        self.tell_source(pool, FleetSource::ScaleSet, kind);
        if kind.is_some() {
            let delay = self.random.within(5 * SECOND, 30 * SECOND);
            self.after(delay, Happening::OpenSession(pool, self.life));
            return;
        }
        note!(self, "world: a session of {} is open", self.setting.pools[pool].pool.name);
        // What happened before is in the statistics alone.
        let set = &mut self.sets[pool];
        set.open = true;
        set.coming_at = None;
        set.started.clear();
        set.over.clear();
        self.tell_assigned(pool);
        if self.fails(100) {
            let delay = self.random.within(SECOND, 300 * SECOND);
            self.after(delay, Happening::LoseSession(pool, self.life));
        }
    }

    pub(crate) fn lose_session(&mut self, pool: usize) {
        if self.sets[pool].open && self.alive {
            self.met.insert("a session is lost");
            self.sets[pool].open = false;
            let delay = self.random.within(0, 60 * SECOND);
            self.after(delay, Happening::OpenSession(pool, self.life));
        }
    }

    fn tell_assigned(&mut self, pool: usize) {
        let jobs = self.assigned(pool);
        (self.sets[pool].reported, self.sets[pool].told_at) = (jobs, self.now);
        let name = self.setting.pools[pool].pool.name.clone();
        self.tell(Evidence::Assigned { pool: name, jobs: Some(jobs), at: Instant::from_millis(self.now) });
        self.after(POLL, Happening::SetSilence(pool, self.life));
    }

    /// A poll ended without a message: the last report is still valid.
    pub(crate) fn set_silence(&mut self, pool: usize) {
        let set = &self.sets[pool];
        if set.open && set.told_at + POLL <= self.now && set.coming_at.is_none() {
            let (name, jobs) = (self.setting.pools[pool].pool.name.clone(), set.reported);
            self.sets[pool].told_at = self.now;
            self.tell(Evidence::Assigned {
                pool: name,
                jobs: Some(jobs),
                at: Instant::from_millis(self.now),
            });
            self.after(POLL, Happening::SetSilence(pool, self.life));
        }
    }

    /// There is something to report.
    pub(crate) fn set_changes(&mut self, pool: usize) {
        let delay = self.random.within(20, 2 * SECOND);
        self.set_tells(pool, delay);
    }

    fn set_tells(&mut self, pool: usize, delay: u64) {
        let at = self.now + delay;
        if self.is_set(pool)
            && self.sets[pool].open
            && self.sets[pool].coming_at.is_none_or(|coming| at < coming)
        {
            self.sets[pool].coming_at = Some(at);
            self.at(at, Happening::SetNews(pool, self.life));
        }
    }

    pub(crate) fn set_started(&mut self, job: usize) {
        if let (Some(pool), Some(runner)) = (self.jobs[job].pool, self.jobs[job].runner.clone()) {
            self.sets[pool].started.push((runner, job));
            // A start is reported only with the next poll.
            let delay = self.random.within(0, POLL);
            self.set_tells(pool, delay);
        }
    }

    pub(crate) fn set_over(&mut self, job: usize) {
        if let Some(pool) = self.jobs[job].pool {
            let runner = self.jobs[job].runner.clone();
            self.sets[pool].over.extend(runner);
            self.set_changes(pool);
        }
    }

    /// A message arrives.
    pub(crate) fn set_news(&mut self, pool: usize) {
        let now = self.now;
        let set = &mut self.sets[pool];
        if !set.open || set.coming_at.is_none_or(|at| at > now) {
            return;
        }
        set.coming_at = None;
        if self.is_unreachable(self.setting.pools[pool].scope) {
            return self.set_changes(pool);
        }
        let (started, over) = {
            let set = &mut self.sets[pool];
            (std::mem::take(&mut set.started), std::mem::take(&mut set.over))
        };
        if self.under.phantom[pool] > 0 {
            self.met.insert("statistics tell of phantoms");
        }
        let copies = if self.random.chance(30) { 2 } else { 1 };
        for _ in 0..copies {
            self.tell_assigned(pool);
            for (runner, job) in &started {
                let FleetJob { facts, queued_at, .. } = self.job(*job);
                self.tell(Evidence::Took { runner: runner.clone(), facts, queued_at });
            }
            for runner in &over {
                self.tell(Evidence::JobOver { runner: runner.clone() });
            }
        }
    }
}
