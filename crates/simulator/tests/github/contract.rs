//! The simulator's answers, held to GitHub's own descriptions of its API, and the proof that this
//! judge can say no.

use dayfly_fleet::Timestamp;
use dayfly_simulator::{
    EndOfLife, Fault, FaultKind, GroupPolicy, Hold, Hook, Installation, Job, Presence, Settings, Simulator,
};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    jwt, keys,
    openapi::{self, Description},
    wire::{self, Answer, request, send},
};

/// Waits until so many deliveries of a hook are over.
async fn until_over(simulator: &Simulator, hook: u64, many: usize) {
    let over = || simulator.deliveries().iter().filter(|one| one.hook == hook && one.over).count();
    let waited = simulator.until(wire::DEADLINE, |_| over() >= many).await;
    assert!(waited.is_ok(), "{:?}", simulator.deliveries());
}

/// A request and its answer: method, address, body, answer.
type Exchange = (Method, String, Option<Value>, Answer);

/// Every call that concerns webhooks, with the ways in which it can go.
async fn hook_exchanges(simulator: &Simulator) -> Vec<Exchange> {
    let mut seen = Vec::new();
    let mut exchange = async |method: Method, path: &str, body: Option<Value>| {
        exchange_with(simulator, &mut seen, method, path, body).await
    };
    for scope in ["/orgs/acme", "/repos/acme/widgets"] {
        let hooks = format!("{scope}/hooks");
        // Nothing listens there.
        let path = scope.trim_start_matches("/orgs/").trim_start_matches("/repos/");
        let id = simulator.add_hook(Hook::new(path, "http://127.0.0.1:9/webhook", "secret"));
        simulator.enqueue(Job::new("acme", &["linux"]).of("acme/widgets"));
        until_over(simulator, id, 2).await;
        exchange(Method::GET, &hooks, None).await;
        exchange(Method::GET, &format!("{hooks}/{id}"), None).await;
        exchange(Method::GET, &format!("{hooks}/1"), None).await;
        let deliveries = format!("{hooks}/{id}/deliveries");
        let listed = exchange(Method::GET, &format!("{deliveries}?per_page=1"), None).await;
        let delivery = format!("{deliveries}/{}", listed[0]["id"]);
        exchange(Method::GET, &format!("{deliveries}?cursor=v1_{}&status=failure", listed[0]["id"]), None)
            .await;
        exchange(Method::GET, &format!("{hooks}/1/deliveries"), None).await;
        exchange(Method::GET, &delivery, None).await;
        exchange(Method::GET, &format!("{deliveries}/1"), None).await;
        exchange(Method::POST, &format!("{delivery}/attempts"), None).await;
        exchange(Method::POST, &format!("{deliveries}/1/attempts"), None).await;
    }
    seen
}

