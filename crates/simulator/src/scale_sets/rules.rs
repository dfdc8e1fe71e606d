//! How the service of scale sets behaves.

use std::time::Duration;

/// How the service behaves.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of the service by itself")]
pub struct ScaleSetRules {
    /// Whether jobs are assigned by the service, as on github.com, up to the capacity that polls
    /// report; otherwise they are offered, and must be acquired, as on GHES.
    pub assigns: bool,
    /// Whether sets keep labels besides their name; GHES before 3.21 drops them silently.
    pub keeps_labels: bool,
    /// Whether a search for a set filters by the name that was requested.
    pub filters: bool,
    /// How long a poll without news is held.
    pub poll_hold: Duration,
    /// How long an admin token lives.
    pub admin_lifetime: Duration,
    /// How long a session's token lives.
    pub queue_lifetime: Duration,
    /// How long a session lives that sends no requests.
    pub session_lifetime: Duration,
    /// Whether `JobStarted` wakes a poll that is being held; on github.com it does not.
    pub started_wakes: bool,
    /// Whether answers begin with a byte order mark.
    pub byte_order_mark: bool,
    /// Whether a conflict names the owner of the session that is in the way, as older servers do.
    pub names_owner: bool,
}

impl Default for ScaleSetRules {
    fn default() -> Self {
        Self {
            assigns: true,
            keeps_labels: true,
            filters: true,
            poll_hold: Duration::from_secs(50),
            admin_lifetime: Duration::from_hours(1),
            queue_lifetime: Duration::from_mins(50),
            session_lifetime: Duration::from_mins(5),
            started_wakes: false,
            byte_order_mark: false,
            names_owner: true,
        }
    }
}
