//! A repository's queue against the simulated GitHub, and against one that answers anything.

use std::{process::Stdio, sync::Arc, time::Duration};

use dayfly::{
    clock,
    fleet::{JobId, JobState, Scope},
    github::{Client, Credential, GithubError, Look, Mint, Queue, Repositories, RunnerApi as _, TokenSource},
    simulator::{Endpoint, Fault, FaultKind, Hold, Job, Settings, Simulator},
};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::world::{World, answer, nearly, runner_name, says};

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// A simulated GitHub, and a client for one of its scopes.
pub(crate) async fn github(scope: &str) -> (Simulator, Client) {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let client = client(&simulator, scope);
    (simulator, client)
}

pub(crate) fn client(simulator: &Simulator, scope: &str) -> Client {
    let command = ["echo", "simulated-token"].map(str::to_owned).to_vec();
    let credential = Credential::new(TokenSource::Command(command));
    Client::new(simulator.scope_url(scope).parse().unwrap(), &credential, Arc::new(|_| {})).unwrap()
}

pub(crate) fn repository(simulator: &Simulator, path: &str) -> Scope {
    simulator.scope_url(path).parse().unwrap()
}

fn job() -> Job {
    Job::new("acme", &["self-hosted", "Linux"]).of("acme/widgets").lasting(HOUR)
}

/// A poll, now.
async fn look_at(queue: &mut Queue) -> Result<Look, GithubError> {
    queue.look(clock::now()).await
}

async fn complete(queue: &mut Queue) -> Look {
    let look = look_at(queue).await.unwrap();
    assert_eq!(look.missing, None);
    look
}

fn states(look: &Look) -> Vec<(u64, JobState)> {
    look.jobs.iter().map(|(job, state)| (job.id.0, state.clone())).collect()
}

async fn widgets() -> (Simulator, Queue) {
    let (simulator, client) = github("acme").await;
    let queue = Queue::new(client, repository(&simulator, "acme/widgets"));
    (simulator, queue)
}

#[tokio::test]
async fn jobs_are_reported_in_every_state_and_with_what_matters_to_a_pool() {
    let (simulator, mut queue) = widgets().await;
    simulator.push("acme/widgets", true);
    let calls = vec!["acme/flows/.github/workflows/build.yml@v1".to_owned()];
    let queued = simulator.enqueue(Job { calls, ..job() }.named("build (1)"));
    let approval = simulator.enqueue(job().held(Hold::Approval).in_run("two"));
    let beside = simulator.enqueue(job().in_run("two"));
    let hosted =
        simulator.enqueue(Job::new("acme", &["ubuntu-latest"]).hosted().of("acme/widgets").lasting(HOUR));
    let limited = simulator.enqueue(job().held(Hold::Concurrency).in_run("three"));
    let free = simulator.enqueue(job().in_run("three"));
    let over = simulator.enqueue(job());
    assert!(simulator.cancel(over));
    let mut look = complete(&mut queue).await;
    look.jobs.sort_by_key(|(job, _)| job.id);
    let runner = Some(format!("GitHub Actions {hosted}"));
    let expected = [
        (queued, JobState::Queued),
        (approval, JobState::Waiting),
        (beside, JobState::Queued),
        (hosted, JobState::InProgress { runner }),
        (limited, JobState::Waiting),
        (free, JobState::Queued),
    ];
    assert_eq!(states(&look), expected);
    let (first, _) = &look.jobs[0];
    assert_eq!(first.labels, ["self-hosted", "Linux"]);
    assert_eq!(first.public, Some(true));
    let own = "acme/widgets/.github/workflows/ci.yml@refs/heads/main";
    assert_eq!(first.workflows, [own, "acme/flows/.github/workflows/build.yml@v1"]);
    assert_eq!(first.facts.name, "build (1)");
    assert_eq!(first.facts.repository, repository(&simulator, "acme/widgets"));
    assert!(first.facts.url.ends_with(&format!("/job/{queued}")), "{}", first.facts.url);
    assert!(look.began.since(first.queued_at) < Duration::from_mins(1));
}

#[tokio::test]
async fn an_unchanged_queue_costs_nothing_of_the_rate_limit() {
    let (simulator, mut queue) = widgets().await;
    for _ in 0..30 {
        simulator.enqueue(job());
    }
    let first = complete(&mut queue).await;
    assert_eq!((first.requests, first.charged), (4 + 30, 4 + 30));
    let before = simulator.charged();
    for _ in 0..20 {
        let look = complete(&mut queue).await;
        assert_eq!((look.requests, look.charged, &look.jobs), (2 + 30, 0, &first.jobs));
    }
    assert_eq!(simulator.charged(), before);
}

