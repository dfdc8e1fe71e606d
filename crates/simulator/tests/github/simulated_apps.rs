//! GitHub Apps, their tokens and enterprises in the simulated GitHub, over plain HTTP.

use crate::{
    jwt, keys,
    wire::{Answer, delete, get, post, request, send},
};
use dayfly_simulator::{Presence, Settings, Simulator};
use hyper::{
    Method,
    header::{AUTHORIZATION, HeaderValue},
};
use serde_json::{Value, json};

const RUNNERS: &str = "/orgs/acme/actions/runners";

fn wish(name: &str) -> Value {
    json!({ "name": name, "runner_group_id": 1, "labels": ["linux"] })
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).parse().unwrap()
}

/// The same request with another credential.
async fn with_token(simulator: &Simulator, method: Method, path: &str, token: &str) -> Answer {
    let mut request = request(simulator, method, path);
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    request.headers_mut().insert(AUTHORIZATION, value);
    send(request).await.unwrap()
}

#[tokio::test]
async fn a_json_web_token_is_verified_by_key_and_clock() {
    let simulator =
        Simulator::start(Settings { apps: vec![keys::app()], ..Settings::default() }).await.unwrap();
    let status = async |jwt: &str| with_token(&simulator, Method::GET, "/app", jwt).await.status;
    assert_eq!(status(&jwt::from("Iv23liabc", -60, 540)).await, 200);
    assert_eq!(status(&jwt::from("7", -60, 540)).await, 200);
    for (jwt, refused) in [
        (jwt::from("8", -60, 540), 404),
        (jwt::from("7", 60, 540), 401),
        (jwt::from("7", -60, 700), 401),
        (jwt::from("7", -700, -60), 401),
        (jwt::from("7", -60, 540).replace('.', ".e"), 401),
        (format!("{}AAAA", jwt::from("7", -60, 540)), 401),
        (jwt::with(&json!({ "iss": 7 })), 401),
        ("simulated-token".to_owned(), 401),
    ] {
        assert_eq!(status(&jwt).await, refused, "{jwt}");
    }
    simulator.set(|settings| settings.clock_ahead = 900);
    let late = with_token(&simulator, Method::GET, "/app", &jwt::from("7", -60, 540)).await;
    assert_eq!(late.status, 401);
    assert_eq!(status(&jwt::from("7", 840, 1440)).await, 200, "by its own clock");
    let date = jiff::fmt::rfc2822::parse(late.header("date")).unwrap().timestamp();
    let ahead = date.as_second() - jiff::Timestamp::now().as_second();
    assert!((895..=900).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn an_installation_token_reaches_its_account_as_far_as_was_granted_until_it_expires() {
    let mut settings = Settings { apps: vec![keys::app()], ..Settings::default() };
    settings.scopes.extend(["umbrella", "umbrella/corp", "enterprises/acme"].map(str::to_owned));
    let simulator = Simulator::start(settings).await.unwrap();
    let mint = "/app/installations/41/access_tokens";
    let issue = async || {
        let answer = with_token(&simulator, Method::POST, mint, &jwt::from("7", -60, 540)).await;
        assert_eq!(answer.status, 201);
        answer.json().unwrap()
    };
    let issued = issue().await;
    let token = issued["token"].as_str().unwrap();
    assert_eq!((token.len(), token.contains('.'), &token[..6]), (520, true, "ghs_7_"));
    assert_eq!(issued["permissions"]["administration"], "write");
    let status = async |method: Method, path: &str| with_token(&simulator, method, path, token).await.status;
    for (path, expected) in [
        (RUNNERS, 200),
        ("/repos/acme/widgets/actions/runners", 200),
        ("/orgs/acme", 200),
        ("/orgs/umbrella/actions/runners", 404),
        ("/repos/umbrella/corp/actions/runners", 404),
        ("/enterprises/acme/actions/runners", 403),
        ("/app", 401),
    ] {
        assert_eq!(status(Method::GET, path).await, expected, "{path}");
    }
    simulator.set(|settings| {
        let permissions = &mut settings.apps[0].installations[0].permissions;
        permissions.insert("organization_self_hosted_runners".to_owned(), "read".to_owned());
    });
    assert_eq!(status(Method::GET, RUNNERS).await, 200);
    let refused = with_token(&simulator, Method::DELETE, &format!("{RUNNERS}/1"), token).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("x-accepted-github-permissions"), "organization_self_hosted_runners=write");
    // Two tokens of one installation draw from one budget.
    let before = number(&with_token(&simulator, Method::GET, "/rate_limit", token).await, "x-ratelimit-used");
    let other = issue().await;
    let other = with_token(&simulator, Method::GET, "/rate_limit", other["token"].as_str().unwrap()).await;
    assert_eq!(number(&other, "x-ratelimit-used"), before);
    simulator.set(|settings| settings.clock_ahead = 3601);
    assert_eq!(status(Method::GET, RUNNERS).await, 401, "an hour is over");
}

#[tokio::test]
async fn an_enterprise_has_runners_and_groups_and_only_classic_tokens_reach_it() {
    let tokens = ["simulated-token", "github_pat_fine"].map(str::to_owned).to_vec();
    let settings = Settings { scopes: vec!["enterprises/acme".to_owned()], tokens, ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let runners = "/enterprises/acme/actions/runners";
    let minted = post(&simulator, &format!("{runners}/generate-jitconfig"), &wish("one")).await;
    assert_eq!(minted.status, 201);
    simulator.register("enterprises/acme", "two", &[], Presence::Idle);
    let page = get(&simulator, &format!("{runners}?per_page=1")).await;
    assert!(page.header("link").contains("/api/v3/enterprises/acme/actions/runners?per_page=1&page=2"));
    assert_eq!(
        get(&simulator, "/enterprises/acme/actions/runner-groups").await.json().unwrap()["total_count"],
        1
    );
    for path in ["/enterprises/acme", "/repos/enterprises/acme", "/orgs/enterprises/actions/runners"] {
        assert_eq!(get(&simulator, path).await.status, 404, "{path}");
    }
    assert_eq!(with_token(&simulator, Method::GET, runners, "github_pat_fine").await.status, 403);
    assert_eq!(delete(&simulator, &format!("{runners}/1")).await.status, 204);
}
