//! Repositories and runs as they are kept.

use dayfly_fleet::Timestamp;

/// A repository.
pub(crate) struct Repository {
    pub(crate) public: bool,
    pub(crate) pushed_at: Timestamp,
}

/// A run of a workflow.
pub(crate) struct Run {
    pub(crate) id: u64,
    /// `owner/name`, lower-cased.
    pub(crate) repository: String,
    pub(crate) workflow: String,
    pub(crate) calls: Vec<String>,
    pub(crate) event: String,
    pub(crate) branch: String,
    /// The repository of the branch, where it is another.
    pub(crate) fork: Option<String>,
    pub(crate) attempt: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Timestamp,
    /// When its status changed last.
    pub(crate) updated_at: Timestamp,
    pub(crate) status: &'static str,
    /// The word that its jobs name it by.
    pub(super) word: Option<String>,
    /// Of all attempts, in order.
    pub(super) jobs: Vec<u64>,
}

impl Run {
    /// The path of the workflow's file.
    pub(crate) fn path(&self) -> String {
        format!(".github/workflows/{}.yml", self.workflow)
    }

    /// The workflow files that its jobs come from, `owner/repository/path@ref`.
    pub(super) fn workflows(&self) -> impl Iterator<Item = String> {
        let own = format!("{}/{}@refs/heads/main", self.repository, self.path());
        std::iter::once(own).chain(self.calls.iter().cloned())
    }
}
