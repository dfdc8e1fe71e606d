//! The core: everything that Dayfly decides, and nothing else.
//!
//! Values in, values out: no I/O, no async, no clock, no randomness, no logging, no `Result` but
//! for parsing names. The shell feeds [`Evidence`] in and carries the planned actions out.

mod backoff;
mod evidence;
mod explain;
mod fleet;
mod host;
mod job;
mod jobs;
mod matching;
mod mints;
mod name;
mod observe;
mod plan;
mod pool;
mod report;
mod runner;
mod schedule;
mod scope;
#[cfg(test)]
mod tables;
mod time;
mod troubles;

pub use evidence::*;
pub use explain::{explain, label_advice};
pub use fleet::Fleet;
pub use host::Host;
pub use job::{Demand, GroupPolicy, Job, JobFacts, JobId, JobState, Visibility};
pub use matching::{Placement, Verdict, group_of, place, verdict};
pub use name::{
    HostName, InstanceId, MAX_INSTANCE, MAX_POOL_AND_INSTANCE, MAX_RUNNER_NAME, NameError, Names, PREFIX,
    PoolName, RunnerName,
};
pub use pool::{Mount, Policy, Pool, PullPolicy, Resources, Template, TemplateDigest};
pub use report::*;
pub use schedule::{DAY, Days, Schedule, Window};
pub use scope::{Scope, ScopeError, Target};
pub use time::{ClockReading, Instant, Timestamp};
