//! Repairs lost webhooks by requesting jobs individually: those that only a webhook reported, and that nothing
//! has confirmed for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::{
    backoff::Backoff,
    clock,
    demand::Publisher,
    fleet::{Evidence, Instant, Job, JobId, JobState, PoolName, Scope, Status},
    github::{Client, GithubError},
    text::chain,
};

/// How long a report of a job is believed.
const BELIEVED: Duration = Duration::from_mins(2);

/// From the end of one round to the next; and at most, while GitHub answers nothing.
pub const ROUND_INTERVAL: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Jobs that are requested at most in one round of a minute: with one credential, 1200 requests an hour.
pub const JOBS_A_ROUND: usize = 20;

/// How long it is cached whether a repository can be read.
const READABLE: Duration = Duration::from_hours(1);

/// How soon jobs of a repository are requested again that GitHub did not return: after the first failure, and at most.
const RETRY: (Duration, Duration) = (ROUND_INTERVAL, Duration::from_hours(1));

/// Repositories of which that is remembered.
const REPOSITORIES: usize = 1000;

/// A queued job to be requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnconfirmedJob {
    /// The pool that it is demand of; its credential may see it.
    pub pool: PoolName,
    /// Its repository.
    pub repository: Scope,
    /// The job.
    pub job: JobId,
    /// When it was last confirmed.
    pub seen_at: Instant,
}

/// The queued jobs of these pools that nothing has confirmed for two minutes, the oldest news first. What a
/// poll of a queue shows is confirmed by that.
pub(super) fn unconfirmed_jobs(
    status: &Status,
    pools: &BTreeSet<PoolName>,
    now: Instant,
) -> Vec<UnconfirmedJob> {
    let clock = status.planned.unwrap_or_default();
    let old = status.jobs.iter().filter(|job| now.since(clock.instant(job.seen_at)) >= BELIEVED);
    let mut old: Vec<UnconfirmedJob> = old
        .filter_map(|job| {
            let pool = job.pool.as_ref().filter(|pool| pools.contains(*pool))?.clone();
            let (repository, seen_at) = (job.facts.repository.clone(), clock.instant(job.seen_at));
            Some(UnconfirmedJob { pool, repository, job: job.id, seen_at })
        })
        .collect();
    old.sort_by_key(|job| (job.seen_at, job.job));
    old
}

/// Requests the jobs that are unconfirmed each minute, with the client of the scope that their pools are of,
/// and publishes what came. Never ends.
pub async fn watch_unconfirmed_jobs(
    client: Client,
    unconfirmed: impl Fn(Instant) -> Vec<UnconfirmedJob> + Send + Sync,
    publisher: Publisher,
) {
    let (mut requests, mut backoff) = (JobRequests::default(), Backoff::new(ROUND_INTERVAL, LONGEST_PAUSE));
    let publish = |evidence| publisher.publish(evidence);
    loop {
        let request = |of: UnconfirmedJob| {
            let client = client.clone();
            async move { client.job(&of.repository, of.job).await }
        };
        let can_be_seen = |repository: Scope| {
            let client = client.clone();
            async move { client.queue_can_be_seen(&repository).await }
        };
        let mut pause = ROUND_INTERVAL;
        match requests.round(unconfirmed(clock::now()), clock::now, request, can_be_seen, publish).await {
            Ok(()) if requests.failing.is_empty() => {
                backoff.reset();
            }
            Ok(()) => {}
            Err(error) => {
                let stops = stops(&error);
                let (scope, error) = (client.scope(), chain(&error));
                let wait = backoff.fail();
                if backoff.failures() == 1 {
                    warn!(
                        %scope, error,
                        "failed to look up queued jobs that are known from webhooks, so some may have \
                         finished already; retrying with increasing delays"
                    );
                } else {
                    debug!(%scope, error, "failed to look up queued jobs");
                }
                // What fails for one repository must not make the jobs of others wait.
                pause = if stops { wait } else { ROUND_INTERVAL };
            }
        }
        sleep(pause).await;
    }
}

/// Whether GitHub responds to no request at all now.
const fn stops(error: &GithubError) -> bool {
    matches!(error, GithubError::RateLimited { .. } | GithubError::Unreachable(_))
}

/// What is remembered from round to round.
#[derive(Default)]
struct JobRequests {
    /// When each of the unconfirmed jobs was last requested, so that those without a response go to the end.
    requested: BTreeMap<(Scope, JobId), Instant>,
    /// Repositories whose jobs GitHub did not return, and when they are requested again.
    failing: BTreeMap<Scope, (Backoff, Instant)>,
    /// Whether a repository can be read, and since when that is known.
    readable: BTreeMap<Scope, (bool, Instant)>,
}

