//! Why a daemon cannot start.

use std::net::SocketAddr;

use super::lock::LockError;
use crate::github::{self, webhook::SecretError};

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another daemon runs, or the state directory cannot be written.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The web server cannot listen on its address.
    #[error("cannot listen on {0}; set http.listen to another address")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A scope's client cannot be made.
    #[error(transparent)]
    Github(#[from] github::GithubError),
    /// The secret of webhooks cannot be used.
    #[error("the webhook secret cannot be used")]
    WebhookSecret(#[from] SecretError),
    /// The metrics cannot be registered.
    #[error("cannot register the metrics")]
    Metrics(#[from] prometheus::Error),
}
