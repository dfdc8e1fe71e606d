//! `dayfly demo`: the real daemon against the simulator, on the local Docker Engine, without any
//! configuration, image or account. Halfway through, the daemon is killed and started again.

mod daemon;
mod folder;
mod remains;
mod screen;
mod summary;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    iter::Peekable,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    time::{Duration, Instant},
    vec::IntoIter,
};

use anyhow::{Context, anyhow, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{interval, sleep_until},
};

use self::{
    daemon::{Daemon, Setup, configure, follow, is_complete, is_up, unexpected_end},
    folder::Folder,
    remains::{engine_of, remove_all, remove_remains},
    screen::{Screen, seconds},
    summary::{Killed, Summary},
    workload::{Arrival, arrivals},
};
use super::{
    Demo, DemoSource, Global,
    run::{runtime, start_logs},
    status::daemon::reachable,
};
use crate::{
    config::{environment, local_engine},
    host::{
        Docker, Endpoint, Host,
        own_image::{OwnImage, running_binary},
    },
    http::status_document::StatusDocument,
    simulator::{Hook, Job, Settings, Simulator, Snapshot, Waits, image},
};

/// The organization that the demo's jobs belong to, and their repository.
const ORGANIZATION: &str = "demo";
const REPOSITORY: &str = "demo/widgets";

/// Labels of the demo's pool and jobs.
const LABELS: [&str; 2] = ["self-hosted", "demo"];

/// How often the screen is updated.
const FRAME: Duration = Duration::from_millis(100);

/// How long the daemon stays down after the `kill -9`.
const DEAD: Duration = Duration::from_secs(1);

/// How long the last runners may take to end before the demo reports them as left over.
const CLEAN_UP: Duration = Duration::from_mins(1);

pub(super) fn run(global: &Global, demo: &Demo) -> anyhow::Result<ExitCode> {
    refuse_contradictions(demo)?;
    start_logs(global, Some("error"))?;
    let summary = runtime()?.block_on(play(global, demo))?;
    let mut out = std::io::stdout().lock();
    if demo.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        summary.write(&mut out)?;
    }
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fails when the options contradict each other.
fn refuse_contradictions(demo: &Demo) -> anyhow::Result<()> {
    if demo.min_idle > demo.max {
        bail!(
            "--min-idle {} is above --max {}: the pool cannot keep more runners idle than it may have",
            demo.min_idle,
            demo.max
        );
    }
    if demo.demand.len() > 1 && demo.demand.contains(&DemoSource::ScaleSet) {
        bail!("--demand scale-set cannot be combined with other job sources");
    }
    Ok(())
}

async fn play(global: &Global, demo: &Demo) -> anyhow::Result<Summary> {
    let mut interrupts = Interrupts::new()?;
    let seed = demo.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let instance = folder::instance()?;
    let endpoint = endpoint()?;
    let address = endpoint.to_string();
    let engine = engine_of(&endpoint, instance.clone())?;
    let facts = engine.facts().await.context("the demo needs a Docker Engine")?;
    let mut screen = Screen::new(demo.jobs, demo.max);
    screen.say(&format!("{} {}; building the runner image from this program", facts.product, facts.version));
    let remains_removed = remove_remains(&endpoint, &address).await;
    if remains_removed > 0 {
        screen.say(&format!("removed {remains_removed} containers of a demo that was killed"));
    }
    let image = OwnImage { repository: image::REPOSITORY, changes: &[] }
        .ensure(&endpoint.connect().await?, &running_binary())
        .await
        .context("failed to make the runner image")?;

    let folder = Folder::create(&instance, &address)?;
    let (token, secret) =
        (format!("demo_{:032x}", fastrand::u128(..)), format!("{:032x}", fastrand::u128(..)));
    folder.write("token", &token)?;
    folder.write("webhook-secret", &secret)?;
    let listen = free_address(demo.listen)?;
    let github = simulated_github(demo, token, &secret, listen).await?;
    let setup = Setup {
        demo,
        instance: &instance,
        endpoint: &address,
        github: &github,
        organization: ORGANIZATION,
        labels: &LABELS,
        image: &image,
        listen,
    };
    configure(&folder, &setup)?;
    let at = reachable(listen);
    screen.say(&format!("metrics and status: http://{at}/metrics and http://{at}/api/v1/status"));

    let (sender, status) = watch::channel(None);
    let polling = tokio::spawn(follow(at, sender));
    let mut play = Play {
        global,
        folder: &folder,
        github: &github,
        status,
        daemon: Daemon::start(global, &folder)?,
        started: Instant::now(),
        waiting: arrivals(demo.jobs, demo.rate, demo.job_seconds, seed).into_iter().peekable(),
        jobs: demo.jobs as usize,
        stage: Stage::Serving,
        killed: None,
        startups: Vec::new(),
        counted: BTreeSet::new(),
        served_in: None,
    };
    let ended = play.run(&mut screen, &mut interrupts).await;
    screen.end();
    // Cleans up however the demo ended.
    play.daemon.stop().await;
    polling.abort();
    let (ended, (remaining, unremovable)) = match (ended, clear(&engine).await) {
        (Ok(ended), Ok(left)) => (ended, left),
        (Err(error), _) | (_, Err(error)) => {
            // The next demo finds through it what is left.
            let log = folder.keep().join(daemon::LOG);
            return Err(error.context(format!("the demo failed; the daemon's log is {}", log.display())));
        }
    };
    let interrupted = matches!(ended, Ended::Interrupted);
    let end = github.snapshot();
    let mut summary = Summary {
        seed,
        jobs: demo.jobs as usize,
        succeeded: end.succeeded,
        failed: end.failed,
        lost: if interrupted { 0 } else { end.lost },
        interrupted,
        seconds: play.served_in.unwrap_or_else(|| play.started.elapsed()).as_secs_f64(),
        queue_wait_seconds: end.queue_wait.map(Into::into),
        startup_seconds: Waits::of(play.startups).map(Into::into),
        launched: play.counted.len(),
        killed: play.killed,
        registrations_left: if interrupted { 0 } else { end.runners.len() },
        containers_left: if interrupted { unremovable } else { remaining },
        remains_removed,
        log: None,
    };
    if !summary.is_clean() {
        summary.log = Some(folder.keep().join(daemon::LOG));
    }
    Ok(summary)
}

