//! The values that labels and gauges take.

use std::{collections::BTreeSet, time::Duration};

use crate::fleet::{Status, Timestamp};

/// The `pool` label of runners whose pool is not configured: leftovers of an earlier configuration.
pub(super) const UNKNOWN_POOL: &str = "unknown";

/// The configured pools, scopes and hosts, as of the last pass: the values that labels may take.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Configured {
    pub(super) pools: BTreeSet<String>,
    pub(super) scopes: BTreeSet<String>,
    pub(super) hosts: BTreeSet<String>,
}

impl Configured {
    pub(super) fn of(status: &Status) -> Self {
        Self {
            pools: status.pools.iter().map(|pool| pool.name.to_string()).collect(),
            scopes: status.scopes.iter().map(|scope| scope.url.to_string()).collect(),
            hosts: status.hosts.iter().map(|host| host.name.to_string()).collect(),
        }
    }
}

/// A number as a gauge's value, clamped to its maximum.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Seconds since the Unix epoch; 0 for never.
pub(super) fn epoch_seconds(moment: Option<Timestamp>) -> f64 {
    Duration::from_millis(moment.map_or(0, Timestamp::as_millis)).as_secs_f64()
}

/// Seconds from a moment to now; 0 when there is none.
pub(super) fn age_seconds(moment: Option<Timestamp>, now: Timestamp) -> f64 {
    moment.map_or(0.0, |moment| now.since(moment).as_secs_f64())
}
