//! What credentials are, what they may do, and until when.

use super::*;
use crate::keys;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_reported_with_where_it_is_kept() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    stand.token("ghp_wrong");
    stand.configure(&pool(&simulator.scope_url("acme")));
    let said = check(&stand).await;
    let line = said.line(&["scope", "401"]);
    assert!(line.starts_with("[fail]") && line.contains("token file "), "{line}");
    assert_eq!(said.code(), 2);
    assert!(!said.out.contains("ghp_wrong"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_is_a_directory_gets_no_advice_about_its_mode() {
    let stand = Stand::new();
    std::fs::remove_file(stand.path().join("token")).unwrap();
    std::fs::create_dir(stand.path().join("token")).unwrap();
    stand.configure(&pool("http://127.0.0.1:1/acme"));
    let said = check(&stand).await;
    assert!(
        said.line(&["token_file", "names a directory"]).contains("set the path of the file in it"),
        "{said:?}"
    );
    assert!(!said.out.contains("chmod"), "{said:?}");
}

/// A simulator with an App, and a pool that uses it.
async fn with_app(keys: &str) -> (Simulator, Stand) {
    let settings = Settings { apps: vec![crate::keys::app()], ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let stand = Stand::new();
    stand.secret("app.pem", include_str!("../../../keys/app.pkcs1.pem"));
    let pool =
        pool(&simulator.scope_url("acme")).replace("labels", &format!("credentials = \"app\"\n{keys}labels"));
    stand.configure(&format!("[credentials.app]\napp_id = 7\nprivate_key_file = \"app.pem\"\n{pool}"));
    (simulator, stand)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_as_github_names_it_with_who_must_approve_it() {
    let accepted =
        vec![("x-accepted-github-permissions", "organization_self_hosted_runners=read".to_owned())];
    let complaint = json!({ "message": "Resource not accessible by personal access token" });
    let url = oracle(vec![
        ("/orgs/acme", 200, vec![], json!({ "login": "acme" })),
        ("/orgs/acme/actions/runners", 403, accepted.clone(), complaint.clone()),
        ("/orgs/acme/actions/runner-groups", 403, accepted, complaint),
    ])
    .await;
    let stand = Stand::new();
    stand.configure(&pool(&format!("{url}/acme")));
    let said = check(&stand).await;
    let line = said.line(&["403", "listing the runners"]);
    for part in [
        "[fail]",
        "organization_self_hosted_runners=read",
        "Self-hosted runners",
        "an owner",
        "/settings/tokens",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(said.code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_token_without_its_scope_fails_and_one_with_it_does_not() {
    for (scopes, verdict) in [("repo, workflow", "[fail]"), ("admin:org, repo", "[ok]")] {
        let scopes = vec![("x-oauth-scopes", scopes.to_owned())];
        let url = oracle(vec![
            ("/orgs/acme", 200, scopes, json!({ "login": "acme" })),
            ("/orgs/acme/actions/runners", 200, vec![], no_runners()),
        ])
        .await;
        let stand = Stand::new();
        stand.configure(&pool(&format!("{url}/acme")));
        let said = check(&stand).await;
        assert!(said.line(&["the token", "\"admin:org\""]).starts_with(verdict), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_scopes_are_held_to_what_the_pools_need() {
    let with = |scopes: &str| Settings { token_scopes: Some(scopes.to_owned()), ..Settings::default() };
    let both = "demand = [\"queue\", \"webhook\"]\nrepositories = [\"widgets\"]\n";
    let said = reported(with("admin:org"), "acme", both).await;
    assert!(said.line(&["the token has the scope \"admin:org\""]).starts_with("[ok]"));
    for lacking in ["lacks the scope \"repo\"", "lacks the scope \"admin:org_hook\""] {
        assert!(said.line(&[lacking]).starts_with("[warn]"), "{lacking}: {said:?}");
    }
    let said = reported(with("admin:org, repo, admin:org_hook"), "acme", both).await;
    assert!(!said.out.contains("lacks the scope"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_permissions_count_once_they_are_approved() {
    let (simulator, stand) = with_app("demand = [\"queue\"]\n").await;
    let said = check(&stand).await;
    assert!(said.line(&["credential \"app\"", "has a private key"]).starts_with("[ok]"), "{said:?}");
    assert!(said.line(&["the App's installation 41 may add runners"]).starts_with("[ok]"), "{said:?}");
    assert!(
        said.line(&["rate limit of credential \"app\"", "/acme: ", "an hour at rest"]).starts_with("[ok]"),
        "{said:?}"
    );
    assert!(!said.out.contains("lacks"), "{said:?}");

    simulator.set(|settings| {
        let permissions = &mut settings.apps[0].installations[0].permissions;
        permissions.remove("actions");
        permissions.insert("organization_self_hosted_runners".to_owned(), "read".to_owned());
    });
    let said = check(&stand).await;
    let line = said.line(&["lacks organization_self_hosted_runners: write"]);
    assert!(line.starts_with("[fail]") && line.contains("an owner of acme must approve it"), "{line}");
    assert!(said.line(&["lacks actions: read"]).starts_with("[warn]"), "{said:?}");
    assert_eq!(said.code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_a_token_is_reported_and_checked_against_the_scope() {
    let fine_grained = "github_pat_11AA_bb";
    let settings = Settings {
        scopes: vec!["acme".to_owned(), "enterprises/big".to_owned()],
        tokens: vec![fine_grained.to_owned(), "ghp_0123".to_owned()],
        token_expiration: Some("2020-01-01 00:00:00 UTC".to_owned()),
        token_scopes: Some("repo".to_owned()),
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await.unwrap();
    let stand = Stand::new();
    stand.token(fine_grained);
    stand.configure(&pool(&simulator.scope_url("enterprises/big")));
    let said = check(&stand).await;
    assert!(
        said.line(&["provides a fine-grained token", "credential \"default\":"]).starts_with("[ok]"),
        "{said:?}"
    );
    let line = said.line(&["only classic tokens can manage an enterprise's runners"]);
    assert!(line.starts_with("[fail]") && line.contains("manage_runners:enterprise"), "{line}");
    stand.token("ghp_0123");
    let said = check(&stand).await;
    assert!(said.line(&["provides a classic token"]).starts_with("[ok]"), "{said:?}");
    assert!(said.line(&["lacks the scope \"manage_runners:enterprise\""]).starts_with("[fail]"), "{said:?}");
    assert!(said.line(&["the token expires at"]).starts_with("[warn]"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_github_app_was_granted_is_reported() {
    let settings = Settings { apps: vec![keys::app()], tokens: Vec::new(), ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    stand.use_app();
    let said = check(&stand).await;
    assert!(
        said.line(&["credential \"default\": GitHub App 7 has a private key"]).starts_with("[ok]"),
        "{said:?}"
    );
    assert!(said.line(&["installation 41 may add runners"]).starts_with("[ok]"), "{said:?}");
    assert!(!said.out.contains("kind of token"), "{said:?}");

    simulator.set(|settings| {
        let permissions = &mut settings.apps[0].installations[0].permissions;
        permissions.insert("organization_self_hosted_runners".to_owned(), "read".to_owned());
    });
    let said = check(&stand).await;
    let line = said.line(&["lacks organization_self_hosted_runners: write"]);
    assert!(line.starts_with("[fail]") && line.contains("approve"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_soon_is_reported() {
    let in_three_days = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(72);
    let end = in_three_days.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let settings = Settings { token_expiration: Some(end), ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    let said = check(&stand).await;
    let line = said.line(&["the token expires at"]);
    assert!(line.starts_with("[warn]") && line.contains("without a restart"), "{line}");
}
