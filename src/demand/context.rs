//! What the job sources of a scope are started with, where their evidence goes, and where their tasks run.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::{
        broadcast,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        watch,
    },
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    fleet::{Demand, Event, Evidence, InstanceId, Pool, Status},
    github::Client,
};

/// The pools of one scope, and what their job sources need.
#[derive(Clone, Copy)]
pub struct ScopeContext<'a> {
    pub client: &'a Client,
    pub pools: &'a [Pool],
    pub instance: &'a InstanceId,
    pub state_dir: &'a Path,
    /// The configured interval of lists of runners and of polls of active queues.
    pub poll_interval: Duration,
    /// How many scopes with queues share the rate limit of the scope's credential.
    pub scopes_with_queues: u32,
    pub publisher: &'a Publisher,
    /// What the last pass reported.
    pub reports: &'a watch::Receiver<Arc<Status>>,
    /// What happens from now on.
    pub events: &'a broadcast::Sender<Event>,
}

impl ScopeContext<'_> {
    /// The pools whose demand satisfies a condition.
    pub(super) fn pools_with(&self, wanted: impl Fn(Demand) -> bool) -> Vec<Pool> {
        self.pools.iter().filter(|pool| wanted(pool.demand)).cloned().collect()
    }
}

/// Where evidence goes.
#[derive(Clone, Debug)]
pub struct Publisher(UnboundedSender<Evidence>);

impl Publisher {
    /// A publisher, and where its evidence comes out.
    pub fn channel() -> (Self, UnboundedReceiver<Evidence>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Publishes a fact. When no task receives it, the process is about to end.
    pub fn publish(&self, evidence: Evidence) {
        let _ = self.0.send(evidence);
    }
}

/// The tasks of observers.
#[derive(Default)]
pub struct Tasks {
    /// Aborted when the daemon stops.
    pub observers: JoinSet<()>,
    /// Sessions, which close in an orderly way once `stop` is cancelled.
    pub sessions: TaskTracker,
    pub stop: CancellationToken,
}
