//! `POST /webhook`: takes GitHub's deliveries in and answers at once. What they tell goes to whoever plans,
//! as hints; a delivery that is not taken in stays in GitHub's delivery log.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt as _;
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

/// The largest body that is taken in. GitHub sends up to 25 MB, but a job has some ten kilobytes.
const MAX_BODY: usize = 1 << 20;

/// How long a body may take; GitHub itself gives up after ten seconds (docs.github.com, "Handling webhook
/// deliveries").
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of bodies in memory at once: who sends them is not known before they are complete.
const BODIES: usize = 16 << 20;

/// Deliveries that are remembered, so that one that comes again is told from a new one.
const REMEMBERED: usize = 10_000;

/// Between two lines in the log on deliveries that are refused.
const WARNING_PAUSE: Duration = Duration::from_mins(1);

/// Takes in what a delivery tells; `false` when it has no room. It must not block.
pub type Sink = Arc<dyn Fn(Evidence) -> bool + Send + Sync>;

/// GitHub's clock now, by which payloads write their times. It must not block.
pub type GithubClock = Arc<dyn Fn() -> ClockReading + Send + Sync>;

/// Called once for every delivery. It must not block.
pub type Recorder = Arc<dyn Fn(DeliveryEvent, DeliveryResult) + Send + Sync>;

/// The endpoint. Cheap to clone; clones share everything.
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
    /// An endpoint that believes what these secrets have signed.
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

    /// The same, which knows jobs of what was renamed by the numbers in these.
    #[must_use]
    pub fn knowing(self, identities: Vec<Identities>) -> Self {
        // Said once, by whoever makes it.
        let _ = self.0.identities.set(identities);
        self
    }

    /// Takes a delivery in and says what to answer.
    pub(super) async fn take(&self, headers: &HeaderMap, body: Body) -> (StatusCode, String) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let event = DeliveryEvent::of(text("x-github-event"));
        let (result, why) = self.result(event, headers, body).await;
        tracing::debug!(event = event.as_str(), %result, id = text(DELIVERY_ID), "a webhook delivery came");
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
        let told = |result: DeliveryResult, why: &str| (result, why.to_owned());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(encoding) = Encoding::of(text(header::CONTENT_TYPE.as_str())) else {
            return told(
                DeliveryResult::Unsupported,
                "the content type must be application/json or application/x-www-form-urlencoded",
            );
        };
        let too_large = "the body has more than 1 MiB";
        if text(header::CONTENT_LENGTH.as_str()).parse().is_ok_and(|length: usize| length > MAX_BODY) {
            return told(DeliveryResult::TooLarge, too_large);
        }
        let mut is_full = false;
        let (body, _room) = match timeout(BODY_TIMEOUT, received(body, &self.0.bodies, &mut is_full)).await {
            Ok(Some(received)) => received,
            Ok(None) => return told(DeliveryResult::TooLarge, too_large),
            Err(_) if is_full => return told(DeliveryResult::Overloaded, "too many deliveries at once"),
            Err(_) => return told(DeliveryResult::TimedOut, "the body did not come in time"),
        };
        // The same answer whether there is none or a wrong one.
        if !self.0.secrets.signed(text("x-hub-signature-256"), &body) {
            self.warn_of_bad_signature();
            return told(DeliveryResult::BadSignature, "it is not signed with this hook's secret");
        }
        let id = text(DELIVERY_ID);
        if self.0.seen().contains(id) {
            return told(DeliveryResult::Duplicate, "known already");
        }
        let clock = (self.0.clock)();
        match webhook::read(event, encoding, &body, clock) {
            Ok(Told::Ping) => told(DeliveryResult::Accepted, "pong"),
            Ok(Told::Nothing) => told(DeliveryResult::Ignored, "ignored"),
            Ok(Told::Job(mut job, state, numbers)) => {
                if !Identities::place(self.0.identities.get().into_iter().flatten(), &mut job, numbers) {
                    return told(DeliveryResult::Ignored, "ignored");
                }
                if (self.0.sink)(Evidence::Job { job: *job, state, at: clock.at, asked: false }) {
                    // Only now: one that was refused may come again.
                    self.0.seen().remember(id);
                    told(DeliveryResult::Accepted, "accepted")
                } else {
                    told(DeliveryResult::Overloaded, "too much is waiting already")
                }
            }
            Err(why) => {
                if self.may_warn() {
                    tracing::warn!(
                        event = event.as_str(), error = %why,
                        "refused a webhook delivery that is signed and cannot be read; a newer dayfly may be needed"
                    );
                }
                (DeliveryResult::Malformed, why.to_string())
            }
        }
    }

    fn warn_of_bad_signature(&self) {
        if self.may_warn() {
            tracing::warn!(
                "refused a webhook delivery that is not signed with our secret; if it was GitHub's, give the \
                 hook the secret in http.webhook_secret_file"
            );
        }
    }

    /// Whether the last warning was long ago.
    fn may_warn(&self) -> bool {
        let mut warned_at = self.0.warned_at.lock().unwrap_or_else(PoisonError::into_inner);
        let may = warned_at.is_none_or(|at| at.elapsed() >= WARNING_PAUSE);
        if may {
            *warned_at = Some(Instant::now());
        }
        may
    }
}

/// A body, and the room that it takes for as long as that is held: none for what has not come. `is_full` while it waits
/// for room. `None` if it is too large, or breaks off.
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
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// GitHub's id of a delivery; a redelivery has the same.
const DELIVERY_ID: &str = "x-github-delivery";

/// The newest deliveries, by a hash of their ids. Two ids of one hash would cost a hint, and the next look
/// tells the same.
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
