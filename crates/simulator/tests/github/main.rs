//! The simulated GitHub over plain HTTP, and held to GitHub's own descriptions of its API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod contract;
mod jwt;
#[path = "../../../../tests/keys/mod.rs"]
mod keys;
mod openapi;
mod simulated_apps;
mod simulator;
mod wire;
