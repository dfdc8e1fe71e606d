//! The daemon in this process, for measurements that need its reports as they come.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use dayfly::{
    config::Config,
    daemon::Daemon,
    fleet::{Phase, Pool, RunnerReport, Status, Timestamp},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::stand::{PATIENCE, Stand};

/// A daemon that runs.
pub(crate) struct Running {
    reports: watch::Receiver<Arc<Status>>,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts a daemon with one pool.
    pub(crate) fn start(stand: &Stand, pool: Pool) -> Result<Self> {
        Self::start_with(&stand.config(pool)?)
    }

    /// Starts a daemon with a configuration.
    pub(crate) fn start_with(config: &Config) -> Result<Self> {
        let daemon = Daemon::start(config)?;
        let address = daemon.address().context("the daemon does not listen")?;
        let reports = daemon.reports();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(daemon.run(async {
            // Either way it is over.
            let _ = stopped.await;
        }));
        Ok(Self { reports, address, stop, task })
    }

    /// Waits for so many idle runners and no other.
    pub(crate) async fn idle(&self, count: usize) -> Result<Vec<RunnerReport>> {
        let mut reports = self.reports.clone();
        let settled = reports.wait_for(|report| {
            let runners = &report.runners;
            runners.len() == count && runners.iter().all(|runner| runner.phase == Phase::Idle)
        });
        let report = timeout(PATIENCE, settled).await.context("the pool does not settle")??;
        Ok(report.runners.clone())
    }

    /// When the first of the present runners was decided upon.
    pub(crate) fn first_decided(&self) -> Result<Timestamp> {
        let report = self.reports.borrow().clone();
        report.runners.iter().map(|runner| runner.name.minted_at()).min().context("there are no runners")
    }

    /// Stops the daemon; its containers go on.
    pub(crate) async fn stop(self) -> Result<()> {
        // It may have exited by itself, which the next line reports.
        let _ = self.stop.send(());
        self.task.await.context("the daemon broke down")
    }
}

/// A page of a daemon, by the simplest possible request.
pub(crate) async fn page(address: SocketAddr, path: &str) -> Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the daemon's answer has no end")?;
    anyhow::ensure!(head.contains(" 200 "), "{path}: {}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}
