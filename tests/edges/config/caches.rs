//! `[[pool.container.cache]]`: what it means, and what is refused.

use dayfly::fleet::{Cache, CacheStore, DeviceClass};

use super::{SOUND, Written, pool};

const REPOSITORY: &str = r#"
[[pool]]
name = "linux"
url = "https://github.com/acme/widgets"
labels = ["self-hosted", "linux"]
"#;

/// The problems of a pool with these caches, without the place and the pool's name.
fn problems(caches: &str) -> Vec<String> {
    let place = |line: String| line.split_once("pool \"linux\": container.").map(|(_, rest)| rest.to_owned());
    pool(&format!("container.cache = [{caches}]")).into_iter().map(|line| place(line).unwrap()).collect()
}

#[test]
fn each_mode_is_read() {
    let keys = r#"
        container.env = { CARGO_HOME = "/home/runner/.cargo" }
        container.cache = [
            { target = "/opt/hostedtoolcache/", source = "tools", mode = "ro" },
            { target = "/home/runner/.cache", source = "home", mode = "rw", env = ["XDG_CACHE_HOME"] },
            { target = "/home/runner/.cargo", source = "cargo", mode = "slot", env = ["CARGO_HOME"] },
            { target = "/actions", source = "/srv/actions", mode = "ro", env = ["ACTIONS_RUNNER_ACTION_ARCHIVE_CACHE"] },
            { target = "/build", source = "build.v2", mode = "slot", promote = "trusted" },
        ]
    "#;
    let config = Written::new(format!("{REPOSITORY}{keys}")).load();
    let template = &config.pools[0].pool.template;
    let cache = |target: &str, store| Cache { target: target.to_owned(), store };
    assert_eq!(
        template.caches,
        [
            cache("/opt/hostedtoolcache", CacheStore::ReadOnly("tools".to_owned())),
            cache("/home/runner/.cache", CacheStore::Shared("home".to_owned())),
            cache("/home/runner/.cargo", CacheStore::Slot("cargo".to_owned())),
            cache("/actions", CacheStore::ReadOnly("/srv/actions".to_owned())),
            cache("/build", CacheStore::Promoted("build.v2".to_owned())),
        ]
    );
    assert_eq!(template.devices, [(DeviceClass::Slot("cargo".to_owned()), 1)].into());
    let variables: Vec<_> =
        template.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        variables,
        [
            ("ACTIONS_RUNNER_ACTION_ARCHIVE_CACHE", "/actions"),
            ("AGENT_TOOLSDIRECTORY", "/opt/hostedtoolcache"),
            ("CARGO_HOME", "/home/runner/.cargo"),
            ("RUNNER_TOOL_CACHE", "/opt/hostedtoolcache"),
            ("XDG_CACHE_HOME", "/home/runner/.cache"),
        ]
    );
    assert!(template.promotes() && template.needs_preparation());
}

