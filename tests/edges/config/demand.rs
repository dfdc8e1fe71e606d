//! The job sources of pools: valid combinations, and what they require.

use std::fs;

use dayfly::{config::Tokens, fleet::Demand};

use super::{SOUND, Written, pool};

fn at(url: &str, keys: &str) -> Written {
    Written::new(format!("{}{keys}", SOUND.replace("https://github.com/acme", url)))
}

const ORGANIZATION: &str = "https://github.com/acme";
const REPOSITORY: &str = "https://github.com/acme/widgets";
const ENTERPRISE: &str = "https://github.com/enterprises/acme";

fn with_secret(keys: &str) -> Written {
    let written = Written::new(format!("[http]\nwebhook_secret_file = \"hook\"{SOUND}{keys}"));
    written.secret("hook");
    written
}

#[test]
fn each_way_is_read() {
    let of = |written: &Written| written.load().pools[0].pool.demand;
    for (keys, demand) in [
        ("", Demand::IDLE),
        ("demand = [\"idle\"]\n", Demand::IDLE),
        ("demand = [\"queue\"]\nmin_idle = 0\n", Demand::Jobs { queue: true, webhook: false }),
        ("demand = [\"idle\", \"queue\"]\n", Demand::Jobs { queue: true, webhook: false }),
        ("demand = [\"scale-set\"]\nmin_idle = 0\n", Demand::ScaleSet),
    ] {
        assert_eq!(of(&Written::new(format!("{SOUND}{keys}"))), demand, "{keys}");
    }
    let written = with_secret("demand = [\"webhook\", \"queue\"]\nmin_idle = 0\n");
    assert_eq!((of(&written), written.warnings().len()), (Demand::Jobs { queue: true, webhook: true }, 0));
    assert!(written.load().webhook_secret_file.unwrap().ends_with("hook"));
    let pool = Written::new(format!("{SOUND}allow_public = true\nmatch_unlabelled = true\n")).load();
    assert!(pool.pools[0].pool.allow_public && pool.pools[0].pool.match_unlabelled);
}

