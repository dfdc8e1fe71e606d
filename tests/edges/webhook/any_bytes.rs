//! No bytes make it panic or take in more than it should: neither raw ones nor payloads that were spoiled,
//! signed or not.

use std::sync::LazyLock;

use dayfly::github::webhook::{DeliveryEvent, Encoding, Told, read};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CLOCK, Delivery, Server, examples, payload};

/// The longest text that is kept of a job, and the most labels.
const LIMITS: (usize, usize) = (512, 100);

static REAL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let ours = ["queued", "waiting", "in_progress", "completed"]
        .map(|action| payload(action, 70_000_000_001).to_string().into_bytes());
    ours.into_iter().chain(examples().into_iter().map(|(_, body)| body)).collect()
});

/// A payload with bytes changed, cut out, doubled or cut off.
fn torn() -> impl Strategy<Value = Vec<u8>> {
    let tear = (any::<prop::sample::Index>(), 0..5_u8, any::<u8>(), 1..64_usize);
    (prop::sample::select(REAL.as_slice()), prop::collection::vec(tear, 1..8)).prop_map(
        |(mut body, tears)| {
            for (at, kind, byte, length) in tears {
                if body.is_empty() {
                    break;
                }
                let at = at.index(body.len());
                let end = (at + length).min(body.len());
                match kind {
                    0 => body[at] = byte,
                    1 => drop(body.drain(at..end)),
                    2 => body.truncate(at),
                    3 => body.insert(at, byte),
                    _ => {
                        let piece = body[at..end].to_vec();
                        drop(body.splice(at..at, piece));
                    }
                }
            }
            body
        },
    )
}

/// A payload whose values are others than they should be.
fn odd() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        Just(json!([])),
        Just(json!({ "id": 1 })),
        any::<String>().prop_map(|text| json!(text)),
        (0..5000_usize).prop_map(|length| json!("ß".repeat(length))),
        (0..500_usize).prop_map(|length| json!(vec!["label"; length])),
        Just(json!("https://github.com/acme/widgets/..")),
        Just(json!("9999-99-99T99:99:99Z")),
        Just(json!("-009999-01-01T00:00:00Z")),
    ];
    let places = [
        "/action",
        "/workflow_job",
        "/workflow_job/id",
        "/workflow_job/run_id",
        "/workflow_job/name",
        "/workflow_job/html_url",
        "/workflow_job/created_at",
        "/workflow_job/labels",
        "/workflow_job/labels/0",
        "/workflow_job/runner_name",
        "/repository",
        "/repository/html_url",
        "/repository/private",
    ];
    let change = (prop::sample::select(places.to_vec()), value);
    (prop::sample::select(REAL.as_slice()), prop::collection::vec(change, 1..4)).prop_map(
        |(body, changes)| {
            let mut payload: Value = serde_json::from_slice(&body).unwrap();
            for (place, value) in changes {
                if let Some(there) = payload.pointer_mut(place) {
                    *there = value;
                }
            }
            payload.to_string().into_bytes()
        },
    )
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..4096), torn(), odd()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]
    #[test]
    fn whatever_is_read_is_bounded(body in bodies(), form in any::<bool>()) {
        let encoding = if form { Encoding::Form } else { Encoding::Json };
        let body = if form { [b"payload=", body.as_slice()].concat() } else { body };
        if let Ok(Told::Job(job, ..)) = read(DeliveryEvent::WorkflowJob, encoding, &body, CLOCK) {
            let (text, labels) = LIMITS;
            prop_assert!(job.labels.len() <= labels && job.labels.iter().all(|label| label.len() <= text));
            prop_assert!(job.facts.name.len() <= text && job.facts.url.len() <= text);
            prop_assert!(job.facts.repository.as_str().len() <= text);
        }
    }
}

#[test]
fn whatever_is_posted_is_answered_and_only_the_signed_is_reported() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start());
    let kinds =
        ["application/json", "application/x-www-form-urlencoded", "text/plain", "application/json; x"];
    let events = ["workflow_job", "ping", "workflow_run", ""];
    let case = (
        bodies(),
        prop::sample::select(kinds.to_vec()),
        prop::sample::select(events.to_vec()),
        prop_oneof![
            Just(None),
            Just(Some("sha256=".to_owned())),
            "sha256=[0-9a-f]{64}".prop_map(Some),
            "[ -~]{0,80}".prop_map(Some)
        ],
        any::<u64>(),
    );
    proptest!(|((body, kind, event, signature, id) in case)| {
        let signed = Delivery::new(event, &id.to_string(), body).with("content-type", kind);
        let before = server.reported().len();
        let forged = match &signature {
            Some(signature) => signed.clone().with("x-hub-signature-256", signature),
            None => signed.clone().without("x-hub-signature-256"),
        };
        let status = runtime.block_on(server.deliver(forged));
        prop_assert!(matches!(status, 401 | 415), "{}", status);
        prop_assert_eq!(server.reported().len(), before);
        let status = runtime.block_on(server.deliver(signed));
        prop_assert!(matches!(status, 200 | 202 | 400 | 415), "{}", status);
        prop_assert_eq!(runtime.block_on(server.deliver(queued_alive(id))), 202);
    });
}

/// Shows that it still works.
fn queued_alive(id: u64) -> Delivery {
    super::queued(&format!("alive {id}"), id)
}
