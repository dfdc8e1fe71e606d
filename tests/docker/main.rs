//! What needs a Docker Engine, but not the daemon: the edge to it, and the simulated runner and the
//! egress proxy in a container.
//! Without an engine these tests fail, saying so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../engines/dind.rs"]
mod dind;
mod docker_edge;
mod egress_proxy;
#[path = "../engines/mod.rs"]
mod engines;
mod inner_engine;
mod registry;
mod shell_image;
mod simulated_runner;
#[path = "../edges/subscribers.rs"]
mod subscribers;
mod tools_image;
#[path = "../../crates/simulator/tests/github/wire.rs"]
mod wire;
