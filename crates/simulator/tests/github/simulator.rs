//! The simulated GitHub, over plain HTTP: what the daemon will rely on, and what it has to survive.

use std::time::{Duration, Instant};

use crate::wire::{self, Answer, delete, get, post, request, send};
use dayfly_simulator::{Endpoint, Fault, FaultKind, Presence, Settings, Simulator};
use hyper::{
    Method, Request,
    header::{AUTHORIZATION, HeaderValue, IF_NONE_MATCH, USER_AGENT},
};
use serde_json::{Value, json};

const RUNNERS: &str = "/orgs/acme/actions/runners";
const MINT: &str = "/orgs/acme/actions/runners/generate-jitconfig";

async fn simulator() -> Simulator {
    Simulator::start(Settings::default()).await.unwrap()
}

fn wish(name: &str) -> Value {
    json!({ "name": name, "runner_group_id": 1, "labels": ["self-hosted", "Linux", "X64", "linux"] })
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).parse().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list["runners"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_minted_runner_exists_at_once_offline_and_with_its_labels_lower_cased_and_sorted() {
    let simulator = simulator().await;
    let minted = post(&simulator, MINT, &wish("one")).await;
    assert_eq!(minted.status, 201);
    let minted = minted.json().unwrap();
    assert!(minted["encoded_jit_config"].as_str().unwrap().len() > 4000);
    let listed = get(&simulator, RUNNERS).await.json().unwrap();
    assert_eq!(listed["total_count"], 1);
    let row = &listed["runners"][0];
    assert_eq!(*row, minted["runner"]);
    assert_eq!(
        (&row["status"], &row["busy"], &row["os"]),
        (&json!("offline"), &json!(false), &json!("unknown"))
    );
    let labels: Vec<&Value> = row["labels"].as_array().unwrap().iter().map(|label| &label["name"]).collect();
    assert_eq!(labels, ["linux", "self-hosted", "x64"]);
    let one = get(&simulator, &format!("{RUNNERS}/{}", row["id"])).await;
    assert_eq!(one.json().as_ref(), Some(row));
}

#[tokio::test]
async fn a_mint_is_refused_as_github_refuses_it() {
    let mut settings = Settings { max_registrations: 2, ..Settings::default() };
    settings.groups.push("gpu".to_owned());
    let simulator = Simulator::start(settings).await.unwrap();
    assert_eq!(post(&simulator, MINT, &wish("one")).await.status, 201);
    let mut other_group = wish("two");
    other_group["runner_group_id"] = json!(3);
    assert_eq!(post(&simulator, MINT, &other_group).await.status, 201);
    for (change, status) in [
        (json!({ "name": "one" }), 409),
        (json!({ "runner_group_id": 2 }), 403),
        (json!({ "runner_group_id": 4 }), 404),
        (json!({ "runner_group_id": null }), 422),
        (json!({ "labels": [] }), 422),
        (json!({ "labels": vec!["x"; 101] }), 422),
    ] {
        let mut body = wish("three");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(post(&simulator, MINT, &body).await.status, status, "{change}");
    }
    assert_eq!(post(&simulator, MINT, &wish("three")).await.status, 201);
    let full = post(&simulator, MINT, &wish("four")).await;
    assert_eq!((full.status, full.text.contains("max limit of 2 runners")), (422, true));
    // The same name in another scope is another runner.
    let elsewhere = "/repos/acme/widgets/actions/runners/generate-jitconfig";
    assert_eq!(post(&simulator, elsewhere, &wish("one")).await.status, 201);
    assert_eq!(post(&simulator, MINT, &json!("no object")).await.status, 400);
}

#[tokio::test]
async fn pages_are_linked_by_number_and_the_links_work() {
    let simulator = simulator().await;
    for n in 0..70 {
        simulator.register("acme", &format!("r{n}"), &["linux"], Presence::Offline);
    }
    let first = get(&simulator, RUNNERS).await;
    assert_eq!(names(&first.json().unwrap()).len(), 30, "30 is the default");
    let mut seen = Vec::new();
    let mut next = Some(format!("{RUNNERS}?per_page=100"));
    assert_eq!(
        get(&simulator, next.as_ref().unwrap()).await.json().unwrap()["runners"].as_array().unwrap().len(),
        70
    );
    next = Some(format!("{RUNNERS}?per_page=25"));
    while let Some(path) = next {
        let page = get(&simulator, &path).await;
        let list = page.json().unwrap();
        assert_eq!(list["total_count"], 70);
        seen.extend(names(&list).into_iter().map(str::to_owned));
        let link = page.header("link").to_owned();
        next = link.split(", ").find(|link| link.ends_with("rel=\"next\"")).map(|link| {
            let url = link.trim_start_matches('<').split('>').next().unwrap();
            assert!(
                url.starts_with(&format!("{}/api/v3/organizations/1/actions/runners?", simulator.url())),
                "{url}"
            );
            url.to_owned()
        });
    }
    assert_eq!(seen.len(), 70);
    assert!(get(&simulator, &format!("{RUNNERS}?name=r7")).await.headers.get("link").is_none());
    assert_eq!(names(&get(&simulator, &format!("{RUNNERS}?name=r7")).await.json().unwrap()), ["r7"]);
    // Without the prefix that GHES has, and through it, the same is served.
    let bare = get(&simulator, &format!("{}{RUNNERS}?per_page=100", simulator.url())).await;
    assert_eq!(names(&bare.json().unwrap()).len(), 70);
    assert_eq!(get(&simulator, &format!("{RUNNERS}/")).await.status, 404, "a trailing slash");
}

#[tokio::test]
async fn an_unchanged_list_is_not_sent_again_and_costs_nothing() {
    let simulator = simulator().await;
    let conditional = async |tag: &str| {
        let mut request = request(&simulator, Method::GET, RUNNERS);
        request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_str(tag).unwrap());
        send(request).await.unwrap()
    };
    let first = get(&simulator, RUNNERS).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let again = conditional(&tag).await;
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", tag.as_str()));
    assert_eq!(number(&first, "x-ratelimit-remaining"), number(&again, "x-ratelimit-remaining"));
    simulator.register("acme", "one", &["linux"], Presence::Offline);
    let changed = conditional(&tag).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), tag);
    assert_eq!(number(&changed, "x-ratelimit-remaining") + 1, number(&again, "x-ratelimit-remaining"));
    assert_eq!((simulator.charged(), simulator.count(Endpoint::ListRunners)), (2, 3));
}

