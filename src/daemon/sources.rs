//! The sources of waiting jobs, started: queues, runner groups, and the repair of lost webhooks. One task
//! each, so that none delays another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use super::observers::Publisher;
use crate::{
    clock,
    config::Config,
    demand::{QueueDoor, QueueWatch, stale, watch_addresses, watch_deliveries, watch_groups, watch_jobs},
    fleet::{Demand, Event, Evidence, JobState, Pool, PoolName, Scope},
    github::{
        Client,
        webhook::{SecretError, Secrets},
    },
    http::{Snapshot, Webhook},
    telemetry::Metrics,
};

/// Hints of webhooks that wait for the planner at most; what comes beyond is refused, and stays in GitHub's
/// log.
const HINTS: usize = 4096;

/// How long the runner groups wait at most for the numbers of what is configured.
const NUMBERS: Duration = Duration::from_mins(1);

/// What the sources are made from.
pub(super) struct Sources<'a> {
    pub(super) config: &'a Config,
    pub(super) clients: &'a BTreeMap<Scope, Client>,
    pub(super) publisher: &'a Publisher,
    pub(super) events: &'a broadcast::Sender<Event>,
    pub(super) shown: &'a watch::Receiver<Arc<Snapshot>>,
}

impl Sources<'_> {
    /// Starts them all, and says where hints about repositories can be left.
    pub(super) fn start(&self, observers: &mut JoinSet<()>) -> Vec<QueueDoor> {
        let mut doors = Vec::new();
        for (scope, client) in self.clients {
            let pools: Vec<Pool> = self.pools().filter(|pool| pool.scope == *scope).cloned().collect();
            let (known, numbers) = oneshot::channel();
            observers.spawn(watch_addresses(client.clone(), pools.clone(), known));
            if pools.iter().any(|pool| pool.demand.counts_jobs()) {
                let groups = watch_groups(client.clone(), pools.clone(), self.publish());
                observers.spawn(async move {
                    // A group names a repository that was renamed by its new name.
                    let _ = timeout(NUMBERS, numbers).await;
                    groups.await;
                });
            }
            let with = |wanted: fn(Demand) -> bool| -> Vec<Pool> {
                pools.iter().filter(|pool| wanted(pool.demand)).cloned().collect()
            };
            let queued = with(|demand| matches!(demand, Demand::Jobs { queue: true, .. }));
            if !queued.is_empty() {
                doors.push(self.watch_queues(client, &queued, observers));
            }
            let hooked = with(is_hooked);
            if !hooked.is_empty() {
                observers.spawn(watch_deliveries(client.clone(), clock::now, self.publish()));
                // What nothing confirms is asked for. Queues need not show all that webhooks tell of: a pool
                // can name repositories, and its queue is looked at in these alone.
                let hooked: BTreeSet<PoolName> = hooked.into_iter().map(|pool| pool.name).collect();
                let shown = self.shown.clone();
                let stale = move |now| {
                    let shown = shown.borrow();
                    stale(&shown.status, &hooked, shown.planned.unwrap_or_default(), now)
                };
                observers.spawn(watch_jobs(client.clone(), stale, clock::now, self.publish()));
            }
        }
        doors
    }

    fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.config.pools.iter().map(|pool| &pool.pool)
    }

    /// How many scopes with queues share the limits of a scope's credential.
    fn scopes_with_queues_of(&self, scope: &Scope) -> u32 {
        let pools = || self.config.pools.iter();
        let credential = pools().find(|pool| pool.pool.scope == *scope).map(|pool| &pool.credential);
        let sharing = pools().filter(|pool| {
            Some(&pool.credential) == credential
                && matches!(pool.pool.demand, Demand::Jobs { queue: true, .. })
        });
        let scopes: BTreeSet<&Scope> = sharing.map(|pool| &pool.pool.scope).collect();
        u32::try_from(scopes.len()).unwrap_or(u32::MAX)
    }

    fn watch_queues(&self, client: &Client, pools: &[Pool], observers: &mut JoinSet<()>) -> QueueDoor {
        let (interval, shared_by) = (self.config.poll_interval, self.scopes_with_queues_of(client.scope()));
        let watch = QueueWatch::new(client.clone(), pools, interval, shared_by, self.publish(), clock::now);
        let (door, news) = (watch.door(), Arc::new(Notify::new()));
        let names: BTreeSet<PoolName> = pools.iter().map(|pool| pool.name.clone()).collect();
        observers.spawn(notice(self.events.subscribe(), names, news.clone()));
        observers.spawn(watch.run(news));
        door
    }

    fn publish(&self) -> impl Fn(Evidence) + Send + Sync + use<> {
        let publisher = self.publisher.clone();
        move |evidence| publisher.publish(evidence)
    }
}

/// Whether a pool learns of jobs by webhooks, whatever else it learns of them by.
const fn is_hooked(demand: Demand) -> bool {
    matches!(demand, Demand::Jobs { webhook: true, .. })
}

/// The endpoint for webhooks, and where its hints come out.
pub(super) fn webhook(
    config: &Config,
    doors: Vec<QueueDoor>,
    clients: &BTreeMap<Scope, Client>,
    metrics: &Arc<Metrics>,
) -> Result<Option<(Webhook, mpsc::Receiver<Evidence>)>, SecretError> {
    let Some(path) = &config.webhook_secret_file else { return Ok(None) };
    let secrets = Secrets::in_file(path.clone())?;
    let (hints, coming) = mpsc::channel(HINTS);
    let sink = move |evidence: Evidence| {
        if let Evidence::Job { job, state: JobState::Queued, .. } = &evidence {
            // A repository that was quiet is looked at again, so that the hint need not stay the only word.
            for door in &doors {
                door.look_soon(&job.facts.repository);
            }
        }
        hints.try_send(evidence).is_ok()
    };
    metrics.expect_webhooks();
    let metrics = metrics.clone();
    let recorder = move |event, result| metrics.record_webhook(event, result);
    let hooked = config.pools.iter().find(|pool| is_hooked(pool.pool.demand));
    let github = hooked.and_then(|pool| clients.get(&pool.pool.scope)).cloned();
    let clock = move || github.as_ref().map_or_else(clock::wall, Client::clock);
    let webhook = Webhook::new(secrets, Arc::new(sink), Arc::new(recorder), Arc::new(clock));
    let identities = clients.values().map(|client| client.identities().clone()).collect();
    Ok(Some((webhook.knowing(identities), coming)))
}

/// Tells a watch of queues that a runner of its pools took a job or ended.
async fn notice(mut events: broadcast::Receiver<Event>, pools: BTreeSet<PoolName>, news: Arc<Notify>) {
    loop {
        match events.recv().await {
            Ok(Event::JobStarted { pool, .. } | Event::Exited { pool, .. })
                if pools.contains(pool.as_str()) =>
            {
                news.notify_one();
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => news.notify_one(),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_beside_webhooks_does_not_end_their_repair() {
        for (queue, webhook) in [(false, false), (true, false), (false, true), (true, true)] {
            assert_eq!(is_hooked(Demand::Jobs { queue, webhook }), webhook);
        }
        assert!(!is_hooked(Demand::ScaleSet));
    }
}
