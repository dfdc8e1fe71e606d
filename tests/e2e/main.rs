//! The daemon end to end: the real binary on a real Docker Engine, with the simulator as GitHub.
//! Without an engine these tests fail, saying so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adoption;
mod caches;
mod clocks;
mod container;
mod daemon;
mod demand;
mod demo;
mod devices;
#[path = "../engines/dind.rs"]
mod dind;
mod docker_in_jobs;
mod egress;
mod ends;
mod engine;
#[path = "../engines/mod.rs"]
mod engines;
mod files;
mod foreign;
mod github_fails;
mod images;
mod job_image;
mod killed_launching;
mod minting;
mod misbehaviour;
#[path = "../../crates/simulator/tests/github/openapi.rs"]
mod openapi;
mod proxy;
#[path = "../docker/registry.rs"]
mod registry;
mod scale_down;
mod secrets;
mod services;
mod serving;
mod several_hosts;
#[path = "../docker/shell_image.rs"]
mod shell_image;
mod slow_engine;
mod soak;
mod ssh;
mod swarm;
mod template_files;
mod unreachable;
mod world;
