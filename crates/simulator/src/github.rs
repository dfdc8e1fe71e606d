//! GitHub's REST API as far as a fleet of runners needs it: what every answer has in common, that is
//! credentials, rate limits, conditional requests, faults and the log. Requests are parsed in [`call`], and
//! answered in [`runners`], [`manual`], [`runs`], [`repositories`], [`groups`], [`hooks`], [`accounts`] and
//! [`apps`].

mod accounts;
mod apps;
mod call;
mod exchange;
mod groups;
mod hooks;
pub(super) mod limits;
pub(super) mod log;
mod manual;
mod paging;
mod repositories;
mod runners;
mod runs;

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{Query, Request as HttpRequest, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{CONTENT_TYPE, DATE, ETAG, IF_NONE_MATCH, LINK, RETRY_AFTER, SERVER, USER_AGENT},
    },
    response::Response,
};
use serde_json::json;

use self::{
    call::Call,
    exchange::{Asked, Content, Reply, httpdate},
};
use super::{
    endpoint::Endpoint,
    faults::FaultKind,
    scope_path::is_enterprise,
    server::Dropped,
    shared::{Shared, now},
    world::World,
};
use dayfly_fleet::Timestamp;

/// More than any request of ours has.
const BODY_LIMIT: usize = 1 << 20;

const ACCEPTED_PERMISSIONS: HeaderName = HeaderName::from_static("x-accepted-github-permissions");

/// The message to a token without a permission.
const NOT_ACCESSIBLE: &str = "Resource not accessible by personal access token";

/// When and whether an answer is sent.
enum Fate {
    Sent(Duration),
    Dropped,
    Never,
}

/// Handles every request that the runners' own routes do not.
pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.unwrap_or_default().to_vec();
    let prefix = if parts.uri.path().starts_with("/api/v3/") { "/api/v3" } else { "" };
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let asked = Asked {
        path: parts.uri.path()[prefix.len()..].to_owned(),
        query: Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default(),
        base: format!("http://{host}{prefix}"),
        method: parts.method,
        headers: parts.headers,
        body,
    };
    let (response, fate) = {
        let (mut world, now) = shared.world();
        world.answer(asked, now)
    };
    shared.changed.notify_waiters();
    match fate {
        Fate::Sent(Duration::ZERO) => response,
        Fate::Sent(delay) => {
            tokio::time::sleep(delay).await;
            response
        }
        Fate::Dropped => {
            let mut response = response;
            response.extensions_mut().insert(Dropped);
            response
        }
        Fate::Never => std::future::pending().await,
    }
}

impl World {
    fn answer(&mut self, asked: Asked, now: Timestamp) -> (Response, Fate) {
        let call = Call::of(self, &asked);
        let endpoint = call.as_ref().map_or(Endpoint::Other, Call::endpoint);
        let scope = call.as_ref().and_then(Call::scope);
        let faults = self.faults.meet(endpoint, scope, asked.number("page", 1), now);

        let refusal = self.refusal(&asked, call.as_ref(), now).or_else(|| faults.iter().find_map(instead));
        let mut reply = match (refusal, call) {
            (Some(refusal), _) => refusal,
            (None, _) if faults.contains(&FaultKind::Hangs) => Reply::empty(StatusCode::GATEWAY_TIMEOUT),
            (None, None) => Reply::not_found(),
            (None, Some(call)) => self.call(&asked, call, &faults, now),
        };
        for fault in &faults {
            spoil(fault, &mut reply);
        }
        let mut body = match &reply.body {
            Content::None => String::new(),
            Content::Json(value) => value.to_string(),
            Content::Html(page) => page.clone(),
        };
        if asked.method == Method::GET && reply.status == StatusCode::OK {
            let tag = limits::etag(&body, asked.token());
            if asked.header(IF_NONE_MATCH).is_some_and(|known| known.split(',').any(|one| one.trim() == tag))
            {
                reply.status = StatusCode::NOT_MODIFIED;
                body.clear();
            }
            reply = reply.with(ETAG, tag);
        }
        if faults.contains(&FaultKind::TruncatedJson) {
            body.truncate(body.floor_char_boundary(body.len() / 2));
        }
        let free = endpoint == Endpoint::RateLimit || reply.status == StatusCode::NOT_MODIFIED;
        let payer = self.payer(asked.token(), now);
        self.limits.charge(payer.as_deref(), self.settings.rate_limit, !free, self.wall(now));

        let fate = faults.iter().find_map(|fault| match fault {
            FaultKind::Hangs => Some(Fate::Never),
            FaultKind::DropsAfterTheDeed => Some(Fate::Dropped),
            FaultKind::Slow(delay) => Some(Fate::Sent(*delay)),
            _ => None,
        });
        let fate = fate.unwrap_or(Fate::Sent(Duration::ZERO));
        let response = self.response(&asked, reply, body, now);
        let status = matches!(fate, Fate::Sent(_)).then(|| response.status().as_u16());
        self.log.note(asked, endpoint, status, !free, now);
        (response, fate)
    }

