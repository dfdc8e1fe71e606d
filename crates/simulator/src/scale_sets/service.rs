//! The service's routes: runner groups, sets, sessions. Its runners are answered in `agents`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Value, json};

use super::{
    answer::{Asked, Reply},
    request::{QUEUE, SERVICE, ScaleSetRoute as Route},
};
use dayfly_fleet::Timestamp;

use crate::{
    shared::Shared,
    world::{World, scale_sets::OpenRefused},
};

pub(super) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let asked = Asked::of(request).await;
    let response = {
        let (mut world, now) = shared.world();
        let (route, parts) = route(&asked);
        let reply = world.with_faults(route, |world| world.answer_service(&asked, route, &parts, now));
        // What was asked may make other things happen.
        world.settle(now);
        world.scale_set_response(&asked, route, reply, now)
    };
    shared.changed.notify_waiters();
    response
}

/// Which request it is, with what follows `_apis` in its path.
fn route(asked: &Asked) -> (Route, Vec<String>) {
    let rest = asked.path.split_once("/_apis/").map_or("", |(_, rest)| rest);
    let parts: Vec<&str> = rest.split('/').collect();
    let route = match (asked.method.as_str(), parts.as_slice()) {
        ("GET", ["runtime", "runnergroups", ""]) => Route::Groups,
        ("GET", ["runtime", "runnerscalesets"] | ["runtime", "runnerscalesets", _]) => Route::Find,
        ("POST", ["runtime", "runnerscalesets"]) => Route::Create,
        ("PATCH", ["runtime", "runnerscalesets", _]) => Route::Update,
        ("DELETE", ["runtime", "runnerscalesets", _]) => Route::Delete,
        ("POST", ["runtime", "runnerscalesets", _, "sessions"]) => Route::Open,
        ("PATCH", ["runtime", "runnerscalesets", _, "sessions", _]) => Route::Refresh,
        ("DELETE", ["runtime", "runnerscalesets", _, "sessions", _]) => Route::Close,
        ("POST", ["runtime", "runnerscalesets", _, "acquirejobs"]) => Route::Acquire,
        ("POST", ["runtime", "runnerscalesets", _, "generatejitconfig"]) => Route::Mint,
        (
            "GET",
            ["distributedtask", "pools", "0", "agents"] | ["distributedtask", "pools", "0", "agents", _],
        ) => Route::Agents,
        ("DELETE", ["distributedtask", "pools", "0", "agents", _]) => Route::RemoveAgent,
        _ => Route::Unknown,
    };
    (route, parts.into_iter().map(str::to_owned).collect())
}

impl World {
    fn answer_service(&mut self, asked: &Asked, route: Route, parts: &[String], now: Timestamp) -> Reply {
        if asked.query("api-version").is_none() {
            return Reply::text(400, "No api-version was supplied for the request.");
        }
        if asked.header("content-type").is_none_or(|kind| !kind.starts_with("application/json")) {
            return Reply::text(415, "The content type is not application/json.");
        }
        let number = |at: usize| parts.get(at).and_then(|part| part.parse::<i64>().ok()).unwrap_or_default();
        let bearer = asked.credential("Bearer").unwrap_or_default();
        if route == Route::Acquire {
            return self.answer_acquire(asked, bearer, number(2), now);
        }
        let Some(scope) = self.scale_sets.tokens.scope(bearer, now).map(str::to_owned) else {
            return Reply::unauthorized();
        };
        let tenant = self.scope_number(&scope).unwrap_or_default();
        if !asked.path.starts_with(&format!("{SERVICE}/{tenant}/")) {
            return Reply::unauthorized();
        }
        let set = number(2);
        let about_set = matches!(
            route,
            Route::Update | Route::Delete | Route::Open | Route::Refresh | Route::Close | Route::Mint
        );
        if about_set && self.scale_sets.set_of(&scope, set).is_none() {
            return Reply::no_such_set();
        }
        match route {
            Route::Groups => self.answer_groups(asked),
            Route::Find => self.answer_find(asked, &scope, parts.get(2).map(|_| set)),
            Route::Create => self.answer_create(asked, &scope),
            Route::Update => self.answer_update(asked, set),
            Route::Delete if self.delete_scale_set(set) => Reply::empty(204),
            Route::Delete => {
                let name =
                    "GitHub.Actions.Runtime.WebApi.JobStillRunningException, GitHub.Actions.Runtime.WebApi";
                Reply::exception(400, name, "A job is still running on a runner of the scale set.")
            }
            Route::Open => self.answer_open(asked, set, now),
            Route::Refresh if self.refresh_session(set, &parts[4], now) => self.answer_session(asked, set),
            Route::Refresh => {
                let name =
                    "GitHub.Actions.Runtime.WebApi.RunnerAdminException, GitHub.Actions.Runtime.WebApi";
                Reply::exception(404, name, "The session ID that was sent doesn't exist.")
            }
            Route::Close if self.scale_sets.close(set, &parts[4]) => Reply::empty(204),
            Route::Close => {
                let name = "GitHub.Actions.Runtime.WebApi.RunnerScaleSetSessionExpiredException, x";
                Reply::exception(400, name, "The session has expired.")
            }
            Route::Mint => self.answer_mint(asked, &scope, set, now),
            Route::Agents => self.answer_agents(asked, &scope, parts.get(4).map(|_| number(4)), now),
            Route::RemoveAgent => self.answer_remove_agent(&scope, number(4), now),
            _ => Reply::text(404, "There is no such page."),
        }
    }

