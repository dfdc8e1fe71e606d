//! The lines of `check`: what was checked, the result, and a hint where something is wrong.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::cli::terminal::{self, printable};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// Passed.
    Ok,
    /// Not checked, because something that it needs failed.
    Skip,
    /// It works, but with a risk.
    Warn,
    /// It does not work.
    Fail,
}

/// One check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) verdict: Verdict,
    /// What was checked, such as `host "local"`.
    pub(super) subject: String,
    pub(super) text: String,
    /// What to do; empty when there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) hint: String,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Text, each line as soon as it is known.
    Text {
        /// Whether the output is a terminal that shows colours.
        colour: bool,
        /// The width of a line in characters, where there is a limit.
        width: Option<usize>,
    },
    /// One JSON object at the end.
    Json,
}

/// Writes lines and counts their results.
pub(super) struct Lines<W> {
    out: W,
    form: Form,
    written: Vec<Line>,
}

impl Line {
    /// A check that passed.
    pub(super) fn ok(subject: impl fmt::Display, text: impl fmt::Display) -> Self {
        Self::new(Verdict::Ok, subject, text, "")
    }

    /// Something that was not checked, and why.
    pub(super) fn skip(subject: impl fmt::Display, text: impl fmt::Display) -> Self {
        Self::new(Verdict::Skip, subject, text, "")
    }

    /// Something that works with a risk, and what to do about it.
    pub(super) fn warn(subject: impl fmt::Display, text: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self::new(Verdict::Warn, subject, text, hint)
    }

    /// Something that does not work, and how to fix it.
    pub(super) fn fail(subject: impl fmt::Display, text: impl fmt::Display, hint: impl fmt::Display) -> Self {
        Self::new(Verdict::Fail, subject, text, hint)
    }

    /// Texts may come from other machines: control characters in them are escaped.
    fn new(
        verdict: Verdict,
        subject: impl fmt::Display,
        text: impl fmt::Display,
        hint: impl fmt::Display,
    ) -> Self {
        let [subject, text, hint] =
            [subject.to_string(), text.to_string(), hint.to_string()].map(|text| printable(&text));
        Self { verdict, subject, text, hint }
    }
}

impl Verdict {
    /// The mark at the line's start, and its colour (ECMA-48).
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("[ok]", "\x1b[32m"),
            Self::Skip => ("[skip]", "\x1b[36m"),
            Self::Warn => ("[warn]", "\x1b[33m"),
            Self::Fail => ("[fail]", "\x1b[31m"),
        }
    }
}

impl Form {
    /// The form for standard output: JSON when asked for, colours only on a terminal, and not
    /// where `NO_COLOR` is set (no-color.org).
    pub(super) fn of_stdout(json: bool) -> Self {
        use std::io::IsTerminal;
        if json {
            return Self::Json;
        }
        let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        Self::Text { colour: io::stdout().is_terminal() && !plain, width: terminal::width() }
    }
}

impl<W: Write> Lines<W> {
    /// Starts without lines.
    pub(super) fn new(out: W, form: Form) -> Self {
        Self { out, form, written: Vec::new() }
    }

    /// Writes one line; as text at once, as JSON with the others at the end.
    pub(super) fn report(&mut self, line: Line) -> io::Result<()> {
        if let Form::Text { colour, width } = self.form {
            write_line(&mut self.out, &line, colour, width)?;
            self.out.flush()?;
        }
        self.written.push(line);
        Ok(())
    }

    /// Finishes the output and returns the exit code: 0, 1 with warnings, 2 with failures.
    pub(super) fn finish(mut self) -> io::Result<u8> {
        let worst = self.written.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Ok);
        let count = |verdict| self.written.iter().filter(|line| line.verdict == verdict).count();
        let [ok, skip, warn, fail] = [Verdict::Ok, Verdict::Skip, Verdict::Warn, Verdict::Fail].map(count);
        match self.form {
            Form::Text { .. } => {
                let warnings = if warn == 1 { "warning" } else { "warnings" };
                let skipped = if skip == 0 { String::new() } else { format!(", {skip} skipped") };
                writeln!(self.out, "\n{ok} ok, {warn} {warnings}, {fail} failed{skipped}")?;
            }
            Form::Json => {
                let whole = serde_json::json!({
                    "verdict": worst, "ok": ok, "warn": warn, "fail": fail, "skip": skip, "lines": self.written,
                });
                writeln!(self.out, "{whole:#}")?;
            }
        }
        self.out.flush()?;
        Ok(match worst {
            Verdict::Ok | Verdict::Skip => 0,
            Verdict::Warn => 1,
            Verdict::Fail => 2,
        })
    }
}