fn endpoint() -> anyhow::Result<Endpoint> {
    let variables: BTreeMap<String, String> = environment().collect();
    let variable = |name: &str| variables.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let (endpoint, source) =
        local_engine(variable).map_err(|error| anyhow!("the endpoint of the engine {error}"))?;
    if let Endpoint::Ssh(_) | Endpoint::Tcp { tls_dir: Some(_), .. } = endpoint {
        bail!(
            "the demo needs an engine on this machine, and {endpoint}, from {source}, is on another one; set DOCKER_HOST to \
             a socket, such as unix:///var/run/docker.sock"
        );
    }
    Ok(endpoint)
}

/// Removes all containers of the demo. Returns how many there were, and how many could not be removed.
async fn clear(engine: &Docker) -> anyhow::Result<(usize, usize)> {
    let left = engine.list().await.context("failed to list the containers that are left")?.containers.len();
    Ok((left, remove_all(engine).await?))
}

/// An address that stays the same when the daemon is started again.
fn free_address(listen: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    Ok(listener.local_addr()?)
}

async fn simulated_github(
    demo: &Demo,
    token: String,
    secret: &str,
    listen: SocketAddr,
) -> anyhow::Result<Simulator> {
    let settings = Settings {
        scopes: vec![ORGANIZATION.to_owned()],
        tokens: vec![token],
        busy_lag: Duration::from_secs(1),
        poll_cycle: Duration::from_secs(1),
        rate_limit: Some(100_000),
        seed: demo.seed.unwrap_or_default(),
        ..Settings::default()
    };
    let github = Simulator::start(settings).await.context("failed to start the simulated GitHub")?;
    github.push(REPOSITORY, false);
    if demo.demand.contains(&DemoSource::Webhook) {
        github.add_hook(Hook::new(ORGANIZATION, format!("http://{}/webhook", reachable(listen)), secret));
    }
    Ok(github)
}

/// The signals that end a demo early. SIGHUP comes when its terminal is closed.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn recv(&mut self) {
        let Self([interrupt, terminate, hang_up]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// How a demo ended.
enum Ended {
    Served,
    Interrupted,
}

/// The stages of a demo.
enum Stage {
    /// Jobs come, and the daemon serves them.
    Serving,
    /// The daemon was killed.
    Dead { since: Instant, up: Vec<(String, bool)> },
    /// The next daemon was started, and has not listed everything yet.
    Adopting { since: Instant, up: Vec<(String, bool)> },
    /// All jobs were served.
    Draining { since: Instant },
}

/// The demo between the first job and the last container.
struct Play<'a> {
    global: &'a Global,
    folder: &'a Folder,
    github: &'a Simulator,
    status: watch::Receiver<Option<StatusDocument<'static>>>,
    daemon: Daemon,
    started: Instant,
    waiting: Peekable<IntoIter<Arrival>>,
    jobs: usize,
    stage: Stage,
    killed: Option<Killed>,
    startups: Vec<Duration>,
    /// Names of the runners that have been seen connected.
    counted: BTreeSet<String>,
    served_in: Option<Duration>,
}

