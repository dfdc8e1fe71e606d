//! What a GitHub App asks in its own name, and what the tokens of its installations may see.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    accounts::{LONG_AGO, owner_of},
    exchange::{Asked, Reply},
};
use dayfly_fleet::Timestamp;

use crate::{
    apps::{App, Installation, JwtRefused, app_of},
    endpoint::Endpoint,
    scope_path::{is_enterprise, is_repository},
    world::World,
};

/// What only an App can ask, with a JSON web token.
pub(super) enum AppCall {
    Get,
    Installation(u64),
    /// The installation that serves a scope, by the path of the scope.
    Find(String),
    MintToken(u64),
}

impl AppCall {
    pub(super) fn of(method: &Method, parts: &[&str]) -> Option<Self> {
        match (method.as_str(), parts) {
            ("GET", ["app"]) => Some(Self::Get),
            ("GET", ["app", "installations", id]) => Some(Self::Installation(id.parse().ok()?)),
            ("GET", ["orgs", organization, "installation"]) => Some(Self::Find((*organization).to_owned())),
            ("GET", ["repos", owner, repository, "installation"]) => {
                Some(Self::Find(format!("{owner}/{repository}")))
            }
            ("POST", ["app", "installations", id, "access_tokens"]) => {
                Some(Self::MintToken(id.parse().ok()?))
            }
            _ => None,
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Get => Endpoint::GetApp,
            Self::Installation(_) | Self::Find(_) => Endpoint::GetInstallation,
            Self::MintToken(_) => Endpoint::MintInstallationToken,
        }
    }
}

impl World {
    /// GitHub's clock, which need not be this machine's.
    pub(super) fn wall(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.as_millis().saturating_add_signed(self.settings.clock_ahead * 1000))
    }

    /// Whom the rate limit is counted against: an installation rather than its token of the hour.
    pub(super) fn payer(&self, token: Option<&str>, now: Timestamp) -> Option<String> {
        let token = token?;
        let installation = self.issued.installation(token, self.wall(now));
        Some(installation.map_or_else(|| token.to_owned(), |id| format!("installation {id}")))
    }

    pub(super) fn app_call(&mut self, asked: &Asked, call: &AppCall, now: Timestamp) -> Reply {
        let now = self.wall(now);
        let app = match app_of(&self.settings.apps, asked.token().unwrap_or_default(), now) {
            Ok(app) => app.clone(),
            Err(JwtRefused::NoSuchApp) => {
                return Reply::error(StatusCode::NOT_FOUND, JwtRefused::NoSuchApp.message());
            }
            Err(refused) => return Reply::error(StatusCode::UNAUTHORIZED, refused.message()),
        };
        let by_id = |id: u64| app.installations.iter().find(|installation| installation.id == id);
        match call {
            AppCall::Get => Reply::json(StatusCode::OK, app_row(asked, &app)),
            AppCall::Installation(id) => found(by_id(*id), asked, &app),
            AppCall::Find(scope) => {
                let owner = scope.split('/').next().unwrap_or_default();
                let there = self.scope_number(scope).is_some();
                let installation = app
                    .installations
                    .iter()
                    .find(|installation| there && installation.account.eq_ignore_ascii_case(owner));
                found(installation, asked, &app)
            }
            AppCall::MintToken(id) => match by_id(*id) {
                None => Reply::not_found(),
                Some(installation) if installation.suspended => {
                    Reply::error(StatusCode::FORBIDDEN, "This installation has been suspended")
                }
                Some(installation) => self.issue(asked, &app, installation, now),
            },
        }
    }

    fn issue(&mut self, asked: &Asked, app: &App, installation: &Installation, now: Timestamp) -> Reply {
        let wish: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let wanted = wish["permissions"].as_object().cloned().unwrap_or_default();
        let granted = |(name, level): (&String, &Value)| {
            installation.permissions.get(name).is_some_and(|has| has == "write" || level == "read")
        };
        if !wanted.iter().all(granted) {
            let message = "The permissions requested are not granted to this installation.";
            return Reply::error(StatusCode::UNPROCESSABLE_ENTITY, message);
        }
        let expires_at = now + self.settings.installation_token_life;
        let token = self.issued.issue(app.id, installation.id, expires_at, &mut self.random);
        let seconds = i64::try_from(expires_at.as_millis() / 1000).unwrap_or(i64::MAX);
        let body = json!({
            "token": token,
            "expires_at": jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string(),
            "permissions": if wanted.is_empty() { json!(installation.permissions) } else { json!(wanted) },
            "repository_selection": "all",
        });
        Reply::json(StatusCode::CREATED, body)
    }

    /// Why a token of another kind than a classic one may not do this, beyond what holds for all.
    pub(super) fn kind_refusal(&self, asked: &Asked, scope: Option<&str>, now: Timestamp) -> Option<Reply> {
        let token = asked.token()?;
        let installation = self.issued.installation(token, self.wall(now));
        let subject = if installation.is_some() { "integration" } else { "personal access token" };
        let refused =
            || Reply::error(StatusCode::FORBIDDEN, &format!("Resource not accessible by {subject}"));
        let scope = scope?;
        if is_enterprise(scope) && (installation.is_some() || token.starts_with("github_pat_")) {
            return Some(refused());
        }
        let id = installation?;
        let installation =
            self.settings.apps.iter().flat_map(|app| &app.installations).find(|one| one.id == id)?;
        let owner = scope.split('/').next().unwrap_or_default();
        if !installation.account.eq_ignore_ascii_case(owner) {
            return Some(Reply::not_found());
        }
        let level = if asked.method == Method::GET { "read" } else { "write" };
        let name = permission(&asked.path, scope);
        let has = installation.permissions.get(name).map(String::as_str);
        let enough = matches!((has, level), (Some("write"), _) | (Some("read"), "read"));
        (!enough).then(|| {
            let header = axum::http::HeaderName::from_static("x-accepted-github-permissions");
            refused().with(header, format!("{name}={level}"))
        })
    }
}