    /// Checks a request before its call is parsed.
    fn refusal(&self, asked: &Asked, call: Option<&Call>, now: Timestamp) -> Option<Reply> {
        if asked.header(USER_AGENT).is_none_or(|agent| agent.trim().is_empty()) {
            let message = "Request forbidden by administrative rules. Send a User-Agent header.";
            return Some(Reply::error(StatusCode::FORBIDDEN, message));
        }
        let known_versions = ["2022-11-28", "2026-03-10"];
        if asked.header("x-github-api-version").is_some_and(|version| !known_versions.contains(&version)) {
            return Some(Reply::error(StatusCode::BAD_REQUEST, "This API version is not supported."));
        }
        if let Some(Call::App(_)) = call {
            // Sent with a JSON web token, which the call itself checks.
            return None;
        }
        let Rights { good, may_write } = self.credential(asked.token(), now);
        if !good {
            return Some(Reply::error(StatusCode::UNAUTHORIZED, "Bad credentials"));
        }
        if asked.method != Method::GET && !may_write {
            let reply = Reply::error(StatusCode::FORBIDDEN, NOT_ACCESSIBLE);
            return Some(match call.and_then(Call::scope) {
                // No fine-grained permission reaches an enterprise's runners.
                Some(scope) if !is_enterprise(scope) => reply.with(ACCEPTED_PERMISSIONS, accepted(scope)),
                _ => reply,
            });
        }
        if let Some(refusal) = self.kind_refusal(asked, call.and_then(Call::scope), now) {
            return Some(refusal);
        }
        let free = call.is_some_and(|call| call.endpoint() == Endpoint::RateLimit);
        let payer = self.payer(asked.token(), now);
        if !free && self.limits.is_used_up(payer.as_deref(), self.settings.rate_limit, self.wall(now)) {
            return Some(Reply::error(StatusCode::FORBIDDEN, "API rate limit exceeded for user ID 1."));
        }
        None
    }

    fn credential(&self, token: Option<&str>, now: Timestamp) -> Rights {
        if token.is_some_and(|token| self.issued.installation(token, self.wall(now)).is_some()) {
            return Rights { good: true, may_write: true };
        }
        let is = |list: &[String]| token.is_some_and(|token| list.iter().any(|known| known == token));
        let may_write = is(&self.settings.tokens);
        Rights { good: may_write || is(&self.settings.read_only_tokens), may_write }
    }

    fn call(&mut self, asked: &Asked, call: Call, faults: &[FaultKind], now: Timestamp) -> Reply {
        let busy_lies = faults.contains(&FaultKind::BusyLies);
        match call {
            Call::ListRunners(scope) => self.list_runners(asked, &scope, busy_lies, now),
            Call::GetRunner(scope, id) => self.get_runner(&scope, id, busy_lies, now),
            Call::DeleteRunner(scope, id) => self.delete_runner(&scope, id, busy_lies, now),
            Call::Mint(scope) => self.generate_jitconfig(asked, &scope, now),
            Call::ListGroups(scope) => self.list_groups(asked, &scope),
            Call::ListLabels(scope, id) => self.labels(&scope, id),
            Call::ChangeLabels(scope, id, change) => self.change_labels(asked, &scope, id, &change),
            Call::RunnerToken(scope) => self.runner_token(&scope, now),
            Call::Downloads(_) => self.downloads(),
            Call::Deprecation(_, version) => self.deprecation(&version),
            Call::ListGroupRepositories(_, id) => self.list_group_repositories(asked, id),
            Call::App(call) => self.app_call(asked, &call, now),
            Call::ListRepositories(scope) => self.list_repositories(asked, &scope),
            Call::InstallationRepositories => self.installation_repositories(asked),
            Call::ListRuns(scope) => self.list_runs(asked, &scope),
            Call::GetRun(scope, id) => self.get_run(asked, &scope, id),
            Call::ListJobs(scope, run) => self.list_jobs(asked, &scope, run),
            Call::GetJob(scope, id) => self.get_job(asked, &scope, id),
            Call::ListHooks(scope) => self.list_hooks(asked, &scope),
            Call::GetHook(scope, id) => self.get_hook(asked, &scope, id),
            Call::ListDeliveries(scope, hook) => self.list_deliveries(asked, &scope, hook),
            Call::GetDelivery(scope, hook, id) => self.get_delivery(asked, &scope, hook, id),
            Call::Redeliver(scope, hook, id) => self.redeliver(&scope, hook, id, now),
            Call::GetOrganization(scope) => self.organization(asked, &scope),
            Call::GetRepository(scope) => self.repository(asked, &scope),
            Call::RateLimit => self.rate_limit(asked, now),
        }
    }

