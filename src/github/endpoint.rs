//! The requests to GitHub that metrics and logs distinguish.

/// The kinds of requests, as metrics and logs name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Endpoint {
    List,
    Get,
    Mint,
    Delete,
    Groups,
    GroupRepositories,
    Runs,
    Jobs,
    Job,
    Repositories,
    Scope,
    Labels,
    ChangeLabels,
    RegistrationToken,
    RemoveToken,
    Downloads,
    Deprecation,
    Hooks,
    Installation,
    Token,
}

impl Endpoint {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Get => "get",
            Self::Mint => "mint",
            Self::Delete => "delete",
            Self::Groups => "groups",
            Self::GroupRepositories => "group_repositories",
            Self::Runs => "runs",
            Self::Jobs => "jobs",
            Self::Job => "job",
            Self::Repositories => "repositories",
            Self::Scope => "scope",
            Self::Labels => "labels",
            Self::ChangeLabels => "change_labels",
            Self::RegistrationToken => "registration_token",
            Self::RemoveToken => "remove_token",
            Self::Downloads => "downloads",
            Self::Deprecation => "deprecation",
            Self::Hooks => "hooks",
            Self::Installation => "installation",
            Self::Token => "token",
        }
    }

    /// Whether it can wait, so that mints have priority when the rate limit runs low.
    pub(super) const fn is_housekeeping(self) -> bool {
        matches!(self, Self::List | Self::Get | Self::Delete | Self::Hooks) || self.is_of_the_queue()
    }

    /// Whether it polls for queued jobs.
    pub(super) const fn is_of_the_queue(self) -> bool {
        matches!(self, Self::Runs | Self::Jobs | Self::Job | Self::Repositories)
    }
}
