//! A repository's queue: the jobs that have not finished, with a few conditional requests per poll.
//!
//! GitHub lists runs by state, and jobs by run. A run's state is that of its least advanced job, so
//! that waiting jobs hide in runs of three states; and jobs that are released by `needs` come into runs
//! that are under way. So the runs of each state are listed, and the jobs of every run that is new, has
//! changed, or has jobs in the queue; of the others in turn.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Client, GithubError,
    endpoint::Endpoint,
    paging::{Cost, List, PageBody, Pages},
    rest::Response,
    workflow_records::{JobsPage, Run, RunsPage},
};
use crate::fleet::{Instant, Job, JobState, Scope, Target};

/// GitHub lists a thousand runs of a state and no more.
const MAX_RUN_PAGES: usize = 10;

/// A matrix has 256 jobs at most; a run can have several.
const MAX_JOB_PAGES: usize = 50;

/// The maximum number of requests for jobs per poll. GitHub's secondary limit is 900 a minute for all that a
/// token does.
const MAX_JOB_REQUESTS: u32 = 200;

/// Runs in which nothing is queued and nothing has changed, whose jobs are requested in one poll.
const QUIET_RUNS: usize = 20;

/// Runs of one poll whose jobs GitHub may fail to list before the poll itself has failed.
const MAX_FAILURES: u32 = 3;

/// Jobs that are remembered of one repository, about; those of further runs are left for later.
const MAX_JOBS: usize = 50_000;

/// Runs of these states wait for an approval or a concurrency limit, and can have queued jobs beside.
const HELD: [&str; 2] = ["waiting", "pending"];

/// How often those are listed.
pub const HELD_RUNS_INTERVAL: Duration = Duration::from_mins(1);

/// GitHub cancels a queued job after this long.
const GIVEN_UP: Duration = Duration::from_hours(24);

/// The queue of one repository, with its state between polls.
pub struct Queue {
    client: Client,
    repository: Scope,
    lists: BTreeMap<&'static str, Pages<Run>>,
    held: Vec<Run>,
    held_listed_at: Option<Instant>,
    runs: BTreeMap<u64, Known>,
}

/// The result of polling a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// When the first request went out.
    pub began: Instant,
    /// The jobs that have not finished.
    pub jobs: Vec<(Job, JobState)>,
    /// Why there may be more; `None` when these are all.
    pub missing: Option<String>,
    /// Requests that it took.
    pub requests: u32,
    /// Those of them that GitHub charged to the rate limit.
    pub charged: u32,
}

/// What is remembered of a run.
struct Known {
    run: Run,
    /// When its jobs were requested, and the state of the run then.
    asked: Option<(Instant, (String, String, u64))>,
    /// Its jobs that are not over.
    pages: Pages<(Job, JobState)>,
}

/// Why a run's jobs are asked for; the first is the most urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    New,
    Changed,
    Queued,
    Quiet,
}

impl Queue {
    /// The queue of a repository, as the client's credential sees it. The repository may be another
    /// than the client's scope, on the same GitHub.
    pub fn new(client: Client, repository: Scope) -> Self {
        Self {
            client,
            repository,
            lists: BTreeMap::new(),
            held: Vec::new(),
            held_listed_at: None,
            runs: BTreeMap::new(),
        }
    }

    /// The repository.
    pub fn repository(&self) -> &Scope {
        &self.repository
    }

    /// Polls the queue; `began` is now. What was read before an error is kept, so that the next poll
    /// continues from there; an error says nothing about any job.
    pub async fn look(&mut self, began: Instant) -> Result<Look, GithubError> {
        let (mut cost, mut missing) = (Cost::default(), None);
        let mut listed: BTreeMap<u64, Run> = BTreeMap::new();
        if self.held_listed_at.is_none_or(|at| began.since(at) >= HELD_RUNS_INTERVAL) {
            let mut held = Vec::new();
            for state in HELD {
                held.extend(self.list(state, &mut cost, &mut missing).await?);
            }
            (self.held, self.held_listed_at) = (held, Some(began));
        }
        listed.extend(self.held.iter().map(|run| (run.id, run.clone())));
        // In this order, since a run mostly goes from one to the other during the poll.
        for state in ["queued", "in_progress"] {
            let runs = self.list(state, &mut cost, &mut missing).await?;
            listed.extend(runs.into_iter().map(|run| (run.id, run)));
        }
        self.runs.retain(|id, _| listed.contains_key(id));
        for (id, run) in listed {
            let fresh = || Known { run: run.clone(), asked: None, pages: Pages::default() };
            self.runs.entry(id).or_insert_with(fresh).run = run.clone();
        }
        self.ask_for_jobs(began, &mut cost, &mut missing).await?;
        let enterprise = match self.client.scope().target() {
            Target::Enterprise { enterprise } => Some(enterprise.clone()),
            _ => None,
        };
        let reported = |(job, state)| (Job { enterprise: enterprise.clone(), ..job }, state);
        let jobs = self.runs.values().flat_map(Known::jobs).map(reported).collect();
        let Cost { requests, charged } = cost;
        Ok(Look { began, jobs, missing, requests, charged })
    }

