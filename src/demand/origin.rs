//! Gets where the jobs come from that runners have, for pools whose caches trusted jobs may promote.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tracing::{debug, warn};

use super::{Publisher, ScopeContext, Tasks};
use crate::{
    clock,
    fleet::{Evidence, Instant, JobFacts, RunnerName, Status},
    github::Client,
    text::chain,
};

/// How long after a failure the record of a run is requested again.
const RETRY: Duration = Duration::from_secs(5);

/// How long nothing is due at most.
const IDLE: Duration = Duration::from_mins(1);

/// Watches the runners of a scope's pools with such caches, and requests nothing where there are none.
pub fn start(context: ScopeContext<'_>, tasks: &mut Tasks) {
    let promoting = context.pools.iter().filter(|pool| pool.template.promotes());
    let pools: BTreeSet<String> = promoting.map(|pool| pool.name.to_string()).collect();
    if !pools.is_empty() {
        let (client, publisher) = (context.client.clone(), context.publisher.clone());
        tasks.observers.spawn(watch_origins(client, pools, context.reports.clone(), publisher));
    }
}

/// Requests the record of each run once for each runner that has a job of it, and publishes where that comes from.
async fn watch_origins(
    client: Client,
    pools: BTreeSet<String>,
    mut reports: watch::Receiver<Arc<Status>>,
    publisher: Publisher,
) {
    let mut settled: BTreeSet<RunnerName> = BTreeSet::new();
    let mut failed: BTreeMap<u64, Instant> = BTreeMap::new();
    loop {
        let jobs = jobs_of(&reports.borrow_and_update(), &pools);
        settled.retain(|runner| jobs.contains_key(runner));
        failed.retain(|run, _| jobs.values().any(|job| job.run_id == *run));
        let mut pause = IDLE;
        for (runner, job) in &jobs {
            if settled.contains(runner) {
                continue;
            }
            let retry_in = failed.get(&job.run_id).map(|at| (*at + RETRY).since(clock::now()));
            if let Some(wait) = retry_in.filter(|wait| !wait.is_zero()) {
                pause = pause.min(wait);
                continue;
            }
            let (repository, run_id) = (job.repository.clone(), job.run_id);
            match client.job_origin(&repository, run_id).await {
                Ok(origin) => {
                    debug!(%runner, %repository, run_id, ?origin, "got the origin of a runner's job");
                    failed.remove(&run_id);
                    if let Some(origin) = origin {
                        publisher.publish(Evidence::Origin { repository, run_id, origin });
                    }
                    settled.insert(runner.clone());
                }
                Err(error) => {
                    let error = chain(&error);
                    if failed.insert(run_id, clock::now()).is_none() {
                        warn!(
                            %repository, run_id, error,
                            "failed to get the workflow run of a job, so its cache may not be promoted; the \
                             credential needs \"Actions: read\" and \"Metadata: read\" there"
                        );
                    }
                    pause = pause.min(RETRY);
                }
            }
        }
        tokio::select! {
            changed = reports.changed() => if changed.is_err() { return },
            () = sleep(pause) => {}
        }
    }
}

/// The runners of these pools whose jobs GitHub has reported.
fn jobs_of(status: &Status, pools: &BTreeSet<String>) -> BTreeMap<RunnerName, Arc<JobFacts>> {
    let of_pools = status.runners.iter().filter(|runner| pools.contains(&runner.pool));
    let known = of_pools.filter_map(|runner| Some((runner.name.clone(), runner.facts.clone()?)));
    known.filter(|(_, job)| job.run_id != 0).collect()
}
