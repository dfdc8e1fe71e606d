//! What people see of Dayfly without asking it: metrics and logs. Both are functions of what passes
//! and requests report; no counter and no log line of a decision is touched anywhere else.

mod events;
mod logs;
mod metrics;

pub use events::log_event;
pub use logs::{Format, LogsError, init, subscriber};
pub use metrics::Metrics;
