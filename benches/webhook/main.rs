//! How many webhook deliveries a second the real server accepts, beside what the same server does for
//! `/healthz`, and what that costs in memory: `cargo bench --bench webhook`, or with `-- --quick` for a few
//! seconds. The server is a process of its own, so that its memory is its own.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod load;
mod server;
#[path = "../floor/table.rs"]
mod table;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use self::{
    load::{Kind, Load, Outcome},
    server::Server,
    table::{Table, mebibytes, median, millis},
};

/// What the hook is signed with.
const SECRET: &str = "a secret of the hook";

/// Connections at once, each with one delivery on its way.
const CONNECTIONS: usize = 16;

/// How much memory may grow under load before it is not flat any more.
const GROWTH: u64 = 4 << 20;

#[derive(Parser)]
struct Options {
    /// A second for each line: to see that it works
    #[arg(long)]
    quick: bool,
    /// Be the server
    #[arg(long, hide = true)]
    serve: bool,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")
        .and_then(|runtime| {
            runtime.block_on(async {
                if options.serve { server::serve().await } else { measure(options.quick).await }
            })
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(quick: bool) -> Result<()> {
    let lasting = Duration::from_secs(if quick { 1 } else { 10 });
    let mut server = Server::start().await?;
    let mut load = Load::new(server.address);
    let mut table = Table::new();
    println!(
        "{CONNECTIONS} connections, {} s for each line, deliveries of {} bytes",
        lasting.as_secs(),
        load.size()
    );

    // The buffers of all connections exist before memory is measured.
    load.run(Kind::Good, lasting / 2).await?;
    let floor = load.run(Kind::Floor, lasting).await?;
    table.reported("GET /healthz, the same server", shown(&floor));
    let before = server.memory()?;

    let good = load.run(Kind::Good, lasting).await?;
    table.reported("deliveries accepted", shown(&good));
    let refused = load.run(Kind::Forged, lasting).await?;
    table.reported("forged deliveries refused", shown(&refused));
    let mixed = load.run(Kind::Mixed, lasting).await?;
    table.reported("half of them forged", shown(&mixed));
    let doubled = load.run(Kind::Doubled, lasting).await?;
    table.reported("repeated deliveries", shown(&doubled));
    let after = server.memory()?;

    let grown = after.saturating_sub(before);
    table.judged(
        "resident memory of the server",
        format!("{} -> {}", mebibytes(before), mebibytes(after)),
        "+4 MiB",
        grown <= GROWTH,
    );
    let reported = server.stop().await?;
    let sent = load.accepted();
    table.judged(
        "deliveries accepted, and passed on",
        format!("{} of {}", reported.jobs, sent.jobs),
        "all, once",
        reported == sent,
    );
    println!("\n{table}");
    ensure!(refused.all(401), "forged deliveries were answered with {:?}", refused.statuses);
    ensure!(good.all(202) && doubled.all(202), "{:?} {:?}", good.statuses, doubled.statuses);
    ensure!(reported == sent, "told were {reported:?} of {sent:?}");
    ensure!(grown <= GROWTH, "the server's memory grew by {}", mebibytes(grown));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "shown without digits after the point")]
fn shown(outcome: &Outcome) -> String {
    let rate = outcome.took.len() as f64 / outcome.lasted.as_secs_f64();
    let mut took = outcome.took.clone();
    took.sort_unstable();
    let late = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    format!("{rate:.0}/s, answered in {} (99 of 100 in {})", millis(median(&took)), millis(late))
}
