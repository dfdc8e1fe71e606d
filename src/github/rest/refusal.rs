//! Turns unsuccessful responses into errors that a person can act on. Of a response only GitHub's own message
//! is shown, without the token, shortened and on one line.

use http::StatusCode;
use serde_json::Value;

use super::forbidden::Reason;
use crate::{
    fleet::{Scope, Target},
    github::{
        AppGrant, AppSource, CredentialKind, CredentialSource, GithubError,
        endpoint::Endpoint,
        redact::{foreign, one_line},
        transport::{Answer, Token},
    },
};

impl Answer {
    /// The message of an error response: `message` and `errors` of GitHub's error bodies, whose `errors` are
    /// texts or objects (OpenAPI: basic-error, validation-error, validation-error-simple). Empty for any
    /// other body.
    pub(super) fn complaint(&self, token: &Token) -> String {
        let Ok(body) = serde_json::from_slice::<Value>(&self.body) else { return String::new() };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let detail = |error: &Value| match error {
            Value::String(text) => Some(text.clone()),
            other => text(other, "message").or_else(|| {
                Some(format!("{} {}", text(other, "field").unwrap_or_default(), text(other, "code")?))
            }),
        };
        let errors = body.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let parts: Vec<_> =
            text(&body, "message").into_iter().chain(errors.iter().filter_map(detail)).collect();
        foreign(&parts.join("; "), token.expose())
    }

    /// The error for a status that has no special meaning for the endpoint.
    pub(super) fn refused(
        &self,
        endpoint: Endpoint,
        scope: &Scope,
        source: &CredentialSource,
        grant: Option<&AppGrant>,
        complaint: &str,
    ) -> GithubError {
        if !self.status.is_client_error() {
            let (status, what) = (self.status.as_u16(), asked(endpoint));
            return GithubError::failed(format!("unexpected status {status} when {what} {scope}"));
        }
        let hint = self.hint(endpoint, scope, source, grant, complaint);
        GithubError::Refused(self.reported(endpoint, scope, complaint, &hint))
    }

    /// The text of an error: the response, the request, and what to do.
    pub(super) fn reported(&self, endpoint: Endpoint, scope: &Scope, complaint: &str, hint: &str) -> String {
        let says = if complaint.is_empty() { String::new() } else { format!(" ({complaint})") };
        format!("GitHub answered {}{says} when {} {scope}: {hint}", self.status.as_u16(), asked(endpoint))
    }

    fn hint(
        &self,
        endpoint: Endpoint,
        scope: &Scope,
        source: &CredentialSource,
        grant: Option<&AppGrant>,
        complaint: &str,
    ) -> String {
        let needs = match &source.kind {
            _ if endpoint == Endpoint::Repositories => {
                "the repository permission \"Metadata: read\"".to_owned()
            }
            CredentialKind::Token(_) if endpoint.is_of_the_queue() => {
                "the repository permission \"Actions: read\" (classic token: repo)".to_owned()
            }
            CredentialKind::App(_) if endpoint.is_of_the_queue() => "the permission actions: read".to_owned(),
            _ if endpoint == Endpoint::Hooks => hook_permission(scope).to_owned(),
            CredentialKind::Token(_) => permission(scope).to_owned(),
            CredentialKind::App(_) => app_permission(scope, grant),
        };
        match (self.status, &source.kind) {
            (StatusCode::UNAUTHORIZED, CredentialKind::Token(_)) => {
                format!(
                    "the token has expired, was revoked, or belongs to another GitHub; put a new one in \
                     {source}"
                )
            }
            (StatusCode::UNAUTHORIZED, CredentialKind::App(_)) => {
                "GitHub rejects the installation token that it has just issued; make sure that the App is \
                 still installed and not suspended"
                    .to_owned()
            }
            (StatusCode::FORBIDDEN, kind) => {
                Reason::of(&self.headers, complaint).hint(scope, source, || match kind {
                    CredentialKind::Token(_) => {
                        format!("the token needs {needs}; change it at {}/settings/tokens", scope.site())
                    }
                    CredentialKind::App(app) => grant_it(app, &needs),
                })
            }
            (StatusCode::NOT_FOUND, kind) => {
                let account = match scope.target() {
                    Target::Organization { .. } => ", a personal account (which cannot have runners)",
                    Target::Repository { .. } | Target::Enterprise { .. } => "",
                };
                let group = if endpoint == Endpoint::Mint { ", or the runner group was deleted" } else { "" };
                let who = match kind {
                    CredentialKind::Token(_) => "the token",
                    CredentialKind::App(_) => "the App",
                };
                format!(
                    "wrong name{account}, or {who} cannot see it{group}; check the URL, and that {who} has \
                     {needs}"
                )
            }
            (StatusCode::PROXY_AUTHENTICATION_REQUIRED, _) => {
                "the proxy requires a user name and a password; add them to HTTP_PROXY or HTTPS_PROXY"
                    .to_owned()
            }
            (StatusCode::UNPROCESSABLE_ENTITY, _) if endpoint == Endpoint::ChangeLabels => {
                "check the names; read-only labels cannot be changed".to_owned()
            }
            (StatusCode::UNPROCESSABLE_ENTITY, _) => "check the labels and the group".to_owned(),
            (StatusCode::GONE | StatusCode::BAD_REQUEST, _) => {
                "this GitHub does not support the request; a newer dayfly may be needed".to_owned()
            }
            _ => "retrying does not help".to_owned(),
        }
    }
}

