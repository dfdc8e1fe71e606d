//! A Docker Swarm as a [`Host`](super::Host): a runner is a service with one task, and the Swarm chooses its node.
//!
//! Everything goes through a manager, which reaches the logs of tasks on other nodes but neither their processes nor the
//! inspection of their containers. Tasks have no events, so they are listed again and again while anything changes.

mod host;
mod image;
mod list;
mod log;
mod nodes;
mod shared;
mod spec;
mod state;

pub use self::{shared::Swarm, state::LABEL_DRAIN};
