//! `dayfly runners`: GitHub's list of runners.

use dayfly::{
    fleet::{InstanceId, PoolName, RunnerName, Timestamp},
    simulator::{Endpoint, Fault, FaultKind, Presence, Settings, Simulator},
};

use super::stand::{Stand, pool};
use crate::keys;

pub(crate) const LABELS: [&str; 2] = ["self-hosted", "linux"];

async fn world() -> (Simulator, Stand) {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    (simulator, stand)
}

fn dayfly_name(instance: &str) -> String {
    let (pool, instance): (PoolName, InstanceId) = ("linux".parse().unwrap(), instance.parse().unwrap());
    RunnerName::new(&pool, &instance, Timestamp::from_millis(1), 7).to_string()
}

pub(crate) fn ours() -> String {
    dayfly_name(&format!("cmd{}", std::process::id() % 1_000_000))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_says_whose_each_runner_is() {
    let (simulator, stand) = world().await;
    let said = stand.run(&["runners", "list"]).await;
    assert!(said.code() == 0 && said.out.contains("has no self-hosted runners"), "{said:?}");

    let names = [ours(), dayfly_name("other"), "by-hand\x1b[2J\u{9b}x\u{202e}".to_owned()];
    for (name, presence) in names.iter().zip([Presence::Idle, Presence::Busy, Presence::Offline]) {
        simulator.register("acme", name, &LABELS, presence).unwrap();
    }
    let said = stand.run(&["runners", "list"]).await;
    assert_eq!(said.code(), 0, "{said:?}");
    for words in [
        [names[0].as_str(), "online", "ours, pool linux"],
        [names[1].as_str(), "busy", "dayfly instance other"],
        ["by-hand\\u{1b}[2J\\u{9b}x\\u{202e}", "offline", "not Dayfly's"],
    ] {
        assert!(said.line(&words).contains("Default"), "{said:?}");
    }
    let said = stand.run(&["runners", "list", "--name", "BY-hand"]).await;
    assert!(said.out.contains("by-hand") && !said.out.contains("dayfly"), "{said:?}");
    let said = stand.run(&["runners", "list", "--name", "by-hand", "--json"]).await;
    assert_eq!(said.json()["runners"].as_array().map(Vec::len), Some(1), "{said:?}");
    let said = stand.run(&["runners", "list", "--name", "nobody"]).await;
    assert!(said.code() == 0 && said.out.contains("no self-hosted runners with \"nobody\""), "{said:?}");
    let said = stand.run(&["runners", "list", "--json"]).await;
    let document = said.json();
    assert!(!said.out.contains(['\x1b', '\u{9b}', '\u{202e}']), "{said:?}");
    let by_name = |name: &str| {
        document["runners"].as_array().unwrap().iter().find(|runner| runner["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&by_name(&names[0])["ours"], &by_name(&names[0])["group_name"]),
        (&true.into(), &"Default".into())
    );
    assert_eq!((&by_name(&names[1])["ours"], &by_name(&names[1])["busy"]), (&false.into(), &true.into()));
    assert!(by_name(&names[2])["instance"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_runner_is_found_by_id_and_by_name() {
    let (simulator, stand) = world().await;
    let id = simulator.register("acme", "by-hand", &LABELS, Presence::Idle).unwrap().to_string();
    simulator.register("acme", "12345", &LABELS, Presence::Offline).unwrap();
    for (asked, name) in [(id.as_str(), "by-hand"), ("by-hand", "by-hand"), ("12345", "12345")] {
        let said = stand.run(&["runners", "get", asked]).await;
        assert!(said.code() == 0 && said.line(&["name", name]).starts_with("name "), "{said:?}");
        assert_eq!(stand.run(&["runners", "get", asked, "--json"]).await.json()["name"], name);
    }
    let said = stand.run(&["runners", "get", "nobody"]).await;
    assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
    assert!(said.err.contains("no runner \"nobody\""), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_are_removed_but_none_that_has_a_job_and_the_others_all_the_same() {
    let (simulator, stand) = world().await;
    let ours = ours();
    simulator.register("acme", &ours, &LABELS, Presence::Idle).unwrap();
    let idle = simulator.register("acme", "idle", &LABELS, Presence::Idle).unwrap().to_string();
    simulator.register("acme", "busy", &LABELS, Presence::Busy).unwrap();
    let lying = simulator.register("acme", "lying", &LABELS, Presence::Busy).unwrap().to_string();
    // Its record says that it is idle; the DELETE knows better, as GitHub's does.
    simulator.fault(Fault::new(FaultKind::BusyLies).on(Endpoint::GetRunner));

    let said = stand.run(&["runners", "remove", "idle"]).await;
    assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
    assert!(said.err.contains("--yes"), "{said:?}");
    assert_eq!(simulator.count(Endpoint::DeleteRunner), 0);

    let said =
        stand.run(&["runners", "remove", "--yes", "busy", &lying, &idle, "idle", "nobody", &ours]).await;
    assert_eq!(said.code(), 1, "{said:?}");
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
    assert!(said.out.contains(&format!("idle (id {idle}): removed\n")), "{said:?}");
    assert!(
        said.out.contains(&format!("{ours} (id ")) && said.out.contains("the daemon removes"),
        "{said:?}"
    );
    for line in ["busy (id", "lying (id"] {
        let reported = said
            .err
            .lines()
            .find(|reported| reported.starts_with(line))
            .unwrap_or_else(|| panic!("{said:?}"));
        assert!(reported.ends_with("not removed: it is running a job"), "{reported}");
    }
    assert!(said.err.contains("nobody: not removed: there is no such runner"), "{said:?}");
    let left: Vec<_> = simulator.snapshot().runners.into_iter().map(|runner| runner.name).collect();
    assert_eq!(left, ["busy", "lying"]);
    assert_eq!(
        simulator.count(Endpoint::DeleteRunner),
        3,
        "one that is known to be busy is not even requested"
    );

    let said = stand.run(&["runners", "remove", "--yes", "--json", "busy"]).await;
    assert_eq!((said.code(), &said.json()["runners"][0]["result"]), (1, &"busy".into()), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_is_chosen_by_pool_or_address_and_must_be_when_there_are_several() {
    let (simulator, stand) = world().await;
    let [org, repository] = ["acme", "acme/widgets"].map(|scope| simulator.scope_url(scope));
    let second = pool(&repository).replace("\"linux\"\n", "\"second\"\n");
    stand.configure(&format!("{}{second}", pool(&org)));
    simulator.register("acme/widgets", "there", &LABELS, Presence::Idle).unwrap();

    let said = stand.run(&["runners", "list"]).await;
    assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
    for part in ["--pool", "--url", &format!("linux ({org})"), &format!("second ({repository})")] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    for choice in [["--pool", "second"], ["--url", repository.as_str()]] {
        let said = stand.run(&["runners", "list", choice[0], choice[1]]).await;
        assert!(said.code() == 0 && said.out.contains("there"), "{said:?}");
    }
    for (wrong, says) in [
        (["--pool", "third"], "there are: linux, second"),
        (["--url", "nowhere"], "https://"),
        (["--url", simulator.scope_url("acmee").as_str()], "wrong name"),
    ] {
        let said = stand.run(&["runners", "list", wrong[0], wrong[1]]).await;
        assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
        assert!(said.err.contains(says), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_only_read_shows_the_list_and_removes_nothing() {
    let settings = Settings { read_only_tokens: vec!["reader".to_owned()], ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let stand = Stand::new();
    stand.token("reader");
    stand.configure(&pool(&simulator.scope_url("acme")));
    simulator.register("acme", "idle", &LABELS, Presence::Idle).unwrap();

    let said = stand.run(&["check"]).await;
    let line = said.line(&["its runners can be listed: 1 runner, 0 of this instance"]);
    assert!(line.contains("whether this kind of token may also add runners shows"), "{line}");
    let said = stand.run(&["runners", "remove", "--yes", "idle"]).await;
    assert_eq!((said.code(), said.err.lines().count()), (1, 1), "{said:?}");
    for part in ["idle (id ", "not removed", "403", "Self-hosted runners: read and write"] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    assert_eq!(simulator.snapshot().runners.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_app_lists_runners_too_and_what_is_wrong_with_it_is_one_line() {
    let settings = Settings { apps: vec![keys::app()], tokens: Vec::new(), ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    simulator.register("acme", "by-hand", &LABELS, Presence::Idle).unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    stand.use_app();
    let said = stand.run(&["runners", "list"]).await;
    assert!(said.code() == 0 && said.out.contains("by-hand"), "{said:?}");

    simulator.set(|settings| settings.clock_ahead = 900);
    let said = stand.run(&["runners", "list"]).await;
    assert!(said.code() != 0 && said.err.contains("clock differs from GitHub's by 1"), "{said:?}");
}
