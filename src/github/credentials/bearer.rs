//! What a request goes out with.

use std::sync::Arc;

use crate::{
    clock,
    github::{GithubError, endpoint::Endpoint, limits::Limits, transport::Token},
};

/// A token, and the limits that GitHub counts its requests against.
#[derive(Clone)]
pub(in crate::github) struct Bearer {
    pub(in crate::github) token: Token,
    pub(in crate::github) limits: Arc<Limits>,
    /// A number that changes when the limits may be another user's.
    pub(in crate::github) holder: u64,
}

impl Bearer {
    /// Whether its limits allow a request now.
    pub(in crate::github) fn admit(&self, endpoint: Endpoint) -> Result<(), GithubError> {
        let admitted = self.limits.admit(endpoint, self.holder, clock::now());
        admitted.map_err(|wait| GithubError::RateLimited { wait })
    }
}
