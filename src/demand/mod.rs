//! Where pools learn of waiting jobs: observers that run on their own and publish evidence. What a pool
//! makes of it is the core's to decide.

mod addresses;
mod deliveries;
mod groups;
mod lookups;
mod queue;
pub mod scale_set;
mod schedule;
mod streak;

pub use self::{
    addresses::watch_addresses,
    deliveries::{Repair, Repaired, watch_deliveries},
    groups::watch_groups,
    lookups::{Stale, stale, watch_jobs},
    queue::{QueueDoor, QueueWatch},
    scale_set::list_interval,
    schedule::{REQUESTS_PER_MINUTE, Reach, RequestsPerHour, Shortfall, requests_per_hour},
};
