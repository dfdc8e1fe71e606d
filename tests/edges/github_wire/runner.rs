//! One runner: minting, removing and getting it; and probes.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::http::Method;
use dayfly::{
    fleet::RegistrationId,
    github::{GithubError, RunnerApi as _},
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::world::{World, answer, chain, complains, minted, runner, runner_name, runners, says};

#[tokio::test]
async fn a_mint_sends_what_github_wants_and_returns_what_it_gave() {
    let world = World::new("acme/widgets", |_| minted()).await;
    let minted = world.mint().await.unwrap();
    assert_eq!((minted.id, minted.jit.expose_secret()), (RegistrationId(23), "canary-jit"));
    let request = &world.seen()[0];
    assert_eq!(request.method, Method::POST);
    assert_eq!(request.uri, "/api/v3/repos/acme/widgets/actions/runners/generate-jitconfig");
    assert_eq!(
        request.json(),
        json!({"name": runner_name().as_str(), "runner_group_id": 1,
               "labels": ["self-hosted", "linux"], "work_folder": "_work"})
    );
}

#[tokio::test]
async fn an_organizations_group_is_looked_up_once_for_many_mints_and_again_after_a_404() {
    let gone = Arc::new(Mutex::new(false));
    let reported = Arc::clone(&gone);
    let world = World::new("acme", move |request| {
        if !request.uri.path().ends_with("/runner-groups") {
            return if *reported.lock().unwrap() { complains(404, "Not Found") } else { minted() };
        }
        let link = [("link", "</organizations/1/actions/runner-groups?page=2>; rel=\"next\"")];
        let (headers, group) = match request.page() {
            None => (&link[..], json!({"id": 4, "name": "Everyone", "default": true})),
            Some(_) => (&[][..], json!({"id": 9, "name": "gpu", "default": false, "visibility": "all"})),
        };
        answer(200, headers, json!({"total_count": 2, "runner_groups": [group]}).to_string())
    })
    .await;
    let (a, b, c) = tokio::join!(world.mint_into("default"), world.mint_into("GPU"), world.mint_into("gpu"));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let posts = world.seen().into_iter().filter(|request| request.method == Method::POST);
    let groups: BTreeSet<u64> =
        posts.map(|request| request.json()["runner_group_id"].as_u64().unwrap()).collect();
    assert_eq!(groups, BTreeSet::from([4, 9]));
    assert_eq!(world.seen().len(), 2 + 3);

    *gone.lock().unwrap() = true;
    assert!(matches!(world.mint_into("gpu").await.err(), Some(GithubError::Refused(_))));
    *gone.lock().unwrap() = false;
    world.mint_into("gpu").await.unwrap();
    assert_eq!(world.seen().len(), 5 + 1 + 3);

    let error = world.mint_into("tpu").await.err().unwrap().to_string();
    assert!(error.contains("\"tpu\"") && error.contains("\"Everyone\", \"gpu\""), "{error}");
}

#[tokio::test]
async fn a_group_that_was_created_again_is_found_under_its_new_number_at_once() {
    for status in [400, 404, 422] {
        let group = Arc::new(AtomicU64::new(4));
        let now = Arc::clone(&group);
        let world = World::new("acme", move |request| {
            let id = now.load(Ordering::Relaxed);
            if request.uri.path().ends_with("/runner-groups") {
                let group = json!({"id": id, "name": "gpu", "default": false});
                return says(200, &json!({"total_count": 1, "runner_groups": [group]}));
            }
            let wanted = request.json()["runner_group_id"].as_u64();
            if wanted == Some(id) { minted() } else { complains(status, "Invalid runner group") }
        })
        .await;
        let listings =
            |world: &World| world.seen().iter().filter(|request| request.method == Method::GET).count();
        world.mint_into("gpu").await.unwrap();
        group.store(9, Ordering::Relaxed);
        world.mint_into("gpu").await.unwrap();
        assert_eq!((world.seen().len(), listings(&world)), (5, 2), "{status}");
        group.store(11, Ordering::Relaxed);
        // What keeps being refused does not have the groups listed each time, unless it is a 404.
        let again = world.mint_into("gpu").await;
        assert_eq!((again.is_ok(), listings(&world)), (status == 404, if status == 404 { 3 } else { 2 }));
    }
}

#[tokio::test]
async fn labels_that_are_refused_do_not_have_the_groups_listed_again_and_again() {
    let world = World::new("acme", |request| match request.method {
        Method::GET => {
            let group = json!({"id": 1, "name": "Default", "default": true});
            says(200, &json!({"total_count": 1, "runner_groups": [group]}))
        }
        _ => complains(422, "Invalid property /labels"),
    })
    .await;
    for _ in 0..3 {
        assert!(matches!(world.mint_error().await, GithubError::Refused(why) if why.contains("/labels")));
    }
    let (posts, listings): (Vec<_>, Vec<_>) =
        world.seen().into_iter().partition(|request| request.method == Method::POST);
    assert_eq!((posts.len(), listings.len()), (3, 2));
}

#[tokio::test]
async fn a_mint_without_a_jit_config_keeps_the_id_that_must_be_removed() {
    for body in [
        json!({"runner": {"id": 23}}),
        json!({"runner": {"id": 23}, "encoded_jit_config": ""}),
        json!({"runner": {"id": 23}, "encoded_jit_config": "  "}),
        json!({"runner": {"id": 23}, "encoded_jit_config": null}),
        json!({"runner": {"id": 23}, "encoded_jit_config": 7}),
    ] {
        let world = World::new("acme/widgets", move |_| says(201, &body)).await;
        let error = world.mint_error().await;
        assert!(matches!(error, GithubError::NoJitConfig { id: RegistrationId(23) }), "{error}");
    }
}

#[tokio::test]
async fn a_mint_whose_answer_cannot_be_read_is_a_failure_that_does_not_quote_it() {
    for body in
        ["\"canary-jit\"", "{\"encoded_jit_config\": \"canary-jit\"}", "{\"encoded_jit_config\": \"canary-j"]
    {
        let world = World::new("acme/widgets", move |_| answer(201, &[], body)).await;
        let error = world.mint_error().await;
        assert!(matches!(error, GithubError::Failed { .. }), "{error}");
        assert!(!format!("{} {error:?}", chain(&error)).contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn every_refusal_of_a_mint_is_distinguished_and_none_is_repeated() {
    let full = "Runner group 1 has reached max limit of 10000 runners";
    for (status, message) in [
        (409, "Already exists - A runner with the name x already exists."),
        (422, full),
        (422, "Invalid property /labels: 1 item required; only 0 were supplied"),
        (403, "Resource not accessible by personal access token"),
        (404, "Not Found"),
        (401, "Bad credentials"),
        (400, "Problems parsing JSON"),
        (500, "Server Error"),
        (503, ""),
    ] {
        let world = World::new("acme/widgets", move |_| complains(status, message)).await;
        let error = world.mint_error().await;
        let right = match (status, &error) {
            (422, GithubError::RegistrationLimit(why)) => message == full && why == full,
            (422, GithubError::Refused(why)) => message != full && why.contains(message),
            (400..=404, GithubError::Refused(why)) => why.contains(&format!("{status} ({message})")),
            (409, GithubError::NameTaken) | (500..=503, GithubError::Failed { .. }) => true,
            _ => false,
        };
        assert!(right, "{status}: {error:?}");
        assert_eq!(world.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_missing_permission_is_named_with_the_place_to_add_it() {
    let world = World::new("acme", |_| {
        let body = json!({"message": "Resource not accessible by personal access token"}).to_string();
        answer(403, &[("x-accepted-github-permissions", "organization_self_hosted_runners=write")], body)
    })
    .await;
    let text = world.delete().await.unwrap_err().to_string();
    for part in [
        "organization_self_hosted_runners=write",
        "Self-hosted runners",
        "owner",
        "/settings/tokens",
        "/acme",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn an_archived_repository_is_asked_for_no_further_runner() {
    let world = World::new("acme/widgets", |request| match request.method {
        Method::POST => complains(403, "Repository was archived so is read-only."),
        _ => says(200, &runners(1, [1])),
    })
    .await;
    for _ in 0..3 {
        let text = world.mint_error().await.to_string();
        assert!(text.contains("unarchive it") && !text.contains("Administration"), "{text}");
    }
    world.client.list().await.unwrap();
    assert_eq!(world.seen().len(), 2, "one mint, one list");
}

#[tokio::test]
async fn a_404_reports_what_may_be_wrong() {
    let world = World::new("acme", |_| complains(404, "Not Found")).await;
    let text = world.client.records().await.unwrap_err().to_string();
    for part in ["wrong name", "personal account", "cannot see it"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn every_outcome_of_a_removal_is_distinguished() {
    for status in [204, 404, 422, 403, 500, 200] {
        let world = World::new("acme", move |_| answer(status, &[], "")).await;
        let outcome = world.delete().await;
        let right = match status {
            204 => outcome.is_ok(),
            404 => matches!(outcome, Err(GithubError::NotFound)),
            422 => matches!(outcome, Err(GithubError::Busy)),
            403 => matches!(outcome, Err(GithubError::Refused(_))),
            _ => matches!(outcome, Err(GithubError::Failed { .. })),
        };
        assert!(right, "{status}: {outcome:?}");
        let request = &world.seen()[0];
        assert_eq!(request.method, Method::DELETE);
        assert_eq!(request.uri, "/api/v3/orgs/acme/actions/runners/23");
        assert_eq!(world.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn one_runner_is_shown_in_full() {
    let world = World::new("acme", |request| match request.uri.path() {
        "/api/v3/orgs/acme/actions/runners/23" => says(200, &runner(23)),
        _ => complains(404, "Not Found"),
    })
    .await;
    let record = world.client.get(RegistrationId(23)).await.unwrap();
    assert_eq!((record.name.as_str(), record.group), ("runner-23", Some(1)));
    assert_eq!(record.labels, ["linux"]);
    assert!(matches!(world.client.get(RegistrationId(24)).await, Err(GithubError::NotFound)));
}

#[tokio::test]
async fn a_probe_gives_visibility_token_scopes_rate_limit_and_clock_and_creates_nothing() {
    let world = World::new("acme/widgets", |_| {
        let headers = [
            ("x-oauth-scopes", "repo, admin:org"),
            ("date", "Sun, 22 Nov 2020 12:00:00 GMT"),
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-remaining", "4999"),
            ("x-ratelimit-reset", "1606049000"),
        ];
        answer(200, &headers, json!({"private": false, "full_name": "acme/widgets"}).to_string())
    })
    .await;
    let probe = world.client.probe().await.unwrap();
    assert_eq!(probe.public, Some(true));
    assert_eq!(probe.token_scopes.unwrap(), ["repo", "admin:org"]);
    assert_eq!(probe.rate.unwrap().remaining, 4999);
    assert!(probe.clock_skew.unwrap() > 5 * 365 * 86_400);
    assert_eq!(world.seen()[0].uri, "/api/v3/repos/acme/widgets");
    assert!(world.seen().iter().all(|request| request.method == Method::GET));
}
