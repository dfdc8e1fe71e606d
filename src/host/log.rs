//! Parses what a runner reports in its container's log. Pure: bytes in, values out.
//!
//! Job names, and everything that a job prints, are untrusted. So a line is recognized only by its beginning,
//! lines and what is kept of them are bounded, and nothing needs to be UTF-8.

use std::collections::VecDeque;

use bollard::container::LogOutput;

use crate::fleet::{Said, Timestamp};

/// The maximum length of a line; the rest of a longer one is skipped.
const MAX_LINE: usize = 8 * 1024;

/// The maximum length of a job's name, in characters.
const MAX_NAME: usize = 200;

/// The maximum number of recognized lines of a log; a runner writes three.
const MAX_HEARD: usize = 32;

/// How much of a log's end is kept for display, in bytes.
pub(super) const MAX_TAIL: usize = 16 * 1024;

/// The runner's values for a job's result (`TaskResult` in actions/runner).
const RESULTS: [&str; 6] = ["Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped", "Abandoned"];

/// The meaning of one line of a runner's log, if it is one of the recognized lines.
///
/// They begin with the time (`2026-01-31 12:00:00Z: `), and the official image prints each a second time as
/// `[RUNNER … Terminal] WRITE LINE: …`.
pub fn said(line: &[u8]) -> Option<Said> {
    read(line)?.said()
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Listening,
    Running { job: String, began: Option<Timestamp> },
    Completed { job: String, result: &'static str },
    VersionRefused,
}

impl Line {
    fn said(&self) -> Option<Said> {
        match self {
            Self::Listening => Some(Said::Listening),
            Self::Running { job, began } => Some(Said::RunningJob { job: job.clone(), began: *began }),
            Self::Completed { result, .. } => Some(Said::JobCompleted((*result).to_owned())),
            Self::VersionRefused => None,
        }
    }
}

fn read(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = written(line).unwrap_or(line);
    let Some((time, rest)) = after_time(line) else {
        return version_refused(line).then_some(Line::VersionRefused);
    };
    if rest == b"Listening for Jobs" {
        return Some(Line::Listening);
    }
    if let Some(job) = rest.strip_prefix(b"Running job: ") {
        return Some(Line::Running { job: name(job), began: timestamp(time) });
    }
    if let Some(rest) = rest.strip_prefix(b"Job ") {
        // The name may contain these words too; the last occurrence is the runner's.
        const WORDS: &[u8] = b" completed with result: ";
        let at = rest.windows(WORDS.len()).rposition(|window| window == WORDS)?;
        let result = RESULTS.into_iter().find(|word| word.as_bytes() == &rest[at + WORDS.len()..])?;
        return Some(Line::Completed { job: name(&rest[..at]), result });
    }
    version_refused(rest).then_some(Line::VersionRefused)
}

/// The terminal line inside a trace line: `[RUNNER {time} {level} Terminal] WRITE LINE: {line}`.
fn written(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"[RUNNER ")?;
    let end = rest.iter().position(|&byte| byte == b']')?;
    let message = rest[..end].ends_with(b" Terminal").then_some(&rest[end..])?;
    message.strip_prefix(b"] WRITE LINE: ").or_else(|| message.strip_prefix(b"] WRITE ERROR: "))
}

/// The time `2026-01-31 12:00:00Z: `, and what follows it.
fn after_time(line: &[u8]) -> Option<(&[u8], &[u8])> {
    const FORM: &[u8] = b"0000-00-00 00:00:00Z: ";
    let (time, rest) = line.split_at_checked(FORM.len())?;
    let fits = time.iter().zip(FORM).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    fits.then_some((time, rest))
}

/// The time before a line, if it has that form.
fn timestamp(time: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(time).ok()?.strip_suffix(": ")?.parse().ok()
}

/// Whether the runner reports that GitHub refuses its version. The message is GitHub's, the text before it is
/// the runner's; older runners omit the first part.
fn version_refused(line: &[u8]) -> bool {
    const WORDS: &[u8] = b"is deprecated and cannot receive messages";
    (line.starts_with(b"An error occurred: ") || line.starts_with(b"Runner version "))
        && line.windows(WORDS.len()).any(|window| window == WORDS)
}