/// What an App needs for a path (docs.github.com, "Permissions required for GitHub Apps").
fn permission(path: &str, scope: &str) -> &'static str {
    let part = |part: &str| path.contains(part);
    match is_repository(scope) {
        _ if part("/actions/runs") || part("/actions/jobs") => "actions",
        true if part("/hooks") => "repository_hooks",
        false if part("/hooks") => "organization_hooks",
        true if part("/actions/runner") => "administration",
        false if part("/actions/runner") => "organization_self_hosted_runners",
        _ => "metadata",
    }
}

fn found(installation: Option<&Installation>, asked: &Asked, app: &App) -> Reply {
    installation.map_or_else(Reply::not_found, |installation| {
        Reply::json(StatusCode::OK, installation_row(asked, app, installation))
    })
}

fn app_row(asked: &Asked, app: &App) -> Value {
    json!({
        "id": app.id,
        "client_id": app.client_id,
        "slug": "simulated",
        "node_id": format!("A_{}", app.id),
        "owner": owner_of(asked, "acme", Some(1)),
        "name": "Simulated",
        "description": null,
        "external_url": format!("{}/apps/simulated", asked.base),
        "html_url": format!("{}/apps/simulated", asked.base),
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
        "permissions": { "metadata": "read" },
        "events": [],
        "installations_count": app.installations.len(),
    })
}

fn installation_row(asked: &Asked, app: &App, installation: &Installation) -> Value {
    let Installation { id, account, permissions, suspended } = installation;
    let url = format!("{}/app/installations/{id}", asked.base);
    json!({
        "id": id,
        "app_id": app.id,
        "app_slug": "simulated",
        "client_id": app.client_id,
        "account": owner_of(asked, account, Some(1)),
        "target_id": 1,
        "target_type": "Organization",
        "single_file_name": null,
        "repository_selection": "all",
        "access_tokens_url": format!("{url}/access_tokens"),
        "repositories_url": format!("{}/installation/repositories", asked.base),
        "html_url": format!("{}/organizations/{account}/settings/installations/{id}", asked.base),
        "permissions": permissions,
        "events": [],
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
        "suspended_at": suspended.then_some(LONG_AGO),
        "suspended_by": suspended.then(|| owner_of(asked, account, Some(1))),
    })
}
