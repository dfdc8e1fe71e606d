//! `dayfly demo`: the real daemon against the simulator, on the local Docker Engine, with nothing
//! to configure, pull or sign in to.

mod screen;
mod workload;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::{
    sync::{broadcast, oneshot, watch},
    time::{interval, sleep_until},
};

use self::{
    screen::Screen,
    workload::{Arrival, arrivals},
};
use super::{
    Demo, Global,
    run::{runtime, start_logs},
};
use crate::{
    config::{Config, HostConfig, PoolConfig},
    daemon::Daemon,
    fleet::{self, Demand, Event, InstanceId, Policy, Pool, PullPolicy, Resources, Template},
    github::TokenSource,
    host::{Docker, Endpoint, Host},
    http::Snapshot,
    simulator::{Job, Settings, Simulator, Waits, image},
};

/// The organization that the demo's jobs belong to.
const ORGANIZATION: &str = "demo";

/// Labels of the demo's pool and jobs.
const LABELS: [&str; 2] = ["self-hosted", "demo"];

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How long the end of the last runners may take before the demo says that something is left.
const CLEAN_UP: Duration = Duration::from_mins(1);

pub(super) fn run(global: &Global, demo: &Demo) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let summary = runtime()?.block_on(play(demo))?;
    let mut out = std::io::stdout().lock();
    if demo.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        summary.write(&mut out)?;
    }
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of it.
#[derive(Serialize)]
struct Summary {
    seed: u64,
    jobs: usize,
    succeeded: usize,
    failed: usize,
    lost: usize,
    interrupted: bool,
    seconds: f64,
    queue_wait_seconds: Option<Percentiles>,
    startup_seconds: Option<Percentiles>,
    launched: usize,
    registrations_left: usize,
    containers_left: usize,
}

#[derive(Clone, Copy, Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    max: f64,
}

impl From<Waits> for Percentiles {
    fn from(waits: Waits) -> Self {
        let Waits { p50, p95, max } = waits;
        Self { p50: p50.as_secs_f64(), p95: p95.as_secs_f64(), max: max.as_secs_f64() }
    }
}

impl Summary {
    /// Whether every job was served, and nothing is left.
    fn is_clean(&self) -> bool {
        let served = self.interrupted || self.succeeded == self.jobs;
        served && self.lost == 0 && self.registrations_left == 0 && self.containers_left == 0
    }

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let percentiles = |of: Option<Percentiles>| {
            of.map_or_else(
                || "none".to_owned(),
                |p| format!("p50 {:.2} s, p95 {:.2} s, longest {:.2} s", p.p50, p.p95, p.max),
            )
        };
        writeln!(
            out,
            "jobs        {} of {} done, {} failed, {} lost, in {:.1} s",
            self.succeeded, self.jobs, self.failed, self.lost, self.seconds
        )?;
        writeln!(out, "queue wait  {}", percentiles(self.queue_wait_seconds))?;
        writeln!(out, "start-up    {}", percentiles(self.startup_seconds))?;
        writeln!(out, "runners     {} launched, each for one job", self.launched)?;
        writeln!(
            out,
            "left over   {} registrations, {} containers",
            self.registrations_left, self.containers_left
        )?;
        if !self.interrupted && !self.is_clean() {
            writeln!(out, "This should not happen; run again with --seed {} and -v to see why.", self.seed)?;
        }
        Ok(())
    }
}

