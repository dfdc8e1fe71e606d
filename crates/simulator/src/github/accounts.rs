//! Organizations and the rate limit: little of it is used, but all of it has the form that GitHub's
//! description requires.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::exchange::{Asked, Reply};
use crate::world::World;
use dayfly_fleet::Timestamp;

pub(super) const LONG_AGO: &str = "2020-01-01T00:00:00Z";

impl World {
    pub(super) fn organization(&self, asked: &Asked, scope: &str) -> Reply {
        let mut body = account(asked, scope, self.scope_number(scope));
        let more = json!({
            "description": null,
            "has_organization_projects": true,
            "has_repository_projects": true,
            "public_repos": 1,
            "public_gists": 0,
            "created_at": LONG_AGO,
            "updated_at": LONG_AGO,
            "archived_at": null,
        });
        let urls = ["hooks_url", "issues_url", "members_url", "public_members_url"];
        body.extend(addresses(&format!("{}/orgs/{scope}", asked.base), &urls));
        body.extend(fields(more));
        body.insert("type".to_owned(), json!("Organization"));
        Reply::json(StatusCode::OK, Value::Object(body))
    }

    pub(super) fn rate_limit(&self, asked: &Asked, now: Timestamp) -> Reply {
        let Some(limit) = self.settings.rate_limit else {
            return Reply::error(StatusCode::NOT_FOUND, "Rate limiting is not enabled.");
        };
        let used = self.limits.used(self.payer(asked.token(), now).as_deref(), self.wall(now));
        let core = json!({
            "limit": limit,
            "used": used.requests,
            "remaining": limit.saturating_sub(used.requests),
            "reset": used.reset(),
        });
        let full =
            |limit: u32| json!({ "limit": limit, "used": 0, "remaining": limit, "reset": used.reset() });
        let resources = json!({
            "core": core, "search": full(30), "actions_runner_registration": full(10_000),
        });
        Reply::json(StatusCode::OK, json!({ "resources": resources, "rate": core }))
    }
}

/// What organizations and owners of repositories have in common.
pub(super) fn account(asked: &Asked, login: &str, id: Option<usize>) -> Map<String, Value> {
    let url = format!("{}/orgs/{login}", asked.base);
    let mut body = fields(json!({
        "login": login,
        "id": id.unwrap_or_default(),
        "node_id": format!("O_{}", id.unwrap_or_default()),
        "url": url,
        "followers": 0,
        "following": 0,
    }));
    body.extend(addresses(&url, &["repos_url", "events_url", "avatar_url", "html_url"]));
    body
}

pub(super) fn owner_of(asked: &Asked, login: &str, id: Option<usize>) -> Value {
    let mut body = account(asked, login, id);
    let urls = [
        "followers_url",
        "following_url",
        "gists_url",
        "starred_url",
        "subscriptions_url",
        "organizations_url",
        "received_events_url",
    ];
    body.extend(addresses(&format!("{}/users/{login}", asked.base), &urls));
    body.extend(fields(json!({ "gravatar_id": "", "type": "Organization", "site_admin": false })));
    for count in ["followers", "following"] {
        body.remove(count);
    }
    Value::Object(body)
}

pub(super) fn addresses(url: &str, names: &[&str]) -> Map<String, Value> {
    let address = |name: &str| format!("{url}/{}", name.trim_end_matches("_url"));
    names.iter().map(|&name| (name.to_owned(), Value::String(address(name)))).collect()
}

pub(super) fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
