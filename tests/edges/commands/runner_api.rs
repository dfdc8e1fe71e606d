//! The commands of GitHub's runner API: `labels`, `token`, `downloads`, `groups`, `jit`, and all of them by
//! `--url` alone.

use dayfly::simulator::{Endpoint, Fault, FaultKind, Presence, Settings, Simulator};

use super::{
    runners::{LABELS, ours},
    stand::{Stand, TOKEN, pool},
};

const LEVELS: [&str; 3] = ["acme", "acme/widgets", "enterprises/acme"];

async fn simulator(settings: Settings) -> (Simulator, Stand) {
    let simulator = Simulator::start(settings).await.unwrap();
    (simulator, Stand::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_at_every_level_by_address_alone() {
    let (simulator, _) = simulator(Settings::default()).await;
    for level in LEVELS {
        let url = simulator.scope_url(level);
        for number in 0..150 {
            simulator.register(level, &format!("hand-{number}"), &LABELS, Presence::Idle).unwrap();
        }
        let run = async |arguments: &[&str]| {
            let said = Stand::run_bare(TOKEN, &[arguments, &["--url", &url, "--json"][..]].concat()).await;
            assert_eq!((said.code(), said.err.as_str()), (0, ""), "{level} {arguments:?}: {said:?}");
            said.json()
        };
        assert_eq!(run(&["runners", "list"]).await["runners"].as_array().unwrap().len(), 150);
        assert_eq!(run(&["runners", "get", "hand-149"]).await["name"], "hand-149");
        assert_eq!(run(&["labels", "list", "hand-7"]).await["labels"].as_array().unwrap().len(), 2);
        assert_eq!(run(&["labels", "add", "hand-7", "gpu"]).await["labels"][0]["name"], "gpu");
        assert_eq!(run(&["labels", "set", "hand-7", "big"]).await["labels"][0]["name"], "big");
        assert_eq!(
            run(&["labels", "remove", "hand-7", "--all"]).await["labels"].as_array().unwrap().len(),
            2
        );
        for kind in ["registration", "remove"] {
            assert_eq!(run(&["token", kind]).await["token"].as_str().unwrap().len(), 29);
        }
        assert_eq!(run(&["downloads"]).await["newest_version"], "2.336.0");
        if level != "acme/widgets" {
            assert_eq!(run(&["groups", "list"]).await["runner_groups"][0]["name"], "Default");
        }
        let minted = run(&["jit", "--name", "by hand", "--label", "gpu", "--label", "x64"]).await;
        assert!(minted.get("encoded_jit_config").is_none());
        let id = minted["runner"]["id"].to_string();
        assert_eq!(run(&["runners", "get", &id]).await["labels"], serde_json::json!(["gpu", "x64"]));
        assert_eq!(run(&["runners", "remove", "--yes", &id]).await["runners"][0]["result"], "removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_shown_added_set_and_removed_and_those_that_stay_are_reported() {
    let (simulator, stand) = simulator(Settings::default()).await;
    stand.configure(&pool(&simulator.scope_url("acme")));
    let id = simulator.register("acme", "hand", &LABELS, Presence::Idle).unwrap().to_string();
    let table = async |arguments: &[&str]| {
        let said = stand.run(&[&["labels"], arguments].concat()).await;
        let rows = said.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        (said.code(), rows.collect::<Vec<_>>(), said.err)
    };
    let (head, linux, own) = ("LABEL KIND", "linux read-only", "self-hosted read-only");
    assert_eq!(table(&["list", "hand"]).await.1, [head, linux, own]);
    assert_eq!(table(&["add", &id, "GPU", "a/b"]).await.1, [head, "a/b custom", "gpu custom", linux, own]);
    assert_eq!(
        table(&["set", "hand", "x y", "größe"]).await.1,
        [head, "größe custom", linux, own, "x y custom"]
    );

    let (code, rows, reported) = table(&["remove", "hand", "x y", "linux", "nothing", "größe"]).await;
    assert_eq!((code, &rows[..]), (1, &[head, linux, own].map(str::to_owned)[..]), "{reported}");
    let reported: Vec<_> = reported.lines().collect();
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(
        reported[0].starts_with("label \"linux\" was not removed from hand: ")
            && reported[0].contains("read-only"),
        "{reported:?}"
    );
    assert_eq!(reported[1], "label \"nothing\" was not removed from hand: it has no such label");

    let said = stand.run(&["labels", "remove", "hand", "nothing", "--json"]).await;
    assert_eq!((said.code(), &said.json()["not_removed"][0]["name"]), (1, &"nothing".into()), "{said:?}");
    let said = stand.run(&["labels", "remove", "hand"]).await;
    assert!(said.code() == 2 && said.err.contains("<NAME|--all>"), "{said:?}");
    let said = stand.run(&["labels", "list", "nobody"]).await;
    assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
    assert!(said.err.contains("no runner \"nobody\""), "{said:?}");
    let said = stand.run(&["labels", "remove", "hand", ".."]).await;
    assert!(said.code() != 0 && said.err.contains("is not a valid name for a label"), "{said:?}");
    assert_eq!(simulator.snapshot().runners.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_all_that_standard_output_gets() {
    let (simulator, stand) = simulator(Settings::default()).await;
    stand.configure(&pool(&simulator.scope_url("acme")));
    for kind in ["registration", "remove"] {
        let said = stand.run(&["token", kind, "-vv"]).await;
        assert_eq!(said.code(), 0, "{said:?}");
        let token = said.out.trim_end();
        assert!(token.len() == 29 && token.chars().all(|c| c.is_ascii_alphanumeric()), "{said:?}");
        let expiry = said.err.lines().find(|line| line.starts_with("expires: 20"));
        assert!(expiry.is_some() && !said.err.contains(token), "{said:?}");
    }
    assert_eq!(simulator.count(Endpoint::RunnerToken), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_show_the_newest_version_and_no_secret() {
    let settings = Settings { newest_runner: "2.340.1".to_owned(), ..Settings::default() };
    let (simulator, stand) = simulator(settings).await;
    stand.configure(&pool(&simulator.scope_url("acme")));
    let said = stand.run(&["downloads"]).await;
    assert_eq!(said.code(), 0, "{said:?}");
    assert!(said.out.ends_with("\nnewest version: 2.340.1\n"), "{said:?}");
    let line = said.line(&["linux", "arm64"]);
    for part in ["2.340.1", "actions-runner-linux-arm64-2.340.1.tar.gz", &"5".repeat(64)] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let json = stand.run(&["downloads", "--json"]).await;
    let of_windows = &json.json()["downloads"][5];
    assert_eq!((&of_windows["os"], &of_windows["version"]), (&"win".into(), &"2.340.1".into()));
    assert!(of_windows["download_url"].as_str().unwrap().starts_with("https://"));
    for said in [said, json] {
        assert!(!said.out.contains("simulated-download-token"), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_show_whom_they_serve_and_a_repository_has_none() {
    let settings = Settings { groups: ["Default", "gpu"].map(str::to_owned).into(), ..Settings::default() };
    let (simulator, stand) = simulator(settings).await;
    stand.configure(&pool(&simulator.scope_url("acme")));
    let said = stand.run(&["groups", "list"]).await;
    assert_eq!(said.code(), 0, "{said:?}");
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(said.line(&["Default"])), ["1", "Default", "yes", "all", "no", "all", "no"]);
    assert_eq!(words(said.line(&["gpu"])), ["3", "gpu", "no", "all", "no", "all", "no"]);
    let said = stand.run(&["groups", "list", "--url", &simulator.scope_url("acme/widgets")]).await;
    assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
    assert!(said.err.contains("a repository, which has no runner groups"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_is_minted_manually_and_its_config_printed_only_when_asked_for() {
    let settings = Settings { groups: ["Default", "gpu"].map(str::to_owned).into(), ..Settings::default() };
    let (simulator, stand) = simulator(settings).await;
    stand.configure(&pool(&simulator.scope_url("acme")));
    let jit = async |more: &[&str]| stand.run(&[&["jit", "--label", "x64"], more].concat()).await;

    let said = jit(&["--name", "one", "--group", "GPU"]).await;
    let id = simulator.snapshot().runner("one").unwrap().id;
    assert_eq!((said.code(), said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.starts_with(&format!("minted one (id {id}); ")), "{said:?}");
    assert!(said.out.contains("dayfly runners remove --url http://") && said.out.len() < 400, "{said:?}");
    let group = stand.run(&["runners", "get", "one", "--json"]).await.json()["group_name"].clone();
    assert_eq!(group, "gpu");

    let said = jit(&["--name", "two", "--print-config"]).await;
    assert_eq!((said.code(), said.out.lines().count()), (0, 1), "{said:?}");
    assert!(said.out.len() > 4000 && said.err.starts_with("minted two (id "), "{said:?}");
    let said = jit(&["--name", "three", "--print-config", "--json"]).await;
    assert!(said.json()["encoded_jit_config"].as_str().unwrap().len() > 4000, "{said:?}");

    for (more, says) in [
        (&["--name", "one"][..], "already has a runner of this name"),
        (
            &["--name", "four", "--group", "none"],
            "there is no runner group \"none\"; visible to the token: \"Default\", \"gpu\"",
        ),
        (&["--name", &ours()], "the form of Dayfly's own names"),
        (
            &["--name", "four", "--group", "gpu", "--url", &simulator.scope_url("acme/widgets")],
            "leave --group out",
        ),
    ] {
        let said = jit(more).await;
        assert_eq!((said.code(), said.err.lines().count(), said.out.as_str()), (2, 1, ""), "{said:?}");
        assert!(said.err.contains(says), "{says}: {said:?}");
    }
    assert_eq!(simulator.snapshot().runners.len(), 3);

    simulator.fault(Fault::new(FaultKind::DropsAfterTheDeed).on(Endpoint::Mint).times(1));
    let said = jit(&["--name", "five"]).await;
    assert!(said.code() == 2 && said.err.contains("may exist nevertheless"), "{said:?}");
    simulator.fault(Fault::new(FaultKind::EmptyJitConfig).on(Endpoint::Mint).times(1));
    let said = jit(&["--name", "six"]).await;
    let six = simulator.snapshot().runner("six").unwrap().id;
    assert!(said.code() == 2 && said.err.contains(&format!("acme {six}")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_permission_that_is_missing_at_each_level() {
    let settings = Settings { read_only_tokens: vec!["reader".to_owned()], ..Settings::default() };
    let (simulator, _) = simulator(settings).await;
    for (level, wants, needs) in [
        ("acme", "organization_self_hosted_runners=write", "admin:org"),
        ("acme/widgets", "administration=write", "classic token: repo"),
        ("enterprises/acme", "manage_runners:enterprise", "manage_runners:enterprise"),
    ] {
        simulator.register(level, "hand", &LABELS, Presence::Idle).unwrap();
        let url = simulator.scope_url(level);
        for arguments in [
            &["labels", "add", "hand", "gpu"][..],
            &["labels", "set", "hand", "gpu"],
            &["labels", "remove", "hand", "--all"],
            &["token", "registration"],
            &["token", "remove"],
            &["jit", "--name", "new", "--label", "x64"],
        ] {
            let said = Stand::run_bare("reader", &[arguments, &["--url", &url]].concat()).await;
            assert_eq!((said.code(), said.out.as_str()), (2, ""), "{arguments:?}: {said:?}");
            assert_eq!(said.err.lines().count(), 1, "{said:?}");
            for part in ["403", wants, needs, &url] {
                assert!(said.err.contains(part), "{part}: {said:?}");
            }
        }
        assert_eq!(Stand::run_bare("reader", &["downloads", "--url", &url]).await.code(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_to_no_github_that_it_is_not_configured_for() {
    let (here, stand) = simulator(Settings::default()).await;
    let elsewhere = Simulator::start(Settings::default()).await.unwrap();
    let url = elsewhere.scope_url("acme");
    let pools = |url: &str| {
        let other = pool(&format!("{url}/tools")).replace("\"linux\"\nurl", "\"other\"\nurl");
        let given =
            |name: &str, pool: String| pool.replace("labels", &format!("credentials = \"{name}\"\nlabels"));
        let of = |name: &str| format!("[credentials.{name}]\ntoken_file = \"token\"\n");
        [of("one"), of("two"), given("one", pool(url)), given("two", other)].concat()
    };
    stand.configure(&pools(&here.scope_url("acme")));
    let said = stand.run(&["runners", "list", "--url", &here.scope_url("enterprises/acme")]).await;
    assert!(said.code() == 2 && said.err.contains("have several credentials (one, two)"), "{said:?}");

    stand.configure(&pool(&here.scope_url("acme")));
    let said = stand.run(&["runners", "list", "--url", &url]).await;
    assert_eq!((said.code(), said.err.lines().count()), (2, 1), "{said:?}");
    assert!(
        said.err.contains("name one with --credentials (default), or set GH_ENTERPRISE_TOKEN"),
        "{said:?}"
    );
    let said = Stand::run_with("GITHUB_TOKEN", TOKEN, &["runners", "list", "--url", &url]).await;
    assert!(said.code() == 2 && said.err.contains("GH_ENTERPRISE_TOKEN"), "{said:?}");
    assert_eq!(elsewhere.requests().len(), 0);

    for said in [
        stand.run(&["runners", "list", "--url", &url, "--credentials", "default"]).await,
        Stand::run_bare(TOKEN, &["runners", "list", "--url", &url]).await,
        // On the GitHub of a pool, the pool's credential is used.
        stand.run(&["runners", "list", "--url", &here.scope_url("enterprises/acme")]).await,
    ] {
        assert_eq!(said.code(), 0, "{said:?}");
    }
    let said = stand.run(&["runners", "list", "--url", &url, "--credentials", "other"]).await;
    assert!(said.code() == 2 && said.err.contains("no credential \"other\"; there are: default"), "{said:?}");
    let said = Stand::run_bare(TOKEN, &["runners", "list"]).await;
    assert!(said.code() == 2 && said.err.contains("name a scope with --url"), "{said:?}");
    let said = Stand::run_bare("", &["runners", "list", "--url", &url]).await;
    assert!(said.code() == 2 && said.err.contains("environment variable GH_ENTERPRISE_TOKEN"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_sends_a_token_to_another_machine_over_plain_http() {
    // An address reserved for documentation (RFC 5737).
    let url = "http://192.0.2.1/acme";
    let refusal = "no credential is sent over plain http to 192.0.2.1";
    let said = Stand::run_bare(TOKEN, &["runners", "list", "--url", url]).await;
    assert!(said.code() != 0 && said.err.contains(refusal), "{said:?}");
    let stand = Stand::new();
    stand.configure(&pool(url));
    let said = stand.run(&["check"]).await;
    assert!(said.code() == 2 && said.out.replace('\n', " ").contains(refusal), "{said:?}");
    let said = stand.run(&["run"]).await;
    assert!(said.code() != 0 && said.err.contains(refusal), "{said:?}");
}
