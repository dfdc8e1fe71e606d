//! The problems in the status, as text: what does not work, since when and why, and the most recent runner
//! failures.

use std::{borrow::Cow, fmt::Write as _};

use super::wording::{MOST, age, reason};
use crate::{
    cli::terminal::{cell, table},
    fleet::Timestamp,
    http::status_document::{FailureEntry, StatusDocument, TroubleEntry},
};

/// The longest error text that is shown, in characters; edges return no longer ones.
const DETAIL: usize = 600;

/// At most this many failures are shown on the page, with their texts cut to this length.
const FAILURES_SHOWN: usize = 5;
const FAILURE_DETAIL: usize = 100;

/// Everything that does not work now, one line each.
pub(super) fn wrong(document: &StatusDocument<'_>, now: Timestamp) -> Option<String> {
    let mut lines = Vec::new();
    let down = |what: String, trouble: &TroubleEntry<'_>| {
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
            let what = format!("pool {name}: no jobs from job source {}", cell(&source.source, MOST));
            lines.push(down(what, &source.trouble));
        }
        // A daemon of an older version gives no reason.
        if pool.source_troubles.is_empty() {
            let source = |source: &Cow<'_, str>| {
                format!("pool {name}: no jobs from job source {}", cell(source, MOST))
            };
            lines.extend(pool.sources_down.iter().map(source));
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The newest failures as a table; `None` when there are none.
pub(super) fn last_failures(failures: &[FailureEntry<'_>], now: Timestamp) -> Option<String> {
    let row = |failure: &FailureEntry<'_>| {
        [
            cell(&failure.runner, MOST),
            format!("{} ago", age(failure.at, now)),
            format!("{} ({})", cell(&failure.step, MOST), cell(&failure.reason, MOST)),
            cell(&failure.detail, FAILURE_DETAIL),
        ]
    };
    let header = ["FAILED RUNNER", "WHEN", "STEP (REASON)", "DETAIL"];
    let mut text = table(header, failures.iter().take(FAILURES_SHOWN).map(row));
    if failures.len() > FAILURES_SHOWN {
        let _ = write!(text, "\nand {} more; --failed shows them", failures.len() - FAILURES_SHOWN);
    }
    (!failures.is_empty()).then_some(text)
}

/// All failures in full, the newest first.
pub(super) fn failures(failures: &[FailureEntry<'_>], now: Timestamp) -> String {
    let one = |failure: &FailureEntry<'_>| {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn document(rest: &serde_json::Value) -> StatusDocument<'static> {
        let mut document = serde_json::json!({
            "instance": "ci1", "version": "9", "started_at": "2026-11-22T12:00:00Z", "pools": [], "runners": []
        });
        document.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(document).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-22T15:05:09Z".parse().unwrap()
    }

    #[test]
    fn what_does_not_work_says_since_when_and_why() {
        let trouble = |detail: &str| serde_json::json!({"reason": "x", "since": "2026-11-22T15:04:00Z", "detail": detail});
        let mut source = trouble("list the runs: 403");
        source["source"] = "queue".into();
        let pool = |name: &str, rest: &serde_json::Value| {
            let mut pool = serde_json::json!({"name": name, "url": "u", "hosts": ["h"], "placement": "spread", "desired": 1, "min_idle": 1, "max": 1});
            pool.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            pool
        };
        let text = wrong(
            &document(&serde_json::json!({
                "scopes": [{"url": "https://github.com/acme", "up": false, "trouble": trouble("list: 401\u{1b}[2J\nforged")}],
                "hosts": [{"name": "local", "up": false, "trouble": trouble("connect: refused")},
                          {"name": "other", "up": true}],
                "pools": [
                    pool("a", &serde_json::json!({"held": "backing_off", "held_since": "2026-11-22T15:05:00Z",
                        "held_detail": "a-1 ended: quick_exit", "sources_down": ["queue"], "source_troubles": [source]})),
                    pool("old", &serde_json::json!({"held": "at_max", "sources_down": ["webhook"]})),
                    pool("fine", &serde_json::json!({"held": null})),
                ]
            })),
            now(),
        );
        assert_eq!(
            text.unwrap().lines().collect::<Vec<_>>(),
            [
                r"scope https://github.com/acme: down for 1m 9s: list: 401\u{1b}[2J\nforged",
                "host local: down for 1m 9s: connect: refused",
                "pool a: launches paused for 9s: launches fail; retrying with increasing delays: a-1 ended: \
                 quick_exit",
                "pool a: no jobs from job source queue for 1m 9s: list the runs: 403",
                "pool old: launches paused: max is reached",
                "pool old: no jobs from job source webhook",
            ]
        );
        assert_eq!(wrong(&document(&serde_json::json!({})), now()), None);
    }

    #[test]
    fn the_last_failures_are_a_table_and_all_of_them_a_list() {
        let failure = |number: u32| {
            serde_json::json!({"at": "2026-11-22T15:04:00Z", "pool": "linux", "runner": format!("dayfly-linux-ci1-{number}"),
                "step": "run", "reason": "oom", "exit_code": 137, "job": "build", "detail": "x".repeat(150)})
        };
        let failures_of = |count| {
            document(&serde_json::json!({"failures": (0..count).map(failure).collect::<Vec<_>>()})).failures
        };
        let page = last_failures(&failures_of(7), now()).unwrap();
        let row = format!("dayfly-linux-ci1-0  1m 9s ago  run (oom)      {}…", "x".repeat(FAILURE_DETAIL));
        assert_eq!(page.lines().nth(1).unwrap(), row, "{page}");
        assert!(page.ends_with("\nand 2 more; --failed shows them"), "{page}");
        assert_eq!(last_failures(&[], now()), None);

        let all = failures(&failures_of(7), now());
        let first =
            format!("dayfly-linux-ci1-0 failed 1m 9s ago at run (oom), job build\n    {}\n", "x".repeat(150));
        assert!(all.starts_with(&first) && all.lines().count() == 14, "{all}");
        assert_eq!(failures(&[], now()), "no runner has failed since the daemon started");
    }
}
