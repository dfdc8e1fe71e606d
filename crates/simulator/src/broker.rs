//! The runner's side of the wire: sessions, the long poll for a job, and its report. What is said is
//! in [`super::wire`].

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tokio::time::{Instant, timeout_at};

use super::{
    shared::Shared,
    wire::{self, Connect, JobOf, Session},
    world::World,
};
use dayfly_fleet::Timestamp;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route(wire::SESSION, post(connect))
        .route(wire::MESSAGE, get(message))
        .route(wire::ACQUIRE, post(acquire))
        .route(wire::DECLINE, post(decline))
        .route(wire::COMPLETE, post(complete))
        .route(wire::LEAVE, post(leave))
}

async fn connect(State(shared): State<Arc<Shared>>, Json(who): Json<Connect>) -> Response {
    let connected = {
        let (mut world, now) = shared.world();
        world.connect(who.agent_id, &who.secret, now)
    };
    shared.changed.notify_waiters();
    match connected {
        Ok(session) => Json(Session { session }).into_response(),
        Err(status) => status.into_response(),
    }
}

/// While it lives a runner is polling, which is how the world knows that it is there. Dropped with
/// the connection.
struct Poll<'a> {
    shared: &'a Shared,
    session: &'a str,
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        let (mut world, now) = self.shared.world();
        world.poll_ends(self.session, now);
    }
}

async fn message(State(shared): State<Arc<Shared>>, Query(Session { session }): Query<Session>) -> Response {
    let cycle = {
        let (mut world, _) = shared.world();
        if !world.poll_begins(&session) {
            return StatusCode::GONE.into_response();
        }
        world.settings.poll_cycle
    };
    let poll = Poll { shared: &shared, session: &session };
    let deadline = Instant::now() + cycle;
    loop {
        // Armed before the check, or a job that arrives in between would be missed.
        let changed = shared.changed.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        let offered = {
            let (mut world, now) = shared.world();
            world.offer(&session, now)
        };
        if let Some(message) = offered {
            drop(poll);
            shared.changed.notify_waiters();
            return Json(message).into_response();
        }
        if timeout_at(deadline, changed).await.is_err() {
            return StatusCode::NO_CONTENT.into_response();
        }
    }
}

async fn acquire(State(shared): State<Arc<Shared>>, Json(of): Json<JobOf>) -> StatusCode {
    reported(&shared, |world, now| world.acquire(&of.session, of.job, now))
}

async fn decline(State(shared): State<Arc<Shared>>, Json(of): Json<JobOf>) -> StatusCode {
    reported(&shared, |world, _| world.decline(&of.session, of.job))
}

async fn complete(State(shared): State<Arc<Shared>>, Json(of): Json<JobOf>) -> StatusCode {
    reported(&shared, |world, now| world.complete(&of.session, of.job, of.succeeded, now))
}

async fn leave(State(shared): State<Arc<Shared>>, Json(Session { session }): Json<Session>) -> StatusCode {
    reported(&shared, |world, _| world.leave(&session))
}

fn reported(shared: &Shared, tell: impl FnOnce(&mut World, Timestamp) -> bool) -> StatusCode {
    let taken = {
        let (mut world, now) = shared.world();
        tell(&mut world, now)
    };
    shared.changed.notify_waiters();
    if taken { StatusCode::OK } else { StatusCode::CONFLICT }
}
