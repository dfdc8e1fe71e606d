//! Metrics and logs. Both are derived from what passes and requests report; decisions are logged and counted
//! nowhere else.

mod events;
mod form;
mod logs;
mod metrics;
mod writer;

pub use events::log_event;
pub use logs::{Form, Format, LogsError, error_message, init, init_daemon, subscriber};
pub use metrics::Metrics;
pub use writer::LogWriter;