impl Play<'_> {
    async fn run(&mut self, screen: &mut Screen, interrupts: &mut Interrupts) -> anyhow::Result<Ended> {
        let mut frame = interval(FRAME);
        loop {
            let next = self.waiting.peek().map(|job| tokio::time::Instant::from_std(self.started + job.at));
            let is_dead = matches!(self.stage, Stage::Dead { .. });
            tokio::select! {
                () = async { match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {
                    if let Some(Arrival { name, duration, .. }) = self.waiting.next() {
                        let job = Job::new(ORGANIZATION, &LABELS).of(REPOSITORY);
                        self.github.enqueue(job.named(name).lasting(duration));
                    }
                    continue;
                }
                () = interrupts.recv() => {
                    screen.say("cleaning up; this takes some seconds");
                    return Ok(Ended::Interrupted);
                }
                status = self.daemon.ended(), if !is_dead => return Err(unexpected_end(status?, self.folder)),
                _ = frame.tick() => {}
            }
            let now = self.github.snapshot();
            self.count(&now);
            self.advance(&now, screen).await?;
            let doing = self.doing();
            screen.show(self.status.borrow().as_ref(), &now, &doing);
            if let Stage::Draining { since } = self.stage {
                let gone = |status: &StatusDocument<'_>| status.runners.is_empty();
                let is_over = now.runners.is_empty() && self.status.borrow().as_ref().is_some_and(gone);
                if is_over || since.elapsed() > CLEAN_UP {
                    return Ok(Ended::Served);
                }
            }
        }
    }

    fn count(&mut self, now: &Snapshot) {
        for runner in &now.runners {
            if let Some(connected_at) = runner.connected_at
                && self.counted.insert(runner.name.clone())
            {
                self.startups.push(connected_at.since(runner.minted_at));
            }
        }
    }

    /// Moves on to the next stage when it is time.
    async fn advance(&mut self, now: &Snapshot, screen: &Screen) -> anyhow::Result<()> {
        let is_served = self.waiting.peek().is_none() && now.queued == 0 && now.in_progress == 0;
        let next = match &mut self.stage {
            Stage::Serving => {
                let halfway = now.completed() >= self.jobs / 2 && now.in_progress > 0;
                if self.killed.is_none() && halfway && self.status.borrow().is_some() {
                    let up = self.up(now);
                    self.daemon.kill().await?;
                    screen.say(&format!("kill -9 of the daemon, with {} runners running", up.len()));
                    Some(Stage::Dead { since: Instant::now(), up })
                } else if is_served {
                    self.served_in = Some(self.started.elapsed());
                    self.daemon.drain();
                    Some(Stage::Draining { since: Instant::now() })
                } else {
                    None
                }
            }
            Stage::Dead { since, up } if since.elapsed() >= DEAD => {
                let up = std::mem::take(up);
                self.daemon = Daemon::start(self.global, self.folder)?;
                Some(Stage::Adopting { since: Instant::now(), up })
            }
            Stage::Adopting { since, up } => {
                let status = self.status.borrow();
                let status = status.as_ref().filter(|status| is_complete(status));
                status.map(|status| {
                    let adopted = |(name, _): &&(String, bool)| {
                        status.runners.iter().any(|runner| runner.name == *name && is_up(runner))
                    };
                    let killed = Killed {
                        runners: up.len(),
                        busy: up.iter().filter(|(_, busy)| *busy).count(),
                        adopted: up.iter().filter(adopted).count(),
                        seconds: since.elapsed().as_secs_f64(),
                    };
                    screen.say(&format!(
                        "the next daemon adopted {} of them in {:.2} s; {} had finished their job",
                        killed.adopted,
                        killed.seconds,
                        killed.runners - killed.adopted
                    ));
                    self.killed = Some(killed);
                    Stage::Serving
                })
            }
            Stage::Dead { .. } | Stage::Draining { .. } => None,
        };
        if let Some(next) = next {
            self.stage = next;
        }
        Ok(())
    }

    /// The runners that have connected, and whether they have a job.
    fn up(&self, now: &Snapshot) -> Vec<(String, bool)> {
        let status = self.status.borrow();
        let has_connected = |name: &str| now.runner(name).is_some_and(|runner| runner.connected_at.is_some());
        let runners = status.iter().flat_map(|status| &status.runners);
        let runners = runners.filter(|runner| is_up(runner) && has_connected(&runner.name));
        let has_job = |name: &str| now.runner(name).is_some_and(|runner| runner.job.is_some());
        runners.map(|runner| (runner.name.to_string(), has_job(&runner.name))).collect()
    }

    /// What the daemon is doing, in a few words.
    fn doing(&self) -> String {
        let id = self.daemon.id().map_or_else(String::new, |id| format!("process {id}"));
        match &self.stage {
            Stage::Serving if self.killed.is_none() => id,
            Stage::Serving => format!("{id}, started after a kill -9"),
            Stage::Dead { since, .. } => {
                format!("killed with -9 {} ago; runners and jobs continue", seconds(since.elapsed()))
            }
            Stage::Adopting { .. } => format!("{id}, finding its runners again"),
            Stage::Draining { .. } => format!("{id}, draining"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn contradictions_are_refused_before_anything_starts() {
        for (arguments, fine) in [
            (&["--demand", "queue,webhook"][..], true),
            (&["--demand", "scale-set"], true),
            (&["--demand", "queue,scale-set"], false),
            (&["--min-idle", "5", "--max", "4"], false),
        ] {
            let cli = Cli::try_parse_from(["dayfly", "demo"].iter().chain(arguments)).unwrap();
            let Command::Demo(demo) = cli.command else { unreachable!() };
            assert_eq!(refuse_contradictions(&demo).is_ok(), fine, "{arguments:?}");
        }
    }
}