/// What was requested; reads between "when" and a scope.
const fn asked(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::List => "listing the runners of",
        Endpoint::Get => "getting a runner of",
        Endpoint::Mint => "registering a runner for",
        Endpoint::Delete => "removing a runner of",
        Endpoint::Groups => "listing the runner groups of",
        Endpoint::GroupRepositories => "listing the repositories of a runner group of",
        Endpoint::Hooks => "listing the webhooks of",
        Endpoint::Runs => "listing the workflow runs of",
        Endpoint::Jobs => "listing the jobs of a run of",
        Endpoint::Job => "getting a job of",
        Endpoint::Repositories => "listing the repositories of",
        Endpoint::Installation => "getting the App's installation for",
        Endpoint::Token => "creating an installation token for",
        Endpoint::Scope => "getting the details of",
        Endpoint::Labels => "listing the labels of a runner of",
        Endpoint::ChangeLabels => "changing the labels of a runner of",
        Endpoint::RegistrationToken => "creating a registration token for",
        Endpoint::RemoveToken => "creating a removal token for",
        Endpoint::Downloads => "listing the runner software for",
        Endpoint::Deprecation => "getting the deprecation of a runner version for",
    }
}

/// What a token needs, for a fine-grained and for a classic one (docs.github.com, "REST API
/// endpoints for self-hosted runners").
fn permission(scope: &Scope) -> &'static str {
    match scope.target() {
        Target::Organization { .. } => {
            "the organization permission \"Self-hosted runners: read and write\", which an owner of \
             the organization must approve (classic token: admin:org)"
        }
        // docs.github.com: these endpoints accept neither App tokens nor fine-grained ones.
        Target::Enterprise { .. } => {
            "the scope manage_runners:enterprise, which only a classic token can have"
        }
        Target::Repository { .. } => {
            "the repository permission \"Administration: read and write\" (classic token: repo)"
        }
    }
}

/// What a token or an App needs to see the webhooks of a scope and their deliveries (docs.github.com, "REST
/// API endpoints for organization webhooks").
fn hook_permission(scope: &Scope) -> &'static str {
    match scope.target() {
        Target::Organization { .. } => {
            "the organization permission \"Webhooks: read\" (classic token: admin:org_hook)"
        }
        Target::Enterprise { .. } => "access to an enterprise's webhooks, which no token can have",
        Target::Repository { .. } => {
            "the repository permission \"Webhooks: read\" (classic token: repo or admin:repo_hook)"
        }
    }
}

/// GitHub's name of the permission that an App needs for the runners of a scope; there is none for an
/// enterprise.
pub(in crate::github) fn app_permission_name(scope: &Scope) -> Option<&'static str> {
    match scope.target() {
        Target::Organization { .. } => Some("organization_self_hosted_runners"),
        Target::Repository { .. } => Some("administration"),
        Target::Enterprise { .. } => None,
    }
}

/// The permission that an App needs, and what it has of it.
fn app_permission(scope: &Scope, grant: Option<&AppGrant>) -> String {
    let Some(name) = app_permission_name(scope) else {
        return "access to an enterprise's runners, which only a classic token with manage_runners:enterprise can have"
            .to_owned();
    };
    let has = grant.map(|grant| grant.permissions.get(name).map_or("none", String::as_str));
    let has = has.map(|level| format!(" (it has: {})", one_line(level)));
    format!("the permission {name}: write{}", has.unwrap_or_default())
}

fn grant_it(app: &AppSource, needs: &str) -> String {
    format!(
        "{app} needs {needs}; set it in the App's settings, Permissions, and have an owner of the account \
         approve it there"
    )
}