#[tokio::test]
async fn each_token_has_a_budget_and_is_refused_when_it_is_used_up() {
    let tokens = vec!["first".to_owned(), "second".to_owned()];
    let settings = Settings { rate_limit: Some(2), tokens, ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let as_token = async |token: &str, path: &str| {
        let mut request = request(&simulator, Method::GET, path);
        request.headers_mut().insert(AUTHORIZATION, format!("token {token}").parse().unwrap());
        send(request).await.unwrap()
    };
    for remaining in [1, 0] {
        let answer = as_token("first", RUNNERS).await;
        assert_eq!((answer.status, number(&answer, "x-ratelimit-remaining")), (200, remaining));
    }
    let refused = as_token("first", RUNNERS).await;
    assert_eq!((refused.status, number(&refused, "x-ratelimit-remaining")), (403, 0));
    assert!(number(&refused, "x-ratelimit-reset") > 1_700_000_000);
    assert!(!refused.header("x-github-request-id").is_empty());
    assert_eq!(as_token("second", RUNNERS).await.status, 200);
    let reported = as_token("first", "/rate_limit").await.json().unwrap();
    assert_eq!(
        (&reported["resources"]["core"]["remaining"], &reported["rate"]["limit"]),
        (&json!(0), &json!(2))
    );
}

#[tokio::test]
async fn a_server_without_limits_sends_no_limit_headers() {
    let simulator = Simulator::start(Settings { rate_limit: None, ..Settings::default() }).await.unwrap();
    let answer = get(&simulator, RUNNERS).await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("x-ratelimit")));
    assert_eq!(get(&simulator, "/rate_limit").await.status, 404);
}

