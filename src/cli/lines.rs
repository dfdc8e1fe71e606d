//! The lines of `check`: what was looked at, how it stands, and the mend where it stands badly.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use super::plain::printable;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, with a risk.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How it stands.
    pub verdict: Verdict,
    /// What was looked at, such as `host "local"`.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do; empty when there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people, each line as soon as it is known.
    Text {
        /// Whether the output is a terminal that shows colours.
        colour: bool,
    },
    /// One JSON object at the end.
    Json,
}

/// Writes lines and remembers how they stand.
pub struct Lines<W> {
    out: W,
    form: Form,
    told: Vec<Line>,
}

impl Line {
    /// Says that something is as it should be.
    pub fn ok(subject: impl fmt::Display, text: impl fmt::Display) -> Self {
        Self::new(Verdict::Ok, subject, text, "")
    }

    /// Says that something works with a risk, and what to do about it.
    pub fn warn(subject: impl fmt::Display, text: impl fmt::Display, mend: impl fmt::Display) -> Self {
        Self::new(Verdict::Warn, subject, text, mend)
    }

    /// Says that something does not work, and how to mend it.
    pub fn fail(subject: impl fmt::Display, text: impl fmt::Display, mend: impl fmt::Display) -> Self {
        Self::new(Verdict::Fail, subject, text, mend)
    }

    /// Texts may come from other machines: they are freed of what would move the cursor.
    fn new(
        verdict: Verdict,
        subject: impl fmt::Display,
        text: impl fmt::Display,
        mend: impl fmt::Display,
    ) -> Self {
        let [subject, text, mend] =
            [subject.to_string(), text.to_string(), mend.to_string()].map(|text| printable(&text));
        Self { verdict, subject, text, mend }
    }
}

impl Verdict {
    /// The mark at the line's start, and its colour (ECMA-48).
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("[ok]", "\x1b[32m"),
            Self::Warn => ("[warn]", "\x1b[33m"),
            Self::Fail => ("[fail]", "\x1b[31m"),
        }
    }
}

impl Form {
    /// The form for standard output: JSON when asked for, colours only on a terminal, and not
    /// where `NO_COLOR` is set (no-color.org).
    pub fn of_stdout(json: bool) -> Self {
        use std::io::IsTerminal;
        if json {
            return Self::Json;
        }
        let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        Self::Text { colour: io::stdout().is_terminal() && !plain }
    }
}

impl<W: Write> Lines<W> {
    /// Begins with no lines.
    pub fn new(out: W, form: Form) -> Self {
        Self { out, form, told: Vec::new() }
    }

    /// Writes one line, at once where people read it.
    pub fn tell(&mut self, line: Line) -> io::Result<()> {
        if let Form::Text { colour } = self.form {
            write_line(&mut self.out, &line, colour)?;
            self.out.flush()?;
        }
        self.told.push(line);
        Ok(())
    }

    /// Writes what is left to write; answers the exit code: 0, 1 with warnings, 2 with failures.
    pub fn finish(mut self) -> io::Result<u8> {
        let worst = self.told.iter().map(|line| line.verdict).max().unwrap_or(Verdict::Ok);
        let count = |verdict| self.told.iter().filter(|line| line.verdict == verdict).count();
        let (ok, warn, fail) = (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail));
        match self.form {
            Form::Text { .. } => writeln!(self.out, "\n{ok} ok, {warn} to look at, {fail} failed")?,
            Form::Json => {
                let whole = serde_json::json!({
                    "verdict": worst, "ok": ok, "warn": warn, "fail": fail, "lines": self.told,
                });
                writeln!(self.out, "{whole:#}")?;
            }
        }
        self.out.flush()?;
        Ok(match worst {
            Verdict::Ok => 0,
            Verdict::Warn => 1,
            Verdict::Fail => 2,
        })
    }
}

fn write_line(out: &mut impl Write, line: &Line, colour: bool) -> io::Result<()> {
    let (mark, on) = line.verdict.mark();
    let padding = " ".repeat("[warn]".len() - mark.len());
    if colour {
        write!(out, "{on}{mark}\x1b[0m{padding}")?;
    } else {
        write!(out, "{mark}{padding}")?;
    }
    writeln!(out, " {}: {}", line.subject, line.text.replace('\n', "\n         "))?;
    if !line.mend.is_empty() {
        writeln!(out, "         {}", line.mend.replace('\n', "\n         "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, tell: impl FnOnce(&mut Lines<&mut Vec<u8>>) -> io::Result<()>) -> (String, u8) {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, form);
        tell(&mut lines).unwrap();
        let code = lines.finish().unwrap();
        (String::from_utf8(out).unwrap(), code)
    }

    #[test]
    fn lines_line_up_and_the_mend_stands_below() {
        let (text, code) = written(Form::Text { colour: false }, |lines| {
            lines.tell(Line::ok("host \"local\"", "Docker 20.10"))?;
            lines.tell(Line::warn("token", "others may read it", "chmod 0600"))?;
            lines.tell(Line::fail("pool \"linux\"", "403\x1b[2J", "ask an owner\nof the organization"))
        });
        assert_eq!(
            text,
            "[ok]   host \"local\": Docker 20.10\n\
             [warn] token: others may read it\n         chmod 0600\n\
             [fail] pool \"linux\": 403\\u{1b}[2J\n         ask an owner\n         of the organization\n\
             \n1 ok, 1 to look at, 1 failed\n"
        );
        assert_eq!(code, 2);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_line() {
        let text = Form::Text { colour: false };
        assert_eq!(written(text, |_| Ok(())).1, 0);
        assert_eq!(written(text, |lines| lines.tell(Line::ok("a", "b"))).1, 0);
        let warned = written(text, |lines| {
            lines.tell(Line::warn("a", "b", "c"))?;
            lines.tell(Line::ok("a", "b"))
        });
        assert_eq!(warned.1, 1);
    }

    #[test]
    fn colours_are_only_in_the_mark() {
        let (text, _) = written(Form::Text { colour: true }, |lines| lines.tell(Line::ok("a", "b")));
        assert!(text.starts_with("\x1b[32m[ok]\x1b[0m   a: b\n"), "{text:?}");
    }

    #[test]
    fn json_is_one_object_with_every_line() {
        let (text, code) = written(Form::Json, |lines| {
            lines.tell(Line::ok("a", "b"))?;
            lines.tell(Line::warn("c", "d", "e"))
        });
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["verdict"], code), (&serde_json::json!("warn"), 1));
        assert_eq!(read["lines"][1]["mend"], "e");
        assert!(read["lines"][0].get("mend").is_none());
    }
}
