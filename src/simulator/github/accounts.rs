//! What is told of organizations, repositories and the rate limit: little of it is
//! looked at, but all of it has the form that GitHub's description requires.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Asked, Reply};
use crate::{fleet::Timestamp, simulator::world::World};

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

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

    pub(super) fn repository(&self, asked: &Asked, scope: &str) -> Reply {
        Reply::json(StatusCode::OK, self.repository_row(asked, scope))
    }

    /// A repository as lists and its own page show it.
    pub(super) fn repository_row(&self, asked: &Asked, scope: &str) -> Value {
        let (owner, name) = scope.split_once('/').unwrap_or((scope, scope));
        let id = self.scope_number(scope);
        let url = format!("{}/repos/{scope}", asked.base);
        let mut body = fields(json!({
            "id": id,
            "node_id": format!("R_{}", id.unwrap_or_default()),
            "name": name,
            "full_name": scope,
            "owner": owner_of(asked, owner, self.scope_number(owner)),
            "private": true,
            "visibility": "private",
            "fork": false,
            "url": url,
            "description": null, "homepage": null, "language": null, "mirror_url": null, "license": null,
            "default_branch": "main",
            "has_issues": true, "has_projects": true, "has_wiki": true, "has_pages": false,
            "has_discussions": false,
            "archived": false, "disabled": false,
            "pushed_at": LONG_AGO, "created_at": LONG_AGO, "updated_at": LONG_AGO,
            "permissions": { "admin": true, "maintain": true, "push": true, "triage": true, "pull": true },
        }));
        let counts = [
            "forks",
            "forks_count",
            "open_issues",
            "open_issues_count",
            "size",
            "stargazers_count",
            "watchers",
            "watchers_count",
            "network_count",
            "subscribers_count",
        ];
        body.extend(counts.map(|count| (count.to_owned(), json!(0))));
        body.extend(addresses(&url, &REPOSITORY_ADDRESSES));
        Value::Object(body)
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

/// Addresses below a repository that nobody follows.
const REPOSITORY_ADDRESSES: [&str; 41] = [
    "archive_url",
    "assignees_url",
    "blobs_url",
    "branches_url",
    "clone_url",
    "collaborators_url",
    "comments_url",
    "commits_url",
    "compare_url",
    "contents_url",
    "contributors_url",
    "deployments_url",
    "downloads_url",
    "events_url",
    "forks_url",
    "git_commits_url",
    "git_refs_url",
    "git_tags_url",
    "git_url",
    "hooks_url",
    "html_url",
    "issue_comment_url",
    "issue_events_url",
    "issues_url",
    "keys_url",
    "labels_url",
    "languages_url",
    "merges_url",
    "milestones_url",
    "notifications_url",
    "pulls_url",
    "releases_url",
    "ssh_url",
    "stargazers_url",
    "statuses_url",
    "subscribers_url",
    "subscription_url",
    "svn_url",
    "tags_url",
    "teams_url",
    "trees_url",
];

/// What organizations and owners of repositories have in common.
fn account(asked: &Asked, login: &str, id: Option<usize>) -> Map<String, Value> {
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

fn addresses(url: &str, names: &[&str]) -> Map<String, Value> {
    let address = |name: &str| format!("{url}/{}", name.trim_end_matches("_url"));
    names.iter().map(|&name| (name.to_owned(), Value::String(address(name)))).collect()
}

fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
