//! The labels of pools. GitHub accepts a wrong label without an error, and then the job waits forever (needs
//! P07).

use std::collections::BTreeSet;

use super::{findings::At, wording::quoted};
use crate::fleet::Scope;

/// The longest label and the largest number of labels that generate-jitconfig accepts.
const LONGEST: usize = 256;
const MOST: usize = 100;

/// Labels in lower case: GitHub ignores case.
pub(super) type Folded = BTreeSet<String>;

/// Checks the labels of one pool. Where jobs find it `by_name`, they often ask for that alone.
pub(super) fn check(labels: &[String], by_name: bool, scope: Option<&Scope>, at: &At<'_>) -> Folded {
    let mut folded = Folded::new();
    at.require(!labels.is_empty(), "must not be empty", "for example [\"self-hosted\", \"linux\", \"x64\"]");
    at.require(
        labels.len() <= MOST,
        format_args!("are {}, but GitHub accepts at most {MOST}", labels.len()),
        "",
    );
    for (i, label) in labels.iter().enumerate() {
        let at = at.key(i);
        let length = label.chars().count();
        if label.is_empty() {
            at.error("is an empty label", "remove it");
        } else if length > LONGEST {
            at.error(
                format_args!("has {length} characters, but GitHub accepts at most {LONGEST}"),
                "shorten it",
            );
        } else if label.contains([' ', ',']) {
            at.error(
                format_args!("{} contains a space or a comma, so no job could ask for it", quoted(label)),
                "write each label as a separate string",
            );
        } else if label.chars().any(|c| c.is_whitespace() || c.is_control()) {
            at.error(
                format_args!("{} contains white space or control characters", quoted(label)),
                "remove them",
            );
        } else if !folded.insert(label.to_lowercase()) {
            at.error(format_args!("{} is listed twice; GitHub ignores case", quoted(label)), "remove one");
        } else if is_of_github(label) && scope.is_none_or(has_runners_of_its_own) {
            at.warn(
                format_args!(
                    "{} is also a label of GitHub's own runners, which may take its jobs too",
                    quoted(label)
                ),
                "use a label of your own, and put that in runs-on",
            );
        }
    }
    if !labels.is_empty() && !by_name && !folded.contains("self-hosted") {
        at.warn(
            "do not include \"self-hosted\": jobs that ask for it do not run here, since a runner gets \
             exactly these labels",
            "add \"self-hosted\"",
        );
    }
    folded
}

/// Whether it is the label of a runner that GitHub offers (docs.github.com, "GitHub-hosted runners
/// reference").
fn is_of_github(label: &str) -> bool {
    let label = label.to_lowercase();
    let version = ["ubuntu-", "windows-", "macos-"].iter().find_map(|system| label.strip_prefix(system));
    version.is_some_and(|version| version.starts_with("latest") || version.starts_with(['1', '2']))
}

/// Whether the GitHub of a scope offers runners; a GitHub Enterprise Server does not.
fn has_runners_of_its_own(scope: &Scope) -> bool {
    let site = scope.site();
    site == "https://github.com" || site.ends_with(".ghe.com")
}

/// One pool's labels, for comparison with the others'.
pub(super) struct Labelled<'a> {
    pub(super) name: &'a str,
    pub(super) scope: &'a Scope,
    pub(super) hosts: Vec<&'a str>,
    pub(super) labels: Folded,
    pub(super) at: At<'a>,
}

/// Warns where jobs for one pool may run on another.
pub(super) fn compare(pools: &[Labelled<'_>]) {
    for (i, pool) in pools.iter().enumerate() {
        for (j, other) in pools.iter().enumerate().filter(|(j, other)| *j != i && other.scope == pool.scope) {
            if pool.labels.is_empty() || !pool.labels.is_subset(&other.labels) {
                continue;
            }
            let hint = "give each pool a label of its own";
            if pool.labels != other.labels {
                pool.at.warn(
                    format_args!(
                        "are all labels of pool {:?} too, which may take this pool's jobs",
                        other.name
                    ),
                    hint,
                );
            // On different hosts that is how jobs of one go to the other when its host is full or fails.
            } else if i > j && pool.hosts.iter().any(|host| other.hosts.contains(host)) {
                pool.at.warn(
                    format_args!(
                        "are the same as those of pool {:?}, and each may take the other's jobs",
                        other.name
                    ),
                    hint,
                );
            }
        }
    }
}
