//! `dayfly egress-proxy`: the proxy of a runner's network, inside a container beside the runner.

use std::{io::Write, process::ExitCode, thread};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{EgressProxy, Global, run::start_logs};
use crate::egress::{self, Limits, Policy, Report, SystemNetwork};

/// Reports that wait to be written.
const REPORTS: usize = 1024;

/// Names that are resolved at the same time: each takes a thread.
const RESOLVERS: usize = 16;

/// The stack of such a thread, in bytes.
const RESOLVER_STACK: usize = 512 << 10;

pub(super) fn run(global: &Global, options: &EgressProxy) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("warn"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RESOLVERS)
        .thread_stack_size(RESOLVER_STACK)
        .build()?;
    let outcome = runtime.block_on(serve(options));
    // Names that are being resolved do not delay the exit.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Serves until a signal ends it. Tunnels end with it.
async fn serve(options: &EgressProxy) -> anyhow::Result<()> {
    // As the first process of a container it would not be ended by these otherwise.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listen = options.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("failed to listen on {listen}"))?;
    let (reports, lines) = mpsc::channel(REPORTS);
    // Its own thread: an engine that does not read the output must not delay the traffic.
    thread::Builder::new().name("reports".to_owned()).spawn(move || write(lines))?;
    reports.send(Report::Listening { listening: listener.local_addr()? }).await?;
    let policy = Policy { mode: options.mode, allow: options.allow.iter().cloned().collect() };
    tokio::select! {
        () = egress::serve(listener, policy, SystemNetwork, Limits::default(), reports) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Writes reports to standard output, one JSON object per line, until it is closed.
fn write(mut reports: mpsc::Receiver<Report>) {
    let mut out = std::io::stdout();
    while let Some(report) = reports.blocking_recv() {
        let Ok(mut line) = serde_json::to_vec(&report) else { continue };
        line.push(b'\n');
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
