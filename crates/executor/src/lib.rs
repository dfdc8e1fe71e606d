//! Carries out what the core plans: actions in, evidence out, by two traits that GitHub's API and a container engine
//! implement. It decides nothing and keeps no state, and has no client of its own, so that the simulation runs exactly
//! this code against its own world.
//!
//! ```text
//! fleet ── Action ──► Edges::carry_out ──► RunnerApi (GitHub), Host (an engine)
//!       ◄─ Evidence ─┘
//! ```
//!
//! - [`Edges`] are all scopes and hosts, by the names that plans use.
//! - [`RunnerApi`] and [`Host`] are the traits, with what goes through them and their errors.
//! - [`text`] makes errors and other people's texts fit to be shown: on one line, bounded, without secrets.

mod edges;
mod github_error;
mod host;
mod runner_api;
pub mod text;

use dayfly_fleet as fleet;

pub use self::{
    edges::{Edges, STOP_GRACE},
    github_error::GithubError,
    host::{Host, HostError, Launch, LaunchError, LaunchOf, Listed, Preparation},
    runner_api::{Listing, Mint, MintedRunner, RunnerApi},
};
