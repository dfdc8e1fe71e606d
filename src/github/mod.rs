//! The edge to GitHub: its runner API in our words.

pub mod credential;

use std::{future::Future, time::Duration};

use secrecy::SecretString;

use crate::fleet::{Registration, RegistrationId, RunnerName, Scope, Timestamp};

/// What can go wrong at GitHub, by what a caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// 422 to a removal: the runner has a job.
    #[error("GitHub says that the runner is running a job")]
    Busy,
    /// 404 to a look-up or a removal.
    #[error("GitHub has no such runner")]
    NotFound,
    /// 409 to a mint.
    #[error("GitHub already has a runner of this name")]
    NameTaken,
    /// 422 to a mint: the group is full.
    #[error("GitHub takes no more runners: {0}")]
    RegistrationLimit(String),
    /// Refused for good: it will be the same next time unless a person changes something.
    /// The text says what, and what to change.
    #[error("GitHub refused: {0}")]
    Refused(String),
    /// Asked to slow down, primary or secondary limit.
    #[error("GitHub's rate limit is used up until {until}")]
    RateLimited {
        /// When to try again.
        until: Timestamp,
    },
    /// No answer, and it is certain that GitHub did not get the request.
    #[error("cannot reach GitHub")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No usable answer; whatever was asked may have been done.
    #[error("no usable answer from GitHub: {detail}")]
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
    fn list(&self) -> impl Future<Output = Result<Vec<Registration>, GithubError>> + Send;

    /// Mints a runner.
    fn mint(&self, mint: Mint<'_>) -> impl Future<Output = Result<MintedRunner, GithubError>> + Send;

    /// Removes a registration.
    fn delete(&self, id: RegistrationId) -> impl Future<Output = Result<(), GithubError>> + Send;
}

/// What GitHub's `x-ratelimit-*` headers say of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a window.
    pub limit: u64,
    /// Requests left in this one.
    pub remaining: u64,
    /// When the window ends.
    pub reset_at: Timestamp,
    /// Which budget: `core`, mostly.
    pub resource: String,
}

/// One request, as it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestReport {
    /// For which scope.
    pub scope: Scope,
    /// Which call, as one word.
    pub endpoint: &'static str,
    /// GitHub's status code; `None` when no answer came.
    pub status: Option<u16>,
    /// From request to answer.
    pub took: Duration,
    /// The budget, where the answer told it.
    pub rate: Option<Rate>,
}
