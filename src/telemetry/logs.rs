//! Sets up logging: text or JSON to standard error, at levels that the operator chooses, except for crates
//! that would log secrets: no setting raises those above their cap.

use std::io::{IsTerminal, stderr};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, ParseError, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use super::{
    form::{Clock, OneStyle, Prioritized, TextLines, prioritized},
    writer::LogWriter,
};

/// The default log filter.
const DEFAULT_FILTER: &str = "info";

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text, for people.
    #[default]
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// The format of log lines for an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub format: Format,
    /// Whether the output is a terminal that shows colours.
    pub colours: bool,
    /// Whether each line begins with its priority for the systemd journal, such as `<4>`.
    pub priorities: bool,
}

/// Why logging cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is invalid.
    #[error(
        "set the log filter to {filter:?}; write a level (\"debug\") or levels by module \
         (\"info,dayfly::github=debug\")"
    )]
    Filter {
        /// As given by flag or environment.
        filter: String,
        #[source]
        source: ParseError,
    },
    /// The thread that writes the log could not be started.
    #[error("start the thread that writes the log")]
    Thread(#[source] std::io::Error),
    /// This process has a logger already.
    #[error("set up logging a second time")]
    Twice(#[source] TryInitError),
}

/// Starts logging to standard error for an interactive command: each line is written before the command
/// continues. `filter` is the command-line option; its default is `RUST_LOG`, then `info`. `caps` are levels
/// by target (`bollard=info`) that no filter raises.
pub fn init(format: Format, filter: Option<&str>, caps: &[&str]) -> Result<(), LogsError> {
    install(format, filter, caps, stderr)
}

/// Starts logging to standard error as [`init`] does, for the daemon: nothing waits for the reader of the
/// log. The last lines are written only if the writer is flushed at exit.
pub fn init_daemon(format: Format, filter: Option<&str>, caps: &[&str]) -> Result<LogWriter, LogsError> {
    let writer = LogWriter::start(stderr()).map_err(LogsError::Thread)?;
    install(format, filter, caps, writer.clone())?;
    Ok(writer)
}

fn install<W>(format: Format, filter: Option<&str>, caps: &[&str], writer: W) -> Result<(), LogsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let filter = filter.map(str::to_owned).or(from_environment).unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let form = Form { format, colours: stderr().is_terminal(), priorities: stderr_is_the_journal() };
    subscriber(form, &filter, caps, writer)?.try_init().map_err(LogsError::Twice)
}

/// Whether standard error is connected to the journal: `$JOURNAL_STREAM` has the device and inode of the
/// stream that systemd made (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The message of a failed command for standard error; with an error's priority for the journal.
pub fn error_message(text: &str) -> String {
    if stderr_is_the_journal() { prioritized(text, Level::ERROR) } else { format!("{text}\n") }
}

/// What [`init`] installs, for any writer.
pub fn subscriber<W>(
    form: Form,
    filter: &str,
    caps: &[&str],
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>, LogsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let refused = |filter: &str| {
        let filter = filter.to_owned();
        move |source| LogsError::Filter { filter, source }
    };
    let levels = EnvFilter::try_new(filter).map_err(refused(filter))?;
    // A separate filter, since more specific directives of the operator's would override it.
    let caps = caps.join(",");
    let caps: Targets = caps.parse().map_err(refused(&caps))?;
    let caps = caps.with_default(LevelFilter::TRACE);
    let lines =
        tracing_subscriber::fmt::layer().with_timer(Clock).with_writer(writer).with_ansi(form.colours);
    let on = form.priorities;
    let lines = match form.format {
        Format::Text => {
            let format = Prioritized { format: TextLines::new(), on };
            lines.fmt_fields(OneStyle).event_format(format).boxed()
        }
        Format::Json => {
            lines.json().flatten_event(true).map_event_format(|format| Prioritized { format, on }).boxed()
        }
    };
    Ok(tracing_subscriber::registry().with(lines.with_filter(levels.and(caps))))
}
