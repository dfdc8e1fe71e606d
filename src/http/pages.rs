//! What each address answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::watch;

use super::status::{Snapshot, StatusDocument};
use crate::fleet::Timestamp;

/// Without a plan for this long the daemon is not healthy: even at rest it plans at every poll.
const PLAN_STALE: Duration = Duration::from_mins(1);

/// Content type of Prometheus' text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the pages are made from.
#[derive(Clone)]
pub struct App {
    /// The last pass's report.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The metrics as text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The clock that the snapshot's times are from.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl App {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }
}

pub(super) fn pages(app: App) -> Router {
    Router::new()
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
    match app.snapshot().planned_at.map(|at| (app.now)().since(at)) {
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing planned yet\n".to_owned()),
        Some(age) if age < PLAN_STALE => (StatusCode::OK, "ok\n".to_owned()),
        Some(age) => (StatusCode::SERVICE_UNAVAILABLE, format!("nothing planned for {} s\n", age.as_secs())),
    }
}

async fn readyz(State(app): State<App>) -> (StatusCode, String) {
    let snapshot = app.snapshot();
    if snapshot.planned_at.is_none() {
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

async fn no_such_method(uri: Uri) -> impl IntoResponse {
    let error = format!("{} can only be read: use GET", uri.path());
    (StatusCode::METHOD_NOT_ALLOWED, Json(Problem { error }))
}