async fn play(demo: &Demo) -> anyhow::Result<Summary> {
    if demo.min_idle > demo.max {
        bail!(
            "--min-idle {} is above --max {}: the pool cannot keep more than it may have",
            demo.min_idle,
            demo.max
        );
    }
    let seed = demo.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let instance: InstanceId = format!("demo{:06x}", fastrand::u32(..1 << 24)).parse()?;
    let endpoint: Endpoint = match std::env::var("DOCKER_HOST") {
        Ok(text) => text.parse().with_context(|| format!("DOCKER_HOST is refused: {text}"))?,
        Err(_) => Endpoint::default(),
    };
    let engine = Docker::new("local".parse()?, endpoint.clone(), instance.clone(), Arc::new(|_| {}));
    let facts = engine.facts().await.context("the demo needs a Docker Engine")?;
    let mut screen = Screen::new(demo.jobs, demo.max);
    screen.say(&format!(
        "Docker Engine {} on {}; making the runner image from this program",
        facts.version, facts.os
    ));
    let image = image::ensure(&endpoint.connect().await?, &image::running_binary())
        .await
        .context("failed to make the runner image")?;

    let state_dir = StateDir(std::env::temp_dir().join(format!("dayfly-{instance}")));
    let token = state_dir.with_token()?;
    let settings = Settings {
        scopes: vec![ORGANIZATION.to_owned()],
        tokens: vec![token],
        busy_lag: Duration::from_secs(1),
        poll_cycle: Duration::from_secs(1),
        rate_limit: Some(100_000),
        seed,
        ..Settings::default()
    };
    let github = Simulator::start(settings).await.context("failed to start the simulated GitHub")?;
    let config = config(demo, &instance, endpoint, &github, image, &state_dir.0)?;
    let daemon = Daemon::start(&config)?;
    if let Some(address) = daemon.address() {
        screen.say(&format!("look at http://{address}/metrics and http://{address}/api/v1/status meanwhile"));
    }

    let play = Play {
        github: &github,
        reports: daemon.reports(),
        events: daemon.events(),
        drain: Box::new(daemon.drain()),
        started: Instant::now(),
        startups: Vec::new(),
        launched: 0,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let daemon = tokio::spawn(daemon.run(async {
        // Either way it is over.
        let _ = stopped.await;
    }));
    let jobs = arrivals(demo.jobs, demo.rate, demo.job_seconds, seed);
    let summary = play.run(jobs, &engine, &mut screen, seed).await;
    screen.end();
    let _ = stop.send(());
    daemon.await.context("the daemon broke down")?;
    summary
}

/// The demo between the first job and the last container.
struct Play<'a> {
    github: &'a Simulator,
    reports: watch::Receiver<Arc<Snapshot>>,
    events: broadcast::Receiver<Event>,
    drain: Box<dyn Fn() + Send + Sync>,
    started: Instant,
    startups: Vec<Duration>,
    launched: usize,
}

impl Play<'_> {
    async fn run(
        mut self,
        jobs: Vec<Arrival>,
        engine: &Docker,
        screen: &mut Screen,
        seed: u64,
    ) -> anyhow::Result<Summary> {
        let total = jobs.len();
        let mut waiting = jobs.into_iter().peekable();
        let mut frame = interval(FRAME);
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let (mut interrupted, mut draining_since) = (false, None);
        let mut served_in = None;
        loop {
            let next_job = waiting.peek().map(|job| tokio::time::Instant::from_std(self.started + job.at));
            tokio::select! {
                () = async { match next_job {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {
                    if let Some(Arrival { name, duration, .. }) = waiting.next() {
                        self.github.enqueue(Job::new(ORGANIZATION, &LABELS).named(name).lasting(duration));
                    }
                    continue;
                }
                event = self.events.recv() => {
                    if let Ok(event) = event {
                        self.count(&event);
                        screen.tell(&event);
                    }
                    continue;
                }
                _ = &mut interrupt, if !interrupted => {
                    interrupted = true;
                    waiting = Vec::new().into_iter().peekable();
                    screen.say("cleaning up; this takes some seconds");
                }
                _ = frame.tick() => {}
            }
            let now = self.github.snapshot();
            screen.show(&self.reports.borrow().status, &now);
            let served = waiting.peek().is_none() && now.queued == 0 && now.in_progress == 0;
            if served && served_in.is_none() {
                served_in = Some(self.started.elapsed());
            }
            if draining_since.is_none() && (served || interrupted) {
                (self.drain)();
                draining_since = Some(Instant::now());
            }
            let over = draining_since.is_some_and(|since| {
                let nothing_left = now.runners.is_empty() && self.reports.borrow().status.runners.is_empty();
                nothing_left || since.elapsed() > CLEAN_UP
            });
            if over {
                break;
            }
        }
        let containers = engine.list().await.context("failed to look for containers that are left")?;
        if interrupted {
            force_out(engine, &containers).await;
        }
        let end = self.github.snapshot();
        Ok(Summary {
            seed,
            jobs: total,
            succeeded: end.succeeded,
            failed: end.failed,
            lost: end.lost,
            interrupted,
            seconds: served_in.unwrap_or_else(|| self.started.elapsed()).as_secs_f64(),
            queue_wait_seconds: end.queue_wait.map(Percentiles::from),
            startup_seconds: Waits::of(self.startups).map(Percentiles::from),
            launched: self.launched,
            registrations_left: end.runners.len(),
            containers_left: if interrupted { engine.list().await?.len() } else { containers.len() },
        })
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Launched { .. } => self.launched += 1,
            Event::Ready { startup: Some(startup), .. } => self.startups.push(*startup),
            _ => {}
        }
    }
}

