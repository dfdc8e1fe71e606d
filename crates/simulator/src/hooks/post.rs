//! Sends deliveries out, signed, each once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::hmac;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Delivery, Hook, Outcome};
use crate::shared::Shared;
use dayfly_fleet::Timestamp;

/// GitHub gives up then (docs.github.com, "Handling webhook deliveries").
const DEADLINE: Duration = Duration::from_secs(10);

/// How often deliveries that only need time are checked.
const LOOK: Duration = Duration::from_millis(20);

/// The most that is kept of an answer.
const ANSWER_KEPT: usize = 64 * 1024;

type Http = Client<HttpConnector, Full<Bytes>>;

/// Sends due deliveries, until it is aborted.
pub(crate) async fn send(shared: Arc<Shared>) {
    let client: Http = Client::builder(TokioExecutor::new()).build_http();
    let mut sending = JoinSet::new();
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        // From here on no change is missed.
        changed.as_mut().enable();
        let (due, next, now) = {
            let (mut world, now) = shared.world();
            let (due, next) = world.hooks.due(now);
            let due: Vec<_> = due
                .into_iter()
                .filter_map(|(id, delivery)| Some((id, world.hooks.hook(delivery.hook)?.clone(), delivery)))
                .collect();
            (due, next, now)
        };
        for (id, hook, delivery) in due {
            sending.spawn(one(shared.clone(), client.clone(), id, hook, delivery));
        }
        let wait = next.map_or(LOOK, |at: Timestamp| at.since(now)).min(LOOK);
        tokio::select! {
            () = changed => {}
            () = sleep(wait) => {}
            Some(_) = sending.join_next(), if !sending.is_empty() => {}
        }
    }
}

async fn one(shared: Arc<Shared>, client: Http, id: u64, hook: Hook, delivery: Delivery) {
    let began = Instant::now();
    let outcome = match request(&hook, &delivery) {
        Some(request) => timeout(DEADLINE, answer(&client, request)).await.ok().flatten(),
        None => None,
    };
    let (mut world, _) = shared.world();
    world.hooks.over(id, outcome.unwrap_or(Outcome::Failed), began.elapsed());
    drop(world);
    shared.changed.notify_waiters();
}

async fn answer(client: &Http, request: Request<Full<Bytes>>) -> Option<Outcome> {
    let response = client.request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_KEPT).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Some(Outcome::Answered(status, text.unwrap_or_default()))
}

/// The request of a delivery; `None` when the hook's address is none.
fn request(hook: &Hook, delivery: &Delivery) -> Option<Request<Full<Bytes>>> {
    let json = delivery.payload.to_string();
    let (kind, body) = if hook.form {
        let written: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
        ("application/x-www-form-urlencoded", format!("payload={written}"))
    } else {
        ("application/json", json)
    };
    let secret = if delivery.forged { "somebody else's" } else { &hook.secret };
    let request = headers(hook, delivery)
        .into_iter()
        .fold(Request::post(&hook.url).header(CONTENT_TYPE, kind), |request, (name, value)| {
            request.header(name, value)
        });
    request.header("x-hub-signature-256", signature(secret, &body)).body(Full::from(body)).ok()
}

/// The headers that describe it.
pub(crate) fn headers(hook: &Hook, delivery: &Delivery) -> Vec<(&'static str, String)> {
    let target = if hook.scope.contains('/') { "repository" } else { "organization" };
    vec![
        ("user-agent", "GitHub-Hookshot/simulated".to_owned()),
        ("x-github-event", delivery.event.to_owned()),
        ("x-github-delivery", delivery.guid.clone()),
        ("x-github-hook-id", delivery.hook.to_string()),
        ("x-github-hook-installation-target-type", target.to_owned()),
    ]
}

fn signature(secret: &str, body: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    let digits: String = tag
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect();
    format!("sha256={digits}")
}
