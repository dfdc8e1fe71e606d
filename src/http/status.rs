//! The state that the web server shows, as of the last pass.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    fleet::{ClockReading, HostName, Scope, Status, Timestamp},
    github::Rate,
};

/// Everything that the web server shows, as of the last pass.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub instance: Arc<str>,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// The wall clock at the last pass, the reference for ages; `None` before the first pass.
    pub planned: Option<ClockReading>,
    /// What the last pass reported.
    pub status: Status,
    /// The kind of engine of each host.
    pub engines: BTreeMap<HostName, &'static str>,
    /// The `core` rate limit of each scope's credential, as GitHub last reported it.
    pub rates: BTreeMap<Scope, Rate>,
}
