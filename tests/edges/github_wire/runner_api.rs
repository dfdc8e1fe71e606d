//! What only commands request: labels, tokens for `config.sh`, downloads, deprecations.

use axum::http::Method;
use dayfly::{
    fleet::{RegistrationId, Timestamp},
    github::{GithubError, newest_version},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::world::{World, answer, chain, complains, minted, says};

const RUNNER: RegistrationId = RegistrationId(23);

fn labels(names: &[&str]) -> Value {
    let row = |name: &&str| json!({"id": 1, "name": name, "type": "custom"});
    json!({"total_count": names.len(), "labels": names.iter().map(row).collect::<Vec<_>>()})
}

#[tokio::test]
async fn labels_are_changed_by_the_right_calls_and_every_answer_is_what_the_runner_has_then() {
    let world = World::new("enterprises/acme", |_| says(200, &labels(&["gpu", "large"]))).await;
    let names = ["GPU".to_owned(), "large".to_owned()];
    let client = &world.client;
    for has in [
        client.labels(RUNNER).await,
        client.add_labels(RUNNER, &names).await,
        client.set_labels(RUNNER, &names).await,
        client.remove_label(RUNNER, "gpu").await,
        client.remove_all_labels(RUNNER).await,
    ] {
        let has: Vec<String> = has.unwrap().into_iter().map(|label| label.name).collect();
        assert_eq!(has, ["gpu", "large"]);
    }
    let path = "/api/v3/enterprises/acme/actions/runners/23/labels";
    let one = format!("{path}/gpu");
    let seen = world.seen();
    let asked: Vec<_> = seen.iter().map(|seen| (seen.method.clone(), seen.uri.path())).collect();
    assert_eq!(
        asked,
        [
            (Method::GET, path),
            (Method::POST, path),
            (Method::PUT, path),
            (Method::DELETE, one.as_str()),
            (Method::DELETE, path)
        ]
    );
    for given in &seen[1..3] {
        assert_eq!(given.json(), json!({"labels": ["GPU", "large"]}));
    }
    assert!(seen[3].body.is_empty() && seen[4].body.is_empty());
}

#[tokio::test]
async fn a_labels_name_is_one_part_of_the_path_whatever_is_in_it() {
    let world = World::new("acme", |_| says(200, &labels(&[]))).await;
    for (name, part) in [
        ("a b", "a%20b"),
        ("a/b?c#d", "a%2Fb%3Fc%23d"),
        ("100%", "100%25"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("x64.v2_~-", "x64.v2_~-"),
        ("../24", "..%2F24"),
    ] {
        world.client.remove_label(RUNNER, name).await.unwrap();
        let seen = world.seen();
        assert_eq!(
            seen.last().unwrap().uri,
            format!("/api/v3/orgs/acme/actions/runners/23/labels/{part}").as_str()
        );
    }
    let before = world.seen().len();
    for name in ["", ".", ".."] {
        // As the end of a path these mean all labels, or the runner itself.
        let refused = world.client.remove_label(RUNNER, name).await.unwrap_err();
        assert!(matches!(refused, GithubError::Refused(_)), "{refused}");
    }
    assert_eq!(world.seen().len(), before);
}

#[tokio::test]
async fn what_is_strange_among_labels_and_downloads_costs_the_others_nothing() {
    let world = World::new("acme", |request| {
        if request.uri.path().ends_with("/downloads") {
            return says(
                200,
                &json!([
                    7, null, {"os": "linux"},
                    {"os": "linux", "architecture": "x64", "filename": "actions-runner-linux-x64-2.99.0.tar.gz",
                     "temp_download_token": "canary-download", "new": []},
                    {"os": "linux", "architecture": "arm64", "filename": "actions-runner-linux-arm64-2.336.1.tar.gz",
                     "sha256_checksum": null},
                    {"os": "plan9", "architecture": "mips", "filename": "runner"},
                ]),
            );
        }
        says(
            200,
            &json!({"labels": [{"name": "a", "type": "read-only"}, {"id": 3}, 7, {"name": "b", "type": "new"}, {"name": "c"}]}),
        )
    })
    .await;
    let has = world.client.labels(RUNNER).await.unwrap();
    let has: Vec<_> = has.iter().map(|label| (label.name.as_str(), label.is_read_only())).collect();
    assert_eq!(has, [("a", true), ("b", false), ("c", false)]);
    let downloads = world.client.downloads().await.unwrap();
    assert_eq!(downloads.len(), 3);
    assert_eq!(newest_version(&downloads).unwrap().to_string(), "2.336.1");
    assert!(!format!("{downloads:?}").contains("canary"), "{downloads:?}");
}

#[tokio::test]
async fn refusals_of_labels_are_distinguished() {
    for (status, message) in
        [(404, "Not Found"), (422, "The label is read-only"), (403, "Resource not accessible"), (500, "")]
    {
        let world = World::new("acme", move |_| complains(status, message)).await;
        let error = world.client.remove_label(RUNNER, "linux").await.unwrap_err();
        let right = match (status, &error) {
            (404, GithubError::NotFound) | (500, GithubError::Failed { .. }) => true,
            (422, GithubError::Refused(why)) => {
                why.contains(message) && why.contains("read-only labels cannot be changed")
            }
            (403, GithubError::Refused(why)) => {
                why.contains("403 (Resource not accessible) when changing the labels of a runner of http://")
                    && why.contains("Self-hosted runners: read and write")
            }
            _ => false,
        };
        assert!(right, "{status}: {error}");
        assert_eq!(world.seen().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn tokens_are_asked_for_without_a_body_and_show_nowhere() {
    let world = World::new("acme/widgets", |_| {
        says(201, &json!({"token": "CANARYTOKEN", "expires_at": "2026-11-22T13:00:00.000-08:00"}))
    })
    .await;
    for token in [world.client.registration_token().await, world.client.remove_token().await] {
        let token = token.unwrap();
        assert_eq!(token.token.expose_secret(), "CANARYTOKEN");
        assert_eq!(token.expires_at.as_deref(), Some("2026-11-22T13:00:00.000-08:00"));
        assert!(!format!("{token:?}").contains("CANARY"), "{token:?}");
    }
    let seen = world.seen();
    for (seen, kind) in seen.iter().zip(["registration-token", "remove-token"]) {
        let path = format!("/api/v3/repos/acme/widgets/actions/runners/{kind}");
        assert_eq!((seen.method.clone(), seen.uri.path()), (Method::POST, path.as_str()));
        assert!(seen.body.is_empty());
    }

    for body in ["{\"token\": 7, \"x\": \"CANARY\"}", "{\"expires_at\": \"CANARY\"}", "[\"CANARY"] {
        let world = World::new("acme", move |_| answer(201, &[], body)).await;
        let error = world.client.registration_token().await.unwrap_err();
        assert!(matches!(error, GithubError::Failed { .. }), "{error}");
        assert!(!format!("{} {error:?}", chain(&error)).contains("CANARY"), "{error:?}");
    }
}

#[tokio::test]
async fn the_deprecation_of_a_version_is_read_and_a_server_without_it_is_not_a_failure() {
    let version = "2.300.0".parse().unwrap();
    let world = World::new("acme", |_| {
        says(
            200,
            &json!({"runner_version": "2.300.0", "registration_deprecates_at": null,
                          "runtime_deprecates_at": "2026-09-01T00:00:00Z"}),
        )
    })
    .await;
    let planned = world.client.deprecation(version).await.unwrap().unwrap();
    assert_eq!(planned.registration_ends_at, None);
    assert_eq!(planned.jobs_end_at, Some(Timestamp::from_millis(1_788_220_800_000)));
    assert_eq!(world.seen()[0].uri, "/api/v3/orgs/acme/actions/runners/deprecations/2.300.0");

    let world = World::new("acme", |_| complains(404, "Not Found")).await;
    assert_eq!(world.client.deprecation(version).await.unwrap(), None);
    let world = World::new("acme", |_| says(200, &json!({"runtime_deprecates_at": "soon"}))).await;
    assert_eq!(world.client.deprecation(version).await.unwrap().unwrap().jobs_end_at, None);
}

#[tokio::test]
async fn a_manual_mint_may_have_any_name_and_the_default_group_of_its_scope() {
    let world = World::new("enterprises/acme", |request| {
        if request.uri.path().ends_with("/runner-groups") {
            return says(200, &json!({"total_count": 1, "runner_groups": [
                {"id": 4, "name": "Everyone", "default": true, "inherited": null, "selected_workflows": null}]}));
        }
        minted()
    })
    .await;
    let labels = ["gpu".to_owned()];
    let minted = world.client.mint_named("by hand", "Default", &labels).await.unwrap();
    assert_eq!(minted.jit.expose_secret(), "canary-jit");
    let seen = world.seen();
    assert_eq!(seen[1].uri, "/api/v3/enterprises/acme/actions/runners/generate-jitconfig");
    assert_eq!(
        seen[1].json(),
        json!({"name": "by hand", "runner_group_id": 4, "labels": ["gpu"], "work_folder": "_work"})
    );
}
