//! The message queue: the long poll, and acknowledging a message.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::Method,
    response::Response,
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    answer::{Asked, Reply},
    request::{QUEUE, ScaleSetRoute as Route},
};
use dayfly_fleet::Timestamp;

use crate::{shared::Shared, world::World};

pub(super) async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let asked = Asked::of(request).await;
    let parts: Vec<i64> = asked.path[QUEUE.len()..]
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap_or_default())
        .collect();
    let (route, reply) = match (&asked.method, parts.as_slice()) {
        (&Method::GET, &[set]) => (Route::Poll, poll(&shared, &asked, set).await),
        (&Method::DELETE, &[set, message]) => {
            let (mut world, now) = shared.world();
            let reply = world.with_faults(Route::Acknowledge, |world| {
                world.admit_to_queue(&asked, set, now).unwrap_or_else(|| {
                    world.scale_sets.acknowledge(set, message);
                    Reply::empty(204)
                })
            });
            (Route::Acknowledge, reply)
        }
        _ => (Route::Unknown, Reply::text(404, "There is no such queue.")),
    };
    let response = {
        let (mut world, now) = shared.world();
        world.scale_set_response(&asked, route, reply, now)
    };
    shared.changed.notify_waiters();
    response
}

/// While it lives a set is polled, so its session does not expire. Dropped with the connection.
struct Held<'a> {
    shared: &'a Shared,
    set: i64,
    session: String,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let (mut world, now) = self.shared.world();
        world.scale_sets.poll_ends(self.set, &self.session, now);
    }
}

async fn poll(shared: &Shared, asked: &Asked, set: i64) -> Reply {
    let last =
        asked.query("lastMessageId").map_or(Some(0), |last| last.parse::<i64>().ok().filter(|&id| id > 0));
    let (Some(last), Some(capacity)) = (last, asked.capacity()) else {
        return Reply::text(
            400,
            "Capacity and last message must be numbers; omit the latter for no message.",
        );
    };
    let session = asked.query("sessionId").unwrap_or_default().to_owned();
    let hold = {
        let (mut world, now) = shared.world();
        let mut refused = None;
        let reply = world.with_faults(Route::Poll, |world| {
            refused = world.admit_to_queue(asked, set, now);
            Reply::empty(202)
        });
        if let Some(refused) = refused {
            return refused;
        }
        if reply.status != 202 {
            return reply;
        }
        world.scale_sets.poll_begins(set, capacity);
        world.settle(now);
        world.settings.scale_sets.poll_hold
    };
    shared.changed.notify_waiters();
    let _held = Held { shared, set, session };
    let deadline = Instant::now() + hold;
    let mut first = true;
    loop {
        // Armed before the check, or a message that arrives in between would be missed.
        let changed = shared.changed.notified();
        let mut changed = std::pin::pin!(changed);
        changed.as_mut().enable();
        {
            let (mut world, now) = shared.world();
            if world.scale_sets.check_token(set, asked.query("sessionId"), "", now).is_none() {
                return gone();
            }
            if let Some((id, jobs)) = world.next_message(set, last, first) {
                let body = serde_json::to_string(&jobs).unwrap_or_default();
                return Reply::json(json!({
                    "messageId": id,
                    "messageType": "RunnerScaleSetJobMessages",
                    "body": body,
                    "statistics": world.scale_set_statistics(set),
                }));
            }
        }
        first = false;
        if timeout_at(deadline, changed).await.is_err() {
            let (world, now) = shared.world();
            return world.admit_to_queue(asked, set, now).unwrap_or_else(|| Reply::empty(202));
        }
    }
}

fn gone() -> Reply {
    let name = "GitHub.Actions.Runtime.WebApi.RunnerScaleSetSessionExpiredException, x";
    Reply::exception(404, name, "The session has expired.")
}

impl World {
    /// What is wrong with the credential of a request to a queue; `None` when nothing is.
    fn admit_to_queue(&self, asked: &Asked, set: i64, now: Timestamp) -> Option<Reply> {
        let bearer = asked.credential("Bearer").unwrap_or_default();
        match self.scale_sets.check_token(set, asked.query("sessionId"), bearer, now) {
            Some(true) => None,
            Some(false) => Some(Reply::unauthorized()),
            None => Some(gone()),
        }
    }
}
