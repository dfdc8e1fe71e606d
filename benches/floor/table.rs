//! The lines that are printed at the end: what, how much, what was to be reached.

use std::{fmt, time::Duration};

/// What was measured.
pub(crate) struct Table(Vec<[String; 4]>);

impl Table {
    pub(crate) fn new() -> Self {
        Self(vec![["", "measured", "target", ""].map(str::to_owned)])
    }

    /// A figure that has a target.
    pub(crate) fn judged(&mut self, what: impl Into<String>, figure: String, target: &str, met: bool) {
        let verdict = if met { "met" } else { "MISSED" };
        self.0.push([what.into(), figure, target.to_owned(), verdict.to_owned()]);
    }

    /// A figure for its own sake.
    pub(crate) fn reported(&mut self, what: impl Into<String>, figure: String) {
        self.0.push([what.into(), figure, String::new(), String::new()]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; 4];
        for line in &self.0 {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let [what, figure, target, _] = widths;
        for [a, b, c, d] in &self.0 {
            let line = format!("{a:what$}  {b:figure$}  {c:target$}  {d}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The median; zero of nothing.
pub(crate) fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// A duration as the lines show it.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Bytes as the lines show them.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
