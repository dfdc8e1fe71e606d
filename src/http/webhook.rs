//! `POST /webhook`: accepts GitHub's deliveries and responds at once. Their content goes to the planner as
//! hints; a delivery that is not accepted stays in GitHub's delivery log.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    fleet::{ClockReading, Evidence},
    github::{
        Identities,
        webhook::{self, DeliveryEvent, DeliveryResult, Encoding, Secrets, Told},
    },
};

/// The largest accepted body. GitHub sends up to 25 MB, but a workflow job has some ten kilobytes.
const MAX_BODY: usize = 1 << 20;

/// The timeout for reading a body; GitHub itself gives up after ten seconds (docs.github.com, "Handling
/// webhook deliveries").
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The size of all bodies in memory: their sender is not known before they are complete.
const BODIES: usize = 16 << 20;

/// The number of delivery ids that are kept to detect redeliveries.
const REMEMBERED: usize = 10_000;

/// The minimum time between two warnings about refused deliveries.
const WARNING_PAUSE: Duration = Duration::from_mins(1);

/// Receives the content of a delivery; returns `false` when there is no room for it. Must not block.
pub type Sink = Arc<dyn Fn(Evidence) -> bool + Send + Sync>;

/// Returns GitHub's time, which the times in payloads refer to. Must not block.
pub type GithubClock = Arc<dyn Fn() -> ClockReading + Send + Sync>;

/// Called once for every delivery. Must not block.
pub type Recorder = Arc<dyn Fn(DeliveryEvent, DeliveryResult) + Send + Sync>;

/// The webhook endpoint. Cheap to clone; clones share all state.
#[derive(Clone)]
pub struct Webhook(Arc<Inner>);

struct Inner {
    secrets: Secrets,
    sink: Sink,
    recorder: Recorder,
    clock: GithubClock,
    bodies: Semaphore,
    seen: Mutex<Seen>,
    warned_at: Mutex<Option<Instant>>,
    identities: OnceLock<Vec<Identities>>,
}

impl Webhook {
    /// An endpoint that accepts what is signed with these secrets.
    pub fn new(secrets: Secrets, sink: Sink, recorder: Recorder, clock: GithubClock) -> Self {
        Self(Arc::new(Inner {
            secrets,
            sink,
            recorder,
            clock,
            bodies: Semaphore::new(BODIES),
            seen: Mutex::default(),
            warned_at: Mutex::default(),
            identities: OnceLock::new(),
        }))
    }

    /// The same, with these ids, by which jobs of renamed repositories are recognized.
    #[must_use]
    pub fn knowing(self, identities: Vec<Identities>) -> Self {
        // Called once, where the endpoint is made.
        let _ = self.0.identities.set(identities);
        self
    }