impl JobRequests {
    /// Requests up to twenty jobs, one after the other, and publishes what came: how far a job is, or that it was
    /// deleted on GitHub. A job without an answer is left for a later round; a limit, and a GitHub that
    /// cannot be reached, end this one.
    ///
    /// `request` requests one job, `can_be_seen` for the runs of a repository; `None` is a 404. GitHub answers so
    /// too where the credential may not read, so that of a job only counts in a repository that is readable.
    async fn round<L, S>(
        &mut self,
        mut jobs: Vec<UnconfirmedJob>,
        now: impl Fn() -> Instant,
        request: impl Fn(UnconfirmedJob) -> L,
        can_be_seen: impl Fn(Scope) -> S,
        mut publish: impl FnMut(Evidence),
    ) -> Result<(), GithubError>
    where
        L: Future<Output = Result<Option<(Job, JobState)>, GithubError>>,
        S: Future<Output = Result<Option<()>, GithubError>>,
    {
        let key = |job: &UnconfirmedJob| (job.repository.clone(), job.job);
        let current: BTreeSet<(Scope, JobId)> = jobs.iter().map(key).collect();
        self.requested.retain(|requested, _| current.contains(requested));
        let concerned: BTreeSet<&Scope> = current.iter().map(|(repository, _)| repository).collect();
        self.failing.retain(|repository, _| concerned.contains(repository));
        let began = now();
        jobs.retain(|job| self.failing.get(&job.repository).is_none_or(|(_, retry_at)| began >= *retry_at));
        jobs.sort_by_cached_key(|job| {
            let requested_at = self.requested.get(&key(job)).copied();
            (requested_at.unwrap_or_default().max(job.seen_at), job.job)
        });
        let mut ended = Ok(());
        for wanted in jobs.into_iter().take(JOBS_A_ROUND) {
            let at = now();
            let (repository, id) = (wanted.repository.clone(), wanted.job);
            self.requested.insert(key(&wanted), at);
            let error = match request(wanted).await {
                Ok(Some((job, seen))) => {
                    self.failing.remove(&repository);
                    self.remember(&repository, true, at);
                    publish(Evidence::Job { job, state: seen, at, asked: true });
                    continue;
                }
                Ok(None) => match self.is_readable(&repository, at, &can_be_seen).await {
                    Ok(true) => {
                        publish(Evidence::JobGone { repository, job: id, at });
                        continue;
                    }
                    Ok(false) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if stops(&error) {
                return Err(error);
            }
            // Of this job or its repository alone: others may be seen.
            let fresh = || (Backoff::new(RETRY.0, RETRY.1), at);
            let (backoff, retry_at) = self.failing.entry(repository).or_insert_with(fresh);
            if at >= *retry_at {
                *retry_at = at + backoff.fail();
            }
            ended = ended.and(Err(error));
        }
        ended
    }

    /// Whether a 404 within a repository means what it says.
    async fn is_readable<S>(
        &mut self,
        repository: &Scope,
        at: Instant,
        can_be_seen: impl Fn(Scope) -> S,
    ) -> Result<bool, GithubError>
    where
        S: Future<Output = Result<Option<()>, GithubError>>,
    {
        let known = self.readable.get(repository).copied();
        if let Some((readable, since)) = known
            && at.since(since) < READABLE
        {
            return Ok(readable);
        }
        let seen = can_be_seen(repository.clone()).await;
        let readable = match &seen {
            Ok(seen) => seen.is_some(),
            Err(GithubError::Refused(_)) => false,
            Err(_) => return seen.map(|_| false),
        };
        if !readable {
            let error = seen.err().map_or_else(|| "GitHub answers 404".to_owned(), |error| chain(&error));
            if let Some((false, _)) = known {
                debug!(%repository, error, "failed to look up the jobs of a repository");
            } else {
                warn!(
                    %repository, error,
                    "a webhook reported jobs of a repository that cannot be read, so they count as queued \
                     until a webhook reports that they have finished; give the credential \"Actions: read\" \
                     there"
                );
            }
        }
        self.remember(repository, readable, at);
        Ok(readable)
    }

    fn remember(&mut self, repository: &Scope, readable: bool, at: Instant) {
        if self.readable.len() >= REPOSITORIES && !self.readable.contains_key(repository) {
            let oldest = self.readable.iter().min_by_key(|(_, (_, since))| *since);
            if let Some(oldest) = oldest.map(|(repository, _)| repository.clone()) {
                self.readable.remove(&oldest);
            }
        }
        self.readable.insert(repository.clone(), (readable, at));
    }
}

#[cfg(test)]
mod tests;