#[test]
fn what_would_break_runners_or_their_data_is_refused_with_the_reason() {
    for (target, why) in [
        ("cache", "must be an absolute path in the container, without \"..\""),
        ("/cache/../etc", "must be an absolute path in the container, without \"..\""),
        ("/var/lib/docker", "two engines that share their data corrupt it"),
        ("/var/lib/docker/overlay2", "two engines that share their data corrupt it"),
        ("/var/lib", "two engines that share their data corrupt it"),
        ("/home/runner/", "hides the runner's own folder /home/runner, so it could not start"),
        ("/home", "hides the runner's own folder /home/runner, so it could not start"),
        ("/home/runner/_work", "is in /home/runner/_work, which belongs to the runner itself"),
        ("/home/runner/_work/_tool", "is in /home/runner/_work, which belongs to the runner itself"),
        ("/home/runner/externals/node20", "is in /home/runner/externals, which belongs to the runner itself"),
    ] {
        let found = problems(&format!(r#"{{ target = "{target}", source = "c", mode = "rw" }}"#));
        assert_eq!(found.len(), 1, "{target}: {found:?}");
        assert!(found[0].starts_with("cache, item 1: target: ") && found[0].contains(why), "{found:?}");
    }
    let other = r#"container.command = ["/srv/agent/run.sh"]
container.cache = [{ target = "/srv/agent", source = "c", mode = "rw" }]"#;
    assert!(pool(other)[0].contains("hides the runner's own folder /srv/agent"), "{:?}", pool(other));
    let mounted = r#"container.mounts = ["/srv/a:/a/"]
container.cache = [{ target = "/a", source = "c", mode = "rw" }]"#;
    assert!(pool(mounted)[0].contains("is already the target of one of the mounts"), "{:?}", pool(mounted));
}

#[test]
fn a_cache_without_a_sound_source_or_mode_is_refused() {
    for (cache, found) in [
        (
            r#"{ target = "/a" }"#,
            vec!["cache, item 1: source: is missing", "cache, item 1: mode: is missing"],
        ),
        (
            r#"{ target = "/a", source = "c", mode = "cow" }"#,
            vec!["cache, item 1: mode: must be one of \"ro\", \"rw\", \"slot\""],
        ),
        (
            r#"{ target = "/a", source = "/srv/a", mode = "rw" }"#,
            vec!["cache, item 1: source: is a path on the host, which only mode = \"ro\" can use"],
        ),
        (
            r#"{ target = "/a", source = "A b", mode = "rw" }"#,
            vec!["cache, item 1: source: must be a name of at most"],
        ),
        (
            r#"{ target = "/a", source = "c-3", mode = "rw" }"#,
            vec!["cache, item 1: source: must not end in \"-\" and a number"],
        ),
        (
            r#"{ target = "/a", source = "c", mode = "rw", promote = "trusted" }"#,
            vec!["cache, item 1: promote: \"trusted\" needs a pool of one repository"],
        ),
        (
            r#"{ target = "/a", source = "c", mode = "ro", promote = "never" }"#,
            vec!["cache, item 1: promote: is only for mode = \"slot\""],
        ),
        (
            r#"{ target = "/a", source = "c", mode = "slot", promote = "trusted" }"#,
            vec![
                "cache, item 1: promote: \"trusted\" needs a pool of one repository: a runner gets its copy before",
            ],
        ),
        (
            r#"{ target = "/a", source = "c", mode = "rw", env = ["ACTIONS_RUNNER_INPUT_JITCONFIG"] }"#,
            vec!["cache, item 1: env, item 1: must be the name of an environment variable"],
        ),
        (
            r#"{ target = "/a", source = "c", mode = "rw" }, { target = "/a/", source = "d", mode = "rw" }"#,
            vec!["cache, item 2: target: is already the target of cache number 1"],
        ),
        (
            r#"{ target = "/a", source = "c", mode = "rw" }, { target = "/b", source = "c", mode = "ro" }"#,
            vec!["cache, item 2: source: is already the source of cache number 1 of this pool"],
        ),
        (r#"{ target = "/a", sorce = "c", mode = "rw" }"#, vec!["cache, item 1: sorce"]),
    ] {
        let all = problems(cache);
        for wanted in found {
            assert!(all.iter().any(|problem| problem.starts_with(wanted)), "{wanted}\n{all:#?}");
        }
    }
    let set = r#"container.env = { CARGO_HOME = "/elsewhere" }
container.cache = [{ target = "/a", source = "c", mode = "rw", env = ["CARGO_HOME"] }]"#;
    assert!(pool(set)[0].contains("is set to another value in env"), "{:?}", pool(set));
}

#[test]
fn two_pools_of_a_host_share_a_source_in_one_mode_or_as_reader_and_writer() {
    let two = |first: &str, second: &str| {
        let other = SOUND.replace("linux", "other");
        let cache = |mode: &str| {
            format!("container.cache = [{{ target = \"/a\", source = \"c\", mode = \"{mode}\" }}]\n")
        };
        Written::new(format!("{SOUND}{}{other}{}", cache(first), cache(second)))
    };
    for (first, second) in [("ro", "rw"), ("rw", "ro"), ("rw", "rw"), ("slot", "slot")] {
        assert_eq!(two(first, second).load().pools.len(), 2, "{first} {second}");
    }
    for (first, second) in [("slot", "rw"), ("ro", "slot")] {
        let found = two(first, second).problems();
        assert!(found[0].contains("is used in another mode by pool \"linux\" on the same host"), "{found:?}");
    }
}
