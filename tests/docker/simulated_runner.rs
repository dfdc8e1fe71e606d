//! The simulated runner as a process, and the image made of it: what a daemon sees of a runner.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use crate::{
    engines::{self, TestEngine},
    wire::{self, DEADLINE},
};
use bollard::{
    Docker,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptions, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
        WaitContainerOptions,
    },
};
use dayfly::{
    host::own_image::{self, OwnImage},
    simulator::{Behaviour, Conclusion, Job, JobState, JobView, Settings, Simulator, image},
};
use futures_util::TryStreamExt as _;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

const BINARY: &str = env!("CARGO_BIN_EXE_dayfly");
const LABELS: &[&str] = &["self-hosted", "Linux"];

/// Everything that takes its time is quick, and `busy` is believed at once.
fn quick() -> Settings {
    let ms = Duration::from_millis;
    Settings {
        busy_lag: Duration::ZERO,
        offline_after: ms(200),
        lease: ms(800),
        pickup_timeout: ms(800),
        poll_cycle: ms(100),
        ..Settings::default()
    }
}

async fn mint(simulator: &Simulator, name: &str) -> String {
    let body = json!({ "name": name, "runner_group_id": 1, "labels": LABELS });
    let minted = wire::post(simulator, "/orgs/acme/actions/runners/generate-jitconfig", &body).await;
    minted.json().unwrap()["encoded_jit_config"].as_str().unwrap().to_owned()
}

/// A runner in a process of its own, with some more environment.
fn start(jit: &str, environment: &[(&str, &str)]) -> Child {
    Command::new(BINARY)
        .arg("simulated-runner")
        .env("ACTIONS_RUNNER_INPUT_JITCONFIG", jit)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn ended(runner: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        tokio::time::timeout(DEADLINE, runner.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

async fn tell(runner: &Child, signal: &str) {
    let id = runner.id().expect("it runs").to_string();
    assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
}

async fn online(simulator: &Simulator, count: usize) {
    simulator.until(DEADLINE, |now| now.online() == count).await.expect("runners come online");
}

fn the_job(simulator: &Simulator) -> JobView {
    simulator.jobs().into_iter().next().expect("a job")
}

/// A line without the time that it begins with, which is checked.
fn untimed(line: &str) -> &str {
    let (time, rest) = line.split_once("Z: ").unwrap_or_else(|| panic!("no time: {line}"));
    jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).unwrap();
    rest
}

#[tokio::test]
async fn a_runner_serves_one_job_and_says_what_the_real_one_says() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let runner = start(&mint(&simulator, "one").await, &[]);
    online(&simulator, 1).await;
    let row = wire::get(&simulator, "/orgs/acme/actions/runners/1").await.json().unwrap();
    assert_eq!((&row["os"], &row["version"]), (&json!("Linux"), &json!("2.336.0")));
    simulator.enqueue(Job::new("acme", &["gpu"]).named("not for it"));
    simulator.enqueue(
        Job::new("acme/widgets", &["linux"]).named("build: all").lasting(Duration::from_millis(300)),
    );
    let busy = simulator.until(DEADLINE, |now| now.runners.iter().any(|r| r.busy)).await.unwrap();
    assert_eq!(busy.runners[0].job.as_deref(), Some("build: all"));
    assert_eq!(wire::delete(&simulator, "/orgs/acme/actions/runners/1").await.status, 422);
    let (code, stdout, stderr) = ended(runner).await;
    let lines: Vec<&str> = stdout.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines[..2], ["√ Connected to GitHub", "Current runner version: '2.336.0'"]);
    assert_eq!(
        lines[2..].iter().map(|line| untimed(line)).collect::<Vec<_>>(),
        ["Listening for Jobs", "Running job: build: all", "Job build: all completed with result: Succeeded"]
    );
    assert_eq!((code, stderr.as_str()), (Some(0), ""));

    let after = simulator.snapshot();
    assert_eq!((after.runners.len(), after.queued, after.succeeded), (0, 1, 1));
    let served = &simulator.jobs()[1];
    assert_eq!(
        (served.state, served.runner.as_deref()),
        (JobState::Completed(Conclusion::Succeeded), Some("one"))
    );
    let duration = served.completed_at.unwrap().since(served.started_at.unwrap());
    assert!(duration >= Duration::from_millis(300), "{duration:?}");
    assert!(after.queue_wait.unwrap().max < DEADLINE);
}

