//! Where pools learn of waiting jobs: observers that run on their own and publish evidence. What a pool
//! makes of it is the core's to decide.

mod groups;
mod queue;
mod schedule;

pub use self::{
    groups::watch_groups,
    queue::{QueueDoor, QueueWatch},
    schedule::{REQUESTS_PER_MINUTE, Reach, RequestsPerHour, Shortfall, requests_per_hour},
};
