//! Webhooks: their list, their delivery logs, and the payloads of workflow jobs.

use axum::http::{HeaderMap, Method, StatusCode, header::LINK};
use serde_json::{Value, json};

use super::{
    accounts::{LONG_AGO, account, addresses, owner_of},
    exchange::{Asked, Reply, moment},
    runs::job_row,
};
use dayfly_fleet::Timestamp;

use crate::{
    hooks::{Hook, Logged, Outcome, post},
    world::World,
};

const DEFAULT_PER_PAGE: usize = 30;
const MAX_PER_PAGE: usize = 100;

impl World {
    pub(super) fn list_hooks(&self, asked: &Asked, scope: &str) -> Reply {
        let rows = self.hooks.of_scope(scope).map(|(id, hook)| self.hook_row(asked, id, hook)).collect();
        self.bare_page(asked, rows)
    }

    pub(super) fn get_hook(&self, asked: &Asked, scope: &str, id: u64) -> Reply {
        match self.hook_of(scope, id) {
            Some(hook) => Reply::json(StatusCode::OK, self.hook_row(asked, id, hook)),
            None => Reply::not_found(),
        }
    }

    /// A page of the log, newest first. Its pages begin at a cursor, so that what comes meanwhile moves
    /// nothing.
    pub(super) fn list_deliveries(&self, asked: &Asked, scope: &str, hook: u64) -> Reply {
        if self.hook_of(scope, hook).is_none() {
            return Reply::not_found();
        }
        let per_page = asked.number("per_page", DEFAULT_PER_PAGE).min(MAX_PER_PAGE);
        let cursor = asked.query("cursor").and_then(|cursor| cursor.strip_prefix("v1_")?.parse().ok());
        let failed = |logged: &Logged| (400..600).contains(&logged.status().1);
        let wanted = |logged: &&Logged| {
            cursor.is_none_or(|cursor: u64| logged.id <= cursor)
                && (asked.query("status") != Some("failure") || failed(logged))
        };
        let mut log = self.hooks.log_of(hook).filter(wanted);
        let rows = log.by_ref().take(per_page).map(delivery_row).collect();
        let reply = Reply::json(StatusCode::OK, Value::Array(rows));
        match log.next() {
            Some(next) => {
                let address = format!("{}{}", asked.base, asked.path);
                let next = format!("<{address}?per_page={per_page}&cursor=v1_{}>; rel=\"next\"", next.id);
                reply.with(LINK, next)
            }
            None => reply,
        }
    }

    pub(super) fn get_delivery(&self, asked: &Asked, scope: &str, hook: u64, id: u64) -> Reply {
        let found = self.hook_of(scope, hook).zip(self.hooks.logged(hook, id));
        let Some((settings, logged)) = found else { return Reply::not_found() };
        let mut row = delivery_row(logged);
        let headers: serde_json::Map<String, Value> = post::headers(settings, &logged.delivery)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect();
        row["url"] = json!(format!("{}{}", asked.base, asked.path));
        row["request"] = json!({ "headers": headers, "payload": logged.delivery.payload });
        row["response"] = match &logged.outcome {
            Some(Outcome::Answered(_, text)) => json!({ "headers": {}, "payload": text }),
            Some(Outcome::Failed) | None => json!({ "headers": null, "payload": null }),
        };
        Reply::json(StatusCode::OK, row)
    }

    pub(super) fn redeliver(&mut self, scope: &str, hook: u64, id: u64, now: Timestamp) -> Reply {
        if self.hook_of(scope, hook).is_none() || !self.hooks.redeliver(hook, id, now) {
            return Reply::not_found();
        }
        Reply::json(StatusCode::ACCEPTED, json!({}))
    }

    fn hook_of(&self, scope: &str, id: u64) -> Option<&Hook> {
        self.hooks.hook(id).filter(|hook| hook.scope == scope)
    }

