//! `dayfly run`: runs the daemon until a signal stops it.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use super::{Global, LogFormat, Run};
use crate::{
    config::{self, Config, Problems},
    daemon::Daemon,
    fleet::HostName,
    github, host,
    telemetry::{self, Format, LogWriter},
};

/// How long the process waits at exit for the last log lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

pub(super) fn run(global: &Global, run: &Run) -> anyhow::Result<ExitCode> {
    let (format, filter, caps) = log_settings(global, None);
    let logs = telemetry::init_daemon(format, filter, &caps).context("failed to start logging")?;
    end_on_panic(logs.clone());
    if let Some(parent) = run.parent {
        end_with(parent)?;
    }
    let outcome = run_configured(global);
    logs.flush(LAST_LINES);
    outcome.map(|()| ExitCode::SUCCESS)
}

fn run_configured(global: &Global) -> anyhow::Result<()> {
    let config = load_config(global)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config));
    // A DNS lookup or a file access in progress must not delay the exit.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut drain_now = signal(SignalKind::user_defined1())?;
    let config = Arc::new(config);
    let starting = config.clone();
    // It reads and locks files, which can hang on a broken disk.
    let daemon = tokio::select! {
        started = spawn_blocking(move || Daemon::start(&starting)) => started.context("the start-up task failed")??,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    greet(&config, daemon.address());
    let drain = daemon.drain();
    let shutdown = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => warn!("ignored SIGHUP: this version cannot reload its configuration; \
                    restart dayfly instead, which stops no job"),
                _ = drain_now.recv() => {
                    info!("draining: no runner is launched, idle runners are removed, and busy runners \
                        finish their jobs");
                    drain();
                }
            }
        }
    };
    daemon.run(shutdown).await;
    Ok(())
}

fn greet(config: &Config, address: Option<SocketAddr>) {
    let address = address.map(|address| address.to_string());
    info!(instance = %config.instance, address, version = env!("CARGO_PKG_VERSION"), "dayfly started");
    for host in &config.hosts {
        info!(
            host = %host.host.name, endpoint = %host.endpoint,
            "host {}: engine at {}, from {}", host.host.name, host.endpoint, host.endpoint_source
        );
    }
    for pool in &config.pools {
        let pool = &pool.pool;
        let hosts: Vec<&str> = pool.hosts.iter().map(HostName::as_str).collect();
        info!(
            pool = %pool.name, url = %pool.scope, host = hosts.join(", "), min_idle = pool.policy.min_idle,
            max = pool.policy.max, "pool {} serves jobs with `runs-on: [{}]`", pool.name, pool.labels.join(", "),
        );
    }
}

/// Has the kernel kill this process when its parent exits, however that happens.
fn end_with(parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have exited before that.
    let is_there = getppid().is_some_and(|there| u32::try_from(there.as_raw_nonzero().get()) == Ok(parent));
    if !is_there {
        bail!("the parent process {parent} has exited");
    }
    Ok(())
}

/// Starts logging with the options, for a command that ends by itself; `default` is the filter when neither
/// the options nor the environment set one.
pub(super) fn start_logs(global: &Global, default: Option<&str>) -> anyhow::Result<()> {
    let (format, filter, caps) = log_settings(global, default);
    telemetry::init(format, filter, &caps).context("failed to start logging")
}

/// The log's format and filter from the options, and the caps that no filter lifts.
fn log_settings<'a>(
    global: &'a Global,
    default: Option<&'a str>,
) -> (Format, Option<&'a str>, Vec<&'static str>) {
    let format = match global.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let filter = global.log_filter().or(default.filter(|_| std::env::var_os("RUST_LOG").is_none()));
    (format, filter, [github::LOG_CAPS, host::LOG_CAPS].concat())
}

/// Reads the configuration that the options name. The error lists all of its problems, one per line.
pub(super) fn load_config(global: &Global) -> anyhow::Result<Config> {
    let path = config::find(global.config.as_deref(), config::environment())
        .map_err(|problem| anyhow::Error::new(Problems(vec![problem])))?;
    Ok(config::load(&path, config::environment())?)
}

/// The runtime of a command.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// A daemon that works in part is worse than a restart: a panic in any task ends the process. Runners
/// continue, and the next start adopts them.
fn end_on_panic(logs: LogWriter) {
    std::panic::set_hook(Box::new(move |panic| {
        error!(
            "dayfly stops because of a bug, please report it; running runners are adopted by the next \
             start: {panic}"
        );
        logs.flush(LAST_LINES);
        std::process::abort();
    }));
}
