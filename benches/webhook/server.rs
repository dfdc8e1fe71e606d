//! The real server in a separate process: its deliveries go through a bounded channel, as in the daemon, and
//! are counted at the other end.

use std::{collections::BTreeMap, fs, net::SocketAddr, process::Stdio, sync::Arc};

use anyhow::{Context, Result};
use dayfly::{
    fleet::{Evidence, Status},
    github::webhook::Secrets,
    http::{About, App, Webhook},
    telemetry::Metrics,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, watch},
};

use super::SECRET;

/// The capacity for deliveries that have not been received yet.
const ROOM: usize = 1024;

/// Which jobs: how many, and their sum, which two different sets hardly share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) jobs: u64,
    sum: u64,
}

impl Told {
    pub(crate) fn add(&mut self, job: u64) {
        self.join(Self { jobs: 1, sum: job });
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.jobs += other.jobs;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// A server as its parent sees it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the server does not start")?;
        let input = child.stdin.take().context("no standard input")?;
        let mut output = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let address = output.next_line().await?.context("the server says nothing")?.parse()?;
        Ok(Self { address, child, input, output })
    }

    /// Bytes resident.
    pub(crate) fn memory(&self) -> Result<u64> {
        let id = self.child.id().context("the server has ended")?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    /// Stops it; returns what it received.
    pub(crate) async fn stop(&mut self) -> Result<Told> {
        self.input.write_all(b"\n").await?;
        let line = self.output.next_line().await?.context("the server says nothing")?;
        self.child.wait().await?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// Is the server, until a line comes.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let metrics = Arc::new(Metrics::new("0.1.0")?);
    metrics.expect_webhooks();
    let (sender, mut evidence) = mpsc::channel(ROOM);
    let counting = tokio::spawn(async move {
        let mut reported = Told::default();
        while let Some(evidence) = evidence.recv().await {
            if let Evidence::Job { job, .. } = evidence {
                reported.add(job.id.0);
            }
        }
        reported
    });
    let counted = metrics.clone();
    let webhook = Webhook::new(
        Secrets::fixed(&SECRET.into()),
        Arc::new(move |evidence| sender.try_send(evidence).is_ok()),
        Arc::new(move |event, result| counted.record_webhook(event, result)),
        Arc::new(dayfly::clock::wall),
    );
    let planned = Some(dayfly::clock::wall());
    let (_sender, reports) = watch::channel(Arc::new(Status { planned, ..Status::default() }));
    let app = App {
        about: About {
            instance: "bench".into(),
            version: "0.1.0",
            started_at: dayfly::clock::wall().shown,
            engines: BTreeMap::new(),
        },
        reports,
        rates: Arc::new(|_| None),
        metrics: Arc::new(move || metrics.gather()),
        now: Arc::new(dayfly::clock::now),
        webhook: Some(webhook),
        names: dayfly::http::HostNames::new(address, &[]),
    };
    println!("{address}");
    dayfly::http::serve(listener, app, async {
        // An error is an end, too.
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
    })
    .await;
    // With the server went the only sender.
    println!("{}", serde_json::to_string(&counting.await?)?);
    Ok(())
}
