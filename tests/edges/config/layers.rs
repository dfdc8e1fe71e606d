//! The environment over the file, and the defaults that come from the machine.

use std::{path::Path, time::Duration};

use dayfly::{
    config::{self, Machine},
    github::TokenSource,
    host::Endpoint,
};

use super::{SOUND, Written};

#[test]
fn the_environment_wins_over_the_file() {
    let text = format!("instance = \"file\"\n[http]\nlisten = \"127.0.0.1:1\"{SOUND}");
    let config = Written::new(text)
        .with("DAYFLY_HTTP__LISTEN", "127.0.0.1:2")
        .with("DAYFLY_INSTANCE", "12345")
        .with("DAYFLY_POLL__INTERVAL", "20s")
        .with("DAYFLY_HOSTS__LOCAL__MAX_RUNNERS", "7")
        .with("DAYFLY_HOSTS__LOCAL__CPUS", "2.5")
        .with("DAYFLY_HOSTS__LOCAL__MEMORY", "4GiB")
        .with("DAYFLY_CREDENTIALS__DEFAULT__TOKEN_COMMAND", "[\"gh\", \"auth\", \"token\"]")
        .load();
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.instance.as_str(), "12345");
    assert_eq!(config.poll_interval, Duration::from_secs(20));
    let host = &config.hosts[0].host;
    assert_eq!((host.max_runners, host.budget.cpu_millis, host.budget.memory), (Some(7), 2500, 4 << 30));
    let command = TokenSource::Command(["gh", "auth", "token"].map(str::to_owned).to_vec());
    assert_eq!(config.credentials["default"], command.into());
    let pools = r#"[{ name = "env", url = "https://github.com/a", labels = ["self-hosted"], max = 3 }]"#;
    let config = Written::new(SOUND).with("DAYFLY_POOL", pools).load();
    assert_eq!((config.pools.len(), config.pools[0].pool.policy.max), (1, 3));
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, reported) in [
        ("DAYFLY_POLL__INTERVAL", "soon", r#"poll.interval: must be a duration such as "10s" or "1h30m""#),
        (
            "DAYFLY_HOSTS__LOCAL__MAX_RUNNERS",
            "many",
            "hosts.local.max_runners: must be a whole number, 0 or more, not a string",
        ),
        (
            "DAYFLY_HTTP__LISTENN",
            "127.0.0.1:1",
            r#"http.listenn: is not a known key; did you mean "listen"?"#,
        ),
        ("DAYFLY_HTTP", "x", "http: must be a table, not a string"),
        (
            "DAYFLY_POOL__0__MAX",
            "3",
            "pools are a list, and the environment cannot change a single key of it; change it in the file, \
             or set DAYFLY_POOL to the whole list as TOML",
        ),
        (
            "DAYFLY_POOL",
            r#"[{ name = "a", url = "https://github.com/a", labels = [], max = 3 }]"#,
            r#"pool 1: labels: must not be empty; for example ["self-hosted", "linux", "x64"]"#,
        ),
    ] {
        assert_eq!(Written::new(SOUND).with(name, value).problems(), [format!("{name}: {reported}")]);
    }
    let docker_host = Written::new(SOUND).with("DOCKER_HOST", "npipe://x").problems();
    assert_eq!(docker_host.len(), 1, "{docker_host:?}");
    assert!(docker_host[0].contains("it comes from DOCKER_HOST"), "{docker_host:?}");
}

#[test]
fn a_variable_that_was_meant_to_set_a_key_and_does_not_is_an_error() {
    for (name, hint) in [
        ("DAYFLY_HTPP__LISTEN", "; did you mean DAYFLY_HTTP__LISTEN?"),
        ("DAYFLY_INSTANSE", "; did you mean DAYFLY_INSTANCE?"),
        ("DAYFLY_STATEDIR", "; did you mean DAYFLY_STATE_DIR?"),
        ("DAYFLY_POOLS", "; did you mean DAYFLY_POOL?"),
        ("DAYFLY_HTTP__", ""),
        ("DAYFLY_NOTHING__LIKE_IT", ""),
    ] {
        let problems = Written::new(SOUND).with(name, "x").problems();
        assert_eq!(problems, [format!("{name}: does not set a known key{hint}")]);
    }
}

