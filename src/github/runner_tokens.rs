//! Tokens for the runner's own `config.sh`: to register a runner, and to remove one. The daemon needs
//! neither; they are for runners that are set up manually.

use http::{Method, StatusCode};
use secrecy::SecretString;
use serde::Deserialize;

use super::{Client, GithubError, endpoint::Endpoint, rest::Request};

/// A secret that `config.sh` takes for an hour.
#[derive(Debug, Deserialize)]
pub struct RunnerToken {
    /// The secret.
    pub token: SecretString,
    /// When it expires, as sent by GitHub (RFC 3339).
    pub expires_at: Option<String>,
}

impl Client {
    /// A token that lets runners register with `config.sh --token`.
    pub async fn registration_token(&self) -> Result<RunnerToken, GithubError> {
        self.runner_token(Endpoint::RegistrationToken, "registration-token").await
    }

    /// A token that lets runners be removed with `config.sh remove --token`.
    pub async fn remove_token(&self) -> Result<RunnerToken, GithubError> {
        self.runner_token(Endpoint::RemoveToken, "remove-token").await
    }

    async fn runner_token(&self, endpoint: Endpoint, kind: &str) -> Result<RunnerToken, GithubError> {
        let address = self.rest().address(&format!("/actions/runners/{kind}"))?;
        let reply =
            self.rest().ask(Request { method: Method::POST, ..Request::get(endpoint, address) }).await?;
        match reply.answer.status {
            StatusCode::CREATED => reply.answer.json(),
            _ => Err(self.rest().refused(endpoint, &reply)),
        }
    }
}
