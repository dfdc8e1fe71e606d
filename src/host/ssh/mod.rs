//! Engines on other machines, through a socket that the `ssh` program forwards.

mod forward;
mod relogin;
mod target;
mod wording;

pub use self::target::{SshTarget, SshTargetError};
pub(super) use self::{forward::Forward, relogin::Relogin, wording::no_engine};
