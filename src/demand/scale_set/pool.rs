//! A pool as its scale set needs it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    files,
    fleet::{InstanceId, Pool, PoolName},
};

/// A pool that is served by a scale set.
#[derive(Clone, Debug)]
pub struct ScaleSetPool {
    /// The pool's name, which is the set's too.
    pub name: PoolName,
    /// The runner group's name.
    pub group: String,
    /// The set's labels: the pool's.
    pub labels: Vec<String>,
    /// Whom GitHub names to others as the session's owner.
    pub owner: String,
    /// Where the session's id is kept, so that a daemon that was killed need not wait until GitHub
    /// releases its session. Without it nothing is lost but that time.
    pub session_file: Option<PathBuf>,
    /// How long it waits for what.
    pub waits: Waits,
}

impl ScaleSetPool {
    /// A pool of an installation with this state directory.
    pub fn of(pool: &Pool, instance: &InstanceId, state_dir: &Path) -> Self {
        Self {
            name: pool.name.clone(),
            group: pool.group.clone(),
            labels: pool.labels.clone(),
            owner: owner(instance),
            session_file: Some(state_dir.join("sessions").join(pool.name.as_str())),
            waits: Waits::default(),
        }
    }
}

/// How long a pool waits before it tries again.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// After the session of another client was in the way, or the set is not what the pool says.
    pub conflict: Duration,
    /// After the first failure in a row; each further one doubles it.
    pub first: Duration,
    /// After any failure at most.
    pub longest: Duration,
    /// At the end, for a pending message and for closing the session, each: both have to fit into the daemon's end.
    pub shutdown: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            conflict: Duration::from_secs(30),
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
            shutdown: Duration::from_secs(2),
        }
    }
}

/// How an installation names itself as a session's owner, so that another one that wants the same
/// set can name the present owner to its operator.
pub(super) fn owner(instance: &InstanceId) -> String {
    let host = files::line("/proc/sys/kernel/hostname").unwrap_or_default();
    let at = if host.is_empty() { "" } else { "@" };
    format!("dayfly/{instance}{at}{host}")
}
