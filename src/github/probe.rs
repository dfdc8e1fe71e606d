//! What `check` asks GitHub, without creating anything there.

use http::StatusCode;
use serde_json::Value;

use super::{Client, Endpoint, GithubError, Rate, client::Ask};

/// What a look at a scope tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether a repository is public: then forks can run code on its runners. `None` for an
    /// organization.
    pub public: Option<bool>,
    /// The scopes of a classic token; `None` for other kinds of tokens.
    pub token_scopes: Option<Vec<String>>,
    /// What GitHub says of the rate limit; `None` where there is none.
    pub rate: Option<Rate>,
    /// This machine's clock minus GitHub's, in seconds.
    pub clock_skew: Option<i64>,
}

impl Client {
    /// Looks at the organization or repository itself. That it can be seen does not mean that its
    /// runners can: [`Client::records`] and [`Client::groups`] tell that.
    pub async fn probe(&self) -> Result<Probe, GithubError> {
        let reply = self.ask(Ask::get(Endpoint::Scope, self.address("")?)).await?;
        if reply.answer.status != StatusCode::OK {
            return Err(self.refused(Endpoint::Scope, &reply));
        }
        let body: Value = reply.answer.json()?;
        let scopes = reply.answer.headers.get("x-oauth-scopes").and_then(|scopes| scopes.to_str().ok());
        let split = |scopes: &str| {
            let names = scopes.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        Ok(Probe {
            public: body["private"].as_bool().map(|private| !private),
            token_scopes: scopes.map(split),
            rate: self.limits().rate(Endpoint::Scope),
            clock_skew: self.limits().skew(),
        })
    }
}
