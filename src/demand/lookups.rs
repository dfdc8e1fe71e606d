//! Repairs lost webhooks by asking for jobs one by one: those that only a webhook told of, and that nothing
//! has confirmed for a while.

use std::{collections::BTreeSet, future::Future, time::Duration};

use tokio::time::sleep;
use tracing::{debug, warn};

use crate::{
    fleet::{Evidence, Job, JobId, JobState, PoolName, Scope, Status, Timestamp},
    github::{Client, GithubError},
    host::chain,
};

/// How long what was told of a job is believed.
const BELIEVED: Duration = Duration::from_mins(2);

/// From the end of one round to the next.
const PAUSE: Duration = Duration::from_mins(1);

/// Jobs that are asked for at most in one round of a minute: with one credential, 1200 requests an hour.
const ROUND: usize = 20;

/// A queued job to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The pool that it is demand of; its credential may see it.
    pub pool: PoolName,
    /// Its repository.
    pub repository: Scope,
    /// The job.
    pub job: JobId,
}

/// The queued jobs of these pools that nothing has confirmed for two minutes, the oldest news first. Pools
/// whose queues are looked at have no need of it.
pub fn stale(status: &Status, pools: &BTreeSet<PoolName>, now: Timestamp) -> Vec<Stale> {
    let old = status.jobs.iter().filter(|job| now.since(job.seen_at) >= BELIEVED);
    let mut old: Vec<_> = old
        .filter_map(|job| {
            let pool = job.pool.as_ref().filter(|pool| pools.contains(*pool))?.clone();
            Some((job.seen_at, Stale { pool, repository: job.facts.repository.clone(), job: job.id }))
        })
        .collect();
    old.sort_by_key(|(seen_at, stale)| (*seen_at, stale.job));
    old.into_iter().map(|(_, stale)| stale).collect()
}

/// Asks each minute for the jobs that are stale then, with the client of the scope that their pools are of,
/// and publishes what came. Never ends.
pub async fn watch_jobs(
    client: Client,
    stale: impl Fn(Timestamp) -> Vec<Stale> + Send + Sync,
    clock: impl Fn() -> Timestamp + Send + Sync,
    publish: impl Fn(Evidence) + Send + Sync,
) {
    let mut told = false;
    loop {
        let look = |of: Stale| {
            let client = client.clone();
            async move { client.job(&of.repository, of.job).await }
        };
        match look_up(stale(clock()), &clock, look, &publish).await {
            Ok(()) => told = false,
            Err(error) => {
                let (scope, error) = (client.scope(), chain(&error));
                if told {
                    debug!(%scope, error, "waiting jobs cannot be asked for");
                } else {
                    warn!(
                        %scope, error,
                        "waiting jobs that a webhook told of cannot be asked for, so some may be over already; \
                         tried again each minute"
                    );
                }
                told = true;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Asks for up to twenty jobs, one after the other, and tells what came: how far a job is, or that GitHub
/// does not have it any more. A job that GitHub does not show for another reason is left for the next round;
/// a limit, and a GitHub that does not answer, end this one.
///
/// `look` asks for one job; `None` is a 404.
pub async fn look_up<L>(
    stale: Vec<Stale>,
    now: impl Fn() -> Timestamp,
    look: impl Fn(Stale) -> L,
    mut tell: impl FnMut(Evidence),
) -> Result<(), GithubError>
where
    L: Future<Output = Result<Option<(Job, JobState)>, GithubError>>,
{
    let mut refused = Ok(());
    for wanted in stale.into_iter().take(ROUND) {
        let at = now();
        let (repository, id) = (wanted.repository.clone(), wanted.job);
        match look(wanted).await {
            Ok(Some((job, seen))) => tell(Evidence::Job { job, state: seen, at, asked: true }),
            Ok(None) => tell(Evidence::JobGone { repository, job: id, at }),
            // Of this repository alone: the others may be seen.
            Err(error @ GithubError::Refused(_)) => refused = Err(error),
            Err(error) => return Err(error),
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::Arc};

    use super::*;
    use crate::fleet::{JobFacts, JobReport, Unmatched};

    const NOW: Timestamp = Timestamp::from_millis(1_795_348_800_000);

    fn repository() -> Scope {
        "https://github.com/acme/widgets".parse().unwrap()
    }

    fn facts() -> Arc<JobFacts> {
        Arc::new(JobFacts {
            name: "build".to_owned(),
            repository: repository(),
            run_id: 7,
            url: String::new(),
            queued_at: NOW - Duration::from_mins(9),
        })
    }

    fn report(id: u64, pool: Option<&str>, seconds: u64) -> JobReport {
        JobReport {
            id: JobId(id),
            facts: facts(),
            labels: vec!["linux".to_owned()],
            pool: pool.map(|pool| pool.parse().unwrap()),
            unmatched: pool.is_none().then_some(Unmatched::ALL[0]),
            seen_at: NOW - Duration::from_secs(seconds),
        }
    }

    fn stale_jobs(jobs: Vec<JobReport>) -> Vec<Stale> {
        let pools = BTreeSet::from(["hooked".parse().unwrap()]);
        stale(&Status { jobs, ..Status::default() }, &pools, NOW)
    }

    #[test]
    fn old_news_of_pools_without_a_queue_is_stale_the_oldest_first() {
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

    /// What is told when the jobs 1, 2, … are answered so, and how it ends.
    fn looked_up(
        answers: Vec<Result<Option<(Job, JobState)>, GithubError>>,
    ) -> (Vec<Evidence>, Result<(), GithubError>) {
        let jobs = (1..=answers.len() as u64).map(|id| report(id, Some("hooked"), 500)).collect();
        let answers = RefCell::new(answers.into_iter());
        let mut told = Vec::new();
        let ended = {
            let look = |_| std::future::ready(answers.borrow_mut().next().unwrap());
            let asking = look_up(stale_jobs(jobs), || NOW, look, |evidence| told.push(evidence));
            futures_util::FutureExt::now_or_never(asking).unwrap()
        };
        (told, ended)
    }

    fn job(id: u64) -> Job {
        Job {
            id: JobId(id),
            labels: Vec::new(),
            enterprise: None,
            public: None,
            workflows: Vec::new(),
            facts: facts(),
        }
    }

    #[test]
    fn what_is_answered_is_told_as_asked_for() {
        let refused = Err(GithubError::Refused("403".to_owned()));
        let (told, ended) = looked_up(vec![Ok(Some((job(1), JobState::Completed))), refused, Ok(None)]);
        assert_eq!(
            told,
            [
                Evidence::Job { job: job(1), state: JobState::Completed, at: NOW, asked: true },
                Evidence::JobGone { repository: repository(), job: JobId(3), at: NOW },
            ]
        );
        assert!(matches!(ended, Err(GithubError::Refused(_))), "it is said, and the others are asked for");
    }

    #[test]
    fn a_limit_ends_the_round_and_a_round_is_bounded() {
        let limit = Err(GithubError::RateLimited { until: NOW });
        let (told, ended) = looked_up(vec![limit, Ok(None)]);
        assert!(told.is_empty() && matches!(ended, Err(GithubError::RateLimited { .. })));
        let (told, ended) = looked_up((0..ROUND + 5).map(|_| Ok(None)).collect());
        assert!(ended.is_ok());
        assert_eq!(told.len(), ROUND);
    }
}
