//! Listings: paging, completeness, conditional requests, odd records.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::response::Response;
use dayfly::{
    fleet::RunnerStatus,
    github::{GithubError, RunnerApi},
};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{Seen, World, answer, chain, complains, nearly, runner, runners, says};

/// Serves `count` runners in pages of 100, with ETags, under the path that GitHub's links have.
fn paged(count: u64) -> impl Fn(&Seen) -> Response + Send + Sync {
    move |request| {
        let page = request.page().unwrap_or(1);
        let etag = format!("W/\"page-{page}\"");
        if request.header("if-none-match") == Some(&etag) {
            return answer(304, &[("etag", &etag)], "");
        }
        let first = (page - 1) * 100 + 1;
        let last = (first + 99).min(count);
        let link = format!(
            "<http://{0}/organizations/1300192/actions/runners?per_page=100&page={1}>; rel=\"next\", \
             <http://{0}/organizations/1300192/actions/runners?per_page=100&page=13>; rel=\"last\"",
            request.header("host").unwrap(),
            page + 1
        );
        let mut headers = vec![("etag", etag.as_str())];
        if last < count {
            headers.push(("link", &link));
        }
        answer(200, &headers, runners(usize::try_from(count).unwrap(), first..=last).to_string())
    }
}

#[tokio::test]
async fn all_of_1250_runners_are_listed_along_links_and_an_unchanged_list_costs_nothing() {
    let world = World::new("acme", paged(1250)).await;
    let first = world.client.list().await.unwrap();
    let ids: BTreeSet<u64> = first.iter().map(|registration| registration.id.0).collect();
    assert_eq!((first.len(), ids), (1250, (1..=1250).collect()));
    assert_eq!(world.seen()[1].uri, "/organizations/1300192/actions/runners?per_page=100&page=2");
    assert!(world.seen().iter().all(|request| request.header("authorization").is_some()));

    let second = world.client.list().await.unwrap();
    assert_eq!(second, first);
    assert_eq!(world.statuses()[13..], vec![Some(304); 13]);
}

#[tokio::test]
async fn a_list_that_changed_is_not_served_from_memory() {
    let busy = Arc::new(Mutex::new(false));
    let told = Arc::clone(&busy);
    let world = World::new("acme", move |request| {
        let busy = *told.lock().unwrap();
        let etag = format!("\"{busy}\"");
        if request.header("if-none-match") == Some(&etag) {
            return answer(304, &[], "");
        }
        let mut body = runners(1, [1]);
        body["runners"][0]["busy"] = busy.into();
        answer(200, &[("etag", &etag), ("cache-control", "private, max-age=60")], body.to_string())
    })
    .await;
    assert!(!world.client.list().await.unwrap()[0].busy);
    assert!(!world.client.list().await.unwrap()[0].busy);
    *busy.lock().unwrap() = true;
    assert!(world.client.list().await.unwrap()[0].busy);
    assert_eq!(world.statuses(), [Some(200), Some(304), Some(200)]);
}

#[tokio::test]
async fn a_304_to_a_request_without_an_etag_is_a_failure() {
    let world = World::new("acme", |_| answer(304, &[], "")).await;
    assert!(matches!(world.client.list().await, Err(GithubError::Failed { .. })));
}

#[tokio::test]
async fn what_one_token_has_seen_is_not_shown_to_another() {
    let asked = Mutex::new(0);
    let world = World::new("acme", move |_| {
        *asked.lock().unwrap() += 1;
        match *asked.lock().unwrap() {
            1 => answer(200, &[("etag", "\"e\"")], runners(1, [1]).to_string()),
            _ => answer(304, &[], ""),
        }
    })
    .await;
    world.client.list().await.unwrap();
    world.rotate("ghp_next");
    assert!(matches!(world.client.list().await, Err(GithubError::Failed { .. })));
}

#[tokio::test]
async fn links_in_a_circle_end() {
    let world = World::new("acme", |request| {
        let host = request.header("host").unwrap();
        let link = format!("<http://{host}/api/v3/orgs/acme/actions/runners?per_page=100>; rel=\"next\"");
        answer(200, &[("link", &link)], runners(2, [1]).to_string())
    })
    .await;
    assert!(chain(&world.client.list().await.unwrap_err()).contains("circle"));
}

