//! The edge to GitHub: its runner API in our words.
//!
//! [`RunnerApi`] is what passes need; [`Client`] is it over the wire. octocrab carries the requests
//! and nothing more: its models, paging, retries and cache do not fit (docs/decisions).

mod app;
mod client;
mod conditional;
mod credential;
mod deprecations;
mod downloads;
mod expiry;
mod flight;
mod forbidden;
mod group_policy;
mod groups;
mod hooks;
mod identity;
mod jwt;
mod labels;
mod limits;
mod link;
mod listing;
mod look_up;
mod mint;
mod pem;
mod probe;
mod queue;
mod record;
mod redact;
mod refusal;
mod repositories;
mod route;
mod rows;
pub mod scale_set;
mod stamp;
mod token_kind;
mod token_source;
mod tokens;
mod transport;
mod version;
pub mod webhook;
mod workflow;

use std::{future::Future, sync::Arc, time::Duration};

use secrecy::SecretString;

pub use self::{
    app::AppGrant,
    client::Client,
    credential::{Credential, CredentialKind, CredentialSource},
    deprecations::Deprecation,
    downloads::{RunnerDownload, newest_version},
    groups::{GroupRepository, RunnerGroup},
    hooks::{DeliveryRecord, HookRecord, LogMark},
    identity::{Identities, Numbers, Placed},
    jwt::AppSource,
    labels::RunnerLabel,
    limits::{Rate, poll_interval, retry_interval},
    listing::Listing,
    probe::Probe,
    queue::{Look, Queue},
    record::RunnerRecord,
    repositories::{PushedRepository, Repositories},
    token_kind::TokenKind,
    token_source::TokenSource,
    tokens::RunnerToken,
    transport::DEADLINE,
    version::{NoVersion, RunnerVersion},
};
use crate::fleet::{RegistrationId, RunnerName, Scope};

/// Tracing directives that no log filter lifts: these crates log requests, or log errors that the caller
/// handles.
pub const LOG_CAPS: &[&str] =
    &["octocrab=off", "hyper=info", "hyper_util=info", "hyper_rustls=error", "rustls=info", "tower=info"];

/// Errors of requests to GitHub, by what a caller does about them.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// 422 to a removal: the runner has a job.
    #[error("GitHub reports that the runner is running a job")]
    Busy,
    /// 404 to a look-up or a removal.
    #[error("GitHub has no such runner")]
    NotFound,
    /// 409 to a mint.
    #[error("GitHub already has a runner of this name")]
    NameTaken,
    /// 422 to a mint: the group is full.
    #[error("GitHub accepts no more runners: {0}")]
    RegistrationLimit(String),
    /// Refused for good: retrying does not help unless a person changes something. The text says what, and
    /// what to change.
    #[error("{0}")]
    Refused(String),
    /// The response to a mint had no JIT config: the registration exists, but no runner can ever connect with
    /// it.
    #[error("GitHub registered runner {id} but sent no JIT config for it")]
    NoJitConfig {
        /// The registration, to be removed.
        id: RegistrationId,
    },
    /// Rate limited by GitHub (primary or secondary limit), or not sent because of an earlier rate limit or
    /// because the rest is reserved for mints. Nothing was done.
    #[error("GitHub's rate limit allows no such request for another {} s", wait.as_secs())]
    RateLimited {
        /// How long to wait.
        wait: Duration,
    },
    /// No response, and it is certain that GitHub did not get the request.
    #[error("cannot reach GitHub")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No usable response; what was requested may have been done.
    #[error("no usable response from GitHub: {detail}")]
    Failed {
        /// What came instead.
        detail: String,
        /// The cause, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// A request for a single-use runner.
#[derive(Clone, Debug)]
pub struct Mint<'a> {
    /// A fresh name.
    pub name: &'a RunnerName,
    /// The runner group's name.
    pub group: &'a str,
    /// All labels of the runner.
    pub labels: &'a [String],
}

/// A minted runner.
pub struct MintedRunner {
    /// Its registration, which exists from now on.
    pub id: RegistrationId,
    /// The JIT config: the secret that lets it connect, once.
    pub jit: SecretString,
}

/// The calls that a pass needs, for one scope. Every call ends within the edge's deadline.
pub trait RunnerApi: Send + Sync {
    /// All registrations of the scope, everybody's. An incomplete list is an error.
    fn list(&self) -> impl Future<Output = Result<Listing, GithubError>> + Send;

    /// Mints a runner.
    fn mint(&self, mint: Mint<'_>) -> impl Future<Output = Result<MintedRunner, GithubError>> + Send;

    /// Removes a registration.
    fn delete(&self, id: RegistrationId) -> impl Future<Output = Result<(), GithubError>> + Send;
}

/// The kinds of requests, as metrics and logs name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Endpoint {
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
    const fn as_str(self) -> &'static str {
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

    /// Whether it can wait, so that mints go first when the budget runs low.
    const fn is_housekeeping(self) -> bool {
        matches!(self, Self::List | Self::Get | Self::Delete | Self::Hooks) || self.is_of_the_queue()
    }

    /// Whether it looks for waiting jobs.
    const fn is_of_the_queue(self) -> bool {
        matches!(self, Self::Runs | Self::Jobs | Self::Job | Self::Repositories)
    }
}

/// One exchange with GitHub, for metrics.
#[derive(Clone, Debug)]
pub struct RequestReport {
    /// Where.
    pub scope: Scope,
    /// What was asked: `list`, `get`, `mint`, `delete`, `groups`, `group_repositories` or `scope`; for waiting
    /// jobs `runs`, `jobs`, `job`, `repositories` or `hooks`; for a GitHub App, its `installation` there or an
    /// installation `token`; with scale sets also `registration`, `scale_set`, `session`, `poll`,
    /// `acknowledge` and `acquire`; or what only people ask for.
    pub endpoint: &'static str,
    /// The answer's status (304 is an unchanged list, at no cost); `None` when none came in time.
    pub status: Option<u16>,
    /// From sending to the end of the answer's body.
    pub took: Duration,
    /// What the answer said of the rate limit, unless it is the App's own and not an account's.
    pub rate: Option<Rate>,
}

/// Called once for every exchange with GitHub. It must not block.
pub type Reporter = Arc<dyn Fn(&RequestReport) + Send + Sync>;
