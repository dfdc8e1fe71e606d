//! What the runner prints. As in the official image, each line can come a second time in the form of
//! its trace, to standard output.

use std::{
    env,
    io::{Write as _, stderr, stdout},
};

pub(super) struct Terminal {
    /// `ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT=1`, which the official image sets.
    traces: bool,
    silent: bool,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let is_on =
            |name| env::var(name).is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
        let silent = super::Oddities::from_environment().has(super::Oddity::Silent);
        Self { traces: is_on("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT"), silent }
    }

    /// A line to standard output.
    pub(super) fn say(&self, line: &str) {
        if self.silent {
            return;
        }
        // The reader may be gone; the runner goes on all the same.
        drop(writeln!(stdout().lock(), "{line}"));
        self.trace("WRITE LINE", line);
    }

    /// A line to standard output that begins with the time.
    pub(super) fn say_now(&self, line: &str) {
        self.say(&format!("{}: {line}", now()));
    }

    /// A line to standard error.
    pub(super) fn complain(&self, line: &str) {
        if self.silent {
            return;
        }
        drop(writeln!(stderr().lock(), "{line}"));
        self.trace("WRITE ERROR", line);
    }

    /// Lines that a reader of logs has to survive: not UTF-8, and a megabyte long.
    pub(super) fn noise() {
        let mut out = stdout().lock();
        drop(out.write_all(b"\xff\xfe\x80 not UTF-8 \xc3\x28\n"));
        drop(out.write_all(&vec![b'x'; 1 << 20]));
        drop(out.write_all(b"\n"));
    }

    fn trace(&self, kind: &str, line: &str) {
        if self.traces {
            drop(writeln!(stdout().lock(), "[RUNNER {} INFO Terminal] {kind}: {line}", now()));
        }
    }
}

/// The time as .NET's format `u` writes it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