#[tokio::test]
async fn busy_lags_behind_the_job_and_a_removal_believes_it() {
    let settings = Settings { busy_lag: Duration::from_mins(1), ..quick() };
    let simulator = Simulator::start(settings).await.unwrap();
    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::from_millis(500)));
    let runner = start(&mint(&simulator, "one").await, &[]);
    let running = simulator.until(DEADLINE, |now| now.in_progress == 1).await.unwrap();
    assert!(!running.runners[0].busy && running.runners[0].job.is_some());
    assert_eq!(wire::delete(&simulator, "/orgs/acme/actions/runners/1").await.status, 204);
    assert_eq!(ended(runner).await.0, Some(0));
    assert_eq!(simulator.snapshot().succeeded, 1, "the job is done all the same");
}

#[tokio::test]
async fn lines_come_a_second_time_as_traces_when_asked_for() {
    let simulator = Simulator::start(quick()).await.unwrap();
    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::ZERO).that(Behaviour::Fails));
    let traces = [("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT", "1")];
    let (code, stdout, _) = ended(start(&mint(&simulator, "one").await, &traces)).await;
    assert_eq!(code, Some(0), "whatever the job's result");
    let plain = stdout.lines().find(|line| line.ends_with("Z: Running job: build")).unwrap();
    assert!(stdout.lines().any(|line| {
        line.starts_with("[RUNNER ") && line.ends_with(&format!("Z INFO Terminal] WRITE LINE: {plain}"))
    }));
    assert!(stdout.contains("Job build completed with result: Failed"));
    assert_eq!(simulator.snapshot().failed, 1);
}

#[tokio::test]
async fn the_job_is_a_process_called_runner_worker_that_can_crash_alone() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let runner = start(&mint(&simulator, "one").await, &[]);
    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::from_mins(1)));
    simulator.until(DEADLINE, |now| now.in_progress == 1).await.unwrap();
    let id = runner.id().unwrap();
    let children = format!("/proc/{id}/task/{id}/children");
    let worker = async {
        loop {
            let worker = std::fs::read_to_string(&children).unwrap().trim().to_owned();
            let command = std::fs::read_to_string(format!("/proc/{worker}/cmdline"));
            if !worker.is_empty() && command.is_ok_and(|command| command.starts_with("Runner.Worker\0")) {
                break worker;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let worker = tokio::time::timeout(DEADLINE, worker).await.expect("there is a worker");
    assert!(Command::new("kill").args(["-KILL", &worker]).status().await.unwrap().success());
    let (code, stdout, _) = ended(runner).await;
    assert_eq!(code, Some(0));
    assert!(stdout.contains("completed with result: Failed"));
    let runner = start(&mint(&simulator, "two").await, &[]);
    simulator.enqueue(Job::new("acme", LABELS).that(Behaviour::CrashesWorker));
    assert_eq!(ended(runner).await.0, Some(0));
    assert_eq!(simulator.snapshot().failed, 2);
}

#[tokio::test]
async fn a_stopped_runner_cancels_its_job_and_exits_with_the_code_of_a_stop() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let idle = start(&mint(&simulator, "idle").await, &[]);
    online(&simulator, 1).await;
    tell(&idle, "-INT").await;
    assert_eq!(ended(idle).await.0, Some(130));
    online(&simulator, 0).await;
    assert_eq!(simulator.snapshot().runners.len(), 1, "the registration stays");

    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::from_mins(1)));
    let busy = start(&mint(&simulator, "busy").await, &[]);
    simulator.until(DEADLINE, |now| now.in_progress == 1).await.unwrap();
    tell(&busy, "-TERM").await;
    let (code, stdout, _) = ended(busy).await;
    assert_eq!(code, Some(143));
    assert!(stdout.contains("Exiting...") && stdout.contains("completed with result: Failed"), "{stdout}");
    assert_eq!(the_job(&simulator).state, JobState::Completed(Conclusion::Failed));
}

#[tokio::test]
async fn a_runner_that_dies_goes_offline_and_its_job_is_lost_when_the_lease_ends() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let mut runner = start(&mint(&simulator, "one").await, &[]);
    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::from_mins(1)));
    simulator.until(DEADLINE, |now| now.in_progress == 1).await.unwrap();
    runner.kill().await.unwrap();
    let offline = simulator.until(DEADLINE, |now| now.online() == 0).await.unwrap();
    assert!(offline.runners[0].busy, "it is still thought to have its job");
    let lost = simulator.until(DEADLINE, |now| now.lost == 1).await.unwrap();
    assert!(!lost.runners[0].busy);
    assert_eq!(wire::delete(&simulator, "/orgs/acme/actions/runners/1").await.status, 204);

    let crashing = start(&mint(&simulator, "two").await, &[]);
    simulator.enqueue(Job::new("acme", LABELS).that(Behaviour::CrashesRunner));
    assert_eq!(ended(crashing).await.0, None, "by a signal");
    simulator.until(DEADLINE, |now| now.lost == 2).await.unwrap();
}

