//! The response for each path.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use tokio::sync::watch;

use super::{about::About, names::HostNames, status_document::StatusDocument, webhook::Webhook};
use crate::{
    fleet::{Instant, Scope, Status},
    github::Rate,
};

/// Without a plan for this long the daemon is unhealthy: even at rest it plans at every poll.
const PLAN_STALE: Duration = Duration::from_mins(1);

/// Content type of Prometheus' text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The path of GitHub's webhooks, the only one that accepts POST.
const WEBHOOK: &str = "/webhook";

/// The same path, as people may type it.
const WEBHOOK_SLASH: &str = "/webhook/";

/// The `core` rate limit of a scope's credential, as GitHub last reported it.
pub type Rates = Arc<dyn Fn(&Scope) -> Option<Rate> + Send + Sync>;

/// The sources of the pages.
#[derive(Clone)]
pub struct App {
    pub about: About,
    /// What the last pass reported.
    pub reports: watch::Receiver<Arc<Status>>,
    pub rates: Rates,
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The monotonic clock.
    pub now: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// The endpoint for GitHub's webhooks; without it there is no such path.
    pub webhook: Option<Webhook>,
    pub names: HostNames,
}

impl App {
    fn status(&self) -> Arc<Status> {
        Arc::clone(&self.reports.borrow())
    }
}

pub(super) fn pages(app: App) -> Router {
    let router = match &app.webhook {
        Some(_) => Router::new().route(WEBHOOK, post(webhook)).route(WEBHOOK_SLASH, post(webhook)),
        None => Router::new(),
    };
    router
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(status))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(app.clone(), check_name))
        .layer(map_response(forbid_sniffing))
        .with_state(app)
}

/// Refuses requests to a host name that is not accepted. Webhooks are signed instead, and come through
/// proxies with names of their own.
async fn check_name(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_webhook = request.method() == Method::POST && is_webhook(request.uri().path());
    match app.names.refused(request.uri(), request.headers()) {
        Some(name) if !is_webhook => {
            let error = format!(
                "this server does not answer requests to the host name {name:?}; use localhost or an IP \
                 address, or add the name to http.allowed_hosts in the configuration"
            );
            (StatusCode::FORBIDDEN, Json(Problem { error })).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Keeps browsers from interpreting a response as another content type.
async fn forbid_sniffing(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn index(State(app): State<App>) -> String {
    let About { instance, version, .. } = &app.about;
    let webhook = match &app.webhook {
        Some(_) => "POST /webhook         webhooks from GitHub\n",
        None => "",
    };
    format!(
        "dayfly {version}, instance {instance}\n\n\
         GET  /metrics         metrics for Prometheus\n\
         GET  /healthz         200 while the daemon plans\n\
         GET  /readyz          200 once every scope and host has been listed\n\
         GET  /api/v1/status   pools, runners, scopes, hosts, jobs and recent failures as JSON\n\
         {webhook}"
    )
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TEXT)], (app.metrics)())
}

async fn healthz(State(app): State<App>) -> (StatusCode, String) {
    match app.status().planned.map(|planned| (app.now)().since(planned.at)) {
        None => (StatusCode::SERVICE_UNAVAILABLE, "no plan yet\n".to_owned()),
        Some(age) if age < PLAN_STALE => (StatusCode::OK, "ok\n".to_owned()),
        Some(age) => (StatusCode::SERVICE_UNAVAILABLE, format!("no plan for {} s\n", age.as_secs())),
    }
}

async fn readyz(State(app): State<App>) -> (StatusCode, String) {
    let status = app.status();
    if status.planned.is_none() {
        return (StatusCode::SERVICE_UNAVAILABLE, "no plan yet\n".to_owned());
    }
    let scopes = status
        .scopes
        .iter()
        .filter(|scope| scope.last_listed_at.is_none())
        .map(|scope| format!("the runners of {} have not been listed yet\n", scope.url));
    let hosts = status
        .hosts
        .iter()
        .filter(|host| host.last_listed_at.is_none())
        .map(|host| format!("the containers of host {} have not been listed yet\n", host.name));
    let missing: String = scopes.chain(hosts).collect();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing)
    }
}

async fn status(State(app): State<App>) -> Response {
    Json(StatusDocument::of(&app.about, &app.status(), |scope| (app.rates)(scope))).into_response()
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

async fn no_such_page(uri: Uri) -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        Json(Problem { error: format!("{} not found; GET / lists the paths", uri.path()) }),
    )
}

async fn webhook(State(app): State<App>, request: Request) -> (StatusCode, String) {
    let Some(webhook) = &app.webhook else { return (StatusCode::NOT_FOUND, String::new()) };
    let (parts, body) = request.into_parts();
    webhook.take(&parts.headers, body).await
}

fn is_webhook(path: &str) -> bool {
    matches!(path, WEBHOOK | WEBHOOK_SLASH)
}

async fn no_such_method(uri: Uri) -> impl IntoResponse {
    let path = uri.path();
    let error = if is_webhook(path) {
        format!("{path} accepts POST only")
    } else {
        format!("{path} accepts GET only")
    };
    (StatusCode::METHOD_NOT_ALLOWED, Json(Problem { error }))
}
