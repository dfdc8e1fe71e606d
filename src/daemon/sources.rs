//! The sources of waiting jobs, started: queues, runner groups, and the repair of lost webhooks. One task
//! each, so that none delays another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast, mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tracing::{debug, info, warn};

use super::observers::Publisher;
use crate::{
    config::Config,
    demand::{
        QueueDoor, QueueWatch,
        deliveries::{Repair, Repaired},
        lookups::{look_up, stale},
        watch_groups,
    },
    fleet::{Demand, Event, Evidence, Job, JobState, Pool, PoolName, Scope, Target},
    github::{Client, GithubError, webhook::SecretError, webhook::Secrets},
    host::chain,
    http::{Snapshot, Webhook},
    telemetry::Metrics,
};

/// How often the log of a webhook's deliveries is looked at for what failed.
const REPAIR: Duration = Duration::from_mins(3);

/// How often jobs are asked for that only a webhook told of.
const LOOK_UP: Duration = Duration::from_mins(1);

/// Hints of webhooks that wait for the planner at most; what comes beyond is refused, and stays in GitHub's
/// log.
const HINTS: usize = 4096;

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
            if pools.iter().any(|pool| pool.demand.counts_jobs()) {
                let publish = self.publish(scope);
                observers.spawn(watch_groups(client.clone(), pools.clone(), publish));
            }
            let with = |wanted: fn(Demand) -> bool| -> Vec<Pool> {
                pools.iter().filter(|pool| wanted(pool.demand)).cloned().collect()
            };
            let queued = with(|demand| matches!(demand, Demand::Jobs { queue: true, .. }));
            if !queued.is_empty() {
                doors.push(self.watch_queues(client, &queued, observers));
            }
            if pools.iter().any(|pool| matches!(pool.demand, Demand::Jobs { webhook: true, .. })) {
                // Enterprises' hooks have no log that can be read.
                if !matches!(scope.target(), Target::Enterprise { .. }) {
                    observers.spawn(repair(client.clone(), self.publisher.clone()));
                }
                let unseen = with(|demand| demand == Demand::Jobs { queue: false, webhook: true });
                let unseen: BTreeSet<PoolName> = unseen.into_iter().map(|pool| pool.name).collect();
                if !unseen.is_empty() {
                    let (publisher, shown) = (self.publisher.clone(), self.shown.clone());
                    observers.spawn(ask_for_jobs(client.clone(), unseen, publisher, shown));
                }
            }
        }
        doors
    }

    fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.config.pools.iter().map(|pool| &pool.pool)
    }

    fn watch_queues(&self, client: &Client, pools: &[Pool], observers: &mut JoinSet<()>) -> QueueDoor {
        let clock = self.publisher.clock;
        let publish = self.publish(client.scope());
        let interval = self.config.poll_interval;
        let watch = QueueWatch::new(client.clone(), pools, interval, publish, move || clock.now());
        let (door, news) = (watch.door(), Arc::new(Notify::new()));
        let names: BTreeSet<PoolName> = pools.iter().map(|pool| pool.name.clone()).collect();
        observers.spawn(notice(self.events.subscribe(), names, news.clone()));
        observers.spawn(watch.run(news));
        door
    }

    /// Publishes evidence from a scope. What an enterprise's pool looks at is of that enterprise: the
    /// configuration says so, GitHub's answers do not.
    fn publish(&self, scope: &Scope) -> impl Fn(Evidence) + Send + Sync + use<> {
        let publisher = self.publisher.clone();
        let enterprise = match scope.target() {
            Target::Enterprise { enterprise } => Some(enterprise.clone()),
            _ => None,
        };
        move |evidence| {
            let of = |job: Job| Job { enterprise: job.enterprise.or_else(|| enterprise.clone()), ..job };
            publisher.publish(match evidence {
                Evidence::Queue { repository, began, jobs } => {
                    let jobs = jobs.into_iter().map(|(job, state)| (of(job), state)).collect();
                    Evidence::Queue { repository, began, jobs }
                }
                Evidence::Job { job, state, at, asked } => Evidence::Job { job: of(job), state, at, asked },
                other => other,
            });
        }
    }
}

/// The endpoint for webhooks, and where its hints come out.
pub(super) fn webhook(
    config: &Config,
    doors: Vec<QueueDoor>,
    metrics: &Arc<Metrics>,
) -> Result<Option<(Webhook, mpsc::Receiver<Evidence>)>, SecretError> {
    let Some(path) = &config.webhook_secret_file else { return Ok(None) };
    let secrets = Secrets::in_file(path.clone())?;
    let (hints, coming) = mpsc::channel(HINTS);
    let sink = move |evidence: Evidence| {
        if let Evidence::Job { job, state: JobState::Queued, .. } = &evidence {
            // A repository that was quiet is looked at again, so that the hint need not stay the only word.
            doors.iter().for_each(|door| door.look_soon(&job.facts.repository));
        }
        hints.try_send(evidence).is_ok()
    };
    metrics.expect_webhooks();
    let metrics = metrics.clone();
    let recorder = move |event, result| metrics.record_webhook(event, result);
    Ok(Some((Webhook::new(secrets, Arc::new(sink), Arc::new(recorder)), coming)))
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

/// Reads failed deliveries out of GitHub's log, for as long as the credential may.
async fn repair(client: Client, publisher: Publisher) {
    let (scope, mut repair) = (client.scope().clone(), Repair::new(client));
    let mut refused = false;
    loop {
        match repair.look(publisher.clock.now(), |evidence| publisher.publish(evidence)).await {
            Ok(Repaired { told, more, .. }) => {
                refused = false;
                if told > 0 {
                    info!(%scope, deliveries = told, "read webhooks out of GitHub's log that had not come");
                }
                if more {
                    continue;
                }
            }
            Err(error @ GithubError::Refused(_)) if !refused => {
                refused = true;
                let error = chain(&error);
                warn!(
                    %scope, error,
                    "lost webhooks cannot be read out of GitHub's log; jobs are asked for one by one instead"
                );
            }
            Err(error) => debug!(%scope, error = chain(&error), "the log of webhooks cannot be read"),
        }
        sleep(REPAIR).await;
    }
}

/// Asks for the jobs that only a webhook told of, when nothing else has told of them for a while.
async fn ask_for_jobs(
    client: Client,
    pools: BTreeSet<PoolName>,
    publisher: Publisher,
    shown: watch::Receiver<Arc<Snapshot>>,
) {
    loop {
        sleep(LOOK_UP).await;
        let clock = publisher.clock;
        let old = stale(&shown.borrow().status, &pools, clock.now());
        let asked = look_up(
            old,
            || clock.now(),
            |stale| {
                let client = client.clone();
                async move { client.job(&stale.repository, stale.job).await }
            },
            |evidence| publisher.publish(evidence),
        );
        if let Err(error) = asked.await {
            debug!(scope = %client.scope(), error = chain(&error), "a job cannot be asked for");
        }
    }
}
