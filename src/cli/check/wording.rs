//! Words that several checks share: counts, and errors as lines with hints.

use super::report::Line;
use crate::{clock, fleet::Scope, github::GithubError, text::chain};

/// `1 pool`, `2 pools`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Splits an edge's text, "what; what to do", into the problem and its hint, one step a line.
pub(super) fn problem_and_hint(text: &str) -> (String, String) {
    match text.split_once("; ") {
        Some((what, fix)) => (what.to_owned(), hint_steps(fix)),
        None => (text.to_owned(), String::new()),
    }
}

/// A hint with one step a line.
fn hint_steps(hint: &str) -> String {
    hint.replace("; ", "\n")
}

/// The text of an error, with its causes.
pub(super) fn github_error_text(error: &GithubError) -> String {
    match error {
        GithubError::Refused(text) => text.clone(),
        _ => chain(error),
    }
}

/// A failed request, with the hint on a line of its own.
pub(super) fn refusal(subject: &str, scope: &Scope, error: &GithubError) -> Line {
    match error {
        GithubError::RateLimited { wait } => {
            let until = clock::wall().shown + *wait;
            let wait = wait.as_secs();
            let text =
                format!("not checked: GitHub's rate limit allows no request for {wait} s, until {until}");
            Line::warn(subject, text, "run dayfly check again then; the daemon waits by itself")
        }
        GithubError::Refused(text) => {
            // The edge's text is "what happened for SCOPE: what to do".
            match text.split_once(&format!("{scope}: ")) {
                Some((refused, hint)) => {
                    // The line's subject already names the scope.
                    let refused = [" of ", " at ", " for "]
                        .iter()
                        .find_map(|end| refused.strip_suffix(end))
                        .unwrap_or(refused);
                    Line::fail(subject, refused, hint_steps(hint))
                }
                None => Line::fail(subject, text, ""),
            }
        }
        GithubError::Unreachable(_) => Line::fail(
            subject,
            chain(error),
            "check the URL, the network, and any proxy or firewall in between",
        ),
        _ => Line::fail(subject, chain(error), ""),
    }
}