    fn response(&mut self, asked: &Asked, reply: Reply, body: String, now: Timestamp) -> Response {
        let id = self.random.text();
        let kind = match reply.body {
            Content::None => None,
            Content::Json(_) => Some("application/json; charset=utf-8"),
            Content::Html(_) => Some("text/html"),
        };
        let payer = self.payer(asked.token(), now);
        let now = self.wall(now);
        let limits = self.limits.headers(payer.as_deref(), self.settings.rate_limit, now);
        let of_token = [
            ("github-authentication-token-expiration", &self.settings.token_expiration),
            ("x-oauth-scopes", &self.settings.token_scopes),
        ];
        let classic =
            asked.token().is_some_and(|token| self.settings.tokens.iter().any(|known| known == token));
        let of_token = of_token
            .into_iter()
            .filter(|_| classic)
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), value.clone()?)));
        // What a fault says of the limits comes later and wins.
        let common = [
            (DATE, httpdate(now)),
            (SERVER, "github.com".to_owned()),
            (HeaderName::from_static("x-github-request-id"), id),
            (HeaderName::from_static("x-github-media-type"), "github.v3; format=json".to_owned()),
        ];
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = reply.status;
        let headers = response.headers_mut();
        for (name, value) in common.into_iter().chain(of_token).chain(limits).chain(reply.headers) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        if let Some(kind) = kind.filter(|_| reply.status != StatusCode::NOT_MODIFIED) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        response
    }
}

/// The permission that changing runners of a scope needs, as GitHub names it.
fn accepted(scope: &str) -> &'static str {
    if scope.contains('/') { "administration=write" } else { "organization_self_hosted_runners=write" }
}

/// What a credential is good for.
struct Rights {
    good: bool,
    may_write: bool,
}

/// The answer of faults that come in place of the call.
fn instead(fault: &FaultKind) -> Option<Reply> {
    let status = |code: &u16| StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match fault {
        FaultKind::Status(403) => Some(Reply::error(StatusCode::FORBIDDEN, NOT_ACCESSIBLE)),
        FaultKind::Status(code) => Some(Reply::error(status(code), "Server Error")),
        FaultKind::Html(code) => Some(Reply::html(status(code))),
        FaultKind::PrimaryLimit(reset_in) => {
            let reset = (now() + *reset_in).as_millis() / 1000;
            let reply = Reply::error(StatusCode::FORBIDDEN, "API rate limit exceeded for user ID 1.");
            Some(
                reply
                    .with(limits::REMAINING, "0")
                    .with(limits::RESET, reset.to_string())
                    .with(limits::LIMIT, "5000")
                    .with(limits::USED, "5000")
                    .with(limits::RESOURCE, "core"),
            )
        }
        FaultKind::SecondaryLimit(retry_after) => {
            let message = "You have exceeded a secondary rate limit. Please wait before you try again.";
            let reply = Reply::error(StatusCode::TOO_MANY_REQUESTS, message);
            Some(reply.with(RETRY_AFTER, retry_after.as_secs().to_string()))
        }
        FaultKind::GroupFull => Some(runners::group_full(1, 10_000)),
        _ => None,
    }
}

/// What faults do to an answer that was given in good faith.
fn spoil(fault: &FaultKind, reply: &mut Reply) {
    let Content::Json(body) = &mut reply.body else { return };
    if !reply.status.is_success() {
        return;
    }
    let lists = ["runner_groups", "workflow_runs", "jobs", "repositories"];
    let list = lists.into_iter().find(|list| body.get(list).is_some()).unwrap_or("runners");
    match fault {
        FaultKind::EmptyJitConfig => body["encoded_jit_config"] = json!(""),
        FaultKind::ShortList => {
            body[list].as_array_mut().and_then(Vec::pop);
        }
        FaultKind::EmptyList => {
            *body = json!({ "total_count": 0, list: [] });
            reply.headers.retain(|(name, _)| name != LINK);
        }
        FaultKind::UnknownStatus(status) => {
            runners::each(body, |runner| drop(runner.insert("status".to_owned(), json!(status))));
        }
        FaultKind::MissingField(field) => runners::each(body, |runner| drop(runner.remove(*field))),
        _ => {}
    }
}
