//! The demo's daemon: `dayfly run` as a separate process with a configuration file, so that it can be killed
//! like any daemon, and its status.

use std::{
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};

use super::folder::Folder;
use crate::{
    cli::{Demo, DemoSource, Global, LogFormat, status::daemon::get},
    fleet::InstanceId,
    host::own_image::running_binary,
    http::status_document::{RunnerEntry, StatusDocument},
    simulator::{Simulator, image},
};

/// How often the daemon's status is polled.
const POLL: Duration = Duration::from_millis(50);

/// How long the daemon may take to exit by itself.
const GRACE: Duration = Duration::from_secs(8);

/// Name of the daemon's log in the demo's folder.
pub(super) const LOG: &str = "daemon.log";

/// The values for the configuration.
pub(super) struct Setup<'a> {
    pub(super) demo: &'a Demo,
    pub(super) instance: &'a InstanceId,
    pub(super) endpoint: &'a str,
    pub(super) github: &'a Simulator,
    pub(super) organization: &'a str,
    pub(super) labels: &'a [&'a str],
    pub(super) image: &'a str,
    pub(super) listen: SocketAddr,
}

/// Writes the daemon's configuration.
pub(super) fn configure(folder: &Folder, setup: &Setup<'_>) -> anyhow::Result<()> {
    let Setup { demo, instance, endpoint, github, organization, labels, image, listen } = setup;
    // A JSON string without unusual escapes is valid TOML too.
    let text = |text: &str| serde_json::to_string(text);
    let hook = demo.demand.contains(&DemoSource::Webhook);
    let hook = if hook { "webhook_secret_file = \"webhook-secret\"" } else { "" };
    let demand: Vec<&str> = demo.demand.iter().map(|source| source.as_str()).collect();
    let command: Vec<&str> = image::COMMAND.to_vec();
    let config = format!(
        r#"instance = "{instance}"
state_dir = {state}

[credentials.default]
token_file = "token"

[hosts.local]
endpoint = {endpoint}

[http]
listen = "{listen}"
{hook}

[poll]
interval = "1s"

[[pool]]
name = "demo"
url = "{url}"
labels = {labels}
demand = {demand}
min_idle = {min_idle}
max = {max}
# Short, so that scaling down is seen as well.
idle_timeout = "5s"
idle_confirmation = "3s"
boot_timeout = "20s"

[pool.container]
image = "{image}"
command = {command}
pull = "never"
network = "host"
"#,
        state = text(&folder.join("state").to_string_lossy())?,
        endpoint = text(endpoint)?,
        url = github.scope_url(organization),
        labels = serde_json::to_string(labels)?,
        demand = serde_json::to_string(&demand)?,
        command = serde_json::to_string(&command)?,
        min_idle = demo.min_idle,
        max = demo.max,
    );
    folder.write("dayfly.toml", &config)?;
    Ok(())
}

/// A running daemon. It does not outlive the demo.
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts it with the configuration in a folder. Its log goes to the folder, or to standard error when
    /// the options ask for a more verbose one.
    pub(super) fn start(global: &Global, folder: &Folder) -> anyhow::Result<Self> {
        let mut command = Command::new(running_binary());
        // The configuration is complete; the environment belongs to another one.
        for (name, _) in std::env::vars_os() {
            let of_ours = name.to_string_lossy().starts_with("DAYFLY_");
            if of_ours || name == "NOTIFY_SOCKET" || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.arg("run").arg("--config").arg(folder.join("dayfly.toml"));
        command.args(["--parent", &std::process::id().to_string()]);
        if global.log_format == LogFormat::Json {
            command.args(["--log-format", "json"]);
        }
        if let Some(filter) = global.log_filter() {
            command.args(["--log", filter]);
        } else {
            let path = folder.join(LOG);
            let log = std::fs::File::options().append(true).create(true).open(&path);
            command.stderr(log.with_context(|| format!("failed to write {}", path.display()))?);
        }
        // Ctrl-C is for the demo alone, which stops the daemon itself.
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        Ok(Self(command.spawn().context("failed to start the daemon")?))
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.0.id()
    }

    /// Waits until it has exited.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// `kill -9`.
    pub(super) async fn kill(&mut self) -> std::io::Result<()> {
        self.0.kill().await
    }

    /// Makes it drain: launch nothing, remove the idle, let the busy finish.
    pub(super) fn drain(&self) {
        self.signal(Signal::USR1);
    }

    /// Stops it once it has finished what it began.
    pub(super) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        if timeout(GRACE, self.ended()).await.is_err() {
            // It has exited in the meantime, or cannot be killed.
            let _ = self.kill().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            // A process that has exited needs no signal.
            let _ = kill_process(id, signal);
        }
    }
}

/// The error for a daemon that exited unexpectedly, with the last line of its log.
pub(super) fn unexpected_end(status: ExitStatus, folder: &Folder) -> anyhow::Error {
    let log = std::fs::read_to_string(folder.join(LOG)).unwrap_or_default();
    let last = log.lines().last().unwrap_or("it logged nothing");
    match status.signal() {
        Some(signal) => {
            anyhow::anyhow!("the daemon was killed by signal {signal}; its log ends with: {last}")
        }
        None => anyhow::anyhow!("the daemon exited by itself; its log ends with: {last}"),
    }
}

/// Whether the daemon has listed every scope and host.
pub(super) fn is_complete(status: &StatusDocument<'_>) -> bool {
    status.scopes.iter().all(|scope| scope.last_listed_at.is_some())
        && status.hosts.iter().all(|host| host.last_listed_at.is_some())
}

/// Whether a runner's container is up.
pub(super) fn is_up(runner: &RunnerEntry<'_>) -> bool {
    ["starting", "idle", "busy"].contains(&&*runner.phase)
}

/// Keeps polling the status; `None` while there is no answer.
pub(super) async fn follow(address: SocketAddr, status: watch::Sender<Option<StatusDocument<'static>>>) {
    loop {
        status.send_replace(ask(address).await.ok());
        sleep(POLL).await;
    }
}

async fn ask(address: SocketAddr) -> anyhow::Result<StatusDocument<'static>> {
    let (code, body) = get(address, "/api/v1/status").await?;
    if code != StatusCode::OK {
        bail!("the daemon answers with HTTP status {code}");
    }
    Ok(serde_json::from_slice(&body)?)
}
