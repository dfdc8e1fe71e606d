//! `dayfly run`: the daemon, until a signal ends it.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::{Global, LogFormat, Run};
use crate::{
    config::{self, Config, Problems},
    daemon::Daemon,
    github, host,
    telemetry::{self, Format},
};

pub(super) fn run(global: &Global, run: &Run) -> anyhow::Result<ExitCode> {
    start_logs(global, None)?;
    if let Some(parent) = run.parent {
        end_with(parent)?;
    }
    let config = load_config(global)?;
    for warning in &config.warnings {
        warn!("{warning}");
    }
    end_on_panic();
    let runtime = runtime()?;
    let served = runtime.block_on(serve(&config));
    // A look-up of a name that is still going on must not hold the end up.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut drain_now = signal(SignalKind::user_defined1())?;
    let daemon = Daemon::start(config).await?;
    greet(config, daemon.address());
    let drain = daemon.drain();
    let shutdown = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => warn!("SIGHUP does nothing yet; restart to read the configuration again, no job is lost by it"),
                _ = drain_now.recv() => {
                    info!("draining: nothing is launched, the idle are removed, the busy may finish");
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
    info!(instance = %config.instance, address, version = env!("CARGO_PKG_VERSION"), "dayfly runs");
    for pool in &config.pools {
        let pool = &pool.pool;
        info!(
            pool = %pool.name, url = %pool.scope, host = %pool.host, min_idle = pool.policy.min_idle,
            max = pool.policy.max, "serves jobs with `runs-on: [{}]`", pool.labels.join(", "),
        );
    }
}

/// Has the kernel kill this process when its parent ends, however that happens.
fn end_with(parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before that.
    let is_there = getppid().is_some_and(|there| u32::try_from(there.as_raw_nonzero().get()) == Ok(parent));
    if !is_there {
        bail!("the process {parent}, which started this one, has ended");
    }
    Ok(())
}

/// Begins logging as the options ask; `default` is the filter when they and the environment ask
/// for nothing.
pub(super) fn start_logs(global: &Global, default: Option<&str>) -> anyhow::Result<()> {
    let format = match global.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let caps = [github::LOG_CAPS, host::LOG_CAPS].concat();
    let filter = global.log_filter().or(default.filter(|_| std::env::var_os("RUST_LOG").is_none()));
    telemetry::init(format, filter, &caps).context("failed to begin logging")
}

/// Reads the configuration that the options name. All its problems are told, a line each.
pub(super) fn load_config(global: &Global) -> anyhow::Result<Config> {
    let path = config::find(global.config.as_deref(), config::environment())
        .map_err(|problem| anyhow::Error::new(Problems(vec![problem])))?;
    Ok(config::load(&path, config::environment())?)
}

/// A runtime for the whole of a command.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// A half-dead daemon is worse than a restart: a panic in any task ends the process. Runners go
/// on, and the next start adopts them.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        error!("dayfly ends because of a bug, please report it: {panic}");
        std::process::abort();
    }));
}
