//! A pool as a runner scale set: finds or creates the set, holds its one session for as long as it
//! can, and tells what the set has to do.
//!
//! The course decides what to ask next, without I/O and without a clock; [`serve()`] asks it. A set
//! whose session somebody else has is waited for, for ever: two installations never serve one set.

mod course;
mod remembered;
mod remove;
mod serve;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

pub use self::{
    remembered::note_of,
    remove::{Removal, remove},
    serve::serve,
};
use crate::{
    files,
    fleet::{Demand, InstanceId, Instant, Pool},
    github::scale_set::{Job, ScaleSetError, ScaleSetId, Statistics},
};

/// A pool that is served by a scale set.
#[derive(Clone, Debug)]
pub struct ScaleSetPool {
    /// The set's name: the pool's, unless it was given another.
    pub name: String,
    /// The runner group's name.
    pub group: String,
    /// The set's labels: the pool's.
    pub labels: Vec<String>,
    /// Whom GitHub names to others as the session's owner; see [`owner`].
    pub owner: String,
    /// Where the session's id is kept, so that a daemon that was killed need not wait until GitHub
    /// lets go of its session. Without it nothing is lost but that time.
    pub remembered: Option<PathBuf>,
    /// How long it waits for what.
    pub waits: Waits,
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
    /// At the end, for what is in hand and for closing the session, each.
    pub goodbye: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            conflict: Duration::from_secs(30),
            first: Duration::from_secs(1),
            longest: Duration::from_mins(1),
            goodbye: Duration::from_secs(5),
        }
    }
}

/// What a set's pool is told. Times are when an answer was received.
#[derive(Debug)]
pub enum ScaleSetNews {
    /// The set is there.
    Found {
        /// GitHub's number of it.
        set: ScaleSetId,
        /// Whether we created it just now.
        created: bool,
    },
    /// The set lacks labels of the pool: jobs that ask for them do not come. For a person to mend.
    LabelsMissing {
        /// The labels, and what to do about them, as one sentence.
        why: String,
    },
    /// The set has labels that the pool does not have, and is not served until a person has
    /// decided: its labels cannot be changed.
    LabelsChanged {
        /// The labels, and what to do about them, as one sentence.
        why: String,
        /// When it is looked at again.
        retry_in: Duration,
    },
    /// Somebody else's session is in the way. Runners that exist go on; none are minted.
    Waiting {
        /// GitHub's own words, which may name the owner.
        says: String,
        /// Whose session it is, where GitHub says so.
        owner: Option<String>,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// What the set has to do, as of now.
    Up {
        /// When it was received.
        at: Instant,
        /// The counts; `assigned` is how many runners are needed.
        statistics: Statistics,
    },
    /// A poll ended without a message: the statistics that were told last still stand.
    Quiet {
        /// When that was received.
        at: Instant,
    },
    /// Something failed and will be tried again; until then what was told last stands.
    Trouble {
        /// What went wrong.
        error: ScaleSetError,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A job was given to the set. It is in the statistics too.
    JobAssigned {
        /// When it was received.
        at: Instant,
        /// The job.
        job: Job,
    },
    /// A runner has a job.
    JobStarted {
        /// When it was received.
        at: Instant,
        /// The runner's name; it may be none of ours.
        runner: String,
        /// The job.
        job: Job,
    },
    /// A job is over. Its runner may still be at work: this is no leave to stop it.
    JobCompleted {
        /// When it was received.
        at: Instant,
        /// The runner's name, if the job ever had one.
        runner: Option<String>,
        /// `succeeded`, `failed`, `canceled` and the like; GitHub's own word.
        result: String,
        /// The job.
        job: Job,
    },
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
pub fn owner(instance: &InstanceId) -> String {
    let host = files::line("/proc/sys/kernel/hostname").unwrap_or_default();
    let at = if host.is_empty() { "" } else { "@" };
    format!("dayfly/{instance}{at}{host}")
}
