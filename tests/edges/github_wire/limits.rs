//! Rate limits as they come over the wire.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::Method;
use dayfly::{
    fleet::{RegistrationId, Scope},
    github::{Client, GithubError, RunnerApi},
};
use serde_json::json;

use super::world::{World, answer, complains, limited_for, minted, now_secs, runners, says};

#[tokio::test]
async fn a_limit_is_honoured_by_all_who_share_the_credential() {
    let world = World::new("acme", |_| answer(429, &[("retry-after", "30")], "")).await;
    let credential = world.credential();
    let neighbour: Scope = format!("http://{}/other/place", world.address).parse().unwrap();
    let one = Client::new(world.client.scope().clone(), &credential, Arc::new(|_| ())).unwrap();
    let two = Client::new(neighbour, &credential, Arc::new(|_| ())).unwrap();
    assert!((29..=30).contains(&limited_for(one.list().await)));
    assert!((28..=30).contains(&limited_for(two.list().await)));
    assert!((28..=30).contains(&limited_for(two.delete(RegistrationId(1)).await)));
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_used_up_budget_waits_for_its_window() {
    let reset = (now_secs() + 600).to_string();
    let world = World::new("acme", move |_| {
        let body = json!({"message": "API rate limit exceeded for user ID 1."}).to_string();
        let budget = ["5000", "0", &reset];
        let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
        answer(403, &[0, 1, 2].map(|n| (names[n], budget[n])), body)
    })
    .await;
    assert!((595..=601).contains(&limited_for(world.client.list().await)));
}

#[tokio::test]
async fn a_secondary_limit_without_a_time_waits_a_minute() {
    let world = World::new("acme", |_| complains(403, "You have exceeded a secondary rate limit.")).await;
    assert!((58..=60).contains(&limited_for(world.delete().await)));
}

#[tokio::test]
async fn when_the_budget_runs_low_mints_go_on_and_the_interval_stretches() {
    let reset = (now_secs() + 3600).to_string();
    let remaining = Arc::new(Mutex::new("680"));
    let reported = Arc::clone(&remaining);
    let world = World::new("acme/widgets", move |request| {
        let mut response =
            if request.method == Method::POST { minted() } else { says(200, &runners(1, [1])) };
        for (name, value) in [
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-remaining", *reported.lock().unwrap()),
            ("x-ratelimit-reset", &reset),
            ("x-ratelimit-resource", "core"),
        ] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    })
    .await;
    let base = Duration::from_secs(10);
    assert_eq!((world.client.rate(), world.client.effective_interval(base)), (None, base));
    world.client.list().await.unwrap();
    assert_eq!(world.client.rate().unwrap().remaining, 680);
    let stretched = world.client.effective_interval(base);
    assert!(stretched > Duration::from_secs(19) && stretched < Duration::from_secs(21), "{stretched:?}");

    *remaining.lock().unwrap() = "400";
    world.client.list().await.unwrap();
    limited_for(world.client.list().await);
    limited_for(world.delete().await);
    world.mint().await.unwrap();
    assert_eq!(world.seen().len(), 3);
    let report = world.reports().pop().unwrap();
    assert_eq!((report.endpoint, report.rate.unwrap().remaining), ("mint", 400));
}

#[tokio::test]
async fn listings_that_are_refused_are_tried_less_and_less_often_until_one_is_not() {
    let status = Arc::new(Mutex::new(401));
    let reported = Arc::clone(&status);
    let world = World::new("acme", move |_| match *reported.lock().unwrap() {
        200 => says(200, &runners(1, [1])),
        status => complains(status, "Bad credentials"),
    })
    .await;
    let interval = || world.client.effective_interval(Duration::from_secs(10)).as_secs();
    for seconds in [20, 40, 80, 160, 300, 300] {
        assert!(matches!(world.client.list().await, Err(GithubError::Refused(_))));
        assert_eq!(interval(), seconds);
    }
    *status.lock().unwrap() = 502;
    assert!(world.client.list().await.is_err());
    assert_eq!(interval(), 300, "trouble of another kind says nothing of the refusal");
    *status.lock().unwrap() = 200;
    world.client.records().await.unwrap();
    assert_eq!(interval(), 10);
    *status.lock().unwrap() = 502;
    assert!(world.client.list().await.is_err());
    assert_eq!(interval(), 10);
}
