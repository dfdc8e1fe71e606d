//! Repairs lost webhooks by asking for jobs one by one: those that only a webhook told of, and that nothing
//! has confirmed for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use tokio::time::sleep;
use tracing::{debug, warn};

use super::streak::Streak;
use crate::{
    fleet::{ClockReading, Evidence, Instant, Job, JobId, JobState, PoolName, Scope, Status},
    github::{Client, GithubError},
    host::chain,
};

/// How long what was told of a job is believed.
const BELIEVED: Duration = Duration::from_mins(2);

/// From the end of one round to the next; and at most, while GitHub answers nothing.
const PAUSE: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// Jobs that are asked for at most in one round of a minute: with one credential, 1200 requests an hour.
const ROUND: usize = 20;

/// How long it is remembered whether a repository can be read.
const READABLE: Duration = Duration::from_hours(1);

/// How soon jobs of a repository are asked for again that GitHub did not tell of: after the first failure, and at most.
const RETRY: (Duration, Duration) = (PAUSE, Duration::from_hours(1));

/// Repositories of which that is remembered.
const REPOSITORIES: usize = 1000;

/// A queued job to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
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
/// look at a queue shows is confirmed by that. `clock` is what the status is written by.
pub fn stale(status: &Status, pools: &BTreeSet<PoolName>, clock: ClockReading, now: Instant) -> Vec<Stale> {
    let old = status.jobs.iter().filter(|job| now.since(clock.instant(job.seen_at)) >= BELIEVED);
    let mut old: Vec<Stale> = old
        .filter_map(|job| {
            let pool = job.pool.as_ref().filter(|pool| pools.contains(*pool))?.clone();
            let (repository, seen_at) = (job.facts.repository.clone(), clock.instant(job.seen_at));
            Some(Stale { pool, repository, job: job.id, seen_at })
        })
        .collect();
    old.sort_by_key(|stale| (stale.seen_at, stale.job));
    old
}

/// Asks each minute for the jobs that are stale then, with the client of the scope that their pools are of,
/// and publishes what came. Never ends.
pub async fn watch_jobs(
    client: Client,
    stale: impl Fn(Instant) -> Vec<Stale> + Send + Sync,
    clock: impl Fn() -> Instant + Send + Sync,
    publish: impl Fn(Evidence) + Send + Sync,
) {
    let (mut look_ups, mut streak) = (LookUps::default(), Streak::new(PAUSE, LONGEST_PAUSE));
    loop {
        let look = |of: Stale| {
            let client = client.clone();
            async move { client.job(&of.repository, of.job).await }
        };
        let can_be_seen = |repository: Scope| {
            let client = client.clone();
            async move { client.queue_can_be_seen(&repository).await }
        };
        let mut pause = PAUSE;
        match look_ups.round(stale(clock()), &clock, look, can_be_seen, &publish).await {
            Ok(()) if look_ups.failing.is_empty() => streak.end(),
            Ok(()) => {}
            Err(error) => {
                let stops = stops(&error);
                let (scope, error) = (client.scope(), chain(&error));
                let (first, wait) = streak.fail();
                if first {
                    warn!(
                        %scope, error,
                        "failed to ask for waiting jobs that a webhook told of, so some may be over already; \
                         retrying, less and less often"
                    );
                } else {
                    debug!(%scope, error, "failed to ask for waiting jobs");
                }
                // What fails for one repository must not make the jobs of others wait.
                pause = if stops { wait } else { PAUSE };
            }
        }
        sleep(pause).await;
    }
}

/// Whether GitHub answers nothing now, whatever it is asked.
const fn stops(error: &GithubError) -> bool {
    matches!(error, GithubError::RateLimited { .. } | GithubError::Unreachable(_))
}

/// What is remembered from round to round.
#[derive(Default)]
struct LookUps {
    /// When each of the stale jobs was last asked for, so that those without an answer go to the end.
    asked: BTreeMap<(Scope, JobId), Instant>,
    /// Repositories whose jobs GitHub did not tell of, and when they are asked for again.
    failing: BTreeMap<Scope, (Streak, Instant)>,
    /// Whether a repository can be read, and since when that is known.
    readable: BTreeMap<Scope, (bool, Instant)>,
}