#[tokio::test]
async fn a_jit_config_is_good_for_one_runner() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let jit = mint(&simulator, "one").await;
    let first = start(&jit, &[]);
    online(&simulator, 1).await;
    let (code, _, stderr) = ended(start(&jit, &[])).await;
    assert_eq!(code, Some(0), "which means nothing");
    assert!(stderr.contains("A session for this runner already exists."), "{stderr}");
    drop(first);
    let (code, _, stderr) = ended(start("no JIT config", &[])).await;
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("An error occurred: "), "{stderr}");
}

#[tokio::test]
async fn a_deregistered_runner_leaves_by_itself_or_does_not_come_up() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let jit = mint(&simulator, "one").await;
    let runner = start(&jit, &[]);
    online(&simulator, 1).await;
    assert_eq!(wire::delete(&simulator, "/orgs/acme/actions/runners/1").await.status, 204);
    simulator.enqueue(Job::new("acme", LABELS));
    let (code, _, stderr) = ended(runner).await;
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("The runner no longer exists on the server."), "{stderr}");
    assert_eq!(simulator.snapshot().queued, 1, "and takes no job");
    let (code, _, stderr) = ended(start(&jit, &[])).await;
    assert_eq!(code, Some(0));
    assert!(stderr.contains("The runner registration has been deleted from the server"), "{stderr}");
}

#[tokio::test]
async fn a_runner_waits_for_github_to_come_back() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let runner = start(&mint(&simulator, "one").await, &[]);
    online(&simulator, 1).await;
    simulator.outage(true);
    online(&simulator, 0).await;
    simulator.outage(false);
    online(&simulator, 1).await;
    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::ZERO));
    let (_, stdout, stderr) = ended(runner).await;
    assert_eq!(simulator.snapshot().succeeded, 1);
    assert!(stderr.starts_with("Runner connect error: "), "{stderr}");
    assert!(stderr.trim_end().ends_with("Retrying until reconnected."), "{stderr}");
    assert!(stdout.contains("Runner reconnected."), "{stdout}");
}

#[tokio::test]
async fn a_deprecated_runner_exits_with_its_code_only_when_that_was_requested() {
    let simulator = Simulator::start(quick()).await.unwrap();
    for (asked, expected) in [("1", 7), ("true", 0)] {
        let environment = [
            ("DAYFLY_SIMULATED", "deprecated"),
            ("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", asked),
        ];
        let runner = start(&mint(&simulator, asked).await, &environment);
        let (code, stdout, stderr) = ended(runner).await;
        assert_eq!(code, Some(expected), "{asked}");
        assert!(stdout.contains("Listening for Jobs"));
        assert!(stderr.contains("is deprecated and cannot receive messages"), "{stderr}");
    }
}

#[tokio::test]
async fn runners_misbehave_as_their_environment_says() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let odd = async |name: &'static str| start(&mint(&simulator, name).await, &[("DAYFLY_SIMULATED", name)]);
    let (code, stdout, _) = ended(odd("exits_at_once").await).await;
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
    assert_eq!(ended(odd("crashes_when_idle").await).await.0, None, "by a signal");
    simulator.until(DEADLINE, |now| now.online() == 0).await.unwrap();

    // A ghost's job goes to another runner, and it stays without a registration.
    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::ZERO));
    let ghost = odd("ghost").await;
    simulator.until(DEADLINE, |now| now.runner("ghost").is_none() && now.queued == 1).await.unwrap();
    assert_eq!(ended(odd("silent,noisy").await).await.0, Some(0));
    assert_eq!(simulator.snapshot().succeeded, 1);
    tell(&ghost, "-TERM").await;
    let (code, stdout, _) = ended(ghost).await;
    assert_eq!(code, Some(143));
    assert!(stdout.contains("Skipping message Job."), "{stdout}");

    let mut stubborn = odd("hangs_on_stop").await;
    online(&simulator, 1).await;
    tell(&stubborn, "-TERM").await;
    let survives = tokio::time::timeout(Duration::from_millis(300), stubborn.wait()).await;
    assert!(survives.is_err(), "{survives:?}");
    drop(stubborn);

    let mut runner = odd("never_listens").await;
    let mut lines = BufReader::new(runner.stdout.take().unwrap()).lines();
    let connected = async { while lines.next_line().await.unwrap().unwrap() != "√ Connected to GitHub" {} };
    tokio::time::timeout(DEADLINE, connected).await.expect("it reaches GitHub");
    assert!(!simulator.snapshot().runner("never_listens").unwrap().online);
    tell(&runner, "-TERM").await;
    assert_eq!(ended(runner).await.0, Some(143));

    let mut runner = odd("never_boots").await;
    let ends = tokio::time::timeout(Duration::from_millis(300), runner.wait()).await;
    assert!(ends.is_err() && !simulator.snapshot().runner("never_boots").unwrap().online);
    tell(&runner, "-TERM").await;
    let (code, stdout, _) = ended(runner).await;
    assert_eq!((code, stdout.as_str()), (Some(143), "Exiting...\n"));
}