    async fn list(
        &mut self,
        state: &'static str,
        cost: &mut Cost,
        missing: &mut Option<String>,
    ) -> Result<Vec<Run>, GithubError> {
        let (rest, repository) = (self.client.rest(), &self.repository);
        let path = format!("/actions/runs?status={state}&exclude_pull_requests=true&per_page=100");
        let first = rest.address_in(repository, &path)?;
        let read = |reply: &Response| {
            let wire: RunsPage = reply.answer.json()?;
            let (rows, unreadable) = rest.readable(wire.workflow_runs, "runs", repository);
            let rows = rows.into_iter().map(|row| row.run(repository)).collect();
            Ok(PageBody { total: wire.total_count.unwrap_or_default(), rows, unreadable })
        };
        let list =
            List { rest, endpoint: Endpoint::Runs, of: repository, max_pages: MAX_RUN_PAGES, read: &read };
        let kept = self.lists.entry(state).or_default();
        let Some(walked) = list.walk(first, kept, cost, |_| false).await? else { return Ok(Vec::new()) };
        let runs: Vec<Run> = walked.rows().cloned().collect();
        let total = walked.pages.iter().map(|page| page.total).max().unwrap_or_default();
        let reach = 100 * MAX_RUN_PAGES as u64;
        if walked.cut.is_some() || total > reach {
            *missing = Some(format!("{total} runs are {state}, but GitHub lists no more than {reach}"));
        }
        Ok(runs)
    }

    async fn ask_for_jobs(
        &mut self,
        began: Instant,
        cost: &mut Cost,
        missing: &mut Option<String>,
    ) -> Result<(), GithubError> {
        let mut turns: Vec<(Urgency, Instant, u64)> =
            self.runs.iter().map(|(&id, known)| (known.urgency(began), known.asked_at(), id)).collect();
        turns.sort_unstable();
        let most = cost.requests + MAX_JOB_REQUESTS;
        let full = self.runs.values().map(|known| known.pages.count()).sum::<usize>() >= MAX_JOBS;
        let (mut quiet, mut left, mut failed) = (0, 0, 0);
        for (urgency, _, id) in turns {
            let has_turn = match urgency {
                Urgency::New => !full,
                Urgency::Changed | Urgency::Queued => true,
                Urgency::Quiet => quiet < QUIET_RUNS,
            };
            if cost.requests >= most || !has_turn {
                left += usize::from(urgency != Urgency::Quiet);
                continue;
            }
            quiet += usize::from(urgency == Urgency::Quiet);
            match self.ask_for_jobs_of(id, began, cost).await {
                Ok(()) => {}
                // One run that GitHub fails at must not hide the others.
                Err(error @ GithubError::Failed { .. }) if failed < MAX_FAILURES => {
                    failed += 1;
                    *missing = Some(format!("failed to list the jobs of run {id}: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        if left > 0 {
            *missing = Some(format!("the jobs of {left} runs will be listed by the next poll"));
        }
        Ok(())
    }

    async fn ask_for_jobs_of(&mut self, id: u64, began: Instant, cost: &mut Cost) -> Result<(), GithubError> {
        let (client, rest, repository) = (&self.client, self.client.rest(), &self.repository);
        let Some(known) = self.runs.get_mut(&id) else { return Ok(()) };
        let path = format!("/actions/runs/{id}/jobs?filter=latest&per_page=100");
        let first = rest.address_in(repository, &path)?;
        let read = |reply: &Response| {
            let wire: JobsPage = reply.answer.json()?;
            // As of this response.
            let clock = client.clock();
            let (rows, unreadable) = rest.readable(wire.jobs, "jobs", repository);
            // Those that are over need not be remembered.
            let open = rows
                .into_iter()
                .map(|row| row.job(repository, clock))
                .filter(|(_, state)| *state != JobState::Completed);
            Ok(PageBody { total: wire.total_count.unwrap_or_default(), rows: open.collect(), unreadable })
        };
        let list =
            List { rest, endpoint: Endpoint::Jobs, of: repository, max_pages: MAX_JOB_PAGES, read: &read };
        list.walk(first, &mut known.pages, cost, |_| false).await?;
        known.asked = Some((began, known.run.mark.clone()));
        Ok(())
    }
}

impl Known {
    fn urgency(&self, began: Instant) -> Urgency {
        let Some((_, mark)) = &self.asked else { return Urgency::New };
        let in_the_queue = |(job, state): &(Job, JobState)| {
            *state == JobState::Queued && began.since(job.queued_at) < GIVEN_UP
        };
        if *mark != self.run.mark {
            Urgency::Changed
        } else if self.pages.rows().any(in_the_queue) {
            Urgency::Queued
        } else {
            Urgency::Quiet
        }
    }

    fn asked_at(&self) -> Instant {
        self.asked.as_ref().map_or_else(Instant::default, |(at, _)| *at)
    }

    /// Its jobs, with what the run reports of them.
    fn jobs(&self) -> impl Iterator<Item = (Job, JobState)> {
        self.pages.rows().map(|(job, state)| {
            let (public, workflows) = (self.run.public, self.run.workflows.clone());
            (Job { public, workflows, ..job.clone() }, state.clone())
        })
    }
}
