//! The simulator's webhooks against the endpoint, with failures on the way, and the repair of
//! lost deliveries.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use dayfly::{
    demand::{
        Publisher,
        webhook::{Repair, Repaired, UnconfirmedJob, watch_deliveries, watch_unconfirmed_jobs},
    },
    fleet::{
        Evidence, Instant, JobId,
        JobState::{self, Completed, Queued},
        Timestamp,
    },
    github::{Client, Credential, GithubError, LogMark, TokenSource, webhook::Encoding},
    simulator::{Endpoint, Fault, FaultKind, Hook, HookFaults, Job, Settings, Simulator},
};

use super::{DEADLINE, SECRET, Server};

/// An address where nothing listens.
const NOBODY: &str = "http://127.0.0.1:9/webhook";

async fn github() -> Simulator {
    Simulator::start(Settings::default()).await.unwrap()
}

fn url(server: &Server) -> String {
    format!("http://{}/webhook", server.address)
}

fn client(github: &Simulator, scope: &str) -> Client {
    let source = TokenSource::Command(vec!["echo".to_owned(), "simulated-token".to_owned()]);
    let scope = github.scope_url(scope).parse().unwrap();
    Client::new(scope, &Credential::new(source), Arc::new(|_: &_| {})).unwrap()
}

/// Waits until so many deliveries are over.
async fn until_over(github: &Simulator, many: usize) {
    let over = || github.deliveries().iter().filter(|delivery| delivery.over).count();
    let waited = github.until(DEADLINE, |_| over() >= many).await;
    assert!(waited.is_ok(), "{:?}", github.deliveries());
}

/// One read of the logs, and what it reported, oldest job first.
async fn look(repair: &mut Repair) -> (Result<Repaired, GithubError>, Vec<(u64, JobState)>) {
    let (looked, mut jobs) = look_in_order(repair).await;
    jobs.sort_by_key(|(id, _)| *id);
    (looked, jobs)
}

/// One read of the logs, and what it reported, in that order.
async fn look_in_order(repair: &mut Repair) -> (Result<Repaired, GithubError>, Vec<(u64, JobState)>) {
    let reported = Mutex::new(Vec::new());
    let now = dayfly::clock::now();
    let (looked, ended) = repair.poll(now, |evidence| reported.lock().unwrap().push(evidence)).await;
    let jobs: Vec<(u64, JobState)> = reported
        .into_inner()
        .unwrap()
        .into_iter()
        .map(|evidence| match evidence {
            Evidence::Job { job, state, at, asked: false } if at <= now + Duration::from_secs(2) => {
                (job.id.0, state)
            }
            other => panic!("no hint: {other:?}"),
        })
        .collect();
    (ended.map(|()| looked), jobs)
}

#[tokio::test]
async fn jobs_are_reported_as_they_go_along_by_json_and_by_form() {
    let (server, github) = (Server::start().await, github().await);
    github.add_hook(Hook::new("acme", url(&server), SECRET));
    github.add_hook(Hook { form: true, ..Hook::new("acme/widgets", url(&server), SECRET) });
    let id = github.enqueue(Job::new("acme", &["Linux", "x64"]).of("acme/widgets").named("build (a)"));
    assert!(github.cancel(id));
    until_over(&github, 6).await;
    let mut reported = server.reported();
    reported.sort_by_key(|(_, state)| *state == Completed);
    let states: Vec<&JobState> = reported.iter().map(|(_, state)| state).collect();
    assert_eq!(states, [&Queued, &Queued, &Completed, &Completed]);
    let (job, _) = &reported[0];
    assert_eq!((job.id.0, job.labels.as_slice()), (id, &["Linux".to_owned(), "x64".to_owned()][..]));
    assert_eq!(job.facts.repository.as_str(), github.scope_url("acme/widgets"));
    assert_eq!((job.facts.name.as_str(), job.public), ("build (a)", Some(false)));
    assert_eq!(server.counted("ping", "accepted"), 2);
}

