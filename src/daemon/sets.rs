//! Pools that are runner scale sets: their sessions, and what these tell as evidence.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{SHUTDOWN, bounds::Bounded, observers::Publisher};
use crate::{
    clock,
    demand::scale_set::{self, ScaleSetNews, ScaleSetPool, Waits},
    fleet::{
        ClockReading, Demand, Evidence, InstanceId, JobFacts, Pool, PoolName, Scope, Source, Timestamp,
        Trouble, TroubleKind,
    },
    github::{
        Client,
        scale_set::{Job, ScaleSetError, ScaleSetRunners, ScaleSets},
    },
    http::Snapshot,
};

/// The runner APIs of the pools that are scale sets.
pub(super) struct Sets {
    clients: BTreeMap<Scope, Client>,
    scopes: BTreeMap<Scope, ScaleSets>,
    runners: BTreeMap<PoolName, ScaleSetRunners>,
}

impl Sets {
    pub(super) fn of<'p>(pools: impl Iterator<Item = &'p Pool>, clients: &BTreeMap<Scope, Client>) -> Self {
        let (mut scopes, mut runners) = (BTreeMap::new(), BTreeMap::new());
        for pool in pools.filter(|pool| pool.demand == Demand::ScaleSet) {
            let Some(client) = clients.get(&pool.scope) else { continue };
            let sets =
                scopes.entry(pool.scope.clone()).or_insert_with(|| ScaleSets::new(client.clone())).clone();
            runners.insert(pool.name.clone(), ScaleSetRunners::new(sets));
        }
        Self { clients: clients.clone(), scopes, runners }
    }

    /// What mints and removes each of these pools' runners.
    pub(super) fn runners(&self) -> BTreeMap<PoolName, Bounded<ScaleSetRunners>> {
        let bound = Bounded::github();
        self.runners.iter().map(|(pool, runners)| (pool.clone(), bound(runners.clone()))).collect()
    }

    /// Serves a pool's set until `stop`, and then closes its session.
    pub(super) fn serve(
        &self,
        pool: &Pool,
        instance: &InstanceId,
        state_dir: &Path,
        publisher: &Publisher,
        (tasks, stop): (&TaskTracker, &CancellationToken),
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) {
        let (Some(sets), Some(runners)) = (self.scopes.get(&pool.scope), self.runners.get(&pool.name)) else {
            return;
        };
        let (sets, runners) = (sets.clone(), runners.clone());
        let set = ScaleSetPool {
            name: pool.name.to_string(),
            group: pool.group.clone(),
            labels: pool.labels.clone(),
            owner: scale_set::owner(instance),
            remembered: Some(scale_set::note_of(state_dir, &pool.name)),
            waits: Waits { goodbye: SHUTDOWN / 2, ..Waits::default() },
        };
        let client = self.clients.get(&pool.scope).cloned();
        let github = move || client.as_ref().map_or_else(clock::wall, Client::clock);
        let (pool, publisher, stop) = (pool.clone(), publisher.clone(), stop.clone());
        let (capacity, wanted) = watch::channel(pool.policy.max);
        let most = pool.policy.max;
        tasks.spawn(follow_draining(snapshot, capacity, most, stop.clone()));
        tasks.spawn(async move {
            let assigned = Mutex::new(None);
            let tell = |news| learn(&pool, news, &assigned, github(), &publisher);
            scale_set::serve(&sets, &runners, &set, wanted, stop, clock::now, tell).await;
        });
    }
}

/// Tells a set's session how many runners its pool may have: none while the daemon is draining.
async fn follow_draining(
    mut snapshot: watch::Receiver<Arc<Snapshot>>,
    capacity: watch::Sender<u32>,
    most: u32,
    stop: CancellationToken,
) {
    let follow = async {
        while snapshot.changed().await.is_ok() {
            let now = if snapshot.borrow_and_update().status.draining { 0 } else { most };
            capacity.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    };
    tokio::select! {
        () = follow => {}
        () = stop.cancelled() => {}
    }
}

/// Turns what a set's session tells into evidence; `last` is what its statistics said last, `github` GitHub's
/// clock.
fn learn(
    pool: &Pool,
    news: ScaleSetNews,
    last: &Mutex<Option<u32>>,
    github: ClockReading,
    publisher: &Publisher,
) {
    let name = pool.name.clone();
    let source = |trouble| Evidence::Source { pool: name.clone(), source: Source::ScaleSet, trouble };
    let trouble = |kind, detail| Some(Trouble { kind, retry_after: None, detail });
    let assigned = |jobs: Option<u32>, at| {
        *last.lock().unwrap_or_else(PoisonError::into_inner) = jobs;
        publisher.publish(Evidence::Assigned { pool: name.clone(), jobs, at });
    };
    let let_go = || assigned(None, clock::now());
    match news {
        ScaleSetNews::Found { set, created } => {
            let done = if created { "created" } else { "found" };
            info!(pool = %name, set = %set, "{done} scale set {name}");
        }
        ScaleSetNews::LabelsMissing { why } => warn!(pool = %name, "{why}"),
        ScaleSetNews::LabelsChanged { why, .. } => {
            let_go();
            publisher.publish(source(trouble(TroubleKind::Refused, why)));
        }
        ScaleSetNews::Waiting { says, owner, .. } => {
            let_go();
            let whose = owner.map_or(String::new(), |owner| format!("the session belongs to {owner}; "));
            publisher.publish(source(trouble(TroubleKind::SessionTaken, format!("{whose}{says}"))));
        }
        ScaleSetNews::Up { at, statistics } => {
            assigned(Some(statistics.assigned), at);
            publisher.publish(source(None));
        }
        // Nothing has changed since, so that what was said last is so now.
        ScaleSetNews::Quiet { at } => {
            let jobs = *last.lock().unwrap_or_else(PoisonError::into_inner);
            if jobs.is_some() {
                assigned(jobs, at);
            }
            publisher.publish(source(None));
        }
        ScaleSetNews::Trouble { error, .. } => {
            if let ScaleSetError::NoSuchSet = error {
                let_go();
            }
            publisher.publish(source(Some(error.into())));
        }
        ScaleSetNews::JobStarted { runner, job, at } => {
            let queued_at = job.queued_at.map_or(at, |queued_at| github.instant(queued_at));
            if let Some(facts) = facts(&pool.scope, job, github.timestamp(at)) {
                publisher.publish(Evidence::Took { runner, facts: Arc::new(facts), queued_at });
            }
        }
        ScaleSetNews::JobCompleted { runner: Some(runner), .. } => {
            publisher.publish(Evidence::JobOver { runner });
        }
        // Of a job without a runner the statistics say all that matters.
        ScaleSetNews::JobAssigned { .. } | ScaleSetNews::JobCompleted { runner: None, .. } => {}
    }
}

/// What people want to know of a job; `None` when its repository's name is none.
fn facts(scope: &Scope, job: Job, at: Timestamp) -> Option<JobFacts> {
    let repository = scope.repository(&job.repository)?;
    let run_id = job.run.unwrap_or_default();
    Some(JobFacts {
        url: format!("{repository}/actions/runs/{run_id}"),
        name: job.name,
        run_id,
        queued_at: job.queued_at.unwrap_or(at),
        repository,
    })
}

impl From<ScaleSetError> for Trouble {
    fn from(error: ScaleSetError) -> Self {
        match error {
            ScaleSetError::Github(error) => error.into(),
            other => Self { kind: TroubleKind::GithubFailed, retry_after: None, detail: other.to_string() },
        }
    }
}