impl LookUps {
    /// Asks for up to twenty jobs, one after the other, and tells what came: how far a job is, or that GitHub
    /// does not have it any more. A job without an answer is left for a later round; a limit, and a GitHub
    /// that cannot be reached, end this one.
    ///
    /// `look` asks for one job, `can_be_seen` for the runs of a repository; `None` is a 404. GitHub answers so
    /// too where the credential may not read, so that of a job only counts in a repository that is readable.
    async fn round<L, S>(
        &mut self,
        mut stale: Vec<Stale>,
        now: impl Fn() -> Instant,
        look: impl Fn(Stale) -> L,
        can_be_seen: impl Fn(Scope) -> S,
        mut tell: impl FnMut(Evidence),
    ) -> Result<(), GithubError>
    where
        L: Future<Output = Result<Option<(Job, JobState)>, GithubError>>,
        S: Future<Output = Result<Option<()>, GithubError>>,
    {
        let key = |stale: &Stale| (stale.repository.clone(), stale.job);
        let current: BTreeSet<(Scope, JobId)> = stale.iter().map(key).collect();
        self.asked.retain(|asked, _| current.contains(asked));
        let concerned: BTreeSet<&Scope> = current.iter().map(|(repository, _)| repository).collect();
        self.failing.retain(|repository, _| concerned.contains(repository));
        let began = now();
        stale.retain(|stale| {
            self.failing.get(&stale.repository).is_none_or(|(_, retry_at)| began >= *retry_at)
        });
        stale.sort_by_cached_key(|stale| {
            let asked_at = self.asked.get(&key(stale)).copied();
            (asked_at.unwrap_or_default().max(stale.seen_at), stale.job)
        });
        let mut ended = Ok(());
        for wanted in stale.into_iter().take(ROUND) {
            let at = now();
            let (repository, id) = (wanted.repository.clone(), wanted.job);
            self.asked.insert(key(&wanted), at);
            let error = match look(wanted).await {
                Ok(Some((job, seen))) => {
                    self.failing.remove(&repository);
                    self.remember(&repository, true, at);
                    tell(Evidence::Job { job, state: seen, at, asked: true });
                    continue;
                }
                Ok(None) => match self.is_readable(&repository, at, &can_be_seen).await {
                    Ok(true) => {
                        tell(Evidence::JobGone { repository, job: id, at });
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
            let fresh = || (Streak::new(RETRY.0, RETRY.1), at);
            let (streak, retry_at) = self.failing.entry(repository).or_insert_with(fresh);
            if at >= *retry_at {
                *retry_at = at + streak.fail().1;
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
                debug!(%repository, error, "the jobs of a repository cannot be asked for");
            } else {
                warn!(
                    %repository, error,
                    "a webhook told of jobs of a repository that cannot be read, so they count until a webhook \
                     says that they are over; give the credential \"Actions: read\" there"
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
mod tests {
    use std::{cell::RefCell, sync::Arc};

    use super::*;
    use crate::fleet::{JobFacts, JobReport, Unmatched};

    const NOW: Instant = Instant::from_millis(1_795_348_800_000);

    type Answer = Result<Option<(Job, JobState)>, GithubError>;

    fn repository() -> Scope {
        "https://github.com/acme/widgets".parse().unwrap()
    }

    fn facts() -> Arc<JobFacts> {
        Arc::new(JobFacts {
            name: "build".to_owned(),
            repository: repository(),
            run_id: 7,
            url: String::new(),
            queued_at: ClockReading::default().timestamp(NOW - Duration::from_mins(9)),
        })
    }

    fn report(id: u64, pool: Option<&str>, seconds: u64) -> JobReport {
        JobReport {
            id: JobId(id),
            facts: facts(),
            labels: vec!["linux".to_owned()],
            pool: pool.map(|pool| pool.parse().unwrap()),
            unmatched: pool.is_none().then_some(Unmatched::ALL[0]),
            seen_at: ClockReading::default().timestamp(NOW - Duration::from_secs(seconds)),
        }
    }

    fn stale_jobs(jobs: Vec<JobReport>) -> Vec<Stale> {
        let pools = BTreeSet::from(["hooked".parse().unwrap()]);
        stale(&Status { jobs, ..Status::default() }, &pools, ClockReading::default(), NOW)
    }

    #[test]
    fn old_news_of_pools_with_webhooks_is_stale_the_oldest_first() {
        let jobs = vec![
            report(1, Some("hooked"), 120),
            report(2, Some("hooked"), 119),
            report(3, Some("hooked"), 500),
            report(4, Some("polled"), 500),
            report(5, None, 500),
        ];
        let ids: Vec<u64> = stale_jobs(jobs).iter().map(|stale| stale.job.0).collect();
        assert_eq!(ids, [3, 1]);
    }

    /// A GitHub that answers for jobs, and shows the repository's runs or does not.
    struct Github<A> {
        look_ups: LookUps,
        answer: A,
        seen: fn() -> Result<Option<()>, GithubError>,
        asked: RefCell<Vec<u64>>,
        looked: RefCell<usize>,
    }

    impl<A: Fn(u64) -> Answer> Github<A> {
        fn new(answer: A) -> Self {
            let (asked, looked) = (RefCell::default(), RefCell::default());
            Self { look_ups: LookUps::default(), answer, seen: || Ok(Some(())), asked, looked }
        }

        /// A round for the jobs 1, 2, …, so long after noon: what is told, how it ends, who was asked.
        fn round(
            &mut self,
            jobs: u64,
            later: Duration,
        ) -> (Vec<Evidence>, Result<(), GithubError>, Vec<u64>) {
            let jobs = (1..=jobs).map(|id| report(id, Some("hooked"), 500)).collect();
            let mut told = Vec::new();
            let ended = {
                let look = |stale: Stale| {
                    self.asked.borrow_mut().push(stale.job.0);
                    std::future::ready((self.answer)(stale.job.0))
                };
                let can_be_seen = |_| {
                    *self.looked.borrow_mut() += 1;
                    std::future::ready((self.seen)())
                };
                let tell = |evidence| told.push(evidence);
                let asking = self.look_ups.round(stale_jobs(jobs), || NOW + later, look, can_be_seen, tell);
                futures_util::FutureExt::now_or_never(asking).unwrap()
            };
            (told, ended, self.asked.take())
        }
    }

    fn job(id: u64) -> Job {
        Job {
            id: JobId(id),
            labels: Vec::new(),
            enterprise: None,
            public: None,
            workflows: Vec::new(),
            queued_at: NOW - Duration::from_mins(9),
            facts: facts(),
        }
    }

    fn gone(id: u64) -> Evidence {
        Evidence::JobGone { repository: repository(), job: JobId(id), at: NOW }
    }

    fn failed() -> GithubError {
        GithubError::Failed { detail: "502".to_owned(), source: None }
    }

    #[test]
    fn what_is_answered_is_told_as_asked_for_whatever_becomes_of_others() {
        let mut github = Github::new(|id| match id {
            1 => Ok(Some((job(1), JobState::Completed))),
            2 => Err(GithubError::Refused("403".to_owned())),
            3 => Err(failed()),
            _ => Ok(None),
        });
        let (told, ended, _) = github.round(4, Duration::ZERO);
        let completed = Evidence::Job { job: job(1), state: JobState::Completed, at: NOW, asked: true };
        assert_eq!(told, [completed, gone(4)]);
        assert!(matches!(ended, Err(GithubError::Refused(_))), "it is said, and the others are asked for");
        assert_eq!(github.looked.take(), 0, "a job was seen there, so the repository is readable");
    }

    #[test]
    fn a_404_is_no_end_of_a_job_where_nothing_can_be_read() {
        let mut github = Github::new(|_| Ok(None));
        github.seen = || Ok(None);
        let (told, ended, asked) = github.round(3, Duration::ZERO);
        assert!(told.is_empty() && ended.is_ok() && asked.len() == 3, "{told:?}");
        assert_eq!(*github.looked.borrow(), 1, "the repository is looked at once");
        github.seen = || Ok(Some(()));
        assert!(github.round(3, Duration::from_mins(59)).0.is_empty());
        let (told, ..) = github.round(3, Duration::from_hours(1));
        assert_eq!((told.len(), *github.looked.borrow()), (3, 2), "and again after an hour");

        let mut github = Github::new(|_| Ok(None));
        github.seen = || Err(failed());
        let (told, ended, _) = github.round(1, Duration::ZERO);
        assert!(told.is_empty() && ended.is_err());
        github.seen = || Ok(Some(()));
        let (told, ..) = github.round(1, Duration::from_mins(1));
        assert_eq!(told.len(), 1, "a failure says nothing of the repository");
    }

    #[test]
    fn what_is_remembered_of_repositories_is_bounded() {
        let mut look_ups = LookUps::default();
        for at in 0..=REPOSITORIES as u64 {
            let repository: Scope = format!("https://github.com/acme/r{at}").parse().unwrap();
            look_ups.remember(&repository, true, Instant::from_millis(at));
        }
        assert_eq!(look_ups.readable.len(), REPOSITORIES);
        assert!(
            !look_ups.readable.values().any(|(_, since)| *since == Instant::default()),
            "the oldest goes"
        );
    }

    #[test]
    fn a_limit_ends_the_round() {
        let mut github = Github::new(|_| Err(GithubError::RateLimited { wait: Duration::ZERO }));
        let (told, ended, asked) = github.round(2, Duration::ZERO);
        assert!(told.is_empty() && matches!(ended, Err(GithubError::RateLimited { .. })));
        assert_eq!(asked, [1]);
    }

    #[test]
    fn a_repository_that_is_refused_is_asked_less_and_less_often() {
        let mut github = Github::new(|_| Err(GithubError::Refused("403".to_owned())));
        let asked_at = (0..300).filter(|minute| !github.round(2, Duration::from_mins(*minute)).2.is_empty());
        assert_eq!(asked_at.collect::<Vec<_>>(), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        let _ = github.round(0, Duration::from_hours(6));
        assert!(github.look_ups.failing.is_empty(), "what nobody waits for is forgotten");
    }

    #[test]
    fn jobs_without_an_answer_do_not_keep_the_others_from_their_turn() {
        let mut github = Github::new(|_| Err(GithubError::Refused("403".to_owned())));
        let all = ROUND as u64 + 5;
        let (_, _, asked) = github.round(all, Duration::ZERO);
        assert_eq!(asked.len(), ROUND, "a round is bounded");
        let (_, _, asked) = github.round(all, Duration::from_mins(1));
        assert_eq!(asked[..5], [21, 22, 23, 24, 25]);
        let _ = github.round(3, Duration::from_mins(2));
        assert_eq!(github.look_ups.asked.len(), 3, "only those that are stale are remembered");
    }
}
