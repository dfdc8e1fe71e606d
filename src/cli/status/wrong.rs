//! What is wrong, for people: what does not work, since when and why, and the runners that failed last.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{
    document::{Document, Failure, Trouble},
    page::{MOST, age, reason},
};
use crate::cli::plain::{cell, table};

/// The longest error text that is shown, in characters; edges send no longer ones.
const DETAIL: usize = 600;

/// Failures shown on the page, and how much of their texts.
const FAILURES_SHOWN: usize = 5;
const FAILURE_DETAIL: usize = 100;

/// Everything that does not work now, a line each.
pub(super) fn wrong(document: &Document, now: Timestamp) -> Option<String> {
    let mut lines = Vec::new();
    let down = |what: String, trouble: &Trouble| {
        format!("{what} for {}: {}", age(trouble.since, now), cell(&trouble.detail, DETAIL))
    };
    for scope in &document.scopes {
        let url = cell(&scope.url, MOST);
        lines.extend(scope.trouble.as_ref().map(|trouble| down(format!("scope {url}: down"), trouble)));
    }
    for host in &document.hosts {
        let name = cell(&host.name, MOST);
        lines.extend(host.trouble.as_ref().map(|trouble| down(format!("host {name}: down"), trouble)));
    }
    for pool in &document.pools {
        let name = cell(&pool.name, MOST);
        if let Some(held) = &pool.held {
            let mut line = format!("pool {name}: launches paused");
            if let Some(since) = pool.held_since {
                let _ = write!(line, " for {}", age(since, now));
            }
            let _ = write!(line, ": {}", reason(held));
            if let Some(detail) = &pool.held_detail {
                let _ = write!(line, ": {}", cell(detail, DETAIL));
            }
            lines.push(line);
        }
        for source in &pool.source_troubles {
            let what = format!("pool {name}: no jobs from its source {}", cell(&source.source, MOST));
            lines.push(down(what, &source.trouble));
        }
        // A daemon of an older version does not say why.
        if pool.source_troubles.is_empty() {
            let source =
                |source: &String| format!("pool {name}: no jobs from its source {}", cell(source, MOST));
            lines.extend(pool.sources_down.iter().map(source));
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The newest failures as a table; `None` when there are none.
pub(super) fn last_failures(failures: &[Failure], now: Timestamp) -> Option<String> {
    let row = |failure: &Failure| {
        [
            cell(&failure.runner, MOST),
            format!("{} ago", age(failure.at, now)),
            format!("{} ({})", cell(&failure.step, MOST), cell(&failure.reason, MOST)),
            cell(&failure.detail, FAILURE_DETAIL),
        ]
    };
    let header = ["FAILED RUNNER", "WHEN", "AT", "WHY"];
    let mut text = table(header, failures.iter().take(FAILURES_SHOWN).map(row));
    if failures.len() > FAILURES_SHOWN {
        let _ = write!(text, "\nand {} more; --failed shows them", failures.len() - FAILURES_SHOWN);
    }
    (!failures.is_empty()).then_some(text)
}

/// All failures in full, the newest first.
pub(super) fn failures(failures: &[Failure], now: Timestamp) -> String {
    let one = |failure: &Failure| {
        let job = failure.job.as_ref().map_or_else(String::new, |job| format!(", job {}", cell(job, MOST)));
        format!(
            "{} failed {} ago at {} ({}){job}\n    {}",
            cell(&failure.runner, MOST),
            age(failure.at, now),
            cell(&failure.step, MOST),
            cell(&failure.reason, MOST),
            cell(&failure.detail, DETAIL)
        )
    };
    let shown: Vec<String> = failures.iter().map(one).collect();
    if shown.is_empty() {
        "no runner has failed since the daemon started".to_owned()
    } else {
        shown.join("\n")
    }
}
