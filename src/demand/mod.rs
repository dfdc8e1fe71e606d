//! The job sources, a folder each: observers that run on their own and publish evidence. What a pool makes of it is
//! the core's to decide.
//!
//! Each source has a function `start`, which starts what the pools of one scope need of it, and nothing when none of
//! them has that source.

mod context;
pub mod eligibility;
pub mod idle;
mod intervals;
pub mod origin;
pub mod queue;
pub mod scale_set;
pub mod webhook;

pub use self::{
    context::{Publisher, ScopeContext, Tasks},
    intervals::times_an_hour,
};
