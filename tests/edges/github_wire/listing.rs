//! Listings: paging, completeness, conditional requests, odd records.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{http::Method, response::Response};
use dayfly::{
    fleet::{RegistrationId, RunnerStatus},
    github::{GithubError, Listing, RunnerApi},
};
use proptest::prelude::*;
use serde_json::json;

use super::world::{
    Seen, World, answer, chain, complains, nearly, now_secs, runner, runner_name, runners, says,
};
use crate::captured_log::CapturedLog;

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
    let first = world.client.list().await.unwrap().registrations;
    let ids: BTreeSet<u64> = first.iter().map(|registration| registration.id.0).collect();
    assert_eq!((first.len(), ids), (1250, (1..=1250).collect()));
    assert_eq!(world.seen()[1].uri, "/organizations/1300192/actions/runners?per_page=100&page=2");
    assert!(world.seen().iter().all(|request| request.header("authorization").is_some()));

    let second = world.client.list().await.unwrap().registrations;
    assert_eq!(second, first);
    assert_eq!(world.statuses()[13..], vec![Some(304); 13]);
}

#[tokio::test]
async fn a_list_that_changed_is_not_served_from_memory() {
    let busy = Arc::new(Mutex::new(false));
    let reported = Arc::clone(&busy);
    let world = World::new("acme", move |request| {
        let busy = *reported.lock().unwrap();
        let etag = format!("\"{busy}\"");
        if request.header("if-none-match") == Some(&etag) {
            return answer(304, &[], "");
        }
        let mut body = runners(1, [1]);
        body["runners"][0]["busy"] = busy.into();
        answer(200, &[("etag", &etag), ("cache-control", "private, max-age=60")], body.to_string())
    })
    .await;
    assert!(!world.client.list().await.unwrap().registrations[0].busy);
    assert!(!world.client.list().await.unwrap().registrations[0].busy);
    *busy.lock().unwrap() = true;
    assert!(world.client.list().await.unwrap().registrations[0].busy);
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
    assert!(chain(&world.client.list().await.unwrap_err()).contains("form a loop"));
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

/// Serves a list that changes before each request, under numbered pages; `change` gets how many were asked before.
async fn changing(
    mut ids: Vec<u64>,
    own: &'static [u64],
    change: impl Fn(usize, &mut Vec<u64>) + Send + Sync + 'static,
) -> World {
    let (asked, ids) = (Mutex::new(0), Mutex::new(std::mem::take(&mut ids)));
    World::new("acme", move |request| {
        let (mut asked, mut ids) = (asked.lock().unwrap(), ids.lock().unwrap());
        let last = request.uri.path().rsplit('/').next().unwrap();
        let named = |id: u64| if own.contains(&id) { named(id, &own_name(id)) } else { runner(id) };
        if let Ok(id) = last.parse::<u64>() {
            if request.method == Method::DELETE {
                ids.retain(|other| *other != id);
                return answer(204, &[], "");
            }
            return if ids.contains(&id) { says(200, &named(id)) } else { complains(404, "Not Found") };
        }
        change(*asked, &mut ids);
        *asked += 1;
        let page = usize::try_from(request.page().unwrap_or(1)).unwrap();
        let link =
            format!("</api/v3/orgs/acme/actions/runners?per_page=100&page={}>; rel=\"next\"", page + 1);
        let link = [("link", link.as_str())];
        let headers = if page * 100 < ids.len() { &link[..] } else { &[] };
        let shown: Vec<_> = ids.iter().skip((page - 1) * 100).take(100).map(|&id| named(id)).collect();
        answer(200, headers, json!({"total_count": ids.len(), "runners": shown}).to_string())
    })
    .await
}

fn own_name(id: u64) -> String {
    format!("dayfly-linux-ci1-01hzzzzzzzzzzzzzzz{id:08}")
}

fn named(id: u64, name: &str) -> serde_json::Value {
    let mut row = runner(id);
    row["name"] = name.into();
    row
}

#[tokio::test]
async fn five_thousand_runners_that_come_and_go_hide_no_list_and_none_of_ours() {
    // One goes from the front and another comes at the end before each page, ours are all over the list.
    const OWN: [u64; 5] = [1_000, 2_050, 3_001, 4_321, 4_999];
    let next = Mutex::new(5_001);
    let world = changing((1..=5_000).collect(), &OWN, move |_, ids| {
        let gone = ids.iter().position(|id| !OWN.contains(id)).unwrap();
        ids.remove(gone);
        let mut next = next.lock().unwrap();
        ids.push(*next);
        *next += 1;
    })
    .await;
    for round in 0..10 {
        let before = world.seen().len();
        let listed = world.client.list().await.unwrap().registrations;
        let own = listed.iter().filter(|listed| OWN.contains(&listed.id.0)).count();
        // The first list has nothing to compare itself with; nothing is taken to be gone by one list.
        assert!(own == OWN.len() || round == 0, "{own} of ours in list {round}");
        let requests = world.seen().len() - before;
        assert!(requests <= 50 + OWN.len(), "{requests} requests in list {round}");
    }
}

#[tokio::test]
async fn only_who_github_says_is_gone_is_gone_from_a_list_of_several_pages() {
    // Ours is the first of the second page, and moves to the first page when that has been read.
    let world = changing((1..=150).collect(), &[101, 120], |asked, ids| match asked {
        3 => drop(ids.remove(0)),
        4 => ids.retain(|id| *id != 120),
        _ => {}
    })
    .await;
    let own = |listed: &Listing| {
        let ids = listed.registrations.iter().map(|listed| listed.id.0);
        ids.filter(|id| [101, 120].contains(id)).collect::<Vec<_>>()
    };
    assert_eq!(own(&world.client.list().await.unwrap()), [101, 120]);
    let second = world.client.list().await.unwrap();
    assert_eq!((own(&second), second.registrations.len()), (vec![101, 120], 150));
    assert_eq!(world.seen()[4].uri, "/api/v3/orgs/acme/actions/runners/101");
    assert_eq!(own(&world.client.list().await.unwrap()), [101], "GitHub answers 404");
    assert_eq!(world.seen().last().unwrap().uri, "/api/v3/orgs/acme/actions/runners/120");
}

#[tokio::test]
async fn a_runner_that_was_removed_is_not_asked_about() {
    let world = changing((1..=150).collect(), &[101], |_, _| {}).await;
    world.client.list().await.unwrap();
    world.client.delete(RegistrationId(101)).await.unwrap();
    let before = world.seen().len();
    assert_eq!(world.client.list().await.unwrap().registrations.len(), 149);
    assert_eq!(world.seen().len() - before, 2, "its two pages");
}

/// Serves what `ids` are, all ours, in pages of 100 with ETags. Of one runner alone it only says 502.
async fn tagged(ids: &Arc<Mutex<Vec<u64>>>, change_while_walking: &'static [usize]) -> World {
    let (asked, ids) = (Mutex::new(0), Arc::clone(ids));
    World::new("acme", move |request| {
        if !request.uri.path().ends_with("/runners") {
            return complains(502, "Server Error");
        }
        let (mut asked, mut ids) = (asked.lock().unwrap(), ids.lock().unwrap());
        if change_while_walking.contains(&asked) {
            ids.remove(0);
        }
        *asked += 1;
        let page = usize::try_from(request.page().unwrap_or(1)).unwrap();
        let shown = ids.iter().skip((page - 1) * 100).take(100).collect::<Vec<_>>();
        let etag = format!("\"{}-{shown:?}\"", ids.len());
        if request.header("if-none-match") == Some(&etag) {
            return answer(304, &[], "");
        }
        let link =
            format!("</api/v3/orgs/acme/actions/runners?per_page=100&page={}>; rel=\"next\"", page + 1);
        let reset = (now_secs() + 3600).to_string();
        let mut headers = vec![
            ("etag", etag.as_str()),
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-remaining", "1220"),
            ("x-ratelimit-reset", &reset),
        ];
        if page * 100 < ids.len() {
            headers.push(("link", &link));
        }
        let rows: Vec<_> = shown.iter().map(|id| named(**id, &own_name(**id))).collect();
        answer(200, &headers, json!({"total_count": ids.len(), "runners": rows}).to_string())
    })
    .await
}

#[tokio::test]
async fn a_list_that_no_page_of_has_changed_since_is_believed_at_no_cost() {
    let ids = Arc::new(Mutex::new((1..=250).collect::<Vec<_>>()));
    let world = tagged(&ids, &[]).await;
    world.client.list().await.unwrap();
    ids.lock().unwrap().drain(0..40);
    assert_eq!(world.client.list().await.unwrap().registrations.len(), 210);
    assert_eq!(world.statuses()[6..], [Some(304); 3], "the same pages once more, and no runner alone");
}

#[tokio::test]
async fn when_github_cannot_say_who_is_gone_all_stay_listed_and_one_was_asked_about() {
    let ids = Arc::new(Mutex::new((1..=150).collect::<Vec<_>>()));
    // The list changes again before it is fetched once more.
    let world = tagged(&ids, &[4]).await;
    let base = Duration::from_secs(10);
    world.client.list().await.unwrap();
    assert_eq!(world.client.effective_interval(base), base);
    ids.lock().unwrap().drain(0..9);
    assert_eq!(world.client.list().await.unwrap().registrations.len(), 150);
    assert_eq!(world.statuses()[4..], [Some(200), Some(502)]);
    assert!(world.client.effective_interval(base) > base, "what it took to find out counts");
}

#[tokio::test]
async fn a_list_whose_newest_come_first_is_completed_by_another_walk() {
    let world = changing((1..=150).rev().collect(), &[], |asked, ids| {
        if asked == 1 {
            ids.insert(0, 151);
        }
    })
    .await;
    assert_eq!(world.client.list().await.unwrap().registrations.len(), 151);
    assert_eq!(world.seen().len(), 4);
}

#[tokio::test]
async fn a_list_that_stays_short_is_an_error() {
    let world = World::new("acme", |request| match request.page() {
        None => answer(200, &[("link", "</more?page=2>; rel=\"next\"")], runners(150, 1..=100).to_string()),
        Some(_) => says(200, &runners(150, 101..=149)),
    })
    .await;
    assert!(chain(&world.client.list().await.unwrap_err()).contains("incomplete"));
    assert_eq!(world.seen().len(), 6);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other_runner_and_none_of_ours() {
    let broken = Arc::new(Mutex::new(json!({"id": -1, "name": "theirs", "status": "online"})));
    let row = Arc::clone(&broken);
    let world = World::new("acme", move |request| {
        if request.uri.path().ends_with("/23") {
            return complains(502, "Server Error");
        }
        let rows = json!([runner(1), *row.lock().unwrap()]);
        says(200, &json!({"total_count": 2, "runners": rows}))
    })
    .await;
    let log = CapturedLog::default();
    let _guard = log.listen();
    let ids = |listing: &Listing| listing.registrations.iter().map(|listed| listed.id.0).collect::<Vec<_>>();
    let listing = world.client.list().await.unwrap();
    assert_eq!((ids(&listing), &listing.unreadable[..]), (vec![1], &[Some("theirs".to_owned())][..]));

    let ours = runner_name();
    *broken.lock().unwrap() = named(23, ours.as_str());
    assert_eq!(ids(&world.client.list().await.unwrap()), [1, 23]);
    *broken.lock().unwrap() = json!({"id": "?", "name": ours.as_str()});
    let listing = world.client.list().await.unwrap();
    assert_eq!(
        (ids(&listing), listing.unreadable.len()),
        (vec![1, 23], 0),
        "it was listed before, and still is"
    );
    *broken.lock().unwrap() = json!(null);
    let listing = world.client.list().await.unwrap();
    assert_eq!((ids(&listing), &listing.unreadable[..]), (vec![1, 23], &[None][..]));
    assert_eq!(log.text().matches("they are ignored").count(), 1, "{}", log.text());
}

#[tokio::test]
async fn missing_fields_and_unknown_words_cost_no_one_else_anything() {
    let long = "n".repeat(1 << 20);
    let body = json!({"total_count": 4, "runners": [
        runner(1),
        {"id": 2, "name": "bare"},
        {"id": 3, "name": "odd", "status": "napping", "busy": false, "os": null},
        {"id": 4, "name": long, "status": "offline", "busy": true, "labels": [{"name": "a"}, {}], "new": {"x": 1}},
    ]});
    let world = World::new("acme", move |_| says(200, &body)).await;
    let listed = world.client.list().await.unwrap().registrations;
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
                assert!(listed.registrations.len() <= 2);
            }
        });
    }
}
