//! What all parts of a Swarm's edge share: the connection to its manager, and what is known of its runners.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bollard::auth::DockerCredentials;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{
    spec::Form,
    state::{Others, Seen},
};
use crate::{
    fleet::{ContainerId, Exit, HostName, InstanceId, RunnerName},
    host::{Docker, Endpoint, HostError, RegistryLogin, Reporter, call::Call, engine::Engine},
};

/// When a Swarm without runners is listed again. Its events make it sooner.
pub(super) const AT_REST: Duration = Duration::from_secs(10);

/// One Swarm, by a manager. Clones share their connection and their memory.
#[derive(Clone)]
pub struct Swarm(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) manager: Docker,
    pub(super) known: Mutex<BTreeMap<ContainerId, Known>>,
    /// Changes with every list.
    pub(super) listed: watch::Sender<()>,
    pub(super) images: Mutex<HashMap<String, Pinned>>,
    pub(super) others: Mutex<OthersSeen>,
    pub(super) relist_after: Mutex<Duration>,
    /// That of services, by the nodes of the last list.
    pub(super) form: Mutex<Form>,
}

/// What is known of a runner's service.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) runner: RunnerName,
    /// Its task, once it was listed.
    pub(super) task: Option<Seen>,
    /// Whether the task's node can be reached.
    pub(super) is_reachable: bool,
    pub(super) exit: Option<Exit>,
    /// How often its log could not be read after its end.
    pub(super) unread: u32,
    /// When it was created here or first listed, or stopped here.
    pub(super) since: Instant,
}

impl Known {
    pub(super) fn new(runner: RunnerName) -> Self {
        Self { runner, task: None, is_reachable: true, exit: None, unread: 0, since: Instant::now() }
    }
}

impl Swarm {
    /// The Swarm with a manager at `endpoint`. It connects with the first call, so the manager may be down now.
    pub fn new(host: HostName, endpoint: Endpoint, instance: InstanceId, reporter: Reporter) -> Self {
        Self(Arc::new(Inner {
            manager: Docker::new(host, endpoint, instance, reporter),
            known: Mutex::default(),
            listed: watch::Sender::default(),
            images: Mutex::default(),
            others: Mutex::default(),
            relist_after: Mutex::new(AT_REST),
            form: Mutex::default(),
        }))
    }

    /// The engine of its manager.
    pub fn manager(&self) -> &Docker {
        &self.0.manager
    }

    /// When it is to be listed again although no event came: tasks have none.
    pub fn relist_after(&self) -> Duration {
        *self.0.relist_after.lock()
    }

    pub(super) fn engine(&self) -> &Engine {
        self.manager().engine()
    }

    pub(super) fn recall(&self, id: &ContainerId) -> Option<Known> {
        self.0.known.lock().get(id).cloned()
    }

    /// The name of the service's runner, which was listed or launched by this process.
    pub(super) fn runner_of(&self, id: &ContainerId) -> Result<RunnerName, HostError> {
        let known = self.recall(id).map(|known| known.runner);
        known.ok_or_else(|| HostError::Refused(format!("service {id} has not been listed yet")))
    }
}

/// An image as tasks name it.
#[derive(Clone)]
pub(super) struct Pinned {
    pub(super) reference: String,
    /// That of the pool.
    pub(super) login: Option<RegistryLogin>,
    /// For the nodes that pull it, and when they were read.
    pub(super) credentials: Option<DockerCredentials>,
    pub(super) read_at: Instant,
}

/// What others take of the nodes, and when that was read.
#[derive(Default)]
pub(super) struct OthersSeen {
    pub(super) others: Others,
    pub(super) at: Option<Instant>,
}

pub(super) fn failed(call: Call, what: &str) -> HostError {
    HostError::Failed { detail: format!("{call}: {what}"), source: None }
}
