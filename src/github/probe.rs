//! The requests of `check`, which create nothing on GitHub.

use http::StatusCode;
use serde_json::Value;

use super::{
    AppGrant, Client, GithubError, Rate,
    endpoint::Endpoint,
    identify::address_of,
    rest::{Request, app_permission_name},
};
use crate::{
    clock,
    fleet::{Target, Timestamp},
};

/// The details of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether a repository is public: then forks can run code on its runners. `None` for
    /// organizations and enterprises.
    pub public: Option<bool>,
    /// The scopes of a classic token; `None` for other kinds of tokens.
    pub token_scopes: Option<Vec<String>>,
    /// When a personal token expires; `None` for one that never does, and for Apps.
    pub token_expires_at: Option<Timestamp>,
    /// What the account has granted to the GitHub App; `None` for personal tokens.
    pub app: Option<AppGrant>,
    /// The permission that the App lacks for adding runners here, in GitHub's word for it with
    /// `: write`.
    pub app_lacks: Option<String>,
    /// What GitHub says of the rate limit; `None` where there is none.
    pub rate: Option<Rate>,
    /// This machine's clock minus GitHub's, in seconds.
    pub clock_skew: Option<i64>,
}

impl Client {
    /// Gets the details of the organization or repository. That it can be seen does not mean that its runners
    /// can: [`Client::records`] and [`Client::groups`] show that. A token that may manage an enterprise's
    /// runners may not read the enterprise, so there its runners are listed.
    pub async fn probe(&self) -> Result<Probe, GithubError> {
        let path = match self.scope().target() {
            Target::Enterprise { .. } => "/actions/runners?per_page=1",
            Target::Organization { .. } | Target::Repository { .. } => "",
        };
        let reply = self.rest().ask(Request::get(Endpoint::Scope, self.rest().address(path)?)).await?;
        if reply.answer.status != StatusCode::OK {
            return Err(self.rest().refused(Endpoint::Scope, &reply));
        }
        let body: Value = reply.answer.json()?;
        if let (Some(id), Some(now)) = (body["id"].as_u64(), address_of(&body, self.scope())) {
            self.identities().learn(self.scope(), id, &now);
        }
        let scopes = reply.answer.headers.get("x-oauth-scopes").and_then(|scopes| scopes.to_str().ok());
        let split = |scopes: &str| {
            let names = scopes.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        let app = self.app_grant();
        let app_lacks = app.as_ref().and_then(|grant| {
            let name = app_permission_name(self.scope())?;
            let level = grant.permissions.get(name).map(String::as_str);
            (!matches!(level, Some("write" | "admin"))).then(|| format!("{name}: write"))
        });
        Ok(Probe {
            public: body["private"].as_bool().map(|private| !private),
            token_scopes: scopes.map(split),
            token_expires_at: self.token_expires_at(),
            app,
            app_lacks,
            rate: self.rest().limits().rate(Endpoint::Scope),
            clock_skew: self.rest().limits().skew(clock::wall()),
        })
    }
}