#[tokio::test]
async fn the_image_made_on_the_spot_runs_a_runner_to_the_end_of_its_job() {
    let at = TestEngine::usual();
    let docker = Docker::connect_with_unix(&at.socket, 120, bollard::API_DEFAULT_VERSION)
        .expect("a Docker Engine is needed for this test");
    let image = OwnImage { repository: image::REPOSITORY, changes: &[] };
    let reference = image.ensure(&docker, BINARY.as_ref()).await.unwrap();
    assert!(reference.starts_with("dayfly-simulated-runner:"), "{reference}");
    assert_eq!(image.ensure(&docker, BINARY.as_ref()).await.unwrap(), reference, "used again");

    // A job that takes all of its memory may take a busy machine longer than a quick lease.
    let lease = Settings::default().lease;
    let simulator = Simulator::start(at.reached_by(Settings { lease, ..quick() })).await.unwrap();
    simulator.enqueue(Job::new("acme", LABELS).lasting(Duration::ZERO));
    let fine = contained(&docker, &reference, &mint(&simulator, "fine").await).await;
    simulator.enqueue(Job::new("acme", LABELS).that(Behaviour::Allocates(1 << 30)));
    let greedy = contained(&docker, &reference, &mint(&simulator, "greedy").await).await;
    own_image::remove(&docker, &reference).await.unwrap();
    own_image::remove(&docker, &reference).await.unwrap();
    assert!(docker.inspect_image(&reference).await.is_err());

    assert_eq!((fine.code, fine.out_of_memory), (0, false), "{}", fine.log);
    assert!(fine.log.contains("Job build completed with result: Succeeded"), "{}", fine.log);
    assert_eq!((greedy.code, greedy.out_of_memory), (0, true), "{}", greedy.log);
    assert!(greedy.log.contains("Job build completed with result: Failed"), "{}", greedy.log);
    let now = simulator.snapshot();
    assert_eq!((now.succeeded, now.failed, now.runners.len()), (1, 1, 0));
}

struct Ended {
    code: i64,
    out_of_memory: bool,
    log: String,
}

/// Runs a container of the image, as any user and with little memory, to its end, and removes it.
async fn contained(docker: &Docker, reference: &str, jit: &str) -> Ended {
    let limits = HostConfig {
        network_mode: Some("host".to_owned()),
        memory: Some(64 << 20),
        memory_swap: Some(64 << 20),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(reference.to_owned()),
        cmd: Some(image::COMMAND.map(str::to_owned).into()),
        env: Some(vec![format!("ACTIONS_RUNNER_INPUT_JITCONFIG={jit}")]),
        user: Some("1001:1001".to_owned()),
        host_config: Some(limits),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap().id;
    let life = async {
        docker.start_container(&id, None::<StartContainerOptions>).await?;
        // It follows until the container ends.
        let all = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(true).build();
        let log: Vec<_> = docker.logs(&id, Some(all)).try_collect().await?;
        let wait = docker.wait_container(&id, None::<WaitContainerOptions>).try_collect::<Vec<_>>();
        let code = wait.await?.first().map_or(-1, |ended| ended.status_code);
        let state = engines::inspect_container(docker, &id).await?.state;
        Ok(Ended {
            code,
            out_of_memory: state.and_then(|state| state.oom_killed).unwrap_or_default(),
            log: log.iter().map(ToString::to_string).collect(),
        })
    };
    let ended: Result<_, bollard::errors::Error> = tokio::time::timeout(DEADLINE * 3, life).await.unwrap();
    let force = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(&id, Some(force)).await.unwrap();
    ended.unwrap()
}
