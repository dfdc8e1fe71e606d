//! The simulated service over plain HTTP, with a client that shares nothing with ours: it refuses
//! what the real one refuses, so that the other tests mean something.

use dayfly::simulator::{ScaleSetRoute as Route, Simulator};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use super::stand::{DEADLINE, Served, is_up, is_waiting, pool, quick, sets, until};

/// Sends a request and gives status and body.
async fn ask(
    method: &str,
    address: &str,
    authorization: &str,
    more: &[(&str, &str)],
    body: &Value,
) -> (u16, Value) {
    let mut request = Request::builder()
        .method(method)
        .uri(address)
        .header("authorization", authorization)
        .header("user-agent", "test/1")
        .header("content-type", "application/json");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(Full::<bytes::Bytes>::from(body)).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(DEADLINE, client.request(request)).await.unwrap().unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

/// The way to the service: its address, and the header that opens it.
async fn registered(simulator: &Simulator) -> (String, String) {
    let rest = format!("{}/api/v3", simulator.url());
    let at = format!("{rest}/orgs/acme/actions/runners/registration-token");
    let (status, token) = ask("POST", &at, "Bearer simulated-token", &[], &Value::Null).await;
    assert_eq!(status, 201);
    let token = token["token"].as_str().unwrap().to_owned();
    let at = format!("{rest}/actions/runner-registration");
    let body = json!({ "url": simulator.scope_url("acme"), "runner_event": "register" });
    let elsewhere = json!({ "url": simulator.scope_url("other"), "runner_event": "register" });
    assert_eq!(ask("POST", &at, &format!("Bearer {token}"), &[], &body).await.0, 401);
    assert_eq!(ask("POST", &at, &format!("RemoteAuth {token}"), &[], &elsewhere).await.0, 400);
    let (status, service) = ask("POST", &at, &format!("RemoteAuth {token}"), &[], &body).await;
    assert_eq!(status, 200);
    let base = format!("{}_apis", service["url"].as_str().unwrap());
    (base, format!("Bearer {}", service["token"].as_str().unwrap()))
}

#[tokio::test]
async fn tokens_are_good_for_their_own_server_only_and_a_name_is_taken_once() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let (base, admin) = registered(&simulator).await;
    let at = format!("{base}/runtime/runnerscalesets?api-version=6.0-preview");
    let body = json!({ "name": "linux", "runnerGroupId": 1, "labels": [{ "type": "System", "name": "linux" }],
        "RunnerSetting": {}, "createdOn": "0001-01-01T00:00:00Z" });
    let unversioned = format!("{base}/runtime/runnerscalesets");
    assert_eq!(ask("POST", &unversioned, &admin, &[], &body).await.0, 400, "without api-version");
    assert_eq!(ask("POST", &at, "Bearer simulated-token", &[], &body).await.0, 401);
    let (status, set) = ask("POST", &at, &admin, &[], &body).await;
    assert_eq!((status, &set["RunnerSetting"]["disableUpdate"]), (200, &json!(false)));
    assert_eq!(ask("POST", &at, &admin, &[], &body).await.0, 400);
    let sessions = format!("{base}/runtime/runnerscalesets/{}/sessions?api-version=6.0-preview", set["id"]);
    let (status, session) = ask("POST", &sessions, &admin, &[], &json!({ "ownerName": "a" })).await;
    assert_eq!(status, 200);
    let (status, conflict) = ask("POST", &sessions, &admin, &[], &json!({ "ownerName": "b" })).await;
    assert_eq!(status, 409);
    assert!(conflict["typeName"].as_str().unwrap().contains("SessionConflictException"));
    let queue = session["messageQueueUrl"].as_str().unwrap();
    let token = format!("Bearer {}", session["messageQueueAccessToken"].as_str().unwrap());
    let most = [("x-scalesetmaxcapacity", "5")];
    assert_eq!(ask("GET", queue, &admin, &most, &Value::Null).await.0, 401);
    assert_eq!(ask("GET", queue, &token, &[], &Value::Null).await.0, 400, "without capacity");
    assert_eq!(ask("GET", &format!("{queue}&lastMessageId=0"), &token, &most, &Value::Null).await.0, 400);
    assert_eq!(ask("GET", queue, &token, &most, &Value::Null).await.0, 202);
    assert_eq!(ask("GET", &at, &token, &[], &Value::Null).await.0, 401);
}

#[tokio::test]
async fn automatic_updates_are_disabled_in_a_set_that_another_client_created() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let (base, admin) = registered(&simulator).await;
    let at = format!("{base}/runtime/runnerscalesets?api-version=6.0-preview");
    assert_eq!(ask("POST", &at, &admin, &[], &json!({ "name": "linux", "runnerGroupId": 1 })).await.0, 200);
    let (_directory, sets) = sets(&simulator.scope_url("acme"), "simulated-token");
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    let knobs = simulator.scale_sets();
    until("the set is changed", || knobs.count(Route::Update, 200) == 1).await;
    let other = Served::begin(&sets, pool("linux", &["linux"]));
    other.heard("waiting", 2, is_waiting).await;
    other.end().await;
    let order: Vec<Route> = knobs.requests().iter().map(|asked| asked.route).collect();
    let at = |route| order.iter().position(|asked| *asked == route).unwrap();
    assert!(at(Route::Open) < at(Route::Update), "a set may be somebody else's until its session is ours");
    assert_eq!(knobs.count(Route::Update, 200), 1);
    let set = sets.find("Default", "linux").await.unwrap().unwrap();
    assert_eq!((set.update_disabled, set.labels.as_slice()), (Some(true), ["linux".to_owned()].as_slice()));
    served.end().await;
}
