//! What one pass of the core costs: `cargo bench --bench plan`.

mod installation;

use std::{hint::black_box, time::Duration};

use anyhow::{Result, ensure};
use criterion::{BatchSize, BenchmarkId, Criterion};
use installation::Installation;

/// Runners and pools; the last is what design promises 5 ms for.
const SIZES: [(usize, usize); 4] = [(10, 1), (100, 1), (1000, 10), (10_000, 100)];

/// Jobs that wait where all pools are at their limits.
const JOBS: usize = 10_000;

fn main() -> Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("fleet");
    group.sample_size(30).measurement_time(Duration::from_secs(3));
    for (runners, pools) in SIZES {
        let all = Installation::new(runners, pools)?;
        let size = format!("{runners} runners, {pools} pools");
        check(&all)?;

        let (mut fleet, now) = all.settled();
        group.bench_function(BenchmarkId::new("plan at rest", &size), |bench| {
            bench.iter(|| black_box(fleet.plan(now)));
        });
        group.bench_function(BenchmarkId::new("status", &size), |bench| {
            bench.iter(|| black_box(fleet.status()));
        });
        group.bench_function(BenchmarkId::new("plan with an exit in each pool", &size), |bench| {
            let setup = || {
                let (mut fleet, now) = all.settled();
                for evidence in all.an_end_in_each_pool() {
                    fleet.observe(evidence, now);
                }
                fleet
            };
            bench.iter_batched_ref(setup, |fleet| black_box(fleet.plan(now)), BatchSize::PerIteration);
        });
        let mut later = now;
        group.bench_function(BenchmarkId::new("observe all lists and plan", &size), |bench| {
            let setup = || {
                later = later + Duration::from_secs(10);
                (all.everything(later), later)
            };
            let pass = |(lists, now)| {
                for evidence in lists {
                    fleet.observe(evidence, now);
                }
                black_box(fleet.plan(now))
            };
            bench.iter_batched(setup, pass, BatchSize::PerIteration);
        });
    }
    let (runners, pools) = SIZES[SIZES.len() - 1];
    let all = Installation::crowded(runners, pools)?;
    let size = format!("{runners} runners, {pools} pools, {JOBS} queued jobs");
    let (mut fleet, mut now) = all.settled();
    for queue in all.queues(JOBS, now)? {
        fleet.observe(queue, now);
    }
    fleet.plan(now);
    let queued: u32 = fleet.status().pools.iter().map(|pool| pool.queued).sum();
    ensure!(usize::try_from(queued)? == JOBS, "{queued} of {JOBS} jobs are queued");
    group.bench_function(BenchmarkId::new("plan at rest", &size), |bench| {
        bench.iter(|| black_box(fleet.plan(now)));
    });
    group.bench_function(BenchmarkId::new("status", &size), |bench| {
        bench.iter(|| black_box(fleet.status()));
    });
    group.bench_function(BenchmarkId::new("observe all queues and plan", &size), |bench| {
        let setup = || {
            now = now + Duration::from_secs(10);
            (all.queues(JOBS, now).unwrap_or_default(), now)
        };
        let pass = |(queues, now)| {
            for evidence in queues {
                fleet.observe(evidence, now);
            }
            black_box(fleet.plan(now))
        };
        bench.iter_batched(setup, pass, BatchSize::PerIteration);
    });
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// That the state is what the names of the benchmarks say.
fn check(all: &Installation) -> Result<()> {
    let (mut fleet, now) = all.settled();
    let present = fleet.status().runners.len();
    ensure!(present == all.len(), "{present} of {} runners are known", all.len());
    let at_rest = fleet.plan(now).actions.len();
    ensure!(at_rest == 0, "{at_rest} actions at rest");
    let ends = all.an_end_in_each_pool();
    let (pools, mut due) = (ends.len(), 0);
    for evidence in ends {
        fleet.observe(evidence, now);
    }
    due += fleet.plan(now).actions.len();
    ensure!(due >= 2 * pools, "{due} actions after {pools} ends: a removal and a launch each were due");
    Ok(())
}
