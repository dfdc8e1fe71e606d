//! The core: every decision of Dayfly, and nothing else.
//!
//! Values in, values out: no I/O, no async, no clock, no randomness, no logging, no `Result` except
//! for parsing names. The shell passes [`Evidence`] in and carries out the planned actions.
//!
//! ```text
//!  edges: GitHub, engines, job sources            shell: logs, metrics, status
//!        |                      ^                              ^
//!        | Evidence             | Action                       | Event, Status
//!        v                      |                              |
//!  Fleet::observe ----> Fleet (state) ----> Fleet::plan ----> Plan { actions, events, wake_at }
//!
//!  Fleet
//!    Pool     what is configured: one Scope, label set, Template, Policy and Demand, and one or several Hosts
//!     |-- Runner   registration (GitHub) + container (engine) + job; its Phase follows from both halves
//!     `-- Job      queued with labels that the pool serves: the pool's demand, a set of job ids
//!    Host     a container engine: its budget, and whether its containers can be listed
//!    Scope    where runners are registered: runner groups, and whether its runners can be listed
//! ```
//!
//! Where to start reading: `observe` turns evidence into state, `plan` decides, `runner` has the table of
//! phases, `matching` decides which pool serves a job, `placement` on which host its runner starts, `report`
//! and `event` have everything that is shown.

mod action;
mod attachment;
mod backoff;
mod cache;
mod cluster;
mod constraint;
mod demand;
mod destination;
mod devices;
mod event;
mod evidence;
mod explain;
mod fleet;
mod host;
mod job;
mod known_jobs;
mod matching;
mod mints;
mod name;
mod observe;
mod placement;
mod plan;
mod pool;
mod reasons;
mod report;
mod runner;
mod schedule;
mod scope;
#[cfg(test)]
mod tables;
mod template;
mod template_parts;
mod time;
mod troubles;

pub use action::{Action, Plan};
pub use attachment::{Attachment, AttachmentKind, SidecarState};
pub use cache::{Cache, CacheStore};
pub use cluster::{Availability, Cluster, Node, NodeId, Placed};
pub use constraint::Constraint;
pub use destination::{Destination, Destinations, EgressVerdict};
pub use devices::{DeviceClass, DeviceClassError, DeviceCounts, Devices};
pub use event::Event;
pub use evidence::*;
pub use explain::{explain, label_advice};
pub use fleet::Fleet;
pub use host::Host;
pub use job::{Demand, GroupPolicy, Job, JobFacts, JobId, JobOrigin, JobState, Visibility};
pub use matching::{Matched, Verdict, group_of, match_pool, verdict};
pub use name::{
    HostName, InstanceId, MAX_INSTANCE, MAX_POOL_AND_INSTANCE, MAX_RUNNER_NAME, NameError, Names, PREFIX,
    PoolName, RunnerName,
};
pub use placement::Placement;
pub use pool::{Policy, Pool};
pub use reasons::*;
pub use report::*;
pub use schedule::{DAY, Days, Schedule, Window};
pub use scope::{Scope, Target, address::ScopeError};
pub use template::{
    Dind, DockerMode, Egress, EgressMode, Mount, Network, PullPolicy, Resources, Template, TemplateDigest,
};
pub use template_parts::{Device, FilesDigest, Hooks, Proxy};
pub use time::{ClockReading, Instant, Timestamp, doubled};
