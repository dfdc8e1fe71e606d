//! Where pools learn of waiting jobs: observers that run on their own and publish evidence. What a pool
//! makes of it is the core's to decide.

pub mod deliveries;
mod groups;
pub mod lookups;
mod queue;
pub mod scale_set;
mod schedule;

pub use self::{
    groups::watch_groups,
    queue::{QueueDoor, QueueWatch},
    schedule::{Reach, RequestsPerHour, Shortfall, requests_per_hour},
};
