//! The Docker edge against a real Docker Engine: what containers actually get, how they exit, and what the
//! engine reports of them. Without an engine these tests fail with a message.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod asked;
mod connect;
mod end;
mod launch;
mod life;
mod pull;
#[path = "../common/shell_image.rs"]
mod shell_image;
mod stand;
mod watch;
