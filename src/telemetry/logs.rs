//! Sets up logging: text or JSON to standard error, with levels that an operator chooses, except
//! for crates that would log secrets: no setting makes those say more than they may.

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

/// What is logged when nobody says otherwise.
const DEFAULT_FILTER: &str = "info";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// What log lines look like where they go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Text or JSON.
    pub format: Format,
    /// Whether a terminal that shows colours reads them.
    pub colours: bool,
    /// Whether each line begins with its priority, as `<4>`, which the systemd journal takes from there.
    pub priorities: bool,
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is not one.
    #[error(
        "set the log filter to {filter:?}; write a level (\"debug\") or levels by module (\"info,dayfly::github=debug\")"
    )]
    Filter {
        /// As given by flag or environment.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// There can be no thread that writes the log.
    #[error("start the thread that writes the log")]
    Thread(#[source] std::io::Error),
    /// Something else in this process logs already.
    #[error("set up logging a second time")]
    Twice(#[source] TryInitError),
}

/// Begins logging to standard error, for a command that people wait for: each line is written before the
/// command goes on. `filter` is the operator's flag; without one `RUST_LOG` counts, and without that `info`.
/// `caps` are levels by target (`bollard=info`) that hold whatever the operator asks for.
pub fn init(format: Format, filter: Option<&str>, caps: &[&str]) -> Result<(), LogsError> {
    install(format, filter, caps, stderr)
}

/// Begins logging to standard error as [`init`] does, for the daemon: nothing waits for whoever reads the log.
/// The last lines are written only if the writer is flushed at the end.
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

/// Whether the journal reads what is written to standard error: systemd names the device and inode of the
/// stream that it made (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_the_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A message for standard error about why a command failed; for the journal with the priority of an error.
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
    // A filter of its own beside the operator's, whose more exact directives would overrule ours.
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
