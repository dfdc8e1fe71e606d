//! What Dayfly costs beside what the engine itself needs, side by side in one run: `cargo bench --bench
//! floor`, or with `-- --quick` for small numbers. The lines are explained in docs/benchmarks.md.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

mod daemon;
mod demand;
mod engine;
mod launch;
mod news;
mod process;
mod stand;
mod table;
mod warnings;

use std::{process::ExitCode, thread::available_parallelism};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use self::{stand::Stand, table::Table};

#[derive(Parser)]
struct Options {
    /// Small numbers and few rounds: to see that it works
    #[arg(long)]
    quick: bool,
    /// Measure only this; may be given more than once
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// With `--only launch`: so many runners instead of the usual numbers; may be given more than once
    #[arg(long, value_name = "RUNNERS")]
    launch: Vec<usize>,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From demand to running containers, beside the engine alone
    Launch,
    /// From an event to the request that answers it, and GitHub calls at rest
    News,
    /// From a queued job to the request that answers it, by each job source
    Demand,
    /// Restart with adoption, and memory
    Process,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, and removes everything that the measurement created.
async fn run(options: Options) -> Result<()> {
    let stand = Stand::new().await.context("the benchmark needs a Docker Engine")?;
    let cores = available_parallelism().map_or(0, usize::from);
    println!("Docker Engine {}, {cores} cores", stand.version);
    // In a task of its own, so that a panic too is cleared up after.
    let measuring = {
        let stand = stand.clone();
        tokio::spawn(async move { measure(&stand, &options).await })
    };
    let abort = measuring.abort_handle();
    let measured = tokio::select! {
        measured = measuring => measured.context("the benchmark broke down").flatten(),
        _ = tokio::signal::ctrl_c() => {
            abort.abort();
            Err(anyhow::anyhow!("interrupted"))
        }
    };
    let left = stand.clear().await.context("failed to clear away")?;
    stand.remove_image().await;
    measured?;
    ensure!(left == 0, "{left} containers were left over, and removed now");
    Ok(())
}

async fn measure(stand: &Stand, options: &Options) -> Result<()> {
    warnings::begin();
    let mut table = Table::new();
    let measured = measure_into(&mut table, stand, options).await;
    // What was measured before something failed is of use too.
    println!("\n{table}");
    measured
}

async fn measure_into(table: &mut Table, stand: &Stand, options: &Options) -> Result<()> {
    let wanted = |part| options.only.is_empty() || options.only.contains(&part);
    if wanted(Part::Launch) {
        launch::measure(stand, options.quick, &options.launch, table).await.context("launches")?;
    }
    if wanted(Part::News) {
        news::measure(stand, options.quick, table).await.context("news")?;
    }
    if wanted(Part::Demand) {
        demand::measure(stand, options.quick, table).await.context("demand")?;
    }
    if wanted(Part::Process) {
        process::measure(stand, options.quick, table).await.context("process")?;
    }
    Ok(())
}