#[test]
fn a_variable_of_another_program_is_warned_of_and_those_of_the_command_line_are_not() {
    let mut written = Written::new(SOUND).with("DAYFLY_CONFIG", "/x").with("DAYFLY_LOG_FORMAT", "json");
    written = written.with("OTHER_HTTP__LISTEN", "x");
    // A folder of its own, Kubernetes' and Docker's for a service of this name, and those of Dayfly's tests.
    let others = [
        "DAYFLY_HOME",
        "DAYFLY_OPENAPI_DIR",
        "DAYFLY_PORT",
        "DAYFLY_PORT_9745_TCP_ADDR",
        "DAYFLY_REQUIRE_FAKETIME",
        "DAYFLY_REQUIRE_REGISTRY",
        "DAYFLY_REQUIRE_SSHD",
        "DAYFLY_SCALESET_EMULATOR",
        "DAYFLY_SERVICE_HOST",
        "DAYFLY_SERVICE_PORT",
        "DAYFLY_SIMULATED",
        "DAYFLY_VERSION",
        "DAYFLY_WEBHOOKS_DIR",
    ];
    for name in others {
        written = written.with(name, "x");
    }
    let mut warnings = written.warnings();
    warnings.sort();
    assert_eq!(warnings, others.map(|name| format!("{name}: does not set a known key, and is ignored")));
}

#[test]
fn the_state_directory_follows_systemd_then_the_user() {
    let mut written = Written::new(SOUND).with("HOME", "/home/ci");
    assert_eq!(written.load().state_dir, Path::new("/var/lib/dayfly"));
    written.machine.root = false;
    assert_eq!(written.load().state_dir, Path::new("/home/ci/.local/state/dayfly"));
    let written = written.with("XDG_STATE_HOME", "/home/ci/state");
    assert_eq!(written.load().state_dir, Path::new("/home/ci/state/dayfly"));
    let written = written.with("STATE_DIRECTORY", "/var/lib/one:/var/lib/two");
    assert_eq!(written.load().state_dir, Path::new("/var/lib/one"));
    assert_eq!(written.with("DAYFLY_STATE_DIR", "/srv").load().state_dir, Path::new("/srv"));
}

#[test]
fn the_local_engine_is_what_the_docker_command_would_use() {
    let written = Written::new(SOUND)
        .with("DOCKER_HOST", "tcp://10.0.0.7:2376")
        .with("DOCKER_TLS_VERIFY", "1")
        .with("DOCKER_CERT_PATH", "/home/ci/.docker");
    let config = written.load();
    let Endpoint::Tcp { address, tls_dir } = &config.hosts[0].endpoint else { panic!("{config:?}") };
    let certificates = Some(Path::new("/home/ci/.docker"));
    assert_eq!((address.as_str(), tls_dir.as_deref()), ("10.0.0.7:2376", certificates));
    assert_eq!(config.warnings, []);
    // A local host that no pool uses is not made up.
    let elsewhere = format!("{SOUND}host = \"big\"\n[hosts.big]\nendpoint = \"ssh://ci@big\"\n");
    let config = Written::new(elsewhere).load();
    assert_eq!((config.hosts.len(), config.pools[0].pool.hosts[0].as_str()), (1, "big"));
}

#[test]
fn a_machine_without_an_identity_needs_an_instance() {
    let mut written = Written::new(SOUND);
    written.machine = Machine::default();
    assert_eq!(
        written.problems(),
        [
            r#"dayfly.toml: instance: is not set and cannot be derived, because this machine has neither a machine id nor a host name; set instance = "…" to a short word that no other installation uses"#
        ]
    );
    assert_eq!(written.with("DAYFLY_INSTANCE", "ci1").load().instance.as_str(), "ci1");
}

#[test]
fn the_file_is_found_by_flag_then_variable() {
    let env = [("DAYFLY_CONFIG".to_owned(), "/from/env.toml".to_owned())];
    assert_eq!(config::find(Some(Path::new("a.toml")), env.clone()).unwrap(), Path::new("a.toml"));
    assert_eq!(config::find(None, env).unwrap(), Path::new("/from/env.toml"));
}
