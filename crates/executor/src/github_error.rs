//! What can go wrong with a request to GitHub.

use std::time::Duration;

use crate::{fleet::RegistrationId, text::chain};

/// Errors of requests to GitHub, by what a caller does about them.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// 422 to a removal: the runner has a job.
    #[error("GitHub reports that the runner is running a job")]
    Busy,
    /// 404 to a lookup or a removal.
    #[error("GitHub has no such runner")]
    NotFound,
    /// 409 to a mint.
    #[error("GitHub already has a runner of this name")]
    NameTaken,
    /// 422 to a mint: the group is full.
    #[error("GitHub accepts no more runners: {0}")]
    RegistrationLimit(String),
    /// Refused for good: retrying does not help unless a person changes something. The text says what
    /// happened and what to change.
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

impl GithubError {
    /// No usable response, for a reason that was found here.
    pub fn failed(detail: impl Into<String>) -> Self {
        Self::Failed { detail: detail.into(), source: None }
    }

    /// No usable response, with its cause.
    pub fn because(detail: impl Into<String>, source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Self::Failed { detail: detail.into(), source: Some(source) }
    }

    /// The same error once more, for each caller that waited for the same attempt. Only what an attempt to
    /// get a token can end with keeps its kind.
    #[must_use]
    pub fn repeated(&self) -> Self {
        match self {
            Self::Refused(text) => Self::Refused(text.clone()),
            Self::RateLimited { wait } => Self::RateLimited { wait: *wait },
            Self::Unreachable(cause) => Self::Unreachable(chain(&**cause).into()),
            other => Self::failed(chain(other)),
        }
    }
}
