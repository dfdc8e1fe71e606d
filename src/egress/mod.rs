//! The egress proxy: the only way out of a runner's network. It forwards CONNECT and plain http by host name
//! to the destinations of an allow list, and reports every destination.
//!
//! The decisions are pure: [`Policy`] judges a [`Target`] by the [`AllowList`], and an address by its
//! [`Class`]. [`serve`] is the server around them, and connects to exactly the addresses that were judged.

mod address;
mod allow;
mod destinations;
mod forward;
mod line;
mod network;
mod policy;
mod server;
mod target;

pub use self::{
    address::Class,
    allow::{AllowList, Pattern, PatternError},
    destinations::{Destinations, MAX_DESTINATIONS},
    line::{Line, Report, Verdict},
    network::{Network, SystemNetwork},
    policy::{Mode, Policy, Refusal},
    server::{Limits, serve},
    target::{Host, Target, TargetError},
};

/// The key of the configuration that says what is allowed, for texts.
pub const ALLOW_KEY: &str = "[pool.container.egress] allow";