    fn answer_groups(&self, asked: &Asked) -> Reply {
        let wanted = asked.query("groupName");
        let groups: Vec<Value> = self
            .groups()
            .filter(|(_, name)| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name)))
            .map(|(id, name)| json!({ "id": id, "name": name, "size": 0, "isDefaultGroup": id == 1 }))
            .collect();
        Reply::list(&groups)
    }

    fn answer_find(&self, asked: &Asked, scope: &str, id: Option<i64>) -> Reply {
        if let Some(id) = id {
            return match self.scale_sets.set_of(scope, id) {
                Some(_) => Reply::json(self.scale_set_json(id)),
                None => Reply::no_such_set(),
            };
        }
        let group = asked.query("runnerGroupId").and_then(|group| group.parse().ok());
        let name = asked.query("name").filter(|_| self.settings.scale_sets.filters);
        let found = self.scale_sets.find(scope, group, name);
        let rows: Vec<Value> = found.into_iter().map(|id| self.scale_set_json(id)).collect();
        Reply::list(&rows)
    }

    fn answer_create(&mut self, asked: &Asked, scope: &str) -> Reply {
        let body = asked.json().unwrap_or_default();
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        let group = body["runnerGroupId"].as_i64().unwrap_or(1);
        let known = self.groups().any(|(id, _)| i64::try_from(id) == Ok(group));
        let exists = !self.scale_sets.find(scope, Some(group), Some(&name)).is_empty();
        if name.is_empty() || !known || exists {
            let message = "The name is missing or taken, or there is no such runner group.";
            return Reply::exception(
                400,
                "GitHub.Actions.Runtime.WebApi.RunnerScaleSetExistsException, x",
                message,
            );
        }
        let labels = body["labels"].as_array().map(Vec::as_slice).unwrap_or_default();
        let labels = labels.iter().filter_map(|label| label["name"].as_str().map(str::to_owned)).collect();
        let labels = if self.settings.scale_sets.keeps_labels { labels } else { vec![name.clone()] };
        let update = body["RunnerSetting"]["disableUpdate"].as_bool().unwrap_or_default();
        let id = self.scale_sets.create(scope, group, &name, labels, update);
        Reply::json(self.scale_set_json(id))
    }

    fn answer_update(&mut self, asked: &Asked, set: i64) -> Reply {
        let body = asked.json().unwrap_or_default();
        if let Some(update) = body["RunnerSetting"]["disableUpdate"].as_bool() {
            self.scale_sets.set_update_disabled(set, update);
        }
        Reply::json(self.scale_set_json(set))
    }

    fn answer_open(&mut self, asked: &Asked, set: i64, now: Timestamp) -> Reply {
        let owner = asked.json().unwrap_or_default()["ownerName"].as_str().unwrap_or_default().to_owned();
        let until = now + self.settings.scale_sets.queue_lifetime;
        match self.scale_sets.open(set, &owner, until, &mut self.random, now) {
            Ok(()) => self.answer_session(asked, set),
            Err(OpenRefused { set, owner }) => {
                let name = "GitHub.Actions.Runtime.WebApi.RunnerScaleSetSessionConflictException, GitHub.Actions.Runtime.WebApi";
                let whose = if self.settings.scale_sets.names_owner {
                    format!(" for owner {owner}")
                } else {
                    String::new()
                };
                let message =
                    format!("The actions runner scaleset {set} already has an active session{whose}.");
                Reply::exception(409, name, &message)
            }
        }
    }

    fn refresh_session(&mut self, set: i64, session: &str, now: Timestamp) -> bool {
        let until = now + self.settings.scale_sets.queue_lifetime;
        self.scale_sets.refresh(set, session, until, &mut self.random)
    }

    fn answer_session(&self, asked: &Asked, set: i64) -> Reply {
        let Some((session, owner, token)) = self.scale_sets.session(set) else { return Reply::no_such_set() };
        Reply::json(json!({
            "sessionId": session,
            "ownerName": owner,
            "runnerScaleSet": self.scale_set_json(set),
            "messageQueueUrl": format!("{}{QUEUE}/{set}?sessionId={session}&kind=jobs", asked.base),
            "messageQueueAccessToken": token,
            "statistics": self.scale_set_statistics(set),
        }))
    }

    fn answer_acquire(&mut self, asked: &Asked, bearer: &str, set: i64, now: Timestamp) -> Reply {
        match self.scale_sets.check_token(set, None, bearer, now) {
            Some(true) => {}
            Some(false) => return Reply::unauthorized(),
            None => return Reply::no_such_set(),
        }
        let Some(Value::Array(requests)) = asked.json() else {
            return Reply::text(400, "The body is not a list of numbers.");
        };
        let requests = requests.iter().filter_map(Value::as_i64).collect::<Vec<_>>();
        let won = self.acquire_for_set(set, &requests);
        Reply::list(&won.into_iter().map(|request| json!(request)).collect::<Vec<_>>())
    }
}
