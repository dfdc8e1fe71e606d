//! How reports of jobs reach the daemon: polls of queues, webhooks, lookups of single jobs, and the policies
//! of runner groups. Late, twice, out of order, incomplete, or not at all.

use std::collections::BTreeMap;

use dayfly_fleet::{
    Evidence, GroupPolicy, Instant, JobState, Source as FleetSource, Target, Trouble, TroubleKind, Visibility,
};

use crate::{
    setting::{MINUTE, SECOND},
    world::{Happening, World, note},
};

/// How far a list of jobs may lag behind.
const LIST_LAGS: u64 = 5 * SECOND;

/// How often queues are polled.
const INTERVAL: u64 = 10 * SECOND;

/// What the sources have in flight or have reported.
pub(crate) struct Sources {
    /// When the poll of each repository's queue began.
    looking: Vec<u64>,
    /// What the last one reported, to repeat it.
    pub(crate) last_look: Vec<Option<Evidence>>,
    /// When GitHub was asked for which job.
    asked: BTreeMap<usize, u64>,
    /// Webhooks that were not received.
    lost: Vec<(usize, u8)>,
    /// Webhooks on their way.
    pub(crate) hints_coming: usize,
}

impl Sources {
    pub(crate) fn of(repositories: usize) -> Self {
        Self {
            looking: vec![0; repositories],
            last_look: vec![None; repositories],
            asked: BTreeMap::new(),
            lost: Vec::new(),
            hints_coming: 0,
        }
    }
}

impl World {
    /// A daemon begins: it knows nothing, and polls.
    pub(crate) fn begin_sources(&mut self) {
        let life = self.life;
        self.sources.last_look.fill(None);
        self.sources.asked.clear();
        for repository in 0..self.setting.repositories.len() {
            let delay = self.random.within(0, 2 * SECOND);
            self.after(delay, Happening::LookQueue(repository, life));
        }
        for scope in 0..self.setting.scopes.len() {
            let delay = self.random.within(0, 2 * SECOND);
            self.after(delay, Happening::TellGroups(scope, life));
        }
        self.after(30 * SECOND, Happening::Repair(life));
        for pool in 0..self.setting.pools.len() {
            let delay = self.random.within(0, 2 * SECOND);
            self.after(delay, Happening::OpenSession(pool, life));
        }
        // A webhook that was not received may be delivered again, from the delivery log.
        let lost = std::mem::take(&mut self.sources.lost);
        if self.random.chance(500) {
            for (job, rank) in lost {
                self.met.insert("a webhook is delivered again");
                let delay = self.random.within(5 * SECOND, 2 * MINUTE);
                self.sources.hints_coming += 1;
                self.after(delay, Happening::Hint(job, rank));
            }
        }
    }

