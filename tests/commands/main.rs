//! The commands as people run them: the program itself, against the simulator and a real engine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod by_hand;
mod check;
mod explain;
#[path = "../keys/mod.rs"]
mod keys;
mod logs;
mod purge;
mod runners;
mod stand;
mod status;
mod version;