/// A job's name for display: bounded, and without control characters.
fn name(bytes: &[u8]) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(bytes).chars().map(shown).take(MAX_NAME).collect()
}

/// Assembles lines from the engine's frames, which end anywhere. The two streams interleave, so each has its
/// own line.
#[derive(Default)]
pub(super) struct Lines {
    out: Partial,
    error: Partial,
}

#[derive(Default)]
struct Partial {
    line: Vec<u8>,
    /// Whether the bytes until the next line break belong to a line whose beginning is unknown.
    headless: bool,
}

/// Something in a log stream that is not output of the container: the engine's report that it cannot continue
/// reading, or the rest of a truncated frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Lines {
    /// Lines of a log that begins in the middle, where a line may have begun earlier.
    pub(super) fn from_the_middle() -> Self {
        let headless = || Partial { headless: true, ..Partial::default() };
        Self { out: headless(), error: headless() }
    }

    /// Adds a frame and returns each complete line, cut to [`MAX_LINE`].
    pub(super) fn push(&mut self, frame: &LogOutput, mut each: impl FnMut(&[u8])) -> Result<(), Broken> {
        let (partial, bytes) = match frame {
            LogOutput::StdOut { message } => (&mut self.out, message),
            LogOutput::StdErr { message } => (&mut self.error, message),
            // Containers are never created with a terminal, so there is no other output.
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => return Err(Broken),
        };
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = MAX_LINE.saturating_sub(partial.line.len());
            partial.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if pieces.peek().is_some() {
                partial.finish(&mut each);
            }
        }
        Ok(())
    }

    /// Returns what is left without a line break when the log has ended.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        for partial in [&mut self.out, &mut self.error] {
            if !partial.line.is_empty() {
                partial.finish(&mut each);
            }
        }
    }
}

impl Partial {
    fn finish(&mut self, each: &mut impl FnMut(&[u8])) {
        if !self.headless {
            each(&self.line);
        }
        self.headless = false;
        self.line.clear();
    }
}

/// What a log shows about its runner.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The first job that it started, else the one that it completed.
    pub(super) job: Option<String>,
    /// The last result.
    pub(super) result: Option<&'static str>,
    /// The recognized lines in order, the first [`MAX_HEARD`].
    pub(super) heard: Vec<Said>,
    version_refused: bool,
    tail: VecDeque<u8>,
}

impl Story {
    /// The result for a container whose log cannot be read, with the reason.
    pub(super) fn without_log(why: &str) -> Self {
        let mut story = Self::default();
        story.keep(format!("(failed to read its log: {why})").as_bytes());
        story
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: &[u8]) {
        let read = read(line);
        if self.heard.len() < MAX_HEARD {
            self.heard.extend(read.as_ref().and_then(Line::said));
        }
        match read {
            Some(Line::Running { job, .. }) => _ = self.job.get_or_insert(job),
            Some(Line::Completed { job, result }) => {
                self.job.get_or_insert(job);
                self.result = Some(result);
            }
            Some(Line::VersionRefused) => self.version_refused = true,
            Some(Line::Listening) | None => {}
        }
    }

    /// Adds a frame's bytes to the tail.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(MAX_TAIL)..];
        let excess = (self.tail.len() + bytes.len()).saturating_sub(MAX_TAIL);
        self.tail.drain(..excess);
        self.tail.extend(bytes);
    }

    /// Drops the tail, when the next bytes do not follow the last ones.
    pub(super) fn forget_tail(&mut self) {
        self.tail.clear();
    }

    /// Whether GitHub refuses the runner's version: only a runner without a job can report that.
    pub(super) fn version_refused(&self) -> bool {
        self.version_refused && self.job.is_none()
    }

    /// The end of the log as text; bytes that are not UTF-8 are replaced.
    pub(super) fn tail(&mut self) -> String {
        String::from_utf8_lossy(self.tail.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests;
