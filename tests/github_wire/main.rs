//! The GitHub edge over a real socket, against a server that each test scripts with a closure.

#![expect(clippy::unwrap_used, reason = "what helps a test fails like a test")]

mod apps;
mod by_hand;
mod deliveries;
mod enterprise;
mod expiry;
#[path = "../keys/mod.rs"]
mod keys;
mod limits;
mod listing;
mod network;
mod queue;
mod runner;
mod transport;
mod watch;
mod world;
