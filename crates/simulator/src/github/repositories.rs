//! Repositories: alone, of an organization, of an installation.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    accounts::{LONG_AGO, addresses, fields, owner_of},
    exchange::{Asked, Reply, moment},
    runs::html,
};
use crate::world::World;
use dayfly_fleet::Timestamp;

impl World {
    pub(super) fn repository(&self, asked: &Asked, scope: &str) -> Reply {
        Reply::json(StatusCode::OK, self.repository_row(asked, scope))
    }

    /// A complete repository, as in lists.
    pub(super) fn repository_row(&self, asked: &Asked, scope: &str) -> Value {
        let facts = self.repository_facts(scope);
        let (owner, name) = scope.split_once('/').unwrap_or((scope, scope));
        let id = self.scope_number(scope);
        let never = facts.pushed_at == Timestamp::default();
        let pushed_at = if never { LONG_AGO.to_owned() } else { moment(facts.pushed_at) };
        let url = format!("{}/repos/{scope}", asked.base);
        let mut body = fields(json!({
            "id": id,
            "node_id": format!("R_{}", id.unwrap_or_default()),
            "name": name,
            "full_name": scope,
            "owner": owner_of(asked, owner, self.scope_number(owner)),
            "private": !facts.public,
            "visibility": if facts.public { "public" } else { "private" },
            "fork": false,
            "url": url,
            "description": null, "homepage": null, "language": null, "mirror_url": null, "license": null,
            "default_branch": "main",
            "has_issues": true, "has_projects": true, "has_wiki": true, "has_pages": false,
            "has_discussions": false, "has_downloads": true,
            "archived": false, "disabled": false,
            "pushed_at": pushed_at, "created_at": LONG_AGO, "updated_at": LONG_AGO,
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
        body.insert("html_url".to_owned(), json!(format!("{}/{scope}", html(asked))));
        Value::Object(body)
    }

    /// The repositories of an organization, by their number or by when they were pushed to last.
    pub(super) fn list_repositories(&self, asked: &Asked, scope: &str) -> Reply {
        let mut paths = self.repository_paths(Some(scope));
        if asked.query("sort") == Some("pushed") {
            paths.sort_by_key(|path| std::cmp::Reverse(self.repository_facts(path).pushed_at));
        }
        let rows = paths.iter().map(|path| self.repository_row(asked, path)).collect();
        self.bare_page(asked, rows)
    }

    pub(super) fn installation_repositories(&self, asked: &Asked) -> Reply {
        let rows = self.repository_paths(None).iter().map(|path| self.repository_row(asked, path)).collect();
        self.page(asked, "repositories", rows)
    }
}

/// URLs below a repository that are never followed.
const REPOSITORY_ADDRESSES: [&str; 40] = [
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
