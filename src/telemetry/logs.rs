//! Sets up logging: text or JSON to standard error, with levels that an operator chooses, except
//! for crates that would log secrets: no setting makes those say more than they may.

use std::io::{IsTerminal, stderr};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, ParseError, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
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
    /// Something else in this process logs already.
    #[error("set up logging a second time")]
    Twice(#[source] TryInitError),
}

/// Begins logging to standard error. `filter` is the operator's flag; without one `RUST_LOG`
/// counts, and without that `info`. `caps` are levels by target (`bollard=info`) that hold whatever
/// the operator asks for.
pub fn init(format: Format, filter: Option<&str>, caps: &[&str]) -> Result<(), LogsError> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.trim().is_empty());
    let filter = filter.map(str::to_owned).or(from_environment).unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let colours = stderr().is_terminal();
    subscriber(format, &filter, caps, stderr, colours)?.try_init().map_err(LogsError::Twice)
}

/// What [`init`] installs, for any writer.
pub fn subscriber<W>(
    format: Format,
    filter: &str,
    caps: &[&str],
    writer: W,
    colours: bool,
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
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(tracing_subscriber::registry().with(lines.with_filter(levels.and(caps))))
}