    /// GitHub sends a webhook, unless it does not.
    pub(crate) fn send_hint(&mut self, job: usize, rank: u8) {
        let repository = self.jobs[job].repository;
        let hears = |(pool, setting): (usize, &crate::setting::PoolSetting)| {
            setting.source.hears() && !setting.gone && self.setting.covers(pool, repository)
        };
        if !self.setting.pools.iter().enumerate().any(hears) {
            return;
        }
        if self.random.chance(100) {
            self.met.insert("a webhook is lost");
            return;
        }
        let copies = if self.random.chance(80) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = match self.random.index(15) {
                0 => self.random.within(2 * SECOND, 4 * MINUTE),
                _ => self.random.within(50, 2 * SECOND),
            };
            self.sources.hints_coming += 1;
            self.after(delay, Happening::Hint(job, rank));
        }
        if copies == 2 {
            self.met.insert("a webhook comes twice");
        }
    }

    /// A webhook arrives.
    pub(crate) fn hint(&mut self, job: usize, rank: u8) {
        self.sources.hints_coming -= 1;
        if !self.alive {
            self.sources.lost.push((job, rank));
            return;
        }
        let state = match rank {
            0 => JobState::Waiting,
            1 => JobState::Queued,
            2 => JobState::InProgress { runner: self.jobs[job].runner.clone() },
            _ => JobState::Completed,
        };
        if self.jobs[job].state_at(self.now).is_some_and(|truth| truth != state) {
            self.met.insert("a webhook is overtaken");
        }
        let (job, at) = (self.job(job), self.instant());
        self.tell(Evidence::Job { job, state, at, asked: false });
    }

    /// The pools whose demand comes from polls of a repository.
    fn lookers(&self, repository: usize) -> Vec<usize> {
        let looks = |&pool: &usize| {
            let setting = &self.setting.pools[pool];
            setting.source.looks() && !setting.gone && self.setting.covers(pool, repository)
        };
        (0..self.setting.pools.len()).filter(looks).collect()
    }

    pub(crate) fn look_at_queue(&mut self, repository: usize) {
        if self.lookers(repository).is_empty() {
            return;
        }
        self.sources.looking[repository] = self.now;
        let takes = match self.random.index(10) {
            0 => self.random.within(SECOND, 20 * SECOND),
            _ => self.random.within(100, 2 * SECOND),
        };
        self.after(takes, Happening::QueueAnswer(repository, self.life));
    }

    /// All pages of a poll have arrived, or the poll failed.
    pub(crate) fn queue_answers(&mut self, repository: usize) {
        self.after(INTERVAL, Happening::LookQueue(repository, self.life));
        let pools = self.lookers(repository);
        let down = pools.iter().any(|&pool| self.is_unreachable(self.setting.pools[pool].scope));
        if down || self.fails(self.setting.faults.github) {
            self.met.insert("a look at a queue fails");
            for pool in pools {
                self.tell_source(pool, FleetSource::Queue, Some(TroubleKind::GithubFailed));
            }
            return;
        }
        let (began, now) = (self.sources.looking[repository], self.now);
        let mut open = std::mem::take(&mut self.open[repository]);
        open.retain(|&job| self.jobs[job].ended_at.is_none_or(|ended| ended + MINUTE > now));
        let mut jobs = Vec::new();
        for &job in &open {
            // Each page is of another moment, and a list lags.
            let page = self.random.within(began, now);
            let lag = if self.random.chance(300) { self.random.within(0, LIST_LAGS) } else { 0 };
            match self.jobs[job].state_at(page - lag) {
                None | Some(JobState::Completed) => {}
                Some(_) if self.fails(self.setting.faults.short_lists) => {
                    self.met.insert("a look misses a job");
                }
                Some(state) => jobs.push((self.job(job), state)),
            }
        }
        self.open[repository] = open;
        let began = Instant::from_millis(began);
        let evidence =
            Evidence::Queue { repository: self.setting.repositories[repository].clone(), began, jobs };
        self.sources.last_look[repository] = Some(evidence.clone());
        self.tell(evidence);
        for pool in pools {
            self.tell_source(pool, FleetSource::Queue, None);
        }
    }

    /// One of the last polls once more: as a set it is the same in any order, and with duplicates.
    pub(crate) fn a_look_again(&self, which: u64) -> Option<Evidence> {
        let looks = &self.sources.last_look;
        let index = usize::try_from(which % looks.len() as u64).expect("few");
        let mut again = looks[index].clone()?;
        if let Evidence::Queue { jobs, .. } = &mut again {
            jobs.reverse();
            jobs.extend_from_within(..jobs.len().min(3));
        }
        Some(again)
    }

    /// GitHub is asked for one job.
    pub(crate) fn look_up(&mut self, job: usize) {
        if self.sources.asked.contains_key(&job) {
            return;
        }
        self.sources.asked.insert(job, self.now);
        let takes = self.random.within(50, 3 * SECOND);
        self.after(takes, Happening::LookedUp(job, self.life));
    }

    pub(crate) fn looked_up(&mut self, job: usize) {
        let Some(began) = self.sources.asked.remove(&job) else { return };
        let scope = self
            .setting
            .pools
            .iter()
            .enumerate()
            .find(|(pool, _)| self.setting.covers(*pool, self.jobs[job].repository));
        let down = scope.is_some_and(|(_, setting)| self.is_unreachable(setting.scope));
        if down || self.fails(self.setting.faults.github) {
            return;
        }
        let at = Instant::from_millis(began);
        let repository = self.setting.repositories[self.jobs[job].repository].clone();
        let page = self.random.within(began, self.now);
        match self.jobs[job].state_at(page) {
            Some(JobState::Completed) if self.random.chance(300) => {
                self.met.insert("a job is gone when it is asked for");
                let job = self.job(job).id;
                self.tell(Evidence::JobGone { repository, job, at });
            }
            Some(state) => {
                self.met.insert("a job is asked for");
                let job = self.job(job);
                self.tell(Evidence::Job { job, state, at, asked: true });
            }
            None => {}
        }
    }

    pub(crate) fn is_unreachable(&self, scope: usize) -> bool {
        self.under.scope_down[scope] > 0
            || self.under.scope_refuses[scope] > 0
            || self.now < self.under.limited_until[scope]
    }

    pub(crate) fn tell_source(&mut self, pool: usize, source: FleetSource, kind: Option<TroubleKind>) {
        let trouble =
            kind.map(|kind| Trouble { kind, retry_after: None, detail: "it was made to fail".to_owned() });
        let pool = self.setting.pools[pool].pool.name.clone();
        self.tell(Evidence::Source { pool, source, trouble });
    }

    /// The one repository that a closed group does not admit.
    fn shut_out(&self, scope: usize) -> Option<usize> {
        if matches!(self.setting.scopes[scope].target(), Target::Repository { .. }) {
            return None;
        }
        let first = format!("{}/one", self.setting.scopes[scope]);
        self.setting.repositories.iter().position(|repository| repository.as_str() == first)
    }

    /// Whether the runners of a scope may serve a repository now.
    pub(crate) fn admits(&self, scope: usize, repository: usize) -> bool {
        self.under.group_closed[scope] == 0 || self.shut_out(scope) != Some(repository)
    }

    pub(crate) fn tell_groups(&mut self, scope: usize) {
        let Some(shut) = self.shut_out(scope) else { return };
        let all = self.setting.repositories.iter().enumerate();
        let visibility = if self.under.group_closed[scope] > 0 {
            self.met.insert("a group is closed");
            Visibility::Selected(all.filter(|(index, _)| *index != shut).map(|(_, r)| r.clone()).collect())
        } else {
            Visibility::All
        };
        let group = GroupPolicy {
            name: "Default".to_owned(),
            default: true,
            visibility,
            allows_public: false,
            workflows: None,
        };
        note!(self, "world: the groups of {} are read", self.setting.scopes[scope]);
        let scope = self.setting.scopes[scope].clone();
        self.tell(Evidence::Groups { scope, groups: vec![group] });
    }
}
