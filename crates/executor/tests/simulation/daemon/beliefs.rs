//! What was reported to the daemon about jobs in this life, and so the most that it may believe to be wanted.
//! Written apart from the core, and simpler: it never believes less than the core may.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_fleet::{Evidence, Instant, Job, JobId, JobState, Source, TroubleKind, Unmatched};

use crate::world::World;

/// How long a list may lack what is new.
const LIST_LAG: u64 = 10_000;

#[derive(Default)]
pub(crate) struct Beliefs {
    jobs: BTreeMap<usize, Belief>,
    /// Per pool, the jobs assigned to its scale set.
    assigned: BTreeMap<usize, u32>,
    taken: BTreeSet<usize>,
    unmatched: BTreeSet<(JobId, Unmatched)>,
    /// Jobs that a webhook said are queued.
    hints: Vec<Job>,
}

/// What was reported about a job.
#[derive(Default)]
struct Belief {
    queued: bool,
    /// Or over, or missing where it should have been.
    begun: bool,
    told_at: u64,
}

impl Beliefs {
    pub(crate) fn learn(&mut self, evidence: &Evidence, world: &World) {
        match evidence {
            Evidence::Queue { repository, began, jobs } => {
                let began = began.as_millis();
                for (job, state) in jobs {
                    self.reported(job, state, began, true);
                }
                let shown: BTreeSet<JobId> = jobs.iter().map(|(job, _)| job.id).collect();
                let at = world.setting.repositories.iter().position(|other| other == repository);
                let missing = |job: usize| {
                    Some(world.jobs[job].repository) == at && !shown.contains(&JobId(job as u64))
                };
                for (&job, belief) in &mut self.jobs {
                    if began >= belief.told_at + LIST_LAG && missing(job) {
                        (belief.queued, belief.begun) = (false, true);
                    }
                }
                // If a poll shows it again, it is reported again.
                self.unmatched.retain(|(job, _)| !missing(usize::try_from(job.0).expect("ours")));
            }
            Evidence::Job { job, state, at, asked } => {
                if !asked && *state == JobState::Queued {
                    self.hints.push(job.clone());
                }
                self.reported(job, state, at.as_millis(), *asked);
            }
            Evidence::JobGone { job, .. } => {
                let belief = self.jobs.entry(usize::try_from(job.0).expect("ours")).or_default();
                (belief.queued, belief.begun) = (false, true);
            }
            Evidence::Assigned { pool, jobs, .. } => {
                if let Some(pool) = index_of(world, pool.as_str()) {
                    match jobs {
                        Some(jobs) => self.assigned.insert(pool, *jobs),
                        None => self.assigned.remove(&pool),
                    };
                }
            }
            Evidence::Source { pool, source: Source::ScaleSet, trouble } => {
                let Some(pool) = index_of(world, pool.as_str()) else { return };
                if trouble.as_ref().is_some_and(|trouble| trouble.kind == TroubleKind::SessionTaken) {
                    self.taken.insert(pool);
                } else {
                    self.taken.remove(&pool);
                }
            }
            _ => {}
        }
    }

    fn reported(&mut self, job: &Job, state: &JobState, at: u64, asked: bool) {
        let index = usize::try_from(job.id.0).expect("ours");
        let belief = self.jobs.entry(index).or_default();
        belief.told_at = belief.told_at.max(at);
        match state {
            JobState::Waiting => belief.begun &= !asked,
            // A webhook about what began or ended before is late.
            JobState::Queued => {
                belief.begun &= !asked;
                belief.queued |= !belief.begun;
            }
            JobState::InProgress { .. } | JobState::Completed => {
                (belief.queued, belief.begun) = (false, true);
            }
        }
    }

    /// Runners that may be wanted for jobs of a pool, or of one that it could stand in for.
    pub(crate) fn wanted(&self, world: &World, pool: usize) -> u32 {
        if let Some(assigned) = self.assigned.get(&pool) {
            return *assigned;
        }
        let serves = &world.setting.pools[pool].serves;
        let queued = self.jobs.iter().filter(|(job, belief)| {
            belief.queued && world.jobs[**job].pool.is_some_and(|pool| serves.contains(&pool))
        });
        u32::try_from(queued.count()).expect("few")
    }

    pub(crate) fn session_taken(&self, pool: usize) -> bool {
        self.taken.contains(&pool)
    }

    /// Whether that was not reported before.
    pub(crate) fn is_first(&mut self, job: JobId, reason: Unmatched) -> bool {
        self.unmatched.insert((job, reason))
    }

    /// A webhook that came before, once more.
    pub(crate) fn a_hint(&self, which: u64, at: Instant) -> Option<Evidence> {
        let last = &self.hints[self.hints.len().saturating_sub(20)..];
        let job = last.get(usize::try_from(which % 20).expect("few"))?.clone();
        Some(Evidence::Job { job, state: JobState::Queued, at, asked: false })
    }
}

fn index_of(world: &World, pool: &str) -> Option<usize> {
    world.setting.pools.iter().position(|other| other.pool.name.as_str() == pool)
}
