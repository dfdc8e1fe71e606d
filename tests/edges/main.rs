//! The edges one by one, without the daemon between them: configuration, GitHub, webhooks, scale sets, egress, commands,
//! and what Dayfly shows; and the project's own files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod architecture;
mod captured_log;
mod commands;
mod config;
mod egress;
mod github_wire;
#[path = "../keys/mod.rs"]
mod keys;
mod plumbing;
mod scale_set;
mod show;
mod subscribers;
mod webhook;
