//! Dayfly keeps pools of ephemeral GitHub Actions runners on ordinary Docker hosts.
//!
//! Four packages. [`fleet`] is the core: pure, total, time passed in; it owns every decision. [`executor`] carries its
//! actions out through traits. [`simulator`] is a GitHub that fits in a process, for tests, benchmarks and `dayfly
//! demo`. This one is the rest. Imports point one way, and `tests/edges/architecture.rs` holds them to it:
//!
//! ```text
//! main → cli → daemon → {http, telemetry, config, demand} → {github, host} → {executor, clock} → fleet
//! (cli, config, host) → egress
//! (every module that reads files) → files
//! (every module that retries) → backoff → fleet
//! (every module that shows errors) → text, of the executor
//! ```
//!
//! - [`backoff`] says how long to wait after failures in a row.
//! - [`clock`] reads this machine's clocks.
//! - [`github`] and [`host`] are the edges that the daemon acts through.
//! - [`demand`] are the sources of waiting jobs: it lists queues, repairs what webhooks lost, and holds the
//!   sessions of runner scale sets.
//! - [`egress`] is the proxy that a runner's requests to the network go through.
//! - [`config`] reads the one TOML file.
//! - [`files`] opens every file that is read: regular, bounded, without waiting.
//! - [`daemon`] is the shell: it feeds evidence to the core and carries its plans out.
//! - [`text`] makes errors and other people's texts fit to be shown: on one line, bounded, without secrets.
//! - [`http`] and [`telemetry`] show what passes report.
//! - [`cli`] has one file per command.

pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod demand;
pub mod egress;
pub mod files;
pub mod github;
pub mod host;
pub mod http;
pub mod telemetry;

pub use dayfly_executor::{self as executor, text};
pub use dayfly_fleet as fleet;
pub use dayfly_simulator as simulator;
