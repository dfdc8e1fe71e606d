//! GitHub Apps against the simulated GitHub: one token for all, renewed in time, with clear errors.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use dayfly::{
    github::{AppSource, Client, Credential, GithubError, RunnerApi},
    simulator::{Endpoint, Fault, FaultKind, Installation, Settings, Simulator},
};
use futures_util::future::join_all;

use super::world::{World, chain, complains, runner_name};
use crate::captured_log::CapturedLog;
use crate::keys;

fn key(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

/// A GitHub with an App on two accounts, and nothing else to get in with.
async fn github() -> Simulator {
    let mut app = keys::app();
    app.installations.push(Installation::new(42, "umbrella"));
    let scopes = ["acme", "acme/widgets", "umbrella/corp", "elsewhere"].map(str::to_owned).to_vec();
    Simulator::start(Settings { scopes, apps: vec![app], tokens: Vec::new(), ..Settings::default() })
        .await
        .unwrap()
}

fn source(app_id: &str) -> AppSource {
    AppSource { app_id: app_id.to_owned(), private_key_file: key("app.pkcs1.pem"), installation_id: None }
}

fn app() -> Credential {
    Credential::new(source("Iv23liabc"))
}

fn client(simulator: &Simulator, scope: &str, credential: &Credential) -> Client {
    Client::new(simulator.scope_url(scope).parse().unwrap(), credential, Arc::new(|_| {})).unwrap()
}

fn minted(simulator: &Simulator) -> u64 {
    simulator.count(Endpoint::MintInstallationToken)
}

async fn refusal(simulator: &Simulator, scope: &str, credential: &Credential) -> String {
    match client(simulator, scope, credential).list().await {
        Err(GithubError::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn both_forms_of_a_key_and_of_an_id_get_in() {
    let simulator = github().await;
    for (app_id, file) in [("Iv23liabc", "app.pkcs1.pem"), ("7", "app.pkcs8.pem")] {
        let credential = Credential::new(AppSource { private_key_file: key(file), ..source(app_id) });
        let client = client(&simulator, "acme", &credential);
        client.list().await.unwrap();
        let name = runner_name();
        let labels = ["linux".to_owned()];
        let mint = dayfly::github::Mint { name: &name, group: "Default", labels: &labels };
        let minted = client.mint(mint).await.unwrap();
        client.delete(minted.id).await.unwrap();
        assert_eq!(client.app_grant().unwrap().installation_id, 41);
        assert_eq!(client.token_expires_at(), None);
    }
}

#[tokio::test]
async fn many_at_once_get_one_token() {
    let simulator = github().await;
    let credential = app();
    let [organization, repository] =
        ["acme", "acme/widgets"].map(|scope| client(&simulator, scope, &credential));
    let calls = (0..20).map(|at| if at % 2 == 0 { organization.list() } else { repository.list() });
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(minted(&simulator), 1);
    assert_eq!(simulator.count(Endpoint::GetInstallation), 2, "one for each scope");
}

#[tokio::test]
async fn many_that_are_refused_at_once_get_one_new_token() {
    let simulator = github().await;
    let client = client(&simulator, "acme", &app());
    client.list().await.unwrap();
    simulator.revoke_installation_tokens();
    let outcomes = join_all((0..20).map(|_| client.list())).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(minted(&simulator), 2);
}

#[tokio::test]
async fn the_same_installation_of_two_servers_is_two() {
    let (one, other) = (github().await, github().await);
    let credential = app();
    for simulator in [&one, &other, &one, &other] {
        client(simulator, "acme", &credential).list().await.unwrap();
    }
    assert_eq!([minted(&one), minted(&other)], [1, 1]);
    let refused = [&one, &other]
        .map(|simulator| simulator.requests().iter().filter(|request| request.status == Some(401)).count());
    assert_eq!(refused, [0, 0]);
}

#[tokio::test]
async fn accounts_and_their_limits_are_kept_apart() {
    let simulator = github().await;
    let credential = app();
    let acme = client(&simulator, "acme", &credential);
    let umbrella = client(&simulator, "umbrella/corp", &credential);
    for _ in 0..3 {
        acme.records().await.unwrap();
        simulator.register(
            "acme",
            &format!("r{}", simulator.requests().len()),
            &[],
            dayfly::simulator::Presence::Idle,
        );
    }
    umbrella.records().await.unwrap();
    assert_eq!(minted(&simulator), 2);
    assert_eq!([&acme, &umbrella].map(|client| client.app_grant().unwrap().installation_id), [41, 42]);
    assert_eq!([&acme, &umbrella].map(|client| client.rate().unwrap().remaining), [4997, 4999]);
    simulator.fault(Fault::new(FaultKind::SecondaryLimit(Duration::from_mins(5))).within("acme").times(1));
    assert!(matches!(acme.records().await, Err(GithubError::RateLimited { .. })));
    assert!(matches!(acme.records().await, Err(GithubError::RateLimited { .. })));
    umbrella.records().await.unwrap();
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let simulator = github().await;
    let client = client(&simulator, "acme", &app());
    simulator.set(|settings| settings.installation_token_life = Duration::from_secs(301 + 60));
    client.list().await.unwrap();
    client.list().await.unwrap();
    assert_eq!(minted(&simulator), 1, "it is good for more than five minutes");
    // What it gets for the revoked one has less than five minutes left.
    simulator.revoke_installation_tokens();
    simulator.set(|settings| settings.installation_token_life = Duration::from_secs(299));
    client.list().await.unwrap();
    assert_eq!(minted(&simulator), 2, "renewed on the 401");
    client.list().await.unwrap();
    assert_eq!(minted(&simulator), 3, "renewed while it was still good");
    let refused = simulator.requests().iter().filter(|request| request.status == Some(401)).count();
    assert_eq!(refused, 1, "the one that was revoked");
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_token_in_use_while_it_is_good() {
    let simulator = github().await;
    let client = client(&simulator, "acme", &app());
    simulator.set(|settings| settings.installation_token_life = Duration::from_secs(299));
    client.list().await.unwrap();
    simulator.fault(Fault::new(FaultKind::Status(502)).on(Endpoint::MintInstallationToken));
    client.list().await.unwrap();
    client.list().await.unwrap();
    assert_eq!(minted(&simulator), 2, "it is not tried again at once");
    simulator.revoke_installation_tokens();
    assert!(matches!(client.list().await, Err(GithubError::Failed { .. })));
    simulator.clear_faults();
    client.list().await.unwrap();
}

#[tokio::test]
async fn a_failure_to_get_a_token_is_one_request_for_all_who_wait() {
    let simulator = github().await;
    simulator.fault(Fault::new(FaultKind::Status(503)).on(Endpoint::MintInstallationToken));
    let client = client(&simulator, "acme", &app());
    let outcomes = join_all((0..20).map(|_| client.list())).await;
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Err(GithubError::Failed { .. }))),
        "{outcomes:?}"
    );
    assert_eq!(minted(&simulator), 1);
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute_and_a_half_and_by_more_it_is_reported() {
    for ahead in [90, -90, 280, -280] {
        let simulator = github().await;
        simulator.set(|settings| settings.clock_ahead = ahead);
        let client = client(&simulator, "acme", &app());
        client.list().await.unwrap_or_else(|error| panic!("{ahead}: {}", chain(&error)));
        client.list().await.unwrap();
        assert_eq!(minted(&simulator), 1, "{ahead}");
    }
    for (ahead, reported) in [(900, "(behind)"), (-900, "(ahead)")] {
        let simulator = github().await;
        simulator.set(|settings| settings.clock_ahead = ahead);
        let text = refusal(&simulator, "acme", &app()).await;
        let minutes = ["15 min", "14 min 59 s"].iter().any(|minutes| text.contains(minutes));
        assert!(
            minutes && text.contains("clock differs from GitHub's by") && text.contains(reported),
            "{text}"
        );
    }
}

#[tokio::test]
async fn errors_of_an_app_are_reported_with_a_hint() {
    let simulator = github().await;
    let elliptic = Credential::new(AppSource { private_key_file: key("elliptic.pem"), ..source("7") });
    assert!(refusal(&simulator, "acme", &elliptic).await.contains("no usable RSA key"));
    assert!(simulator.requests().is_empty());

    let text = refusal(&simulator, "elsewhere", &app()).await;
    assert!(text.contains("not installed on this account") && text.contains("/elsewhere"), "{text}");
    let text = refusal(&simulator, "acme", &Credential::new(source("Iv23other"))).await;
    assert!(text.contains("Integration not found") && text.contains("app_id is wrong"), "{text}");
    let given = Credential::new(AppSource { installation_id: Some(99), ..source("7") });
    let text = refusal(&simulator, "acme", &given).await;
    assert!(text.contains("check installation_id"), "{text}");

    simulator.set(|settings| settings.apps[0].public_key = vec![1; 256]);
    // A clock that is a little wrong is not blamed for it.
    simulator.set(|settings| settings.clock_ahead = 90);
    let text = refusal(&simulator, "acme", &app()).await;
    assert!(text.contains("401") && text.contains("app.pkcs1.pem does not belong to this App"), "{text}");
    simulator.set(|settings| {
        settings.apps[0].public_key = keys::app().public_key;
        settings.clock_ahead = 0;
    });

    simulator.set(|settings| settings.apps[0].installations[0].suspended = true);
    for installation_id in [None, Some(41)] {
        let credential = Credential::new(AppSource { installation_id, ..source("7") });
        let text = refusal(&simulator, "acme", &credential).await;
        assert!(text.contains("suspended") && text.contains("an owner of acme"), "{text}");
    }
}

#[tokio::test]
async fn a_permission_that_was_not_granted_is_named() {
    let simulator = github().await;
    simulator.set(|settings| {
        let permissions = &mut settings.apps[0].installations[0].permissions;
        permissions.insert("organization_self_hosted_runners".to_owned(), "read".to_owned());
        permissions.remove("administration");
    });
    let credential = app();
    let organization = client(&simulator, "acme", &credential);
    organization.list().await.unwrap();
    let text = organization.delete(dayfly::fleet::RegistrationId(1)).await.unwrap_err().to_string();
    for part in ["organization_self_hosted_runners: write (it has: read)", "approve", "GitHub App Iv23liabc"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = refusal(&simulator, "acme/widgets", &credential).await;
    assert!(text.contains("administration: write (it has: none)"), "{text}");
    let lacks = organization.probe().await.unwrap();
    assert_eq!(lacks.app_lacks.as_deref(), Some("organization_self_hosted_runners: write"));
    assert_eq!(lacks.app.unwrap().permissions["metadata"], "read");
}

#[tokio::test]
async fn an_app_that_was_installed_again_is_found_again() {
    let simulator = github().await;
    let client = client(&simulator, "acme", &app());
    client.list().await.unwrap();
    simulator.set(|settings| settings.apps[0].installations[0].id = 43);
    simulator.revoke_installation_tokens();
    // The number that is known is gone, which takes one request to find out.
    client.list().await.unwrap_err();
    client.list().await.unwrap();
    assert_eq!(client.app_grant().unwrap().installation_id, 43);
}

#[tokio::test]
async fn neither_tokens_nor_json_web_tokens_are_shown_or_recorded() {
    let log = CapturedLog::default();
    let _guard = log.listen();
    let simulator = github().await;
    let credential = app();
    let client = client(&simulator, "acme", &credential);
    client.list().await.unwrap();
    simulator.set(|settings| settings.apps[0].installations[0].suspended = true);
    simulator.revoke_installation_tokens();
    let error = client.list().await.unwrap_err();
    let shown = format!("{credential:?} {client:?} {error:?} {:?} {}", simulator.requests(), log.text());
    assert!(shown.contains("sent a request to GitHub"), "{shown}");
    assert!(!shown.contains("ghs_") && !shown.contains("eyJ") && !shown.contains("PRIVATE"), "{shown}");
    let schemes: BTreeSet<_> =
        simulator.requests().iter().map(|request| request.headers["authorization"].clone()).collect();
    assert_eq!(schemes, BTreeSet::from(["Bearer".to_owned()]));
}

#[tokio::test]
async fn a_long_token_with_dots_is_not_shown_when_it_is_echoed() {
    let world = World::new("acme", |request| {
        complains(403, &format!("you sent {}", request.header("authorization").unwrap()))
    })
    .await;
    let long = format!("ghs_123456_{}", "eyJ0.b-C_".repeat(57));
    world.rotate(&long[..520]);
    let text = format!("{:?}", world.client.records().await.unwrap_err());
    assert!(text.contains("you sent Bearer [token])") && !text.contains("eyJ0"), "{text}");
}