#[tokio::test]
async fn a_change_is_seen_at_the_next_poll_and_costs_little() {
    let (simulator, mut queue) = widgets().await;
    let jobs: Vec<u64> = (0..5).map(|_| simulator.enqueue(job())).collect();
    complete(&mut queue).await;
    assert!(simulator.cancel(jobs[2]));
    let look = complete(&mut queue).await;
    assert_eq!((look.jobs.len(), look.charged), (4, 1), "the list of queued runs, and no more");
    let new = simulator.enqueue(job());
    let look = complete(&mut queue).await;
    assert!(states(&look).contains(&(new, JobState::Queued)));
    assert_eq!(look.charged, 2);
}

#[tokio::test]
async fn a_job_costs_six_requests_as_it_comes_and_goes() {
    let (simulator, client) = github("acme").await;
    let mut queue = Queue::new(client.clone(), repository(&simulator, "acme/widgets"));
    complete(&mut queue).await;
    let before = simulator.charged();
    let id = simulator.enqueue(job());
    assert_eq!(complete(&mut queue).await.charged, 2);
    let labels = ["self-hosted", "linux"].map(str::to_owned);
    let name = runner_name();
    let minted = client.mint(Mint { name: &name, group: "Default", labels: &labels }).await.unwrap();
    let (minting, mut runner) = (simulator.charged(), runner(minted.jit.expose_secret()));
    simulator.until(Duration::from_mins(1), |now| now.in_progress == 1).await.expect("it takes the job");
    let look = complete(&mut queue).await;
    let busy = JobState::InProgress { runner: Some(name.to_string()) };
    assert_eq!((states(&look), look.charged), (vec![(id, busy)], 3));
    assert!(simulator.cancel(id));
    let look = complete(&mut queue).await;
    assert_eq!((look.jobs, look.charged), (Vec::new(), 1));
    assert_eq!(simulator.charged() - minting + 2, 6);
    assert_eq!(minting - before, 2 + 2, "a list of groups, and the mint");
    runner.kill().await.unwrap();
}

