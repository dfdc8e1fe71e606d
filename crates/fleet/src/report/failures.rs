//! The reasons in a report: failures with their text and start time, how runners ended, and the most recent
//! failures.

use std::{fmt::Write as _, sync::Arc};

use crate::{
    event::Event,
    evidence::{Exit, Trouble, TroubleKind},
    name::RunnerName,
    reasons::{ExitReason, Source, Step},
    time::Timestamp,
};

/// Failures that are kept in the report, the newest ones.
pub(crate) const FAILURES_KEPT: usize = 50;

/// The maximum length of the part of a container's log that is shown, in characters.
const LONGEST: usize = 400;

/// Longer words of a container's log are hidden: a JIT config or token that an image's start script prints is
/// longer.
const LONGEST_WORD: usize = 80;

/// Why something does not work, and since when.
#[derive(Clone, Debug, PartialEq)]
pub struct TroubleReport {
    pub reason: TroubleKind,
    /// When the first attempt after the last success failed.
    pub since: Timestamp,
    /// The whole chain of causes of the last failure, for people.
    pub detail: String,
}

impl TroubleReport {
    pub(crate) fn new(since: Timestamp, trouble: &Trouble) -> Self {
        Self { reason: trouble.kind, since, detail: trouble.detail.clone() }
    }
}

/// A job source that fails.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceTrouble {
    pub source: Source,
    /// Why they fail, and since when.
    pub trouble: TroubleReport,
}

/// How a runner's container ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ending {
    /// The reason.
    pub reason: ExitReason,
    /// When it became known.
    pub at: Timestamp,
    /// The exit code; `None` when the container disappeared.
    pub exit_code: Option<i64>,
}

/// A runner that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct FailureReport {
    /// When it became known.
    pub at: Timestamp,
    pub pool: String,
    pub runner: RunnerName,
    pub step: Step,
    /// The reason: an [`ExitReason`] for a run, else a [`TroubleKind`].
    pub reason: &'static str,
    /// The exit code of its container, where there is one.
    pub exit_code: Option<i64>,
    /// Its job, where it had one.
    pub job: Option<String>,
    /// Why, for people.
    pub detail: String,
}

impl FailureReport {
    /// The failure that an event reports, if it reports one.
    pub(crate) fn of(event: &Event, at: Timestamp) -> Option<Arc<Self>> {
        let report = match event {
            Event::LaunchFailed { pool, runner, trouble, .. } => Self {
                at,
                pool: pool.to_string(),
                runner: runner.clone(),
                step: Step::Launch,
                reason: trouble.kind.as_str(),
                exit_code: None,
                job: None,
                detail: trouble.detail.clone(),
            },
            // Repeated retries count as one failure.
            Event::RemovalFailed { pool, runner, why, trouble, streak: ..=1 } => Self {
                at,
                pool: pool.clone(),
                runner: runner.clone(),
                step: Step::Removal,
                reason: trouble.kind.as_str(),
                exit_code: None,
                job: None,
                detail: format!("failed to remove it ({}): {}", why.in_words(), trouble.detail),
            },
            Event::Exited { pool, runner, reason, exit, job, job_duration, .. } if reason.is_failure() => {
                let exit = exit.as_ref();
                let mut detail = reason.in_words().to_owned();
                if let Some(exit) = exit {
                    let _ = write!(detail, "; exit code {}", exit.code);
                }
                // The output of a job is not shown; the output of a runner that failed before is.
                if job.is_none()
                    && job_duration.is_none()
                    && let Some(words) = exit.and_then(Exit::last_words)
                {
                    let _ = write!(detail, "; its log ends with: {words}");
                }
                Self {
                    at,
                    pool: pool.clone(),
                    runner: runner.clone(),
                    step: Step::Run,
                    reason: reason.as_str(),
                    exit_code: exit.map(|exit| exit.code),
                    job: job.clone(),
                    detail,
                }
            }
            _ => return None,
        };
        Some(Arc::new(report))
    }
}

impl Exit {
    /// The end of the container's log as one line without long words; `None` when it is empty.
    pub fn last_words(&self) -> Option<String> {
        let short = |word| match str::char_indices(word).nth(LONGEST_WORD) {
            Some(_) => "[long word]",
            None => word,
        };
        let words: Vec<&str> = self.log_tail.split_whitespace().map(short).collect();
        let text = words.join(" ");
        let start = text.char_indices().rev().nth(LONGEST - 1).map_or(0, |(at, _)| at);
        (!text.is_empty()).then(|| text[start..].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown_without_secrets_and_on_one_line() {
        let jit = "eyJ".repeat(300);
        let exit = Exit {
            at: Timestamp::default(),
            ran: None,
            code: 1,
            out_of_memory: false,
            job: None,
            result: None,
            version_deprecated: false,
            log_tail: format!("starting\n+ JITCONFIG={jit}\n  no such file\n").into(),
        };
        assert_eq!(exit.last_words().unwrap(), "starting + [long word] no such file");
        assert_eq!(Exit { log_tail: "\n \n".into(), ..exit.clone() }.last_words(), None);
        let long = Exit { log_tail: "ä ".repeat(1000).into(), ..exit };
        assert_eq!(long.last_words().unwrap().chars().count(), LONGEST);
    }
}
