//! What the web server shows of a daemon that does not change.

use std::{collections::BTreeMap, sync::Arc};

use crate::fleet::{HostName, Timestamp};

/// The daemon, as it was started.
#[derive(Clone, Debug)]
pub struct About {
    pub instance: Arc<str>,
    pub version: &'static str,
    pub started_at: Timestamp,
    /// The kind of engine of each host.
    pub engines: BTreeMap<HostName, &'static str>,
}
