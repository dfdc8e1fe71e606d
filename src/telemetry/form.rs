//! The format of log lines: an event is always one line, and all fields are written in the same style. Under
//! systemd a line begins with its priority.

use std::fmt::{self, Debug, Write as _};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
        time::FormatTime,
    },
    registry::LookupSpan,
};

use crate::text::escaped;

/// The time in UTC, to the millisecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3}", jiff::Timestamp::now())
    }
}

/// Text lines: time, level, message and fields. The module is named in debug output and for what other crates
/// log.
pub(super) struct TextLines {
    brief: Format<Full, Clock>,
    with_target: Format<Full, Clock>,
}

impl TextLines {
    pub(super) fn new() -> Self {
        let format = Format::default().with_timer(Clock);
        Self { brief: format.clone().with_target(false), with_target: format }
    }
}

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
        let format = if ours && *metadata.level() <= Level::INFO { &self.brief } else { &self.with_target };
        format.format_event(context, writer, event)
    }
}

/// Wraps a format, with the priority before each line if requested (sd-daemon(3)).
pub(super) struct Prioritized<F> {
    pub(super) format: F,
    pub(super) on: bool,
}

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.on {
            return self.format.format_event(context, writer, event);
        }
        let mut text = String::new();
        self.format.format_event(context, Writer::new(&mut text), event)?;
        writer.write_str(&prioritized(&text, *event.metadata().level()))
    }
}

/// The prefix for a level's priority (syslog(3), sd-daemon(3)).
pub(super) fn prioritized(text: &str, level: Level) -> String {
    let priority = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    let mut lines = String::with_capacity(text.len() + 3);
    for line in text.lines() {
        let _ = writeln!(lines, "<{priority}>{line}");
    }
    lines
}

/// Writes `message name=value name="another value"`, with values of any type.
pub(super) struct OneStyle;

impl<'writer> FormatFields<'writer> for OneStyle {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = FieldWriter { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct FieldWriter<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl FieldWriter<'_> {
    fn write(&mut self, name: &str, text: &str) {
        // The origin of a line of the `log` crate is in its metadata.
        if self.result.is_err() || name.starts_with("log.") {
            return;
        }
        let space = if std::mem::take(&mut self.first) { "" } else { " " };
        let (dim, plain) = if self.writer.has_ansi_escapes() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        self.result = match name {
            "message" => write!(self.writer, "{space}{}", escaped(text)),
            name => write!(self.writer, "{space}{dim}{name}={plain}{}", quoted_if_needed(text)),
        };
    }
}

impl Visit for FieldWriter<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field.name(), &format!("{value:?}"));
    }
}

/// Writes a value: bare if it is one word, else in quotes with escapes.
fn quoted_if_needed(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\') || c == '…';
    if !text.is_empty() && text.chars().all(is_word) { text.to_owned() } else { format!("{text:?}") }
}