#[tokio::test]
async fn a_missing_permission_is_reported() {
    let read_only_tokens = vec!["reader".to_owned()];
    let simulator = Simulator::start(Settings { read_only_tokens, ..Settings::default() }).await.unwrap();
    let changed = async |method: Method, path: &str, change: &dyn Fn(&mut Request<_>)| {
        let mut request = request(&simulator, method, path);
        change(&mut request);
        send(request).await.unwrap().status
    };
    let reader = |request: &mut Request<_>| {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer reader"));
    };
    let stranger = |request: &mut Request<_>| {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer stranger"));
    };
    let nobody = |request: &mut Request<_>| drop(request.headers_mut().remove(AUTHORIZATION));
    let nameless = |request: &mut Request<_>| drop(request.headers_mut().remove(USER_AGENT));
    let modern = |request: &mut Request<_>| {
        request.headers_mut().insert("x-github-api-version", HeaderValue::from_static("2099-01-01"));
    };
    assert_eq!(changed(Method::GET, RUNNERS, &reader).await, 200);
    assert_eq!(changed(Method::POST, MINT, &reader).await, 403);
    assert_eq!(changed(Method::GET, RUNNERS, &stranger).await, 401);
    assert_eq!(changed(Method::GET, RUNNERS, &nobody).await, 401);
    assert_eq!(changed(Method::GET, RUNNERS, &nameless).await, 403);
    assert_eq!(changed(Method::GET, RUNNERS, &modern).await, 400);
    let log = format!("{:?}", simulator.requests());
    assert!(!log.contains("stranger") && !log.contains("reader"), "tokens are left out of the record");
}

#[tokio::test]
async fn a_removal_is_204_then_404_and_422_while_busy() {
    let simulator = simulator().await;
    let idle = simulator.register("acme", "idle", &[], Presence::Idle).unwrap();
    let busy = simulator.register("acme", "busy", &[], Presence::OfflineBusy).unwrap();
    assert_eq!(simulator.register("nowhere", "x", &[], Presence::Idle), None);
    assert_eq!(delete(&simulator, &format!("/repos/acme/widgets/actions/runners/{idle}")).await.status, 404);
    assert_eq!(delete(&simulator, &format!("{RUNNERS}/{idle}")).await.status, 204);
    assert_eq!(delete(&simulator, &format!("{RUNNERS}/{idle}")).await.status, 404);
    assert_eq!(delete(&simulator, &format!("{RUNNERS}/{busy}")).await.status, 422);
    simulator.fault(Fault::new(FaultKind::BusyLies));
    let row = get(&simulator, &format!("{RUNNERS}/{busy}")).await.json().unwrap();
    assert_eq!(row["busy"], false);
    assert_eq!(delete(&simulator, &format!("{RUNNERS}/{busy}")).await.status, 204, "the lie is believed");
}

