//! What the web server shows of a daemon that does not change.

use std::{collections::BTreeMap, sync::Arc};

use crate::fleet::{HostName, Timestamp};

/// The parts of the status document that stay the same.
#[derive(Clone, Debug)]
pub struct About {
    pub instance: Arc<str>,
    pub version: &'static str,
    pub started_at: Timestamp,
    pub engines: BTreeMap<HostName, AboutEngine>,
}

/// The engine of a host.
#[derive(Clone, Debug)]
pub struct AboutEngine {
    pub kind: &'static str,
    pub endpoint: String,
    /// Where that comes from, for people.
    pub endpoint_source: String,
}
