//! Job source: a pool as a runner scale set, for which GitHub assigns jobs and counts them. Finds or creates the set
//! and keeps its one session open for as long as it can.
//!
//! [`SessionState`](session::SessionState) decides what to request next, without I/O and without a clock; [`serve()`]
//! requests it. A set whose session somebody else has is waited for, for ever: two installations never serve one set.

mod remove;
mod serve;
mod session;
mod session_file;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{
    remove::{Removal, remove},
    serve::serve,
};
use crate::{
    files,
    fleet::{Demand, InstanceId, Pool, PoolName},
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
    /// lets go of its session. Without it nothing is lost but that time.
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
    /// After somebody else's session was in the way, or the set is not what the pool says.
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

/// How often the runners of a scope are listed that has nothing but scale sets, at rest.
const LISTED: Duration = Duration::from_mins(1);

/// How often the runners of a scope with these pools are listed at rest, where `usual` is the configured interval.
/// Messages tell of the jobs of scale sets, so that a list only confirms what is known.
pub fn list_interval(pools: &[&Pool], usual: Duration) -> Duration {
    let only_sets = !pools.is_empty() && pools.iter().all(|pool| pool.demand == Demand::ScaleSet);
    if only_sets { usual.max(LISTED) } else { usual }
}

/// How an installation names itself as a session's owner, so that another one that wants the same
/// set can tell its operator where to look.
fn owner(instance: &InstanceId) -> String {
    let host = files::line("/proc/sys/kernel/hostname").unwrap_or_default();
    let at = if host.is_empty() { "" } else { "@" };
    format!("dayfly/{instance}{at}{host}")
}
