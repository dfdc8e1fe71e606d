//! The repair of lost webhooks against a GitHub whose log has anything in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dayfly::{
    clock,
    demand::webhook::{Repair, Repaired},
    fleet::{Evidence, Instant, Timestamp},
    github::GithubError,
};
use serde_json::{Value, json};

use super::world::{World, complains, says};

fn noon() -> Instant {
    clock::wall().instant(Timestamp::from_millis(1_795_348_800_000))
}

fn hook(id: u64) -> Value {
    json!({ "id": id, "active": true, "events": ["workflow_job"], "config": { "url": "https://ci.example/webhook" } })
}

fn row(id: u64) -> Value {
    json!({
        "id": id, "guid": format!("g{id}"), "delivered_at": "2026-11-22T11:59:30Z", "status": "timed out",
        "status_code": 504, "event": "workflow_job", "action": "queued",
    })
}

fn payload(job: u64) -> Value {
    json!({
        "action": "queued", "workflow_job": { "id": job, "labels": ["linux"] },
        "repository": { "html_url": "https://github.com/acme/widgets" },
    })
}

/// A read at that time, and its result.
async fn look(repair: &mut Repair, now: Instant) -> (Repaired, Result<(), GithubError>, Vec<u64>) {
    let mut reported = Vec::new();
    let (repaired, ended) = repair
        .poll(now, |evidence| match evidence {
            Evidence::Job { job, .. } => reported.push(job.id.0),
            other => panic!("no hint: {other:?}"),
        })
        .await;
    reported.sort_unstable();
    (repaired, ended, reported)
}

#[tokio::test]
async fn deliveries_that_cannot_be_read_keep_no_other_back() {
    let mends = Arc::new(AtomicBool::new(false));
    let mended = mends.clone();
    let world = World::new("acme", move |request| {
        let path = request.uri.path();
        if path.ends_with("/hooks") {
            return says(200, &json!([hook(1)]));
        }
        if path.ends_with("/deliveries") {
            return says(200, &json!([row(16), row(15), row(14), row(13), row(12), row(11)]));
        }
        let id: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
        let payload = match id {
            16 if !mended.load(Ordering::SeqCst) => return complains(502, "no luck"),
            15 => json!({}),
            14 => {
                let mut payload = payload(14);
                payload["workflow_job"]["labels"] = json!(["a", null]);
                payload
            }
            13 => json!("text"),
            12 => Value::Null,
            _ => payload(id),
        };
        says(200, &json!({ "id": id, "request": { "headers": {}, "payload": payload } }))
    })
    .await;
    let mut repair = Repair::new(world.client.clone());
    let (repaired, ended, reported) = look(&mut repair, noon()).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!((repaired, reported), (Repaired { hooks: 1, recovered: 1, more: false }, vec![11]));

    let before = world.seen().len();
    mends.store(true, Ordering::SeqCst);
    assert!(look(&mut repair, noon() + Duration::from_mins(1)).await.2.is_empty());
    assert_eq!(world.seen().len() - before, 1, "the list alone: what cannot be read is not read again");
    let (.., reported) = look(&mut repair, noon() + Duration::from_mins(5)).await;
    assert_eq!(reported, [16], "what GitHub failed to show is tried again");
}

#[tokio::test]
async fn a_hook_that_is_refused_or_fails_stops_no_other() {
    let world = World::new("acme", |request| {
        let path = request.uri.path();
        let number = |text: &str| text.parse::<u64>().unwrap();
        match path.rsplit_once("/hooks").unwrap().1.split('/').collect::<Vec<_>>()[..] {
            [_] => says(200, &json!([hook(1), hook(2), hook(3)])),
            [_, "1", ..] => complains(403, "not yours"),
            [_, "2", ..] => complains(502, "no luck"),
            [_, hook, "deliveries"] => says(200, &json!([row(number(hook))])),
            [.., id] => says(200, &json!({ "request": { "payload": payload(number(id)) } })),
            [] => unreachable!(),
        }
    })
    .await;
    let mut repair = Repair::new(world.client.clone());
    let (repaired, ended, reported) = look(&mut repair, noon()).await;
    assert_eq!((repaired, reported), (Repaired { hooks: 3, recovered: 1, more: false }, vec![3]));
    assert!(matches!(ended, Err(GithubError::Refused(_))), "the first is told: {ended:?}");
}