#[tokio::test]
async fn doubled_late_and_forged_deliveries_report_no_more_than_happened() {
    let (server, github) = (Server::start().await, github().await);
    github.add_hook(Hook::new("acme", url(&server), SECRET));
    until_over(&github, 1).await;
    let faults =
        HookFaults { doubled: 50, forged: 25, late: Duration::from_millis(50), ..HookFaults::default() };
    github.set_hook_faults(faults);
    let ids: BTreeSet<u64> = (0..40).map(|_| github.enqueue(Job::new("acme", &["linux"]))).collect();
    // Duplicates are created at once, so the log shows how many there will be.
    github.set_hook_faults(HookFaults::default());
    let all = || {
        let deliveries = github.deliveries();
        let seen: BTreeSet<u64> = deliveries.iter().filter_map(|delivery| delivery.job).collect();
        seen == ids && deliveries.iter().all(|delivery| delivery.over)
    };
    assert!(github.until(DEADLINE, |_| all()).await.is_ok());
    let last = github.enqueue(Job::new("acme", &["linux"]));
    let over = || server.reported().iter().any(|(job, _)| job.id.0 == last);
    assert!(github.until(DEADLINE, |_| over()).await.is_ok());
    let forged: BTreeSet<u64> = github
        .deliveries()
        .iter()
        .filter(|delivery| delivery.answered == Some(401))
        .filter_map(|delivery| delivery.job)
        .collect();
    assert!(!forged.is_empty() && server.counted("workflow_job", "duplicate") > 0);
    let reported: BTreeSet<u64> = server.reported().iter().map(|(job, _)| job.id.0).collect();
    let expected: BTreeSet<u64> = ids.difference(&forged).copied().chain([last]).collect();
    assert_eq!(reported, expected);
    assert_eq!(server.reported().len(), reported.len(), "each delivery is told once");
}

#[tokio::test]
async fn deliveries_that_were_kept_back_come_later() {
    let (server, github) = (Server::start().await, github().await);
    github.add_hook(Hook::new("acme", url(&server), SECRET));
    until_over(&github, 1).await;
    github.set_hook_faults(HookFaults { held: true, ..HookFaults::default() });
    let id = github.enqueue(Job::new("acme", &["linux"]));
    assert!(github.cancel(id));
    assert!(server.reported().is_empty());
    github.let_deliveries_go();
    until_over(&github, 3).await;
    assert_eq!(server.reported().len(), 2);
}

#[tokio::test]
async fn what_failed_is_read_in_the_log_and_at_rest_that_costs_nothing() {
    let github = github().await;
    for scope in ["acme", "acme/widgets"] {
        let hook = github.add_hook(Hook::new(scope, NOBODY, SECRET));
        github.set_hook_faults(HookFaults { doubled: 100, ..HookFaults::default() });
        let before = github.deliveries().len();
        let queued = github.enqueue(Job::new("acme", &["linux"]).of("acme/widgets"));
        let ended = github.enqueue(Job::new("acme", &["linux"]).of("acme/widgets"));
        assert!(github.cancel(ended));
        let of_hook = || github.deliveries().iter().filter(|one| one.hook == hook && one.over).count();
        assert!(github.until(DEADLINE, |_| of_hook() >= 7).await.is_ok(), "after {before}");
        let mut repair = Repair::new(client(&github, scope));
        let (looked, mut jobs) = look(&mut repair).await;
        assert_eq!(looked.unwrap(), Repaired { hooks: 1, recovered: 2, more: false });
        jobs.sort_unstable_by_key(|(id, _)| *id);
        assert_eq!(jobs, [(queued, Queued), (ended, Completed)], "what is over does not wait");

        let charged = github.charged();
        let (looked, jobs) = look(&mut repair).await;
        assert_eq!((looked.unwrap().recovered, jobs), (0, Vec::new()));
        assert_eq!(github.charged(), charged, "nothing is new, and that was all that was asked");
        assert!(github.cancel(queued));
        let of_hook_now = of_hook();
        assert!(github.until(DEADLINE, |_| of_hook() > of_hook_now).await.is_ok());
        let (_, jobs) = look(&mut repair).await;
        assert_eq!(jobs, [(queued, Completed)], "what was read is not read again");
        github.set_hook_faults(HookFaults::default());
    }
}

#[tokio::test]
async fn a_long_log_is_read_page_by_page_and_in_portions() {
    let github = github().await;
    github.add_hook(Hook::new("acme", NOBODY, SECRET));
    let ids: BTreeSet<u64> = (0..130).map(|_| github.enqueue(Job::new("acme", &["linux"]))).collect();
    until_over(&github, 131).await;
    let mut repair = Repair::new(client(&github, "acme"));
    let mut reported = BTreeSet::new();
    let (looked, jobs) = look(&mut repair).await;
    assert_eq!(looked.unwrap(), Repaired { hooks: 1, recovered: 100, more: true });
    reported.extend(jobs.iter().map(|(id, _)| *id));
    let charged = github.charged();
    let (looked, jobs) = look(&mut repair).await;
    assert_eq!(looked.unwrap(), Repaired { hooks: 1, recovered: 30, more: false });
    assert_eq!(github.charged() - charged, 30, "the pages are not read again");
    reported.extend(jobs.iter().map(|(id, _)| *id));
    assert_eq!(reported, ids);
}