/// Stops and removes what an interrupted demo has left: its jobs are of no use to anybody.
async fn force_out(engine: &Docker, containers: &[fleet::Container]) {
    for container in containers {
        // What cannot be removed is counted and told at the end.
        let _ = engine.stop(&container.id, Duration::ZERO).await;
        let _ = engine.remove(&container.id).await;
    }
}

/// The demo's state directory. It goes with the demo: nobody has a use for it afterwards.
struct StateDir(PathBuf);

impl StateDir {
    /// Makes it, with a token that only the simulated GitHub knows in a file that only this user
    /// can read.
    fn with_token(&self) -> anyhow::Result<String> {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::create_dir_all(&self.0).with_context(|| format!("failed to make {}", self.0.display()))?;
        let token = format!("demo_{:032x}", fastrand::u128(..));
        let path = self.0.join("token");
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("failed to write {}", path.display()))?;
        file.write_all(token.as_bytes())?;
        Ok(token)
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // What cannot be removed is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(
    demo: &Demo,
    instance: &InstanceId,
    endpoint: Endpoint,
    github: &Simulator,
    image: String,
    state_dir: &Path,
) -> anyhow::Result<Config> {
    let host: fleet::HostName = "local".parse()?;
    let pool = Pool {
        name: "demo".parse()?,
        scope: github.scope_url(ORGANIZATION).parse()?,
        credential: "default".into(),
        host: host.clone(),
        group: "Default".to_owned(),
        labels: LABELS.map(str::to_owned).to_vec(),
        demand: Demand::IDLE,
        repositories: Vec::new(),
        allow_public: false,
        match_unlabelled: false,
        policy: Policy {
            min_idle: demo.min_idle,
            max: demo.max,
            // Short, so that scaling down is seen as well.
            idle_timeout: Duration::from_secs(5),
            idle_confirmation: Duration::from_secs(3),
            boot_timeout: Duration::from_secs(30),
            ..Policy::default()
        },
        template: Template {
            image,
            command: vec!["/dayfly".to_owned(), "simulated-runner".to_owned()],
            pull: PullPolicy::Never,
            network: Some("host".to_owned()),
            ..Template::default()
        },
    };
    Ok(Config {
        instance: instance.clone(),
        state_dir: state_dir.to_owned(),
        credentials: BTreeMap::from([(
            "default".to_owned(),
            TokenSource::File(state_dir.join("token")).into(),
        )]),
        hosts: vec![HostConfig {
            host: fleet::Host { name: host, max_runners: None, budget: Resources::default() },
            endpoint,
            min_free_disk: None,
        }],
        listen: demo.listen,
        allowed_hosts: Vec::new(),
        webhook_secret_file: None,
        poll_interval: Duration::from_secs(1),
        pools: vec![PoolConfig { pool, credential: "default".to_owned() }],
        warnings: Vec::new(),
    })
}
