//! Job source: GitHub's webhooks, which are hints, and what repairs those that were lost.

mod deliveries;
mod unconfirmed_jobs;

use std::collections::BTreeSet;

use tokio::sync::mpsc;

pub use self::{
    deliveries::{HOOKS_INTERVAL, LOG_INTERVAL, Repair, Repaired, watch_deliveries},
    unconfirmed_jobs::{JOBS_A_ROUND, ROUND_INTERVAL, UnconfirmedJob, watch_unconfirmed_jobs},
};
use super::{ScopeContext, Tasks, queue::QueueHandle};
use crate::fleet::{Demand, Evidence, JobState, PoolName};

/// At most this many hints wait for the planner; those beyond are refused, and stay in GitHub's log of deliveries.
const HINTS: usize = 4096;

/// Repairs the lost webhooks of a scope that pools have as a source, with or without others: a pool can name
/// repositories, and the queues of these alone are polled for it.
pub fn start(context: ScopeContext<'_>, tasks: &mut Tasks) {
    let pools = context.pools_with(Demand::has_webhooks);
    let pools: BTreeSet<PoolName> = pools.into_iter().map(|pool| pool.name).collect();
    if pools.is_empty() {
        return;
    }
    let (client, publisher) = (context.client, context.publisher);
    tasks.observers.spawn(watch_deliveries(client.clone(), publisher.clone()));
    let reports = context.reports.clone();
    let unconfirmed = move |now| unconfirmed_jobs::unconfirmed_jobs(&reports.borrow(), &pools, now);
    tasks.observers.spawn(watch_unconfirmed_jobs(client.clone(), unconfirmed, publisher.clone()));
}

/// Takes in what webhooks report, `false` where there is no room, and where it comes out: bounded, since jobs
/// of any user cause webhooks.
pub fn hints(
    queues: Vec<QueueHandle>,
) -> (impl Fn(Evidence) -> bool + Send + Sync + 'static, mpsc::Receiver<Evidence>) {
    let (hints, receiver) = mpsc::channel(HINTS);
    let take = move |evidence: Evidence| {
        if let Evidence::Job { job, state: JobState::Queued, .. } = &evidence {
            // The queue of a quiet repository is polled again, so that the hint need not stay the only report.
            for queue in &queues {
                queue.poll_soon(&job.facts.repository);
            }
        }
        hints.try_send(evidence).is_ok()
    };
    (take, receiver)
}