#[tokio::test]
async fn after_an_outage_no_job_waits_that_came_and_went_meanwhile() {
    let github = github().await;
    github.add_hook(Hook::new("acme", NOBODY, SECRET));
    let over: BTreeSet<u64> = (0..130).map(|_| github.enqueue(Job::new("acme", &["linux"]))).collect();
    let waiting: BTreeSet<u64> = (0..10).map(|_| github.enqueue(Job::new("acme", &["linux"]))).collect();
    for id in &over {
        assert!(github.cancel(*id));
    }
    until_over(&github, 271).await;
    let mut repair = Repair::new(client(&github, "acme"));
    let (mut reported, mut looks) = (Vec::new(), 0);
    loop {
        let (looked, jobs) = look_in_order(&mut repair).await;
        let first_queued = jobs.iter().position(|(_, state)| *state == Queued).unwrap_or(jobs.len());
        assert!(jobs[first_queued..].iter().all(|(_, state)| *state == Queued), "ends come first: {jobs:?}");
        reported.extend(jobs);
        looks += 1;
        if !looked.unwrap().more {
            break;
        }
    }
    assert_eq!(looks, 3, "270 deliveries, a hundred in each");
    let of = |wanted: JobState| reported.iter().filter(move |(_, state)| *state == wanted).map(|(id, _)| *id);
    assert_eq!(of(Completed).collect::<BTreeSet<u64>>(), over);
    assert_eq!(of(Queued).collect::<BTreeSet<u64>>(), waiting);
}

#[tokio::test]
async fn without_the_right_to_see_hooks_it_says_what_is_missing() {
    let github = github().await;
    github.add_hook(Hook::new("acme", NOBODY, SECRET));
    github.fault(Fault::new(FaultKind::Status(403)).on(Endpoint::ListHooks).times(1));
    let mut repair = Repair::new(client(&github, "acme"));
    let refused = look(&mut repair).await.0.unwrap_err().to_string();
    assert!(refused.contains("webhooks of") && refused.contains("\"Webhooks: read\""), "{refused}");
    assert_eq!(look(&mut repair).await.0.unwrap().hooks, 1, "and tries again");
    github.enqueue(Job::new("acme", &["linux"]));
    until_over(&github, 2).await;
    github.fault(Fault::new(FaultKind::TruncatedJson).times(1));
    assert!(look(&mut repair).await.0.is_err());
    assert!(look(&mut repair).await.0.is_ok());
}

#[tokio::test]
async fn a_hook_is_shown_with_what_decides_whether_it_works() {
    let github = github().await;
    let hook = github.add_hook(Hook { form: true, ..Hook::new("acme/widgets", NOBODY, SECRET) });
    let hooks = client(&github, "acme/widgets").hooks().await.unwrap();
    assert_eq!((hooks.len(), hooks[0].id, hooks[0].url.as_str()), (1, hook, NOBODY));
    assert_eq!(hooks[0].encoding, Some(Encoding::Form));
    assert!(hooks[0].signs && hooks[0].active && hooks[0].tells_of_jobs);
    until_over(&github, 1).await;
    let read = client(&github, "acme/widgets");
    let (log, all) =
        read.deliveries(hook, Timestamp::default(), 1, &mut LogMark::default()).await.unwrap().unwrap();
    assert_eq!((log.len(), log[0].delivered, all), (1, false, true));
    assert_eq!(log[0].status, "failed to connect to host (502)");
}

#[tokio::test]
async fn both_repairs_begin_by_themselves() {
    let github = github().await;
    github.add_hook(Hook::new("acme/widgets", NOBODY, SECRET));
    let job = github.enqueue(Job::new("acme/widgets", &["linux"]));
    until_over(&github, 2).await;
    let client = client(&github, "acme/widgets");
    let repository = client.scope().clone();
    let (publisher, mut evidence) = Publisher::channel();
    let unconfirmed = move |_: Instant| {
        let unconfirmed = |id| UnconfirmedJob {
            pool: "linux".parse().unwrap(),
            repository: repository.clone(),
            job: JobId(id),
            seen_at: Instant::from_millis(u64::from(id == 1)),
        };
        vec![unconfirmed(job), unconfirmed(1)]
    };
    let mut watching = tokio::task::JoinSet::new();
    watching.spawn(watch_unconfirmed_jobs(client.clone(), unconfirmed, publisher.clone()));
    let mut next = async || tokio::time::timeout(DEADLINE, evidence.recv()).await.unwrap().unwrap();
    let (first, second) = (next().await, next().await);
    assert!(matches!(&first, Evidence::Job { job: of, asked: true, .. } if of.id.0 == job), "{first:?}");
    assert!(matches!(&second, Evidence::JobGone { job: JobId(1), .. }), "{second:?}");
    // Of two clocks GitHub's may be ahead: what came later than now counts too.
    watching.spawn(watch_deliveries(client, publisher));
    let third = next().await;
    assert!(matches!(&third, Evidence::Job { job: of, asked: false, .. } if of.id.0 == job), "{third:?}");
}