async fn exchange_with(
    simulator: &Simulator,
    seen: &mut Vec<Exchange>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Value {
    let answer = wire::ask(simulator, method.clone(), path, body.as_ref()).await;
    let reported = answer.json();
    seen.push((method, path.to_owned(), body, answer));
    reported.unwrap_or_default()
}

/// Every other call, with the ways in which it can go.
#[expect(clippy::too_many_lines, reason = "one call after the other")]
async fn exchanges(simulator: &Simulator) -> Vec<Exchange> {
    let mut seen = Vec::new();
    let mut exchange = async |method: Method, path: &str, body: Option<Value>| {
        exchange_with(simulator, &mut seen, method, path, body).await
    };
    exchange(Method::GET, "/rate_limit", None).await;
    exchange(Method::GET, "/orgs/acme", None).await;
    exchange(Method::GET, "/orgs/nobody", None).await;
    exchange(Method::GET, "/repos/acme/widgets", None).await;
    exchange(Method::GET, "/repos/acme/nothing", None).await;
    for scope in ["/orgs/acme", "/enterprises/acme"] {
        exchange(Method::GET, &format!("{scope}/actions/runner-groups?per_page=100"), None).await;
    }
    let policy = GroupPolicy {
        visibility: "selected",
        repositories: vec!["acme/widgets".to_owned()],
        allows_public_repositories: true,
        workflows: vec!["acme/widgets/.github/workflows/ci.yml@refs/heads/main".to_owned()],
        inherited: false,
    };
    simulator.set(|settings| drop(settings.group_policies.insert("Default".to_owned(), policy)));
    exchange(Method::GET, "/orgs/acme/actions/runner-groups", None).await;
    exchange(Method::GET, "/orgs/acme/actions/runner-groups/1/repositories?per_page=100", None).await;
    exchange(Method::GET, "/orgs/acme/actions/runner-groups/77/repositories", None).await;
    simulator.set(|settings| settings.group_policies.clear());
    simulator.push("acme/open", true);
    exchange(Method::GET, "/orgs/acme/repos?sort=pushed&per_page=1&page=2", None).await;
    exchange(Method::GET, "/repos/acme/open", None).await;
    exchange(Method::GET, "/installation/repositories?per_page=1", None).await;
    let work = |job: Job| simulator.enqueue(job.of("acme/widgets").in_run("one"));
    let queued =
        work(Job { calls: vec!["acme/flows/build.yml@v1".to_owned()], ..Job::new("acme", &["linux"]) });
    let held = work(Job::new("acme", &[]).held(Hold::Approval));
    work(Job::new("acme", &["ubuntu-latest"]).hosted().lasting(std::time::Duration::ZERO));
    let runs = "/repos/acme/widgets/actions/runs";
    exchange(Method::GET, &format!("{runs}?status=waiting&per_page=1"), None).await;
    assert!(simulator.release(held) && simulator.cancel(held));
    let listed =
        exchange(Method::GET, &format!("{runs}?status=queued&exclude_pull_requests=true"), None).await;
    let run = listed["workflow_runs"][0]["id"].as_u64().expect("a run");
    exchange(Method::GET, &format!("{runs}/{run}"), None).await;
    exchange(Method::GET, &format!("{runs}/1"), None).await;
    exchange(Method::GET, &format!("{runs}/{run}/jobs?filter=latest&per_page=100"), None).await;
    exchange(Method::GET, &format!("/repos/acme/widgets/actions/jobs/{queued}"), None).await;
    exchange(Method::GET, "/repos/acme/widgets/actions/jobs/1", None).await;
    assert!(simulator.cancel(queued));
    assert_eq!(simulator.rerun(run).len(), 3);
    exchange(Method::GET, &format!("{runs}/{run}/jobs?filter=all&per_page=2"), None).await;
    exchange(Method::GET, &format!("{runs}/{run}"), None).await;
    for scope in ["/orgs/acme", "/repos/acme/widgets", "/enterprises/acme"] {
        let runners = format!("{scope}/actions/runners");
        let jit = format!("{runners}/generate-jitconfig");
        exchange(Method::POST, &format!("{runners}/registration-token"), None).await;
        let wish = |name: &str, group: u64, labels: Value| json!({ "name": name, "runner_group_id": group, "labels": labels, "work_folder": "_work" });
        let minted =
            exchange(Method::POST, &jit, Some(wish("one", 1, json!(["Linux", "self-hosted"])))).await;
        exchange(Method::POST, &jit, Some(wish("one", 1, json!(["linux"])))).await;
        exchange(Method::POST, &jit, Some(wish("two", 1, json!([])))).await;
        exchange(Method::POST, &jit, Some(wish("two", 77, json!(["linux"])))).await;
        exchange(Method::POST, &jit, Some(wish("two", 2, json!(["linux"])))).await;
        exchange(Method::POST, &jit, Some(json!({ "name": "two", "labels": ["linux"] }))).await;
        let busy = simulator
            .register(
                scope.trim_start_matches("/orgs/").trim_start_matches("/repos/").trim_start_matches('/'),
                "busy",
                &["linux"],
                Presence::Busy,
            )
            .expect("the scope exists");
        exchange(Method::GET, &runners, None).await;
        exchange(Method::GET, &format!("{runners}?name=one&per_page=1&page=2"), None).await;
        let one = format!("{runners}/{}", minted["runner"]["id"]);
        exchange(Method::GET, &one, None).await;
        exchange(Method::GET, &format!("{runners}/downloads"), None).await;
        exchange(Method::GET, &format!("{runners}/deprecations/2.300.0"), None).await;
        exchange(Method::GET, &format!("{runners}/deprecations/2.336.0"), None).await;
        exchange(Method::POST, &format!("{runners}/registration-token"), None).await;
        exchange(Method::POST, &format!("{runners}/remove-token"), None).await;
        for labels in
            [format!("{one}/labels"), format!("{runners}/{busy}/labels"), format!("{runners}/999/labels")]
        {
            let given = |names: Value| Some(json!({ "labels": names }));
            exchange(Method::GET, &labels, None).await;
            exchange(Method::POST, &labels, given(json!(["GPU", "a b/c"]))).await;
            exchange(Method::POST, &labels, given(json!([]))).await;
            exchange(Method::DELETE, &format!("{labels}/a%20b%2Fc"), None).await;
            exchange(Method::DELETE, &format!("{labels}/linux"), None).await;
            exchange(Method::DELETE, &format!("{labels}/nothing"), None).await;
            exchange(Method::PUT, &labels, given(json!(["x64"]))).await;
            exchange(Method::PUT, &labels, given(json!([]))).await;
            exchange(Method::PUT, &labels, given(json!(7))).await;
            exchange(Method::DELETE, &labels, None).await;
        }
        exchange(Method::DELETE, &format!("{runners}/{busy}"), None).await;
        exchange(Method::DELETE, &one, None).await;
        exchange(Method::DELETE, &one, None).await;
        exchange(Method::GET, &one, None).await;
        for (kind, path) in [
            (FaultKind::GroupFull, &jit),
            (FaultKind::EmptyJitConfig, &jit),
            (FaultKind::PrimaryLimit(std::time::Duration::from_mins(1)), &jit),
            (FaultKind::SecondaryLimit(std::time::Duration::from_mins(1)), &jit),
        ] {
            simulator.fault(Fault::new(kind).times(1));
            exchange(Method::POST, path, Some(wish("three", 1, json!(["linux"])))).await;
        }
        for kind in
            [FaultKind::ShortList, FaultKind::EmptyList, FaultKind::UnknownStatus("asleep".to_owned())]
        {
            simulator.fault(Fault::new(kind).times(1));
            exchange(Method::GET, &runners, None).await;
        }
    }
    seen
}

/// Statuses that the descriptions leave out and GitHub gives everywhere
/// (docs.github.com, "Troubleshooting the REST API").
const EVERYWHERE: [u16; 6] = [304, 400, 401, 403, 404, 429];

/// Whether GitHub would give this answer to that request.
fn hold_answer(
    description: &Description,
    method: &str,
    path: &str,
    status: u16,
    body: Option<&Value>,
) -> Result<(), String> {
    let at = format!("{}: {method} {path}: {status}", description.name);
    let (template, operation) =
        description.operation(method, path).ok_or_else(|| format!("{at}: there is no such operation"))?;
    let listed = description.resolved(&operation["responses"][status.to_string()]);
    let everywhere = json!({ "$ref": "#/components/schemas/basic-error" });
    let schema = match listed {
        Value::Null if !EVERYWHERE.contains(&status) => {
            return Err(format!("{at}: the operation has no such status"));
        }
        Value::Null if status == 304 => &Value::Null,
        Value::Null => &everywhere,
        listed => &listed["content"]["application/json"]["schema"],
    };
    match (schema, body) {
        (Value::Null, None) => Ok(()),
        (Value::Null, Some(_)) => Err(format!("{at}: it has no body")),
        (_, None) => Err(format!("{at}: the body is missing")),
        (schema, Some(body)) => description
            .validate(&format!("{method} {template} {status}"), schema, body)
            .map_err(|problems| format!("{at}: {problems}")),
    }
}

/// Whether GitHub would send this payload as this event (`workflow-job-queued`, `ping`).
fn hold_webhook(description: &Description, event: &str, payload: &Value) -> Result<(), String> {
    let schema = format!("/x-webhooks/{event}/post/requestBody/content/application~1json/schema");
    let schema = description.at(&schema).ok_or_else(|| format!("there is no event {event}"))?;
    description.validate(&format!("webhook {event}"), schema, payload)
}

fn path_only(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

#[tokio::test]
async fn every_answer_of_the_simulator_is_one_that_github_describes() {
    let Some(descriptions) = openapi::descriptions() else { return };
    let soon = EndOfLife {
        version: "2.300.0".to_owned(),
        registration: None,
        jobs: Some(Timestamp::from_millis(1_795_348_800_000)),
    };
    let settings = Settings { ends_of_life: Some(vec![soon]), ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let mut seen = exchanges(&simulator).await;
    seen.extend(hook_exchanges(&simulator).await);
    let statuses: std::collections::BTreeSet<u16> = seen.iter().map(|(.., answer)| answer.status).collect();
    assert_eq!(
        statuses,
        [200, 201, 202, 204, 403, 404, 409, 422, 429].into(),
        "the exchanges meet every case"
    );
    hold_all(&descriptions, &seen);
}

fn hold_all(descriptions: &[Description], seen: &[Exchange]) {
    let problems: Vec<String> = descriptions
        .iter()
        .flat_map(|description| {
            let covered = seen.iter().filter(|(_, path, ..)| description.covers(path));
            covered.filter_map(|(method, path, _, answer)| {
                let body = answer.json();
                hold_answer(description, method.as_str(), path_only(path), answer.status, body.as_ref()).err()
            })
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn every_answer_to_an_app_and_about_groups_is_one_that_github_describes() {
    let Some(descriptions) = openapi::descriptions() else { return };
    let mut app = keys::app();
    app.installations.push(Installation { suspended: true, ..Installation::new(42, "umbrella") });
    let policy = GroupPolicy {
        visibility: "selected",
        repositories: vec!["acme/widgets".to_owned()],
        workflows: vec!["acme/ci/.github/workflows/r.yml@main".to_owned()],
        ..GroupPolicy::default()
    };
    let simulator = Simulator::start(Settings {
        scopes: ["acme", "acme/widgets", "umbrella", "enterprises/umbrella"].map(str::to_owned).to_vec(),
        groups: ["Default", "gpu"].map(str::to_owned).to_vec(),
        group_policies: [("gpu".to_owned(), policy)].into(),
        apps: vec![app],
        ..Settings::default()
    })
    .await
    .unwrap();
    let mut seen = Vec::new();
    let mut exchange = async |method: Method, path: &str, jwt: Option<String>, body: Option<Value>| {
        let mut request = request(&simulator, method.clone(), path);
        if let Some(jwt) = jwt {
            let value = format!("Bearer {jwt}").parse().unwrap();
            request.headers_mut().insert(hyper::header::AUTHORIZATION, value);
        }
        let (parts, _) = request.into_parts();
        let text = body.as_ref().map(Value::to_string).unwrap_or_default();
        let answer = send(hyper::Request::from_parts(parts, text.into())).await.expect("an answer");
        seen.push((method, path.to_owned(), body, answer));
    };
    let good = || Some(jwt::from("Iv23liabc", -60, 540));
    let late = || Some(jwt::from("7", -700, -60));
    for path in [
        "/app",
        "/app/installations/41",
        "/app/installations/42",
        "/app/installations/43",
        "/orgs/acme/installation",
        "/repos/acme/widgets/installation",
        "/repos/acme/nothing/installation",
    ] {
        exchange(Method::GET, path, good(), None).await;
        exchange(Method::GET, path, late(), None).await;
    }
    for id in [41, 42, 43] {
        let path = format!("/app/installations/{id}/access_tokens");
        exchange(Method::POST, &path, good(), None).await;
        exchange(Method::POST, &path, late(), None).await;
        let wish = |level: &str| Some(json!({ "permissions": { "organization_hooks": level } }));
        exchange(Method::POST, &path, good(), wish("write")).await;
    }
    exchange(Method::GET, "/orgs/acme/actions/runner-groups", None, None).await;
    exchange(Method::GET, "/orgs/acme/actions/runner-groups/3/repositories", None, None).await;
    exchange(Method::GET, "/orgs/acme/actions/runner-groups/77/repositories", None, None).await;
    let above = "/enterprises/umbrella/actions";
    let jit = format!("{above}/runners/generate-jitconfig");
    let wish = |group: u64| Some(json!({ "name": "one", "runner_group_id": group, "labels": ["linux"] }));
    for (method, path, body) in [
        (Method::GET, format!("{above}/runner-groups"), None),
        (Method::POST, jit.clone(), wish(3)),
        (Method::POST, jit.clone(), wish(3)),
        (Method::POST, jit, wish(77)),
        (Method::GET, format!("{above}/runners?per_page=1"), None),
        (Method::GET, format!("{above}/runners/1"), None),
        (Method::DELETE, format!("{above}/runners/1"), None),
    ] {
        exchange(method, &path, None, body).await;
    }
    let statuses: std::collections::BTreeSet<u16> = seen.iter().map(|(.., answer)| answer.status).collect();
    assert_eq!(statuses, [200, 201, 204, 401, 403, 404, 409, 422].into(), "the exchanges meet every case");
    hold_all(&descriptions, &seen);
    assert!(openapi::hold_requests(&simulator.requests()).is_some());
}

#[tokio::test]
async fn recorded_requests_that_github_takes_pass_and_others_do_not() {
    let Some(descriptions) = openapi::descriptions() else { return };
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    for path in
        ["/orgs/acme/actions/runners?per_page=100&page=1&name=x", "/organizations/1/actions/runners?page=2"]
    {
        wire::get(&simulator, path).await;
    }
    let wish = json!({ "name": "a", "runner_group_id": 1, "labels": ["x"] });
    wire::post(&simulator, "/repos/acme/widgets/actions/runners/generate-jitconfig", &wish).await;
    wire::delete(&simulator, "/repos/acme/widgets/actions/runners/1").await;
    let labels = json!({ "labels": ["gpu"] });
    for path in ["/enterprises/acme/actions/runners/1/labels", "/orgs/acme/actions/runners/1/labels"] {
        wire::ask(&simulator, Method::PUT, path, Some(&labels)).await;
    }
    wire::get(&simulator, "/enterprises/acme/actions/runners/deprecations/2.336.0").await;
    assert_eq!(openapi::hold_requests(&simulator.requests()), Some(7));

    let held = simulator.requests().len();
    wire::get(&simulator, "/orgs/acme/actions/runner").await;
    wire::get(&simulator, "/orgs/acme/actions/runners?status=online").await;
    wire::get(&simulator, "/orgs/acme/actions/runners?page=first").await;
    let without_group = json!({ "name": "a", "labels": ["x"] });
    wire::post(&simulator, "/orgs/acme/actions/runners/generate-jitconfig", &without_group).await;
    wire::post(&simulator, "/orgs/acme/actions/runners/generate-jitconfig", &json!({ "labels": "x" })).await;
    wire::ask(&simulator, Method::PUT, "/orgs/acme/actions/runners/1/labels", Some(&json!({}))).await;
    for wrong in &simulator.requests()[held..] {
        for description in &descriptions {
            assert!(description.hold_request(wrong).is_err(), "{} {}", wrong.method, wrong.path);
        }
    }
}

#[tokio::test]
async fn an_answer_that_github_would_not_give_is_noticed() {
    let Some(descriptions) = openapi::descriptions() else { return };
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    simulator.register("acme", "one", &["linux"], Presence::Idle);
    simulator.fault(Fault::new(FaultKind::MissingField("status")));
    let path = "/orgs/acme/actions/runners";
    let body = wire::get(&simulator, path).await.json();
    for description in &descriptions {
        let problem = hold_answer(description, "GET", path, 200, body.as_ref()).unwrap_err();
        assert!(problem.contains("\"status\" is a required property"), "{problem}");
        assert!(hold_answer(description, "GET", path, 418, None).is_err());
        assert!(hold_answer(description, "GET", path, 200, None).is_err());
    }
}

#[tokio::test]
async fn every_webhook_of_the_simulator_is_one_that_github_describes() {
    let Some(descriptions) = openapi::descriptions() else { return };
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let nobody = "http://127.0.0.1:9/webhook";
    let hooks = [("orgs", "acme"), ("repos", "acme/widgets")]
        .map(|(kind, scope)| (kind, scope, simulator.add_hook(Hook::new(scope, nobody, "secret"))));
    let held = simulator.enqueue(Job::new("acme/widgets", &["linux", "x64"]).held(Hold::Approval));
    assert!(simulator.release(held) && simulator.cancel(held));
    simulator.enqueue(Job::new("acme/widgets", &["ubuntu-latest"]).hosted());
    simulator.push("acme/open", true);
    simulator.enqueue(Job::new("acme", &[]).of("acme/open"));
    let mut met = std::collections::BTreeSet::new();
    for (kind, scope, hook) in hooks {
        until_over(&simulator, hook, if kind == "orgs" { 7 } else { 6 }).await;
        for seen in simulator.deliveries().into_iter().filter(|seen| seen.hook == hook) {
            let path = format!("/{kind}/{scope}/hooks/{hook}/deliveries/{}", seen.id);
            let delivery = wire::get(&simulator, &path).await.json().expect("a delivery");
            let event = match seen.action {
                Some(action) => format!("workflow-job-{}", action.replace('_', "-")),
                None => "ping".to_owned(),
            };
            for description in &descriptions {
                let held = hold_webhook(description, &event, &delivery["request"]["payload"]);
                assert_eq!(held, Ok(()), "{}: {event}", description.name);
            }
            met.insert(event);
        }
    }
    let all = [
        "ping",
        "workflow-job-completed",
        "workflow-job-in-progress",
        "workflow-job-queued",
        "workflow-job-waiting",
    ];
    assert_eq!(met, all.map(str::to_owned).into());
    for description in &descriptions {
        let nothing = json!({ "action": "queued" });
        assert!(hold_webhook(description, "workflow-job-queued", &nothing).is_err());
    }
}