/// The simulated runner, as a process.
fn runner(jit: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.arg("simulated-runner").env("ACTIONS_RUNNER_INPUT_JITCONFIG", jit).kill_on_drop(true);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn a_job_that_is_released_into_a_run_under_way_is_seen() {
    let (simulator, mut queue) = widgets().await;
    let job = || job().in_run("one");
    simulator.enqueue(Job { hosted: true, ..job() });
    let look = complete(&mut queue).await;
    assert_eq!(look.jobs.len(), 1);
    let released = simulator.enqueue(job());
    let run = simulator.jobs()[0].run_id;
    let listed = simulator.jobs().iter().filter(|view| view.run_id == run).count();
    assert_eq!(listed, 2);
    let look = complete(&mut queue).await;
    assert!(states(&look).contains(&(released, JobState::Queued)), "{:?}", look.jobs);
}

#[tokio::test]
async fn a_matrix_of_256_jobs_comes_in_three_pages_and_a_new_attempt_with_new_jobs() {
    let (simulator, mut queue) = widgets().await;
    for at in 0..256 {
        simulator.enqueue(job().in_run("matrix").named(format!("test ({at})")));
    }
    let first = complete(&mut queue).await;
    assert_eq!((first.jobs.len(), first.requests), (256, 4 + 3));
    assert_eq!(complete(&mut queue).await.charged, 0);
    for view in simulator.jobs() {
        assert!(simulator.cancel(view.id));
    }
    assert_eq!(complete(&mut queue).await.jobs, []);
    let again = simulator.rerun(simulator.jobs()[0].run_id);
    let mut ids: Vec<u64> = complete(&mut queue).await.jobs.iter().map(|(job, _)| job.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, again);
}

#[tokio::test]
async fn what_does_not_fit_into_a_poll_is_reported_and_comes_with_the_next() {
    let (simulator, mut queue) = widgets().await;
    for _ in 0..250 {
        simulator.enqueue(job());
    }
    let look = look_at(&mut queue).await.unwrap();
    assert_eq!((look.jobs.len(), look.requests), (200, 2 + 3 + 1 + 200));
    assert_eq!(look.missing.as_deref(), Some("the jobs of 50 runs will be listed by the next poll"));
    let look = look_at(&mut queue).await.unwrap();
    assert_eq!(look.jobs.len(), 250);
}

#[tokio::test]
async fn a_run_that_github_fails_at_does_not_hide_the_others_and_an_outage_hides_nothing() {
    let (simulator, mut queue) = widgets().await;
    for _ in 0..3 {
        simulator.enqueue(job());
    }
    simulator.fault(Fault::new(FaultKind::Html(502)).on(Endpoint::ListJobs).times(1));
    let look = look_at(&mut queue).await.unwrap();
    assert_eq!(look.jobs.len(), 2);
    assert!(look.missing.unwrap().contains(": no usable response from GitHub"));
    for kind in [FaultKind::Status(500), FaultKind::TruncatedJson, FaultKind::Status(404)] {
        simulator.fault(Fault::new(kind).on(Endpoint::ListRuns).times(1));
        // A 304 has no body to cut off, so something has to be new.
        simulator.enqueue(job());
        assert!(look_at(&mut queue).await.is_err());
    }
    assert_eq!(complete(&mut queue).await.jobs.len(), 6);
}

#[tokio::test]
async fn a_job_can_be_looked_up_by_its_number() {
    let (simulator, client) = github("acme").await;
    let id = simulator.enqueue(job());
    let widgets = repository(&simulator, "acme/widgets");
    let (job, state) = client.job(&widgets, JobId(id)).await.unwrap().unwrap();
    assert_eq!((job.id, state), (JobId(id), JobState::Queued));
    simulator.cancel(id);
    assert_eq!(client.job(&widgets, JobId(id)).await.unwrap().unwrap().1, JobState::Completed);
    assert_eq!(client.job(&widgets, JobId(1)).await.unwrap(), None);
    assert_eq!(client.job(&repository(&simulator, "acme/other"), JobId(id)).await.unwrap(), None);
    let elsewhere = "https://github.com/acme/widgets".parse().unwrap();
    assert!(matches!(client.job(&elsewhere, JobId(id)).await, Err(GithubError::Refused(_))));
}

#[tokio::test]
async fn repositories_come_by_when_they_were_pushed_to_and_unchanged_at_no_cost() {
    let (simulator, client) = github("acme").await;
    for at in 0..120 {
        simulator.push(&format!("acme/r{at}"), false);
    }
    let mut repositories = Repositories::new(client);
    let since = clock::now() - HOUR;
    let pushed = repositories.pushed_since(since).await.unwrap();
    // `acme/widgets` was pushed to long ago.
    assert_eq!(pushed.len(), 120);
    let before = simulator.charged();
    assert_eq!(repositories.pushed_since(since).await.unwrap(), pushed);
    assert_eq!(simulator.charged(), before);
}

fn run(id: u64) -> Value {
    json!({ "id": id, "status": "queued", "updated_at": "2026-11-22T12:00:00Z" })
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_left_out_and_the_others_are_not() {
    let world = World::new("acme/widgets", |request| {
        let path = request.uri.path();
        if path.ends_with("/jobs") {
            let rows = json!([
                { "id": 1, "status": "queued", "labels": ["linux"], "name": null, "created_at": "yesterday" },
                { "id": 2, "status": "queued", "labels": [7] },
                { "id": "3" }, null, 4, [],
                { "id": 5, "status": "paused", "labels": null },
            ]);
            return says(200, &json!({ "total_count": 7, "jobs": rows }));
        }
        let queued = request.uri.query().unwrap().contains("status=queued");
        let rows = if queued { json!([null, run(1), { "id": -1 }, "run"]) } else { json!([]) };
        says(200, &json!({ "total_count": null, "workflow_runs": rows }))
    })
    .await;
    let mut queue = Queue::new(world.client.clone(), world.client.scope().clone());
    let look = complete(&mut queue).await;
    assert_eq!(states(&look), [(1, JobState::Queued), (5, JobState::Waiting)]);
    assert!(look.began.since(look.jobs[0].0.queued_at) < Duration::from_mins(1));
}

#[tokio::test]
async fn a_token_that_may_not_read_runs_gets_the_needed_permission_as_hint() {
    let world = World::new("acme/widgets", |_| {
        says(403, &json!({ "message": "Resource not accessible by personal access token" }))
    })
    .await;
    let mut queue = Queue::new(world.client.clone(), world.client.scope().clone());
    let error = look_at(&mut queue).await.unwrap_err();
    assert!(error.to_string().contains("Actions: read"), "{error}");
}

/// A page of two rows.
fn page(list: &str) -> Vec<u8> {
    let page = json!({ "total_count": 2, list: [
        { "id": 1, "status": "queued", "labels": ["a"], "created_at": "2026-11-22T12:00:00Z", "run_id": 7 },
        { "id": u64::MAX, "status": "in_progress", "path": "x", "referenced_workflows": [{ "path": "y" }, 1] },
    ] });
    page.to_string().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_answer_makes_a_poll_panic(runs in nearly(page("workflow_runs")), jobs in nearly(page("jobs")), link in ".{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let link: String = link.chars().filter(|c| !c.is_control() && c.is_ascii()).collect();
            let link = format!("<{link}>; rel=\"next\"");
            let world = World::new("acme/widgets", move |request| {
                let body = if request.uri.path().ends_with("/jobs") { jobs.clone() } else { runs.clone() };
                let headers = [("content-type", "application/json"), ("link", link.as_str())];
                answer(200, if link.len() % 3 == 0 { &headers } else { &headers[..1] }, body)
            })
            .await;
            let mut queue = Queue::new(world.client.clone(), world.client.scope().clone());
            for _ in 0..2 {
                if let Ok(look) = look_at(&mut queue).await {
                    assert!(look.jobs.len() <= 6);
                }
            }
        });
    }
}
