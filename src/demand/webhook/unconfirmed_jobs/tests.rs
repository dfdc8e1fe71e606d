//! Rounds of lookups against a GitHub with scripted answers.

use std::{cell::RefCell, sync::Arc};

use super::*;
use crate::fleet::{ClockReading, JobFacts, JobReport, Unmatched};

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

fn unconfirmed(jobs: Vec<JobReport>) -> Vec<UnconfirmedJob> {
    let pools = BTreeSet::from(["hooked".parse().unwrap()]);
    unconfirmed_jobs(&Status { jobs, ..Status::default() }, &pools, NOW)
}

#[test]
fn old_news_of_pools_with_webhooks_is_unconfirmed_the_oldest_first() {
    let jobs = vec![
        report(1, Some("hooked"), 120),
        report(2, Some("hooked"), 119),
        report(3, Some("hooked"), 500),
        report(4, Some("polled"), 500),
        report(5, None, 500),
    ];
    let ids: Vec<u64> = unconfirmed(jobs).iter().map(|job| job.job.0).collect();
    assert_eq!(ids, [3, 1]);
}

/// A GitHub that answers for jobs, and shows the repository's runs or does not.
struct Github<A> {
    requests: JobRequests,
    answer: A,
    seen: fn() -> Result<Option<()>, GithubError>,
    asked: RefCell<Vec<u64>>,
    looked: RefCell<usize>,
}

impl<A: Fn(u64) -> Answer> Github<A> {
    fn new(answer: A) -> Self {
        let (asked, looked) = (RefCell::default(), RefCell::default());
        Self { requests: JobRequests::default(), answer, seen: || Ok(Some(())), asked, looked }
    }

    /// A round for the jobs 1, 2, …, this long after noon: the evidence, the result, and the requested jobs.
    fn round(&mut self, jobs: u64, later: Duration) -> (Vec<Evidence>, Result<(), GithubError>, Vec<u64>) {
        let jobs = (1..=jobs).map(|id| report(id, Some("hooked"), 500)).collect();
        let mut reported = Vec::new();
        let ended = {
            let look = |job: UnconfirmedJob| {
                self.asked.borrow_mut().push(job.job.0);
                std::future::ready((self.answer)(job.job.0))
            };
            let can_be_seen = |_| {
                *self.looked.borrow_mut() += 1;
                std::future::ready((self.seen)())
            };
            let tell = |evidence| reported.push(evidence);
            let asking = self.requests.round(unconfirmed(jobs), || NOW + later, look, can_be_seen, tell);
            futures_util::FutureExt::now_or_never(asking).unwrap()
        };
        (reported, ended, self.asked.take())
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
fn what_is_answered_is_reported_as_asked_for_whatever_becomes_of_others() {
    let mut github = Github::new(|id| match id {
        1 => Ok(Some((job(1), JobState::Completed))),
        2 => Err(GithubError::Refused("403".to_owned())),
        3 => Err(failed()),
        _ => Ok(None),
    });
    let (reported, ended, _) = github.round(4, Duration::ZERO);
    let completed = Evidence::Job { job: job(1), state: JobState::Completed, at: NOW, asked: true };
    assert_eq!(reported, [completed, gone(4)]);
    assert!(matches!(ended, Err(GithubError::Refused(_))), "it is said, and the others are asked for");
    assert_eq!(github.looked.take(), 0, "a job was seen there, so the repository is readable");
}

#[test]
fn a_404_is_no_end_of_a_job_where_nothing_can_be_read() {
    let mut github = Github::new(|_| Ok(None));
    github.seen = || Ok(None);
    let (reported, ended, asked) = github.round(3, Duration::ZERO);
    assert!(reported.is_empty() && ended.is_ok() && asked.len() == 3, "{reported:?}");
    assert_eq!(*github.looked.borrow(), 1, "the repository is looked at once");
    github.seen = || Ok(Some(()));
    assert!(github.round(3, Duration::from_mins(59)).0.is_empty());
    let (reported, ..) = github.round(3, Duration::from_hours(1));
    assert_eq!((reported.len(), *github.looked.borrow()), (3, 2), "and again after an hour");

    let mut github = Github::new(|_| Ok(None));
    github.seen = || Err(failed());
    let (reported, ended, _) = github.round(1, Duration::ZERO);
    assert!(reported.is_empty() && ended.is_err());
    github.seen = || Ok(Some(()));
    let (reported, ..) = github.round(1, Duration::from_mins(1));
    assert_eq!(reported.len(), 1, "a failure says nothing of the repository");
}

#[test]
fn what_is_remembered_of_repositories_is_bounded() {
    let mut requests = JobRequests::default();
    for at in 0..=REPOSITORIES as u64 {
        let repository: Scope = format!("https://github.com/acme/r{at}").parse().unwrap();
        requests.remember(&repository, true, Instant::from_millis(at));
    }
    assert_eq!(requests.readable.len(), REPOSITORIES);
    assert!(!requests.readable.values().any(|(_, since)| *since == Instant::default()), "the oldest goes");
}

#[test]
fn a_limit_ends_the_round() {
    let mut github = Github::new(|_| Err(GithubError::RateLimited { wait: Duration::ZERO }));
    let (reported, ended, asked) = github.round(2, Duration::ZERO);
    assert!(reported.is_empty() && matches!(ended, Err(GithubError::RateLimited { .. })));
    assert_eq!(asked, [1]);
}

#[test]
fn a_repository_that_is_refused_is_asked_less_and_less_often() {
    let mut github = Github::new(|_| Err(GithubError::Refused("403".to_owned())));
    let asked_at = (0..300).filter(|minute| !github.round(2, Duration::from_mins(*minute)).2.is_empty());
    assert_eq!(asked_at.collect::<Vec<_>>(), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    let _ = github.round(0, Duration::from_hours(6));
    assert!(github.requests.failing.is_empty(), "what nobody waits for is forgotten");
}

#[test]
fn jobs_without_an_answer_do_not_keep_the_others_from_their_turn() {
    let mut github = Github::new(|_| Err(GithubError::Refused("403".to_owned())));
    let all = JOBS_A_ROUND as u64 + 5;
    let (_, _, asked) = github.round(all, Duration::ZERO);
    assert_eq!(asked.len(), JOBS_A_ROUND, "a round is bounded");
    let (_, _, asked) = github.round(all, Duration::from_mins(1));
    assert_eq!(asked[..5], [21, 22, 23, 24, 25]);
    let _ = github.round(3, Duration::from_mins(2));
    assert_eq!(github.requests.requested.len(), 3, "only those that are unconfirmed are remembered");
}