    /// Handles a delivery and returns the response.
    pub(super) async fn take(&self, headers: &HeaderMap, body: Body) -> (StatusCode, String) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let event = DeliveryEvent::of(text("x-github-event"));
        let (result, why) = self.result(event, headers, body).await;
        tracing::debug!(event = event.as_str(), %result, id = text(DELIVERY_ID), "received a webhook delivery");
        (self.0.recorder)(event, result);
        let status = match result {
            DeliveryResult::Accepted if event == DeliveryEvent::Ping => StatusCode::OK,
            DeliveryResult::Accepted | DeliveryResult::Ignored | DeliveryResult::Duplicate => {
                StatusCode::ACCEPTED
            }
            DeliveryResult::BadSignature => StatusCode::UNAUTHORIZED,
            DeliveryResult::Malformed => StatusCode::BAD_REQUEST,
            DeliveryResult::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            DeliveryResult::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            DeliveryResult::TimedOut => StatusCode::REQUEST_TIMEOUT,
            DeliveryResult::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, why)
    }

    async fn result(
        &self,
        event: DeliveryEvent,
        headers: &HeaderMap,
        body: Body,
    ) -> (DeliveryResult, String) {
        let reported = |result: DeliveryResult, why: &str| (result, why.to_owned());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(encoding) = Encoding::of(text(header::CONTENT_TYPE.as_str())) else {
            return reported(
                DeliveryResult::Unsupported,
                "the content type must be application/json or application/x-www-form-urlencoded",
            );
        };
        let too_large = "the body has more than 1 MiB";
        if text(header::CONTENT_LENGTH.as_str()).parse().is_ok_and(|length: usize| length > MAX_BODY) {
            return reported(DeliveryResult::TooLarge, too_large);
        }
        let mut is_full = false;
        let (body, _room) = match timeout(BODY_TIMEOUT, received(body, &self.0.bodies, &mut is_full)).await {
            Ok(Some(received)) => received,
            Ok(None) => return reported(DeliveryResult::TooLarge, too_large),
            Err(_) if is_full => return reported(DeliveryResult::Overloaded, "too many deliveries at once"),
            Err(_) => return reported(DeliveryResult::TimedOut, "timed out reading the body"),
        };
        // The same response for a missing signature and a wrong one.
        if !self.0.secrets.signed(text("x-hub-signature-256"), &body).await {
            self.warn_of_bad_signature();
            return reported(
                DeliveryResult::BadSignature,
                "the signature does not match the webhook's secret",
            );
        }
        let id = text(DELIVERY_ID);
        if self.0.seen().contains(id) {
            return reported(DeliveryResult::Duplicate, "already received");
        }
        let clock = (self.0.clock)();
        match webhook::read(event, encoding, &body, clock) {
            Ok(Told::Ping) => reported(DeliveryResult::Accepted, "pong"),
            Ok(Told::Nothing) => reported(DeliveryResult::Ignored, "ignored"),
            Ok(Told::Job(mut job, state, numbers)) => {
                if !Identities::place(self.0.identities.get().into_iter().flatten(), &mut job, numbers) {
                    return reported(DeliveryResult::Ignored, "ignored");
                }
                if (self.0.sink)(Evidence::Job { job: *job, state, at: clock.at, asked: false }) {
                    // Only now: a refused delivery may be sent again.
                    self.0.seen().remember(id);
                    reported(DeliveryResult::Accepted, "accepted")
                } else {
                    reported(DeliveryResult::Overloaded, "too many deliveries are waiting")
                }
            }
            Err(why) => {
                if self.may_warn() {
                    tracing::warn!(
                        event = event.as_str(), error = %why,
                        "refused a webhook delivery with a valid signature but an unknown format; a newer \
                         dayfly may be needed"
                    );
                }
                (DeliveryResult::Malformed, why.to_string())
            }
        }
    }

    fn warn_of_bad_signature(&self) {
        if self.may_warn() {
            tracing::warn!(
                "refused a webhook delivery whose signature does not match http.webhook_secret_file; if \
                 GitHub sent it, set the webhook's secret on GitHub to the one in that file"
            );
        }
    }

    /// Whether the last warning was long ago.
    fn may_warn(&self) -> bool {
        let mut warned_at = self.0.warned_at.lock();
        let may = warned_at.is_none_or(|at| at.elapsed() >= WARNING_PAUSE);
        if may {
            *warned_at = Some(Instant::now());
        }
        may
    }
}

/// Reads a body. It reserves memory only for what has arrived, for as long as the permit is held; `is_full`
/// is set while it waits for memory. `None` if the body is too large or incomplete.
async fn received<'r>(
    body: Body,
    room: &'r Semaphore,
    is_full: &mut bool,
) -> Option<(Vec<u8>, SemaphorePermit<'r>)> {
    let (mut bytes, mut held) = (Vec::new(), room.try_acquire_many(0).ok()?);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.ok()?;
        if bytes.len() + chunk.len() > MAX_BODY {
            return None;
        }
        *is_full = true;
        held.merge(room.acquire_many(u32::try_from(chunk.len()).ok()?).await.ok()?);
        *is_full = false;
        bytes.extend_from_slice(&chunk);
    }
    Some((bytes, held))
}

impl Inner {
    fn seen(&self) -> parking_lot::MutexGuard<'_, Seen> {
        self.seen.lock()
    }
}

/// GitHub's id of a delivery; a redelivery has the same.
const DELIVERY_ID: &str = "x-github-delivery";

/// The newest deliveries, by a hash of their ids. Two ids with the same hash would lose one hint; the next
/// poll finds the same.
#[derive(Default)]
struct Seen {
    hashes: HashSet<u64>,
    order: VecDeque<u64>,
    state: RandomState,
}

impl Seen {
    fn contains(&self, id: &str) -> bool {
        !id.is_empty() && self.hashes.contains(&self.state.hash_one(id))
    }

    fn remember(&mut self, id: &str) {
        let hash = self.state.hash_one(id);
        if id.is_empty() || !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_deliveries_are_remembered_and_no_more() {
        let mut seen = Seen::default();
        for id in 0..=REMEMBERED {
            seen.remember(&id.to_string());
            seen.remember(&id.to_string());
        }
        assert!(!seen.contains("0") && seen.contains("1") && seen.contains(&REMEMBERED.to_string()));
        assert_eq!((seen.hashes.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        seen.remember("");
        assert!(!seen.contains(""), "what has no id is never known");
    }
}