/// The indentation of a line's continuations.
const INDENT: &str = "         ";

fn write_line(out: &mut impl Write, line: &Line, colour: bool, width: Option<usize>) -> io::Result<()> {
    let (mark, on) = line.verdict.mark();
    let padding = " ".repeat("[warn]".len() - mark.len());
    if colour {
        write!(out, "{on}{mark}\x1b[0m{padding}")?;
    } else {
        write!(out, "{mark}{padding}")?;
    }
    let width = width.map(|width| width.saturating_sub(INDENT.len()).max(LEAST_WIDTH));
    let text = format!("{}: {}", line.subject, line.text);
    let lines = [&text, &line.hint].into_iter().filter(|text| !text.is_empty());
    let lines: Vec<String> =
        lines.flat_map(|text| text.lines()).flat_map(|line| wrapped(line, width)).collect();
    writeln!(out, " {}", lines.join(&format!("\n{INDENT}")))
}

/// A narrower terminal wraps the lines itself.
const LEAST_WIDTH: usize = 30;

/// Wraps a line between words. A longer word stays whole, so that it can be copied.
fn wrapped(line: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![line.to_owned()] };
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let Some(last) = lines.last_mut() else { continue };
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, write: impl FnOnce(&mut Lines<&mut Vec<u8>>) -> io::Result<()>) -> (String, u8) {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, form);
        write(&mut lines).unwrap();
        let code = lines.finish().unwrap();
        (String::from_utf8(out).unwrap(), code)
    }

    #[test]
    fn lines_are_aligned_and_hints_are_indented() {
        let (text, code) = written(Form::Text { colour: false, width: None }, |lines| {
            lines.report(Line::ok("host \"local\"", "Docker 20.10"))?;
            lines.report(Line::skip("image a", "its host cannot be reached"))?;
            lines.report(Line::warn("token", "others may read it", "chmod 0600"))?;
            lines.report(Line::fail("pool \"linux\"", "403\x1b[2J", "ask an owner\nof the organization"))
        });
        assert_eq!(
            text,
            "[ok]   host \"local\": Docker 20.10\n\
             [skip] image a: its host cannot be reached\n\
             [warn] token: others may read it\n         chmod 0600\n\
             [fail] pool \"linux\": 403\\u{1b}[2J\n         ask an owner\n         of the organization\n\
             \n1 ok, 1 warning, 1 failed, 1 skipped\n"
        );
        assert_eq!(code, 2);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_line() {
        let text = Form::Text { colour: false, width: None };
        assert_eq!(written(text, |_| Ok(())).1, 0);
        assert_eq!(written(text, |lines| lines.report(Line::ok("a", "b"))).1, 0);
        let warned = written(text, |lines| {
            lines.report(Line::warn("a", "b", "c"))?;
            lines.report(Line::ok("a", "b"))
        });
        assert_eq!(warned.1, 1);
    }

    #[test]
    fn a_terminal_gets_lines_that_fit_and_words_that_are_whole() {
        let (text, _) = written(Form::Text { colour: false, width: Some(45) }, |lines| {
            let address = "https://docs.example/a-long-address-that-is-whole";
            lines.report(Line::warn(
                "scope",
                "one two three four five six seven\nä ö",
                format!("see {address} there"),
            ))
        });
        assert_eq!(
            text,
            "[warn] scope: one two three four five six\n         seven\n         ä ö\n         see\n         \
             https://docs.example/a-long-address-that-is-whole\n         there\n\n0 ok, 1 warning, 0 failed\n"
        );
    }

    #[test]
    fn colours_are_only_in_the_mark() {
        let (text, _) =
            written(Form::Text { colour: true, width: None }, |lines| lines.report(Line::ok("a", "b")));
        assert!(text.starts_with("\x1b[32m[ok]\x1b[0m   a: b\n"), "{text:?}");
    }

    #[test]
    fn json_is_one_object_with_every_line() {
        let (text, code) = written(Form::Json, |lines| {
            lines.report(Line::ok("a", "b"))?;
            lines.report(Line::warn("c", "d", "e"))
        });
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["verdict"], code), (&serde_json::json!("warn"), 1));
        assert_eq!(read["lines"][1]["hint"], "e");
        assert!(read["lines"][0].get("hint").is_none());
    }
}
