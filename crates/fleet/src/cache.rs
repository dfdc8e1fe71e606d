//! The caches that runners of a pool see, and whether a job's state may become the next base of one.

use super::{job::JobOrigin, scope::Scope};

/// A folder of runners that outlives them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cache {
    /// Absolute path in the container.
    pub target: String,
    pub store: CacheStore,
}

/// Where a cache is kept, and who can change it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CacheStore {
    /// A volume that all runners read and none writes.
    ReadOnly(String),
    /// A volume that all runners write at once.
    Shared(String),
    /// One of a set of volumes, which one runner at a time has: see `DeviceClass::Slot`.
    Slot(String),
    /// A copy of the current base, which becomes the next base only after a trusted job.
    Promoted(String),
}

impl CacheStore {
    /// The name of what is kept, by which pools share it.
    pub fn source(&self) -> &str {
        let (Self::ReadOnly(source) | Self::Shared(source) | Self::Slot(source) | Self::Promoted(source)) =
            self;
        source
    }
}

/// The events whose runs execute what is on a branch of the repository itself, started by someone who may write to it.
/// Not `pull_request_target`, `workflow_run` or `issue_comment`: they run on the default branch, but for what anyone
/// has sent.
const TRUSTED_EVENTS: [&str; 3] = ["push", "schedule", "workflow_dispatch"];

impl JobOrigin {
    /// Whether a job of this repository may leave its state to others. Names of branches distinguish case; only those
    /// of repositories do not.
    pub(super) fn is_trusted(&self, repository: &Scope) -> bool {
        TRUSTED_EVENTS.contains(&self.event.as_str())
            && self.head_repository == *repository
            && !self.default_branch.is_empty()
            && self.head_branch == self.default_branch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_the_default_branch_of_the_repository_itself_is_trusted() {
        const OWN: &str = "https://github.com/acme/widgets";
        const FORK: &str = "https://github.com/mallory/widgets";
        for (event, head_branch, head, default_branch, trusted) in [
            ("push", "main", OWN, "main", true),
            ("schedule", "main", OWN, "main", true),
            ("workflow_dispatch", "trunk", OWN, "trunk", true),
            // A fork's pull request, from a branch with the right name.
            ("pull_request", "main", FORK, "main", false),
            ("push", "main", FORK, "main", false),
            ("pull_request", "main", OWN, "main", false),
            ("pull_request_target", "main", OWN, "main", false),
            ("workflow_run", "main", OWN, "main", false),
            ("issue_comment", "main", OWN, "main", false),
            ("merge_group", "main", OWN, "main", false),
            ("push", "feature", OWN, "main", false),
            ("push", "Main", OWN, "main", false),
            ("Push", "main", OWN, "main", false),
            ("push", "", OWN, "", false),
            ("", "main", OWN, "main", false),
        ] {
            let origin = JobOrigin {
                event: event.to_owned(),
                head_branch: head_branch.to_owned(),
                head_repository: head.parse().unwrap(),
                default_branch: default_branch.to_owned(),
            };
            assert_eq!(origin.is_trusted(&OWN.parse().unwrap()), trusted, "{origin:?}");
        }
    }
}