#[test]
fn what_could_never_learn_of_a_job_is_refused() {
    let why = r#"must be at least 1: with demand = ["idle"] nothing else would ever launch a runner; raise it, or let the pool poll for queued jobs with demand = ["queue"]"#;
    for (keys, reported) in [
        ("min_idle = 0", format!("min_idle: {why}")),
        (
            "schedule = [{ hours = \"20:00-06:00\", timezone = \"UTC\", min_idle = 0 }]",
            format!("schedule, item 1: min_idle: {why}"),
        ),
        ("demand = []", r#"demand: must not be empty; write ["idle"]"#.to_owned()),
        (
            "demand = [\"hooks\"]",
            r#"demand, item 1: must be one of "idle", "queue", "webhook", "scale-set""#.to_owned(),
        ),
        (
            "demand = [\"idle\", \"scale-set\"]",
            r#"demand: has "scale-set" together with others: GitHub itself assigns jobs to a scale set, and no other source is used; write ["scale-set"] alone, or remove it"#
                .to_owned(),
        ),
        (
            "demand = [\"webhook\"]",
            r#"demand: has "webhook", but without webhook_secret_file in [http] no webhook is accepted; write webhook_secret_file = "…" in [http]"#
                .to_owned(),
        ),
    ] {
        assert_eq!(pool(keys), [format!("dayfly.toml:6: pool \"linux\": {reported}")], "{keys}");
    }
}

#[test]
fn a_secret_is_held_to_what_tokens_are() {
    let written =
        Written::new(format!("[http]\nwebhook_secret_file = \"hook\"{SOUND}demand = [\"webhook\"]\n"));
    let reported = written.problems();
    assert!(
        reported[0].starts_with("dayfly.toml:2: http.webhook_secret_file: names a file that cannot be read")
    );
    assert!(written.load_with(Tokens::Unneeded).is_ok());
    written.secret("hook");
    assert_eq!(written.warnings(), [""; 0]);
    fs::write(written.path().with_file_name("hook"), "").unwrap();
    assert!(written.problems()[0].contains("names an empty file"));
    let in_systemd = with_secret("demand = [\"webhook\"]\n");
    let directory = in_systemd.path().parent().unwrap().display().to_string();
    let text = fs::read_to_string(in_systemd.path()).unwrap();
    fs::write(in_systemd.path(), text.replace("\"hook\"", "\"$CREDENTIALS_DIRECTORY/hook\"")).unwrap();
    let in_systemd = in_systemd.with("CREDENTIALS_DIRECTORY", &directory);
    assert!(in_systemd.load().webhook_secret_file.unwrap().ends_with("hook"));
}

#[test]
fn unused_webhooks_and_ones_that_may_be_lost_get_a_warning() {
    let warnings = with_secret("").warnings();
    assert_eq!(
        warnings,
        [
            r#"dayfly.toml:2: http.webhook_secret_file: is set, but no pool has "webhook" in its demand: webhooks are accepted and have no effect; add "webhook" to a pool's demand, or remove it"#
        ]
    );
    assert_eq!(with_secret("demand = [\"webhook\"]\n").warnings(), [""; 0]);
    let warnings = with_secret("demand = [\"webhook\"]\nmin_idle = 0\n").warnings();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with(r#"dayfly.toml:7: pool "linux": demand: is webhooks alone"#),
        "{warnings:?}"
    );
}

#[test]
fn repositories_are_those_of_the_scope() {
    let named = |url: &str, list: &str| at(url, &format!("demand = [\"queue\"]\nrepositories = {list}\n"));
    let config = named(ORGANIZATION, r#"["Widgets", "acme/tools"]"#).load();
    let read: Vec<_> = config.pools[0].pool.repositories.iter().map(dayfly::fleet::Scope::path).collect();
    assert_eq!(read, ["acme/widgets", "acme/tools"]);
    let config = named(ENTERPRISE, r#"["one/a", "two/b"]"#).load();
    assert_eq!(config.pools[0].pool.repositories[1].as_str(), "https://github.com/two/b");
    for (url, list, reported) in [
        (
            REPOSITORY,
            "[\"a\"]",
            "repositories: is for organizations and enterprises: this pool has a single repository; leave \
             it out",
        ),
        (ORGANIZATION, r#"["a", "ACME/A"]"#, r#"repositories, item 2: "ACME/A" is listed twice; remove one"#),
        (
            ORGANIZATION,
            r#"["other/a"]"#,
            r#"repositories, item 1: "other/a" does not belong to https://github.com/acme, so its jobs could not run here; remove it, or register at the enterprise"#,
        ),
        (
            ORGANIZATION,
            r#"["a b"]"#,
            r#"repositories, item 1: "a b" is not the name of a repository; write its name, or OWNER/REPOSITORY"#,
        ),
        (
            ENTERPRISE,
            r#"["a"]"#,
            r#"repositories, item 1: "a" is not the name of a repository; write ORGANIZATION/REPOSITORY"#,
        ),
    ] {
        assert_eq!(
            named(url, list).problems(),
            [format!("dayfly.toml:7: pool \"linux\": {reported}")],
            "{url}"
        );
    }
    let missing = at(ENTERPRISE, "demand = [\"queue\"]\n").problems();
    assert!(
        missing[0].contains("repositories: is missing: the token that manages an enterprise's runners"),
        "{missing:?}"
    );
    let needless = at(ORGANIZATION, "repositories = [\"a\"]\n").problems();
    assert!(needless[0].contains("without \"queue\" in demand no queues are polled"), "{needless:?}");
}

#[test]
fn a_scale_set_needs_no_self_hosted_label() {
    let text = SOUND.replace("[\"self-hosted\", \"linux\"]", "[\"linux\"]");
    assert_eq!(Written::new(format!("{text}demand = [\"scale-set\"]\n")).warnings(), [""; 0]);
    let warnings =
        Written::new(format!("{SOUND}demand = [\"scale-set\"]\nmatch_unlabelled = true\n")).warnings();
    assert!(warnings[0].contains("match_unlabelled: has no effect"), "{warnings:?}");
}

#[test]
fn pools_of_one_url_have_one_credential() {
    let other = "[[pool]]\nname = \"gpu\"\nurl = \"https://github.com/ACME\"\nlabels = [\"self-hosted\", \"gpu\"]\ncredentials = \"b\"\n";
    let written = Written::new(format!(
        "[credentials]\na = {{ token_env = \"GITHUB_TOKEN\" }}\nb = {{ token_env = \"GITHUB_TOKEN\" \
         }}{SOUND}credentials = \"a\"\n{other}"
    ));
    assert_eq!(
        written.problems(),
        [
            r#"dayfly.toml:13: pool "gpu": credentials: must be "a", as in pool "linux": pools with the same url must have the same credential; set the same in both"#
        ]
    );
}
