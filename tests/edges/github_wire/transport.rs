//! What holds for every request: headers, origin, redirects, tokens, deadlines, broken answers.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    http::Method,
};
use dayfly::{
    fleet::RegistrationId,
    github::{
        Client, Credential, CredentialSource, GithubError, RunnerApi, TokenSource, scale_set::ScaleSets,
    },
};
use futures_util::stream;
use serde_json::json;

use super::world::{SHORT, TOKEN, World, answer, chain, complains, minted, runners, says, serve};
use crate::captured_log::CapturedLog;

#[tokio::test]
async fn every_request_bears_each_header_once() {
    let world = World::new("acme/widgets", |_| says(200, &runners(0, []))).await;
    world.client.list().await.unwrap();
    let request = &world.seen()[0];
    assert_eq!(request.uri, "/api/v3/repos/acme/widgets/actions/runners?per_page=100");
    for (name, value) in [
        ("user-agent", concat!("dayfly/", env!("CARGO_PKG_VERSION"))),
        ("accept", "application/vnd.github+json"),
        ("x-github-api-version", "2022-11-28"),
        ("authorization", &format!("Bearer {TOKEN}")),
    ] {
        let values: Vec<_> = request.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
}

#[tokio::test]
async fn a_link_or_redirect_to_another_origin_is_refused_and_the_token_stays_here() {
    let (elsewhere, stolen) = serve(|_| says(200, &runners(0, []))).await;
    let link = format!("<http://{elsewhere}/api/v3/orgs/acme/actions/runners?page=2>; rel=\"next\"");
    let world =
        World::new("acme", move |_| answer(200, &[("link", &link)], runners(2, [1]).to_string())).await;
    let error = world.client.list().await.unwrap_err();
    assert!(chain(&error).contains("another host"), "{}", chain(&error));

    let location = format!("http://{elsewhere}/");
    let world = World::new("acme", move |_| answer(307, &[("location", &location)], "")).await;
    assert!(matches!(world.client.list().await, Err(GithubError::Failed { .. })));
    assert!(matches!(world.delete().await, Err(GithubError::Failed { .. })));
    assert!(stolen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn redirects_of_the_same_origin_are_followed_where_the_method_stays() {
    for status in [301, 302, 307, 308] {
        let world = World::new("acme/widgets", move |request| match request.uri.to_string() {
            path if path.starts_with("/api/v3/repos/") => {
                let path = path.replace("/repos/acme/widgets", "/repositories/7");
                answer(status, &[("location", &path)], "")
            }
            path if path.ends_with("/generate-jitconfig") => minted(),
            _ => says(200, &runners(1, [1])),
        })
        .await;
        assert_eq!(world.client.list().await.unwrap().registrations.len(), 1);
        let outcome = world.mint().await;
        let seen = world.seen();
        if status >= 307 {
            assert_eq!(outcome.unwrap().id, RegistrationId(23));
            let last = seen.last().unwrap();
            assert_eq!(last.method, Method::POST);
            assert_eq!(last.uri, "/api/v3/repositories/7/actions/runners/generate-jitconfig");
            assert_eq!(last.json()["work_folder"], "_work");
        } else {
            assert!(matches!(outcome.err(), Some(GithubError::Refused(why)) if why.contains("moved")));
            assert_eq!(seen.len(), 3);
        }
    }
    let world =
        World::new("acme", |request| answer(302, &[("location", &request.uri.to_string())], "")).await;
    assert!(chain(&world.client.list().await.unwrap_err()).contains("redirects"));
    assert_eq!(world.seen().len(), 6);
}

#[tokio::test]
async fn a_rotated_token_is_taken_up_and_its_list_is_asked_for_afresh() {
    let valid = Arc::new(Mutex::new(TOKEN.to_owned()));
    let reported = Arc::clone(&valid);
    let world = World::new("acme", move |request| {
        if request.header("authorization") == Some(&format!("Bearer {}", reported.lock().unwrap())) {
            answer(200, &[("etag", "\"one\"")], runners(1, [1]).to_string())
        } else {
            complains(401, "Bad credentials")
        }
    })
    .await;
    world.client.list().await.unwrap();
    // Revoked, and nothing new to be had: one try, one refusal.
    *valid.lock().unwrap() = "ghp_next".to_owned();
    let error = world.client.list().await.unwrap_err().to_string();
    assert!(error.contains("401 (Bad credentials)") && error.contains("token file"), "{error}");
    // Replaced: used without a restart.
    world.rotate("ghp_next\n");
    world.client.list().await.unwrap();
    assert_eq!(world.statuses(), [Some(200), Some(401), Some(200)]);
    assert_eq!(world.seen()[1].header("if-none-match"), Some("\"one\""));
    assert_eq!(world.seen()[2].header("if-none-match"), None);
}

#[tokio::test]
async fn a_401_makes_a_command_run_again_once() {
    let world = World::new("acme", |request| match request.header("authorization") {
        Some("Bearer 2") => says(200, &runners(1, [1])),
        _ => complains(401, "Bad credentials"),
    })
    .await;
    let runs = world.directory.path().join("runs");
    let script = format!("echo x >> {0}; wc -l < {0} | tr -d ' '", runs.display());
    let credential = Credential::new(TokenSource::Command(vec!["sh".into(), "-c".into(), script]));
    let client = Client::new(world.client.scope().clone(), &credential, Arc::new(|_| ())).unwrap();
    assert_eq!(client.list().await.unwrap().registrations.len(), 1);
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn a_command_with_ever_new_tokens_is_not_tried_for_ever() {
    let world = World::new("acme", |_| complains(401, "Bad credentials")).await;
    let runs = world.directory.path().join("runs");
    let script = format!("echo x >> {0}; wc -l < {0} | tr -d ' '", runs.display());
    let credential = Credential::new(TokenSource::Command(vec!["sh".into(), "-c".into(), script]));
    let client = Client::new(world.client.scope().clone(), &credential, Arc::new(|_| ())).unwrap();
    assert!(matches!(client.list().await, Err(GithubError::Refused(_))));
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn an_unusable_token_is_one_clear_line_and_nothing_is_sent() {
    let world = World::new("acme", |_| answer(200, &[], "")).await;
    world.rotate("ghp_a\nghp_b");
    let error = world.client.list().await.unwrap_err();
    assert!(matches!(&error, GithubError::Refused(why) if why.contains("2 lines of text")), "{error}");
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn answers_that_are_no_answers_are_failures() {
    for (status, kind, text) in [
        (200, "text/html", "<html>Sign in</html>"),
        (200, "application/json", r#"{"total_count": 1, "runners": [{"id": 1, "na"#),
        (200, "application/json", ""),
        (502, "text/html", "<html>Bad Gateway</html>"),
        (204, "text/plain", ""),
        (303, "text/plain", ""),
    ] {
        let world =
            World::new("acme/widgets", move |_| answer(status, &[("content-type", kind)], text)).await;
        for error in [world.client.list().await.unwrap_err(), world.mint_error().await] {
            assert!(matches!(error, GithubError::Failed { .. }), "{status} {text}: {error}");
            assert!(!chain(&error).contains("<html>"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure() {
    let world = World::new("acme/widgets", |_| {
        let parts = [Ok("{\"total_count\": 1, \"runners\": ["), Err(std::io::Error::other("cable cut"))];
        answer(200, &[], Body::from_stream(stream::iter(parts)))
    })
    .await;
    assert!(matches!(world.client.list().await, Err(GithubError::Failed { .. })));
    assert!(matches!(world.mint_error().await, GithubError::Failed { .. }));
}

#[tokio::test]
async fn a_body_that_never_ends_meets_the_deadline() {
    let world = World::with_deadline("acme/widgets", SHORT, |_| {
        answer(200, &[], Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()))
    })
    .await;
    let began = Instant::now();
    let error = world.client.list().await.unwrap_err();
    assert!(chain(&error).contains("within 0.2 s"), "{}", chain(&error));
    assert!(began.elapsed() >= SHORT && began.elapsed() < Duration::from_secs(30));
    assert_eq!(world.statuses(), [None]);
}

#[tokio::test]
async fn an_endless_body_is_not_collected() {
    let world = World::new("acme/widgets", |_| {
        let block = Bytes::from(vec![b' '; 1 << 20]);
        answer(
            200,
            &[],
            Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(block.clone()))),
        )
    })
    .await;
    let error = world.client.list().await.unwrap_err();
    assert!(chain(&error).contains("length limit"), "{}", chain(&error));
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let world = World::new("acme", |_| says(200, &runners(0, []))).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let scope = format!("http://{free}/acme").parse().unwrap();
    let client = Client::new(scope, &world.credential(), Arc::new(|_| ())).unwrap();
    let error = client.list().await.unwrap_err();
    assert!(matches!(error, GithubError::Unreachable(_)), "{error}");
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
}

#[test]
fn a_client_survives_the_runtime_that_it_was_first_used_in() {
    let serving = tokio::runtime::Runtime::new().unwrap();
    let world = serving.block_on(World::new("acme", |_| says(200, &runners(1, [1]))));
    let first = tokio::runtime::Runtime::new().unwrap();
    first.block_on(world.client.list()).unwrap();
    drop(first);
    let second = tokio::runtime::Runtime::new().unwrap();
    // octocrab's worker is gone with its runtime; that is one failure, not a permanent one.
    let outcomes = [second.block_on(world.client.list()), second.block_on(world.client.list())];
    assert_eq!(outcomes[1].as_ref().unwrap().registrations.len(), 1);
}

#[test]
fn a_credential_goes_to_no_other_machine_over_plain_http() {
    let credential = |allow_plain_http| {
        let token = CredentialSource::from(TokenSource::Env("GITHUB_TOKEN".to_owned()));
        Credential::new(CredentialSource { allow_plain_http, ..token })
    };
    let client = |url: &str, allow| Client::new(url.parse().unwrap(), &credential(allow), Arc::new(|_| {}));
    for url in [
        "http://git.acme.example/acme",
        "http://10.0.0.1:3000/acme/widgets",
        "http://localhost.acme.example/a",
    ] {
        let error = client(url, false).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, GithubError::Refused(_)) && text.contains("plain http"), "{text}");
        assert!(text.contains("allow_plain_http = true"), "{text}");
        assert!(client(url, true).is_ok(), "{url}");
    }
    for url in
        ["https://git.acme.example/acme", "http://localhost:1/a", "http://127.9.9.9/a", "http://[::1]:1/a"]
    {
        assert!(client(url, false).is_ok(), "{url}");
    }
}

#[tokio::test]
async fn a_scale_set_service_elsewhere_gets_no_token_over_plain_http() {
    let world = World::new("acme", |request| {
        if request.uri.path().ends_with("/registration-token") {
            return says(201, &json!({"token": "canary-registration", "expires_at": null}));
        }
        says(200, &json!({"url": "http://service.example/tenant/", "token": "canary-admin"}))
    })
    .await;
    let error = ScaleSets::new(world.client.clone()).find("Default", "linux").await.unwrap_err().to_string();
    assert!(error.contains("plain http to service.example"), "{error}");
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn no_secret_shows_in_debug_reports_or_errors_even_if_the_other_side_echoes_it() {
    let world = World::new("acme/widgets", |request| {
        // As who shortens what was sent.
        let sent = request.header("authorization").unwrap();
        let echo = format!("you sent {}", &sent[..sent.len() - 3]);
        let errors = json!([echo, {"message": echo}, {"field": echo, "code": echo}]);
        says(403, &json!({"message": echo, "errors": errors}))
    })
    .await;
    let errors =
        [world.client.list().await.unwrap_err(), world.mint_error().await, world.delete().await.unwrap_err()];
    let shown = format!("{:?} {errors:?} {:?} {}", world.client, world.reports(), errors[0]);
    assert!(!shown.contains("canary") && shown.contains("[token]"), "{shown}");
}

#[tokio::test]
async fn no_secret_shows_in_logs_at_any_level_under_the_caps() {
    let log = CapturedLog::default();
    let _guard = log.listen();
    let world = World::new("acme/widgets", |request| match request.method {
        Method::POST => minted(),
        Method::DELETE => complains(500, "Server Error"),
        _ => says(200, &runners(1, [1])),
    })
    .await;
    world.client.list().await.unwrap();
    world.mint().await.unwrap();
    world.delete().await.unwrap_err();
    let logged = log.text();
    assert_eq!(logged.matches("sent a request to GitHub").count(), 3, "{logged}");
    assert!(!logged.contains("canary") && !logged.contains("octocrab"), "{logged}");
    assert!(!logged.contains("ERROR") && !logged.contains("WARN"), "{logged}");
}

#[test]
fn without_certificate_authorities_https_says_what_to_install_and_http_works() {
    // The process must have no certificates from its start, so the test runs itself again.
    const AGAIN: &str = "DAYFLY_TEST_WITHOUT_CERTIFICATES";
    let name =
        "github_wire::transport::without_certificate_authorities_https_says_what_to_install_and_http_works";
    if std::env::var_os(AGAIN).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(AGAIN, "1")
            .env("SSL_CERT_FILE", "/nonexistent/ca.pem")
            .env("SSL_CERT_DIR", "/nonexistent")
            .output()
            .unwrap();
        let reported = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && reported.contains("1 passed"), "{reported}");
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let world = World::new("acme", |_| says(200, &runners(1, [1]))).await;
        assert_eq!(world.client.list().await.unwrap().registrations.len(), 1);
        let scope = format!("https://{}/acme", world.address).parse().unwrap();
        let client = Client::new(scope, &world.credential(), Arc::new(|_| ())).unwrap();
        let error = client.list().await.unwrap_err();
        assert!(matches!(error, GithubError::Unreachable(_)), "{error}");
        assert!(chain(&error).contains("ca-certificates"), "{}", chain(&error));
        assert_eq!(world.seen().len(), 1);
    });
}