#[tokio::test]
async fn faults_meet_what_they_are_meant_for_and_end() {
    let simulator = simulator().await;
    for n in 0..3 {
        simulator.register("acme", &format!("r{n}"), &[], Presence::Busy);
        simulator.register("acme/widgets", &format!("r{n}"), &[], Presence::Idle);
    }
    let widgets = "/repos/acme/widgets/actions/runners";
    simulator.fault(Fault::new(FaultKind::Html(502)).on(Endpoint::ListRunners).within("acme").times(2));
    assert_eq!(post(&simulator, MINT, &wish("new")).await.status, 201);
    assert_eq!(get(&simulator, widgets).await.status, 200);
    for _ in 0..2 {
        let answer = get(&simulator, RUNNERS).await;
        assert_eq!((answer.status, answer.header("content-type")), (502, "text/html"));
    }
    assert_eq!(get(&simulator, RUNNERS).await.status, 200);

    simulator.fault(Fault::new(FaultKind::Status(500)).page(2));
    assert_eq!(get(&simulator, &format!("{RUNNERS}?per_page=2")).await.status, 200);
    assert_eq!(get(&simulator, &format!("{RUNNERS}?per_page=2&page=2")).await.status, 500);
    simulator.clear_faults();

    simulator.fault(Fault::new(FaultKind::ShortList).times(1));
    let short = get(&simulator, widgets).await.json().unwrap();
    assert_eq!((&short["total_count"], names(&short).len()), (&json!(3), 2));
    simulator.fault(Fault::new(FaultKind::EmptyList).times(1));
    let empty = get(&simulator, widgets).await.json().unwrap();
    assert_eq!((&empty["total_count"], names(&empty).len()), (&json!(0), 0));
    simulator.fault(Fault::new(FaultKind::UnknownStatus("asleep".to_owned())).times(1));
    assert_eq!(get(&simulator, widgets).await.json().unwrap()["runners"][2]["status"], "asleep");
    simulator.fault(Fault::new(FaultKind::MissingField("busy")).times(1));
    assert!(get(&simulator, widgets).await.json().unwrap()["runners"][0].get("busy").is_none());
    simulator.fault(Fault::new(FaultKind::TruncatedJson).times(1));
    let cut = get(&simulator, widgets).await;
    assert_eq!(cut.status, 200);
    assert!(serde_json::from_str::<Value>(&cut.text).is_err());

    simulator.fault(Fault::new(FaultKind::PrimaryLimit(Duration::from_secs(90))).times(1));
    let primary = get(&simulator, widgets).await;
    assert_eq!((primary.status, number(&primary, "x-ratelimit-remaining")), (403, 0));
    simulator.fault(Fault::new(FaultKind::SecondaryLimit(Duration::from_secs(7))).times(1));
    let secondary = get(&simulator, widgets).await;
    assert_eq!((secondary.status, number(&secondary, "retry-after")), (429, 7));
    simulator.fault(Fault::new(FaultKind::GroupFull).times(1));
    assert_eq!(post(&simulator, MINT, &wish("full")).await.status, 422);
    simulator.fault(Fault::new(FaultKind::EmptyJitConfig).times(1));
    let empty = post(&simulator, MINT, &wish("empty")).await;
    assert_eq!((empty.status, &empty.json().unwrap()["encoded_jit_config"]), (201, &json!("")));
    simulator.fault(Fault::new(FaultKind::Slow(Duration::from_millis(150))).times(1));
    let began = Instant::now();
    assert_eq!(get(&simulator, widgets).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(150));
    simulator.fault(Fault::new(FaultKind::Status(503)).lasting(Duration::ZERO));
    assert_eq!(get(&simulator, widgets).await.status, 200, "it was over at once");
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_deed_or_never_come() {
    let simulator = simulator().await;
    simulator.fault(Fault::new(FaultKind::DropsAfterTheDeed).on(Endpoint::Mint).times(1));
    let (parts, _) = request(&simulator, Method::POST, MINT).into_parts();
    let lost = send(Request::from_parts(parts, wish("lost").to_string().into())).await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(names(&get(&simulator, RUNNERS).await.json().unwrap()), ["lost"]);
    assert_eq!(post(&simulator, MINT, &wish("lost")).await.status, 409);

    simulator.fault(Fault::new(FaultKind::Hangs).on(Endpoint::Mint).times(1));
    let (parts, _) = request(&simulator, Method::POST, MINT).into_parts();
    let hanging = send(Request::from_parts(parts, wish("hung").to_string().into()));
    assert!(tokio::time::timeout(Duration::from_millis(200), hanging).await.is_err());
    assert_eq!(names(&get(&simulator, RUNNERS).await.json().unwrap()), ["lost"], "nothing was done");
    let unanswered: Vec<_> =
        simulator.requests().into_iter().filter(|request| request.status.is_none()).collect();
    assert_eq!(unanswered.iter().map(|request| request.endpoint).collect::<Vec<_>>(), [Endpoint::Mint; 2]);
    assert_eq!(unanswered[0].body.as_ref().unwrap()["name"], "lost");
}

#[tokio::test]
async fn during_an_outage_no_one_is_answered() {
    let simulator = simulator().await;
    simulator.outage(true);
    assert!(send(request(&simulator, Method::GET, RUNNERS)).await.is_err());
    simulator.outage(false);
    assert_eq!(get(&simulator, RUNNERS).await.status, 200);
}

#[tokio::test]
async fn a_dropped_simulator_serves_no_more() {
    let simulator = simulator().await;
    let last = request(&simulator, Method::GET, RUNNERS);
    let address = simulator.url().trim_start_matches("http://").to_owned();
    drop(simulator);
    let freed = async {
        while tokio::net::TcpListener::bind(&address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(wire::DEADLINE, freed).await.expect("the address is free again");
    assert!(send(last).await.is_err());
}
