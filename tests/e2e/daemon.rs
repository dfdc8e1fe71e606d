//! The daemon as a process: what it is started with, what it logs, what it answers.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    engine::BINARY,
    world::{DEADLINE, until},
};

/// The lines that all runs of a test's daemon have logged.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    process: Child,
    address: String,
}

/// A command that runs the daemon with nothing of the test's own environment but the path.
pub(crate) fn command(config: &Path) -> Command {
    let mut command = Command::new(BINARY);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).args(["run", "--log-format", "json", "--config"]).arg(config);
    command
}

impl Daemon {
    /// Starts it, with everything logged, and waits until it has planned.
    pub(crate) async fn start(config: &Path, log: &Log) -> Self {
        let mut command = command(config);
        command.arg("-vv");
        Self::start_as(command, log).await
    }

    /// Starts it as the command says.
    pub(crate) async fn start_as(mut command: Command, log: &Log) -> Self {
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (log, before) = (Arc::clone(log), log.lock().unwrap().len());
        let reader = Arc::clone(&log);
        thread::spawn(move || lines.for_each(|line| reader.lock().unwrap().push(line.unwrap())));
        let mut daemon = Self { process, address: String::new() };
        daemon.address = until("the daemon says where it serves", async || {
            let log = log.lock().unwrap();
            let line = log[before..].iter().find(|line| line.contains("\"dayfly started\""))?;
            let line: Value = serde_json::from_str(line).unwrap();
            Some(line["address"].as_str().expect("an address").to_owned())
        })
        .await;
        until("it has planned", async || daemon.get("/healthz").await.filter(|reported| reported == "ok\n"))
            .await;
        daemon
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: impl AsRef<OsStr>) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").arg(signal).arg(id).status().unwrap().success());
    }

    /// Sends it SIGTERM and returns how it exited and how long that took.
    pub(crate) async fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal("-TERM");
        let process = Mutex::new(&mut self.process);
        let status = until("the daemon ends", async || process.lock().unwrap().try_wait().unwrap()).await;
        (status, began.elapsed())
    }

    /// What it answers to a GET; `None` while it answers nothing.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let address = format!("http://{}{path}", self.address).parse().unwrap();
        let exchange = async {
            let answer = client.get(address).await.ok()?;
            let body = answer.into_body().collect().await.ok()?.to_bytes();
            Some(String::from_utf8(body.into()).expect("UTF-8"))
        };
        tokio::time::timeout(DEADLINE, exchange).await.ok().flatten()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The part of `/api/v1/status` that tests use.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) draining: bool,
    pub(crate) pools: Vec<PoolStatus>,
    pub(crate) runners: Vec<RunnerStatus>,
    pub(crate) scopes: Vec<ScopeStatus>,
    pub(crate) hosts: Vec<HostStatus>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PoolStatus {
    pub(crate) name: String,
    pub(crate) held: Option<String>,
    pub(crate) held_detail: Option<String>,
    pub(crate) queued: u32,
    phases: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RunnerStatus {
    pub(crate) name: String,
    pub(crate) phase: String,
    pub(crate) container_id: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) since: String,
    #[serde(default)]
    pub(crate) destinations: Vec<DestinationStatus>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct DestinationStatus {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) verdict: String,
    pub(crate) requests: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ScopeStatus {
    pub(crate) url: String,
    pub(crate) up: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct HostStatus {
    pub(crate) name: String,
    pub(crate) up: bool,
    pub(crate) nodes: Vec<NodeStatus>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeStatus {
    pub(crate) name: String,
    pub(crate) availability: String,
    pub(crate) reachable: bool,
    pub(crate) runners: u32,
}

impl Status {
    pub(crate) fn pool(&self, name: &str) -> &PoolStatus {
        self.pools.iter().find(|pool| pool.name == name).expect("the pool is configured")
    }

    /// What holds a pool back.
    pub(crate) fn held(&self, pool: &str) -> Option<&str> {
        self.pool(pool).held.as_deref()
    }

    /// A node of the only host.
    pub(crate) fn node(&self, name: &str) -> &NodeStatus {
        self.hosts[0].nodes.iter().find(|node| node.name == name).expect("the node is listed")
    }

    /// How many runners on a node are in a phase.
    pub(crate) fn on_node(&self, node: &str, phase: &str) -> usize {
        let is_it = |runner: &&RunnerStatus| runner.node.as_deref() == Some(node) && runner.phase == phase;
        self.runners.iter().filter(is_it).count()
    }

    /// How many runners of a pool are in a phase.
    pub(crate) fn count(&self, pool: &str, phase: &str) -> usize {
        self.pool(pool).phases[phase]
    }
}
