//! `dayfly check`, on valid configurations and on broken ones.

mod credentials;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri},
    response::IntoResponse,
};
use bollard::{
    body_full,
    query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions},
};
use dayfly::simulator::{Fault, FaultKind, GroupPolicy, Hook, Settings, Simulator};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use super::stand::{ABSENT, Said, Stand, TOKEN, pool};

/// An image with nothing in it, made for one test.
struct EmptyImage {
    engine: bollard::Docker,
    name: String,
}

impl EmptyImage {
    async fn make(name: &str) -> Self {
        let engine = bollard::Docker::connect_with_unix_defaults().unwrap();
        let name = format!("dayfly-test/{name}-{}", std::process::id());
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(&name).tag("latest").build();
        let archive = tar::Builder::new(Vec::new()).into_inner().unwrap();
        let made = engine.create_image(Some(options), Some(body_full(archive.into())), None);
        made.try_collect::<Vec<_>>().await.expect("these tests need a Docker Engine");
        Self { engine, name }
    }

    async fn remove(self) {
        self.engine.remove_image(&self.name, None::<RemoveImageOptions>, None).await.unwrap();
    }
}

async fn check(stand: &Stand) -> Said {
    stand.run(&["check"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_with_a_sound_configuration_and_nothing_was_created() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let image = EmptyImage::make("sound").await;
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")).replace(ABSENT, &image.name));
    let said = check(&stand).await;
    let json = stand.run(&["check", "--json"]).await;
    image.remove().await;

    assert_eq!(said.code(), 0, "{said:?}");
    assert!(said.out.ends_with(" ok, 0 warnings, 0 failed\n"), "{said:?}");
    assert_eq!(said.err, "");
    let order = [
        "configuration: ",
        "host \"local\": Docker Engine ",
        "image dayfly-test/",
        "credential \"default\": ",
        "the organization is visible",
        "its runners can be listed",
        "runner group \"Default\"",
        "state directory: ",
        "http.listen: ",
    ];
    let at: Vec<_> =
        order.iter().map(|part| said.out.find(part).unwrap_or_else(|| panic!("{part}: {said:?}"))).collect();
    assert!(at.is_sorted(), "{said:?}");

    assert_eq!((json.code(), json.json()["verdict"].as_str()), (0, Some("ok")), "{json:?}");
    let requests = simulator.requests();
    assert!(requests.len() >= 6 && requests.iter().all(|request| request.method == "GET"), "{requests:?}");
    assert!(!stand.path().join("state").exists(), "check made the state directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_absent_fails_when_it_is_never_pulled_and_is_reported_when_it_is() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let never = pool(&simulator.scope_url("acme"));
    stand.configure(&never);
    let said = check(&stand).await;
    let line = said.line(&["image", ABSENT]);
    assert!(line.starts_with("[fail]") && line.contains("pull = \"missing\""), "{line}");
    assert_eq!(said.code(), 2);

    stand.configure(&never.replace("\"never\"", "\"missing\""));
    let said = check(&stand).await;
    let line = said.line(&["image", ABSENT]);
    assert!(line.starts_with("[warn]") && line.contains("background"), "{line}");
    assert_eq!(said.code(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_networks_that_a_container_lacks_are_named_and_those_that_it_has_are_described() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let sound = pool(&simulator.scope_url("acme"));
    let of = |keys: &str| format!("{sound}\n{keys}\n");
    stand.configure(&of("env_file = \"none.env\"\nnetwork = \"dayfly-none\""));
    let said = check(&stand).await;
    let line = |said: &Said, text: &str| said.out.lines().any(|line| line.contains(text));
    assert!(line(&said, "[fail] pool \"linux\": no runner can be launched: env_file "), "{said:?}");
    assert!(line(&said, "[fail] network \"dayfly-none\" of host \"local\": does not exist"), "{said:?}");
    for (network, reachable) in
        [("none", "runners cannot connect to GitHub"), ("host", "jobs can reach a cloud's")]
    {
        stand.configure(&of(&format!("network = {network:?}")));
        let said = check(&stand).await;
        assert!(line(&said, &format!("network {network:?} of host \"local\": {reachable}")), "{said:?}");
    }
    stand.configure(&of("ca_file = \"/nowhere/ca.pem\"\nhooks.job_started = \"/nowhere/hook.sh\"\n\
        docker = \"socket\"\ndocker_socket = \"/nowhere/docker.sock\""));
    let said = check(&stand).await;
    for (path, key) in
        [("docker.sock", "docker_socket"), ("hook.sh", "hooks.job_started"), ("ca.pem", "ca_file")]
    {
        let missing =
            format!("[warn] pool \"linux\": /nowhere/{path} ({key}) does not exist on this machine");
        assert!(line(&said, &missing), "{said:?}");
    }
    let metadata = "jobs can reach a cloud's metadata service (169.254.169.254) through the host's engine";
    assert!(line(&said, metadata), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_not_there_gets_the_three_possible_causes_and_hides_no_other() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let other = pool(&simulator.scope_url("acme/widgets")).replace("\"linux\"", "\"second\"");
    stand.configure(&format!("{}{other}", pool(&simulator.scope_url("acmee"))));
    let said = check(&stand).await;
    let line = said.line(&["/acmee", "404"]);
    for cause in ["wrong name", "personal account", "the token cannot see it"] {
        assert!(line.starts_with("[fail]") && line.contains(cause), "{line}");
    }
    assert!(said.line(&["/acme/widgets", "runners can be listed"]).starts_with("[ok]"));
    assert_eq!(said.code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_runner_group_is_reported_with_those_that_there_are() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let pool = pool(&simulator.scope_url("acme")).replace("labels", "group = \"gpu\"\nlabels");
    stand.configure(&pool);
    let line = check(&stand).await.line(&["pool \"linux\"", "no runner group \"gpu\""]);
    assert!(line.starts_with("[fail]") && line.contains("visible to the token: \"Default\""), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_engine_is_one_failure_and_github_is_checked_all_the_same() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let pool = pool(&simulator.scope_url("acme"));
    stand.configure(&format!("[hosts.local]\nendpoint = \"unix:///nowhere/docker.sock\"\n{pool}"));
    let said = check(&stand).await;
    let line = said.line(&["[fail]"]);
    assert!(line.contains("host \"local\"") && line.contains("/nowhere/docker.sock"), "{line}");
    assert!(said.line(&["image", ABSENT]).starts_with("[skip]"), "{said:?}");
    assert!(said.out.ends_with(" ok, 0 warnings, 1 failed, 1 skipped\n"), "{said:?}");
    assert!(said.line(&["runners can be listed"]).starts_with("[ok]"));
    assert_eq!(said.code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_reported_in_full() {
    let stand = Stand::new();
    let said = check(&stand).await;
    assert_eq!(said.code(), 2);
    assert!(
        said.line(&["[fail] configuration", "dayfly.toml", "cannot be read"])
            .contains("check that it exists")
    );

    stand.configure("[[pool]]\nname = \"a b\"\nurl = \"github.com\"\nlabel = 1\n");
    let said = stand.run(&["check", "--json"]).await;
    let read = said.json();
    assert_eq!((said.code(), read["ok"].as_u64()), (2, Some(0)));
    assert!(read["fail"].as_u64().unwrap() >= 3, "{read:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_token_hides_neither_hosts_nor_the_rest() {
    let stand = Stand::new();
    std::fs::remove_file(stand.path().join("token")).unwrap();
    stand.configure(&pool("http://127.0.0.1:1/acme"));
    let said = check(&stand).await;
    assert!(said.line(&["configuration", "token_file"]).starts_with("[fail]"));
    assert!(said.line(&["host \"local\"", "Docker Engine"]).starts_with("[ok]"));
    assert!(said.line(&["credential \"default\":", "see configuration"]).starts_with("[skip]"), "{said:?}");
    assert!(said.line(&["scope", "credential \"default\" cannot be used"]).starts_with("[skip]"), "{said:?}");
    assert!(said.line(&["pool \"linux\"", "cannot be checked"]).starts_with("[skip]"), "{said:?}");
    let fail = said.line(&["[fail]", "token_file"]);
    assert!(fail.contains("No such file"), "{fail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_scopes_share_is_one_failure() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let second = pool(&simulator.scope_url("acme/widgets")).replace("\"linux\"\n", "\"second\"\n");
    stand.configure(&format!("{}{second}", pool(&simulator.scope_url("acme"))));
    let fails = |said: &Said| said.out.matches("[fail] scope").count();
    stand.token("ghp_wrong");
    let said = check(&stand).await;
    assert_eq!(fails(&said), 1, "{said:?}");
    assert!(
        said.line(&["/acme/widgets", "fails for the same reason as scope"]).starts_with("[skip]"),
        "{said:?}"
    );
    drop(simulator);
    let said = check(&stand).await;
    assert_eq!(fails(&said), 1, "{said:?}");
    assert!(
        said.line(&["/acme/widgets", "fails for the same reason as scope"]).starts_with("[skip]"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_by_ssh_says_what_is_missing_for_it() {
    let stand = Stand::new();
    let with_host =
        format!("[hosts.local]\nendpoint = \"ssh://me@127.0.0.1\"\n{}", pool("http://127.0.0.1:1/acme"));
    stand.configure(&with_host);
    let mut command = stand.command(&["check"]);
    command.env("PATH", "/nonexistent");
    let said = super::stand::finish(command).await;
    let line = said.line(&["host \"local\"", "the program ssh was not found"]);
    assert!(line.starts_with("[fail]") && line.contains("openssh-client"), "{line}");

    // An ssh that is refused, as the real one says it.
    let folder = stand.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let ssh = folder.join("ssh");
    let script = "#!/bin/sh\necho 'me@127.0.0.1: Permission denied (publickey).' >&2\nexit 255\n";
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = stand.command(&["check"]);
    command.env("PATH", &folder);
    let said = super::stand::finish(command).await;
    let line = said.line(&["host \"local\"", "ssh cannot log in to me@127.0.0.1"]);
    assert!(line.contains("Permission denied (publickey)") && line.contains("SSH_AUTH_SOCK"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_file_stops_neither_check_nor_run() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let stand = Stand::new();
    stand.configure(&pool("http://127.0.0.1:1/acme"));
    let pipe = |name: &str| {
        let path = stand.path().join(name);
        let _ = std::fs::remove_file(&path);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    };
    pipe("token");
    assert!(check(&stand).await.line(&["token_file", "names a pipe"]).starts_with("[fail]"));
    assert!(stand.run(&["run"]).await.err.contains("names a pipe"));
    std::fs::remove_file(stand.path().join("token")).unwrap();
    stand.token(TOKEN);
    std::fs::create_dir(stand.path().join("state")).unwrap();
    pipe("state/lock");
    let said = stand.run(&["run"]).await;
    assert!(said.code() == 2 && said.err.contains("state/lock is a pipe, not a regular file"), "{said:?}");
    pipe("dayfly.toml");
    for command in ["check", "run", "status", "purge"] {
        let said = stand.run(&[command]).await;
        assert!(format!("{}{}", said.out, said.err).contains("is a pipe, not a regular file"), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_that_fails_or_is_away_is_reported_as_such() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    simulator.fault(Fault::new(FaultKind::Html(502)));
    assert!(check(&stand).await.line(&["scope", "502"]).starts_with("[fail]"));
    simulator.clear_faults();
    simulator.fault(Fault::new(FaultKind::SecondaryLimit(std::time::Duration::from_mins(2))));
    assert!(check(&stand).await.line(&["scope", "rate limit"]).starts_with("[warn]"));
    drop(simulator);
    assert!(check(&stand).await.line(&["scope", "cannot reach GitHub"]).starts_with("[fail]"));
}

/// A GitHub with configured answers: status, headers and body by path.
#[derive(Clone, Default)]
struct Oracle(Arc<BTreeMap<String, (u16, Headers, Value)>>);

type Headers = Vec<(&'static str, String)>;

async fn oracle(answers: Vec<(&str, u16, Headers, Value)>) -> String {
    async fn answer(State(Oracle(answers)): State<Oracle>, uri: Uri) -> impl IntoResponse {
        let Some((status, said, body)) = answers.get(uri.path()) else {
            return (StatusCode::NOT_FOUND, HeaderMap::new(), Json(json!({ "message": "Not Found" })));
        };
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        (StatusCode::from_u16(*status).unwrap(), headers, Json(body.clone()))
    }
    let answers = answers
        .into_iter()
        .map(|(path, status, headers, body)| (format!("/api/v3{path}"), (status, headers, body)));
    let router = Router::new().fallback(answer).with_state(Oracle(Arc::new(answers.collect())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn no_runners() -> Value {
    json!({ "total_count": 0, "runners": [] })
}

#[tokio::test(flavor = "multi_thread")]
async fn risks_are_warnings_with_what_they_mean() {
    let group = |id: u32, name: &str, visibility: &str, public: bool| json!({ "id": id, "name": name, "default": id == 1, "visibility": visibility, "allows_public_repositories": public });
    let reset = (jiff::Timestamp::now().as_second() + 600).to_string();
    let low = vec![
        ("x-ratelimit-limit", "5000".to_owned()),
        ("x-ratelimit-remaining", "70".to_owned()),
        ("x-ratelimit-reset", reset),
        ("x-ratelimit-resource", "core".to_owned()),
    ];
    let slow_clock = vec![("date", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())];
    let url = oracle(vec![
        ("/repos/acme/open", 200, low, json!({ "private": false })),
        ("/repos/acme/open/actions/runners", 200, vec![], no_runners()),
        ("/orgs/acme", 200, slow_clock, json!({ "login": "acme" })),
        ("/orgs/acme/actions/runners", 200, vec![], no_runners()),
        (
            "/orgs/acme/actions/runner-groups",
            200,
            vec![],
            json!({ "total_count": 2, "runner_groups": [group(1, "Default", "all", true), group(3, "few", "selected", false)] }),
        ),
    ])
    .await;
    let stand = Stand::new();
    std::fs::write(stand.path().join("other"), TOKEN).unwrap();
    let few = pool(&format!("{url}/acme")).replace("\"linux\"\n", "\"few\"\ngroup = \"few\"\n");
    let open =
        pool(&format!("{url}/acme/open")).replace("\"linux\"\n", "\"open\"\ncredentials = \"other\"\n");
    stand.configure(&format!(
        "[credentials.other]\ntoken_file = \"other\"\n{}{few}{open}",
        pool(&format!("{url}/acme"))
    ));
    let said = check(&stand).await;
    for words in [
        ["configuration", "other users can read"],
        ["pool \"few\"", "only the repositories selected"],
        ["scope", "s ahead of GitHub's"],
        ["scope", "70 of 5000 requests left"],
    ] {
        assert!(said.line(&words).starts_with("[warn]"), "{words:?}: {said:?}");
    }
    for words in [["pool \"linux\"", "serves public repositories too:"], ["scope", "is a public repository"]]
    {
        let line = said.line(&words);
        assert!(line.starts_with("[fail]") && line.contains("allow_public = true"), "{line}: {said:?}");
    }
    assert_eq!(said.code(), 2);
}

/// The words that `check` has for a simulator set up so, with these keys in the pool.
async fn reported(settings: Settings, scope: &str, keys: &str) -> Said {
    let simulator = Simulator::start(settings).await.unwrap();
    simulator.push("acme/widgets", keys.contains("allow_public"));
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url(scope)).replace("labels", &format!("{keys}labels")));
    if keys.contains("webhook") {
        stand.add_to_http("webhook_secret_file = \"token\"\n");
    }
    check(&stand).await
}

fn with_group(policy: GroupPolicy) -> Settings {
    Settings { group_policies: BTreeMap::from([("Default".to_owned(), policy)]), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn public_repositories_are_admitted_only_by_the_word_of_the_operator() {
    let open = || with_group(GroupPolicy { allows_public_repositories: true, ..GroupPolicy::default() });
    let said = reported(open(), "acme", "").await;
    assert!(said.line(&["serves public repositories too:"]).starts_with("[fail]"), "{said:?}");
    let said = reported(open(), "acme", "allow_public = true\n").await;
    assert!(said.line(&["serves all repositories, public ones too"]).starts_with("[ok]"), "{said:?}");
    assert!(!said.out.contains("[fail] pool"), "{said:?}");
    let said = reported(Settings::default(), "acme", "allow_public = true\n").await;
    assert!(
        said.line(&["does not allow public repositories, so allow_public has no effect"])
            .starts_with("[warn]")
    );
    let said = reported(Settings::default(), "acme/widgets", "allow_public = true\n").await;
    assert!(
        said.line(&["a public repository, which allow_public = true allows"]).starts_with("[ok]"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_groups_repositories_are_reported_and_compared_with_the_pools() {
    let group = |repositories: &[&str]| {
        let repositories = repositories.iter().map(|&name| name.to_owned()).collect();
        with_group(GroupPolicy { visibility: "selected", repositories, ..GroupPolicy::default() })
    };
    let queue = "demand = [\"queue\"]\nrepositories = [\"widgets\"]\n";
    let said = reported(group(&["acme/widgets", "acme/tools"]), "acme", queue).await;
    let line = said.line(&["serves only these repositories"]);
    assert!(line.starts_with("[ok]") && line.contains("acme/widgets, acme/tools"), "{line}");
    let said = reported(group(&["acme/tools"]), "acme", queue).await;
    assert!(said.line(&["does not serve acme/widgets"]).starts_with("[fail]"), "{said:?}");
    let workflows = vec!["acme/widgets/.github/workflows/ci.yml@main".to_owned()];
    let said = reported(with_group(GroupPolicy { workflows, ..GroupPolicy::default() }), "acme", "").await;
    assert!(said.line(&["serves only these workflows", "ci.yml"]).starts_with("[ok]"), "{said:?}");
    let inherited = with_group(GroupPolicy { inherited: true, ..GroupPolicy::default() });
    assert!(reported(inherited, "acme", "").await.line(&["belongs to the enterprise"]).starts_with("[fail]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_learning_of_jobs_is_explained_and_tried() {
    let said = reported(Settings::default(), "acme", "").await;
    let line = said.line(&["job source idle"]);
    assert!(line.starts_with("[ok]") && line.contains("keeps 1 idle"), "{line}");

    let queue = "demand = [\"queue\"]\nrepositories = [\"widgets\", \"gone\"]\n";
    let said = reported(Settings::default(), "acme", queue).await;
    assert!(said.line(&["polls for queued jobs"]).starts_with("[ok]"));
    assert!(said.line(&["queues of 1 of its repositories"]).starts_with("[ok]"), "{said:?}");
    let line = said.line(&["the queue of acme/gone cannot be read"]);
    assert!(line.starts_with("[fail]") && line.contains("Actions: read"), "{line}");

    let said = reported(Settings::default(), "acme", "demand = [\"queue\"]\n").await;
    assert!(said.line(&["recently pushed"]).starts_with("[ok]"));
    let said = reported(Settings::default(), "acme", "demand = [\"scale-set\"]\n").await;
    assert!(said.line(&["job source scale-set"]).starts_with("[ok]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_an_hour_are_computed_and_held_to_the_limit() {
    // Each 10 s: one page of runners, and two lists for each of two repositories.
    let queue = "demand = [\"queue\"]\nrepositories = [\"widgets\", \"tools\"]\n";
    let limited = |limit| Settings { rate_limit: Some(limit), ..Settings::default() };
    let line = reported(limited(5000), "acme", queue).await.line(&["rate limit of credential \"default\""]);
    for part in [
        "[ok]",
        "2049 requests an hour at rest",
        "6 of them are charged",
        "about 6 more",
        "21000",
        "360 for lists",
        "1680 for the queues of 2 rep",
        "allows 5000",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let line = reported(limited(1500), "acme", queue).await.line(&["rate limit of credential"]);
    assert!(line.starts_with("[warn]") && line.contains("set poll.interval to \"20s\""), "{line}");
    let set = "demand = [\"scale-set\"]\n";
    let line = reported(limited(5000), "acme", set).await.line(&["rate limit of credential \"default\""]);
    assert!(line.contains("61 requests an hour at rest: 60 for lists of runners"), "{line}");
    let without = Settings { rate_limit: None, ..Settings::default() };
    assert!(reported(without, "acme", "").await.line(&["reports no rate limit"]).starts_with("[ok]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_checked_where_pools_take_them() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let keys = "demand = [\"queue\", \"webhook\"]\nlabels";
    stand.configure(&pool(&simulator.scope_url("acme")).replace("labels", keys));
    stand.add_to_http("webhook_secret_file = \"token\"\n");
    let said = check(&stand).await;
    let line = said.line(&["has no active webhook for the event"]);
    assert!(line.starts_with("[warn]") && line.contains("application/json"), "{line}");

    // Nothing listens there.
    let hook = Hook {
        form: true,
        ..Hook::new("acme", "http://user:pass-canary@127.0.0.1:9/webhook?x=query-canary", TOKEN)
    };
    simulator.add_hook(hook);
    let tried = || simulator.deliveries().iter().any(|delivery| delivery.over);
    simulator.until(super::stand::DEADLINE, |_| tried()).await.unwrap();
    let said = check(&stand).await;
    assert!(said.line(&["sends workflow jobs, signed, as a form"]).starts_with("[ok]"), "{said:?}");
    let line = said.line(&["failed:"]);
    assert!(line.starts_with("[warn]") && line.contains("the payload URL leads to it"), "{line}");
    assert!(said.out.contains("to http://127.0.0.1:9/webhook sends"), "{said:?}");
    let json = stand.run(&["check", "--json"]).await;
    for said in [&said, &json] {
        assert!(!said.out.contains("canary") && !said.out.contains("user:"), "{said:?}");
    }
    let line = said.line(&["rate limit of credential"]);
    assert!(line.contains("12 for the delivery log of 1 webhook") && line.contains("7 of them"), "{line}");
}