    fn hook_row(&self, asked: &Asked, id: u64, hook: &Hook) -> Value {
        let (kind, of) =
            if hook.scope.contains('/') { ("Repository", "repos") } else { ("Organization", "orgs") };
        let url = format!("{}/{of}/{}/hooks/{id}", asked.base, hook.scope);
        let last = self.hooks.log_of(id).next().map(Logged::status);
        let (word, code) = last.unwrap_or_else(|| ("unused".to_owned(), 0));
        json!({
            "type": kind,
            "id": id,
            "name": "web",
            "active": true,
            "events": ["workflow_job"],
            "config": {
                "url": hook.url,
                "content_type": if hook.form { "form" } else { "json" },
                "insecure_ssl": "0",
                "secret": "********",
            },
            "created_at": LONG_AGO,
            "updated_at": LONG_AGO,
            "url": url,
            "test_url": format!("{url}/tests"),
            "ping_url": format!("{url}/pings"),
            "deliveries_url": format!("{url}/deliveries"),
            "last_response": { "code": (code != 0).then_some(code), "status": word, "message": null },
        })
    }

    /// Queues a delivery about a job for every hook that covers it.
    pub(crate) fn tell(&mut self, job: u64, action: &str, now: Timestamp) {
        let Some(repository) = self.repository_of(job) else { return };
        let reported = self.hooks.told_of(&repository);
        if reported.is_empty() {
            return;
        }
        let asked = self.nobody();
        let Some((run, record)) = self.job_of(&repository, job) else { return };
        let mut row = job_row(&asked, run, record);
        // A job of GitHub's own runners is on one by now.
        if action == "queued" {
            row["status"] = json!("queued");
        }
        let mut payload = self.about(&asked, &repository);
        payload["action"] = json!(action);
        payload["workflow_job"] = row;
        for hook in reported {
            self.hooks.send(hook, "workflow_job", payload.clone(), &mut self.random, now);
        }
    }

    /// Greets a new hook.
    pub(crate) fn ping(&mut self, id: u64, now: Timestamp) {
        let asked = self.nobody();
        let Some(hook) = self.hooks.hook(id) else { return };
        let mut row = self.hook_row(&asked, id, hook);
        if let Some(row) = row.as_object_mut() {
            row.retain(|name, _| hook.scope.contains('/') || (name != "test_url" && name != "last_response"));
        }
        let payload = json!({ "zen": "Keep it logically awesome.", "hook_id": id, "hook": row });
        self.hooks.send(id, "ping", payload, &mut self.random, now);
    }

    /// What every payload of a repository has.
    fn about(&self, asked: &Asked, repository: &str) -> Value {
        let owner = repository.split('/').next().unwrap_or_default();
        let number = self.scope_number(owner);
        let mut payload = json!({
            "repository": self.repository_row(asked, repository),
            "sender": owner_of(asked, owner, number),
        });
        if number.is_some() {
            let mut organization = account(asked, owner, number);
            let urls = ["hooks_url", "issues_url", "members_url", "public_members_url"];
            organization.extend(addresses(&format!("{}/orgs/{owner}", asked.base), &urls));
            organization.insert("description".to_owned(), Value::Null);
            payload["organization"] = Value::Object(organization);
        }
        payload
    }

    /// The base of URLs in payloads, for which there is no request.
    fn nobody(&self) -> Asked {
        Asked {
            method: Method::GET,
            path: String::new(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            base: self.hooks.base.clone(),
            body: Vec::new(),
        }
    }
}

fn delivery_row(logged: &Logged) -> Value {
    let (status, status_code) = logged.status();
    let repository = logged.delivery.payload["repository"]["id"].as_u64();
    json!({
        "id": logged.id,
        "guid": logged.delivery.guid,
        "delivered_at": moment(logged.delivered_at),
        "redelivery": logged.delivery.redelivery,
        "duration": logged.took.as_secs_f64(),
        "status": status,
        "status_code": status_code,
        "event": logged.delivery.event,
        "action": logged.delivery.action(),
        "installation_id": null,
        "repository_id": repository,
        "throttled_at": null,
    })
}