#[tokio::test]
async fn links_without_an_end_end() {
    let world = World::new("acme", |request| {
        let link = format!("</more?page={}>; rel=\"next\"", request.page().unwrap_or(1) + 1);
        answer(200, &[("link", &link)], runners(0, []).to_string())
    })
    .await;
    assert!(chain(&world.client.list().await.unwrap_err()).contains("more than 500 pages"));
    assert_eq!(world.seen().len(), 500);
}

#[tokio::test]
async fn an_incomplete_list_is_an_error_and_is_not_remembered() {
    for body in [
        runners(5, 1..=3),
        json!({"total_count": 1}),
        json!({"runners": []}),
        json!({"total_count": 2, "runners": [runner(1), {"id": 2, "status": "online"}]}),
        json!({"total_count": 2, "runners": [runner(1), {"name": "x", "status": "online"}]}),
        json!({"total_count": 2, "runners": [runner(1), runner(1)]}),
        json!([]),
        json!(null),
    ] {
        let text = body.to_string();
        let world = World::new("acme", move |_| answer(200, &[("etag", "\"e\"")], text.clone())).await;
        let error = world.client.list().await.unwrap_err();
        assert!(matches!(error, GithubError::Failed { .. }), "{body}: {error}");
        world.client.list().await.unwrap_err();
        assert_eq!(world.seen()[1].header("if-none-match"), None, "{body}");
    }
}

#[tokio::test]
async fn a_list_whose_second_page_fails_is_an_error() {
    let whole = paged(150);
    let world = World::new("acme", move |request| match request.page() {
        None => whole(request),
        Some(_) => complains(502, "Server Error"),
    })
    .await;
    assert!(chain(&world.client.list().await.unwrap_err()).contains("502"));
}

/// Serves 150 runners, of which one of the first page goes after each request but the last ones.
async fn shrinking(times: u64) -> World {
    let asked = Mutex::new(0);
    World::new("acme", move |request| {
        let mut asked = asked.lock().unwrap();
        let ids: Vec<u64> = (1..=150).filter(|id| *id > (*asked).min(times)).collect();
        *asked += 1;
        let page = request.page().unwrap_or(1);
        let link = [("link", "</more?page=2>; rel=\"next\"")];
        let headers = if page == 1 { &link[..] } else { &[] };
        let skipped = if page == 1 { 0 } else { 100 };
        let shown = ids.iter().copied().skip(skipped).take(100);
        answer(200, headers, runners(ids.len(), shown).to_string())
    })
    .await
}

#[tokio::test]
async fn a_runner_that_slips_between_two_pages_is_found_by_another_walk() {
    let world = shrinking(1).await;
    let listed = world.client.list().await.unwrap();
    assert_eq!(listed.len(), 149);
    assert!(listed.iter().any(|registration| registration.id.0 == 101));
    assert_eq!(world.seen().len(), 4);
}

#[tokio::test]
async fn a_list_that_shrinks_under_every_walk_is_an_error() {
    let world = shrinking(1000).await;
    assert!(chain(&world.client.list().await.unwrap_err()).contains("incomplete"));
    assert_eq!(world.seen().len(), 6);
}

#[tokio::test]
async fn missing_fields_and_unknown_words_cost_nobody_else_anything() {
    let long = "n".repeat(1 << 20);
    let body = json!({"total_count": 4, "runners": [
        runner(1),
        {"id": 2, "name": "bare"},
        {"id": 3, "name": "odd", "status": "napping", "busy": false, "os": null},
        {"id": 4, "name": long, "status": "offline", "busy": true, "labels": [{"name": "a"}, {}], "new": {"x": 1}},
    ]});
    let world = World::new("acme", move |_| says(200, &body)).await;
    let listed = world.client.list().await.unwrap();
    assert_eq!((&listed[0].status, listed[0].busy), (&RunnerStatus::Online, false));
    assert_eq!((&listed[1].status, listed[1].busy), (&RunnerStatus::Other(String::new()), true));
    assert_eq!(listed[2].status, RunnerStatus::Other("napping".to_owned()));
    assert_eq!(listed[3].name.len(), 1 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_page_of_runners_makes_a_list_panic(page in nearly(runners(2, 1..=2).to_string().into_bytes())) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let world = World::new("acme/widgets", move |_| {
                answer(200, &[("content-type", "application/json")], page.clone())
            })
            .await;
            if let Ok(listed) = world.client.list().await {
                assert!(listed.len() <= 2);
            }
        });
    }
}
