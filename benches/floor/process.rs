//! `dayfly run` as a process of its own: what it takes of memory, and how it comes back after a
//! kill -9.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use dayfly::simulator::{Endpoint, Simulator};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use super::{
    daemon::page,
    stand::{PATIENCE, Stand},
    table::{Table, mebibytes, millis},
};

const BINARY: &str = env!("CARGO_BIN_EXE_dayfly");

/// The interval between two checks of a daemon that is starting.
const LOOK: Duration = Duration::from_millis(5);

const MEBIBYTE: u64 = 1 << 20;

pub(crate) async fn measure(stand: &Stand, quick: bool, table: &mut Table) -> Result<()> {
    // Buffers that are used only at the start are given back after a while, if at all.
    let settle = Duration::from_secs(if quick { 5 } else { 25 });
    let (many, more) = if quick { (5, None) } else { (50, Some(100)) };
    table.reported("binary", mebibytes(fs::metadata(BINARY)?.len()));
    let github = stand.github().await?;

    let mut idle = Process::start(stand, &github, 0)?;
    idle.until_idle(0).await?;
    println!("dayfly run without runners: settling");
    sleep(settle).await;
    let memory = idle.memory()?;
    table.judged(
        "resident memory, no runners",
        memory.shown(),
        "<= 15 MiB",
        memory.resident <= 15 * MEBIBYTE,
    );
    idle.kill().await?;

    let mut first = Process::start(stand, &github, many)?;
    first.until_idle(many).await?;
    println!("dayfly run with {many} runners: settling");
    sleep(settle).await;
    table.reported(format!("resident memory, {many} runners launched"), first.memory()?.shown());
    first.kill().await?;

    let before = Seen::of(stand, &github).await?;
    let started_at = Instant::now();
    let mut second = Process::start(stand, &github, many)?;
    second.until_idle(many).await?;
    let took = started_at.elapsed();
    println!("killed, restarted, adopted {many} runners in {}: settling", millis(took));
    sleep(settle).await;
    let after = Seen::of(stand, &github).await?;
    let kept = before.containers.intersection(&after.containers).count();
    table.judged(
        format!("kill -9 and restart with {many} runners"),
        format!(
            "{} -> {kept} kept, {} mints, {} removals; all idle after {}",
            before.containers.len(),
            after.mints - before.mints,
            after.removals - before.removals,
            millis(took)
        ),
        "all kept, 0, 0",
        before == after && kept == many,
    );
    table.reported(format!("resident memory, {many} runners adopted"), second.memory()?.shown());
    second.kill().await?;

    if let Some(more) = more {
        let mut third = Process::start(stand, &github, more)?;
        third.until_idle(more).await?;
        println!("dayfly run with {more} runners: settling");
        sleep(settle).await;
        let memory = third.memory()?;
        let met = memory.resident <= 25 * MEBIBYTE;
        table.judged(format!("resident memory, {more} runners"), memory.shown(), "<= 25 MiB", met);
        third.kill().await?;
    }
    stand.clear().await?;
    Ok(())
}

/// What must be the same after a restart as before.
#[derive(PartialEq)]
struct Seen {
    containers: BTreeSet<String>,
    mints: u64,
    removals: u64,
}

impl Seen {
    async fn of(stand: &Stand, github: &Simulator) -> Result<Self> {
        let containers = stand.containers().await?.into_iter().collect();
        let (mints, removals) = (github.count(Endpoint::Mint), github.count(Endpoint::DeleteRunner));
        Ok(Self { containers, mints, removals })
    }
}

/// A daemon process. It ends with this value.
struct Process {
    child: Child,
    pid: u32,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    fn start(stand: &Stand, github: &Simulator, min_idle: usize) -> Result<Self> {
        let dir = stand.dir.path();
        let (config, log) = (dir.join("dayfly.toml"), dir.join("log"));
        // Free now; if another process takes it in between, the start fails with an error.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(&config, configuration(stand, github, min_idle, address)?)?;
        let child = Command::new(BINARY)
            .args([Path::new("run"), Path::new("--config"), &config])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {BINARY}"))?;
        let pid = child.id().context("the daemon ended at once")?;
        Ok(Self { child, pid, address, log })
    }

    /// Waits until it has seen its scope and its host, and has so many idle runners and no other.
    async fn until_idle(&mut self, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait()?.is_none() {
            // Until it listens there is an error.
            if self.is_idle(count).await.unwrap_or(false) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        bail!(
            "the daemon ended, or had no {count} idle runners within {} s; its log, last line first:\n{}",
            PATIENCE.as_secs(),
            tail.join("\n")
        )
    }

    async fn is_idle(&self, count: usize) -> Result<bool> {
        page(self.address, "/readyz").await?;
        let status: Value = serde_json::from_str(&page(self.address, "/api/v1/status").await?)?;
        let runners = status["runners"].as_array().context("a status without runners")?;
        Ok(runners.len() == count && runners.iter().all(|runner| runner["phase"] == "idle"))
    }

    fn memory(&self) -> Result<Memory> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid));
        let (rollup, status) = (read("smaps_rollup")?, read("status")?);
        Ok(Memory {
            resident: kibibytes(&rollup, "Rss:")? * 1024,
            anonymous: kibibytes(&rollup, "Anonymous:")? * 1024,
            peak: kibibytes(&status, "VmHWM:")? * 1024,
        })
    }

    /// kill -9.
    async fn kill(mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the daemon had ended by itself");
        Ok(self.child.kill().await?)
    }
}

struct Memory {
    resident: u64,
    /// Of it, what is not backed by the binary or a library.
    anonymous: u64,
    peak: u64,
}

impl Memory {
    fn shown(&self) -> String {
        let Self { resident, anonymous, peak } = *self;
        format!("{} (anonymous {}, peak {})", mebibytes(resident), mebibytes(anonymous), mebibytes(peak))
    }
}

fn kibibytes(text: &str, key: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.with_context(|| format!("the kernel does not tell {key}"))?.parse().context("not a number")
}

fn configuration(stand: &Stand, github: &Simulator, min_idle: usize, address: SocketAddr) -> Result<String> {
    let count = u32::try_from(min_idle.max(1))?;
    let mut pool = stand.pool(github, count, count)?;
    if min_idle == 0 {
        // A pool that keeps none is refused; one without an image can launch none.
        "dayfly-bench-no-such-image".clone_into(&mut pool.template.image);
    }
    let text = |text: &str| Value::from(text).to_string();
    let texts = |texts: &[String]| Value::from(texts).to_string();
    let path = |name: &str| text(&stand.dir.path().join(name).to_string_lossy());
    Ok(format!(
        "instance = {instance}\nstate_dir = {state}\n\
         [credentials.default]\ntoken_file = {token}\n\
         [hosts.local]\nendpoint = {endpoint}\n\
         [http]\nlisten = {listen}\n\
         [[pool]]\nname = {name}\nurl = {url}\nlabels = {labels}\nmin_idle = {count}\nmax = {count}\n\
         [pool.container]\nimage = {image}\ncommand = {command}\npull = \"never\"\nnetwork = \"host\"\n",
        instance = text(stand.instance.as_str()),
        state = path("state"),
        token = path("token"),
        endpoint = text(&stand.endpoint.to_string()),
        listen = text(&address.to_string()),
        name = text(pool.name.as_str()),
        url = text(pool.scope.as_str()),
        labels = texts(&pool.labels),
        image = text(&pool.template.image),
        command = texts(&pool.template.command),
    ))
}
