//! Personal tokens: their expiry is reported, and a new one is used without a failed request.

use std::sync::{Arc, Mutex};

use dayfly::{
    github::{Client, Credential, TokenSource},
    simulator::{Settings, Simulator},
};

use super::world::{World, answer, complains, runners, says};

#[tokio::test]
async fn a_token_file_that_is_replaced_is_used_at_once_and_no_request_fails() {
    let valid = Arc::new(Mutex::new("ghp_one".to_owned()));
    let reported = Arc::clone(&valid);
    let world = World::new("acme", move |request| {
        if request.header("authorization") == Some(&format!("Bearer {}", reported.lock().unwrap())) {
            says(200, &runners(0, []))
        } else {
            complains(401, "Bad credentials")
        }
    })
    .await;
    world.rotate("ghp_one");
    world.client.records().await.unwrap();
    for next in ["ghp_two", &format!("github_pat_{}", "A1.b-C_d".repeat(64))] {
        let beside = world.directory.path().join("token.new");
        std::fs::write(&beside, next).unwrap();
        std::fs::rename(&beside, world.directory.path().join("token")).unwrap();
        next.clone_into(&mut valid.lock().unwrap());
        world.client.records().await.unwrap();
    }
    assert_eq!(world.statuses(), [Some(200); 3]);
}

#[tokio::test]
async fn a_token_s_end_is_known_from_its_answers() {
    let end = Arc::new(Mutex::new("2099-12-01 09:00:00 UTC"));
    let reported = Arc::clone(&end);
    let world = World::new("acme", move |_| {
        let header = [("github-authentication-token-expiration", *reported.lock().unwrap())];
        answer(200, &header, runners(0, []).to_string())
    })
    .await;
    assert_eq!(world.client.token_expires_at(), None);
    world.client.records().await.unwrap();
    let shown = || world.client.token_expires_at().unwrap().to_string();
    assert_eq!(shown(), "2099-12-01T09:00:00.000Z");
    *end.lock().unwrap() = "2099-12-02 09:00:00 +0200";
    world.client.records().await.unwrap();
    assert_eq!(shown(), "2099-12-02T07:00:00.000Z");
    *end.lock().unwrap() = "soon";
    world.client.records().await.unwrap();
    assert_eq!(shown(), "2099-12-02T07:00:00.000Z");
}

#[tokio::test]
async fn a_probe_gives_the_tokens_expiry_and_scopes() {
    let simulator = Simulator::start(Settings {
        token_expiration: Some("2099-12-01 09:00:00 UTC".to_owned()),
        token_scopes: Some("repo, admin:org".to_owned()),
        ..Settings::default()
    })
    .await
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "simulated-token").unwrap();
    let credential = Credential::new(TokenSource::File(path));
    let scope = simulator.scope_url("acme").parse().unwrap();
    let probe = Client::new(scope, &credential, Arc::new(|_| {})).unwrap().probe().await.unwrap();
    assert_eq!(probe.token_expires_at.unwrap().to_string(), "2099-12-01T09:00:00.000Z");
    assert_eq!(probe.token_scopes.unwrap(), ["repo", "admin:org"]);
    assert_eq!((probe.app, probe.app_lacks), (None, None));
}

#[tokio::test]
async fn a_token_that_ends_soon_is_warned_of_once_and_without_it() {
    let log = crate::captured_log::CapturedLog::default();
    let _guard = log.listen();
    let world = World::new("acme", |_| {
        let header = [("github-authentication-token-expiration", "2001-12-01 09:00:00 UTC")];
        answer(200, &header, runners(0, []).to_string())
    })
    .await;
    for _ in 0..3 {
        world.client.records().await.unwrap();
    }
    let logged = log.text();
    assert_eq!(logged.matches("the token expires soon").count(), 1, "{logged}");
    assert!(
        logged.contains("WARN") && logged.contains("token file") && !logged.contains("canary"),
        "{logged}"
    );
}
