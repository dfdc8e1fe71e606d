//! What each address answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    status::{Snapshot, StatusDocument},
    webhook::Webhook,
};
use crate::fleet::Instant;

/// Without a plan for this long the daemon is not healthy: even at rest it plans at every poll.
const PLAN_STALE: Duration = Duration::from_mins(1);

/// Content type of Prometheus' text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where GitHub delivers to; the only page that is written to.
const WEBHOOK: &str = "/webhook";

/// What the pages are made from.
#[derive(Clone)]
pub struct App {
    /// The last pass's report.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The metrics as text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The monotonic clock.
    pub now: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// Where GitHub's webhooks go; without it there is no such page.
    pub webhook: Option<Webhook>,
}

impl App {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }
}

pub(super) fn pages(app: App) -> Router {
    let router = match &app.webhook {
        Some(_) => Router::new().route(WEBHOOK, post(webhook)),
        None => Router::new(),
    };
    router
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(status))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .with_state(app)
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TEXT)], (app.metrics)())
}

async fn healthz(State(app): State<App>) -> (StatusCode, String) {
    match app.snapshot().planned.map(|planned| (app.now)().since(planned.at)) {
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing planned yet\n".to_owned()),
        Some(age) if age < PLAN_STALE => (StatusCode::OK, "ok\n".to_owned()),
        Some(age) => (StatusCode::SERVICE_UNAVAILABLE, format!("nothing planned for {} s\n", age.as_secs())),
    }
}

async fn readyz(State(app): State<App>) -> (StatusCode, String) {
    let snapshot = app.snapshot();
    if snapshot.planned.is_none() {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing planned yet\n".to_owned());
    }
    let Snapshot { status, .. } = &*snapshot;
    let scopes = status
        .scopes
        .iter()
        .filter(|scope| scope.last_listed_at.is_none())
        .map(|scope| format!("the runners of {} were never listed\n", scope.url));
    let hosts = status
        .hosts
        .iter()
        .filter(|host| host.last_listed_at.is_none())
        .map(|host| format!("the containers of host {} were never listed\n", host.name));
    let missing: String = scopes.chain(hosts).collect();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing)
    }
}

async fn status(State(app): State<App>) -> Response {
    Json(StatusDocument::of(&app.snapshot())).into_response()
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

async fn no_such_page(uri: Uri) -> impl IntoResponse {
    (StatusCode::NOT_FOUND, Json(Problem { error: format!("there is no {}", uri.path()) }))
}

async fn webhook(State(app): State<App>, request: Request) -> (StatusCode, String) {
    let Some(webhook) = &app.webhook else { return (StatusCode::NOT_FOUND, String::new()) };
    let (parts, body) = request.into_parts();
    webhook.take(&parts.headers, body).await
}

async fn no_such_method(uri: Uri) -> impl IntoResponse {
    let error = match uri.path() {
        WEBHOOK => format!("{WEBHOOK} can only be posted to: use POST"),
        path => format!("{path} can only be read: use GET"),
    };
    (StatusCode::METHOD_NOT_ALLOWED, Json(Problem { error }))
}
