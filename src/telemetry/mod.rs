//! What people see of Dayfly without asking it: metrics and logs. Both are functions of what passes
//! and requests report; no counter and no log line of a decision is touched anywhere else.

mod events;
mod form;
mod logs;
mod metrics;
mod writer;

pub use events::log_event;
pub use logs::{Form, Format, LogsError, error_message, init, init_daemon, subscriber};
pub use metrics::Metrics;
pub use writer::LogWriter;
