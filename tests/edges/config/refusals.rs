//! The errors for pools and hosts.

use super::{SOUND, Written, head, pool};

/// Checks the error for a line of the pool, without the place and the pool's name.
fn hold(line: usize, text: &str, reported: &str) {
    assert_eq!(pool(text), [format!("dayfly.toml:{line}: pool \"linux\": {reported}")], "{text}");
}

#[test]
fn a_variable_that_breaks_the_trust_in_the_runners_lines_is_refused() {
    hold(
        6,
        "container.env = { ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING = \"false\" }",
        "container.env.ACTIONS_RUNNER_DISABLE_STDOUT_MULTILINE_LOG_PREFIXING: must not be set: with it, the output of a \
         job could pass for the runner's own lines, which Dayfly relies on; remove it",
    );
}

#[test]
fn numbers_out_of_reason_are_refused() {
    for (keys, reported) in [
        ("max = -3", "max: must be a whole number, 0 or more"),
        ("max = 0", "max: must be at least 1; remove the pool if it is not wanted"),
        ("max = 4_000_000_000", "max: is too large: must be at most 10000"),
        ("max = 99999999999", "max: must be a whole number, 0 or more"),
        (
            "max = 99999999999999999999999999999999999999999999",
            "max: is out of range: must be a whole number, 0 or more",
        ),
        ("max = 3.5", "max: must be a whole number, 0 or more, not a number with a decimal point"),
        ("min_idle = 11", "min_idle: must not be above max (10); raise max or lower min_idle"),
        ("priority = true", "priority: must be a whole number, not true or false"),
        ("idle_timeout = \"-5m\"", "idle_timeout: must not be negative"),
        ("idle_timeout = \"5 parsecs\"", r#"idle_timeout: must be a duration such as "10s" or "1h30m""#),
        ("idle_timeout = \"off\"", r#"idle_timeout: must be a duration such as "10s" or "1h30m""#),
        ("boot_timeout = \"0s\"", "boot_timeout: must be at least 1s; a runner needs time to start"),
        ("max_job_age = \"90000h\"", "max_job_age: is too long; must be at most a year (8760h)"),
        ("max_job_age = \"0s\"", r#"max_job_age: must not be zero; write "off" for no limit"#),
        ("max_job_age = 8", r#"max_job_age: must be a duration such as "8h", or "off", not a whole number"#),
        ("container.memory = -1", "container.memory: must not be negative"),
        ("container.memory = 0", "container.memory: must not be 0; remove it for no limit"),
        (
            "container.memory = \"1MB\"",
            "container.memory: is less than Docker accepts; set at least 6MiB; a runner needs some hundred",
        ),
        ("container.memory = \"99999EiB\"", "container.memory: is too large; must be at most 1PiB"),
        (
            "container.cpus = nan",
            "container.cpus: must be a number from 0.01 to 10000; remove it for no limit",
        ),
        (
            "container.cpus = \"4\"",
            "container.cpus: must be a number, not a string; remove the quotation marks",
        ),
        ("container.pids = 0", "container.pids: must not be 0; a runner needs some hundred"),
    ] {
        hold(6, keys, reported);
    }
    assert_eq!(
        head("poll.interval = \"1ms\""),
        ["dayfly.toml:1: poll.interval: must be between 100ms and 1h"]
    );
    assert_eq!(
        head("hosts.local.max_runners = 0"),
        ["dayfly.toml:1: hosts.local.max_runners: must not be 0; remove it for no limit, or remove the host"]
    );
}

#[test]
fn a_host_name_of_the_web_server_has_no_scheme_port_or_path() {
    for name in ["", "https://ci.example.com", "ci.example.com:80", "ci.example.com/x", "*"] {
        assert_eq!(
            head(&format!("http.allowed_hosts = [\"ci.example.com\", {name:?}]")),
            [
                "dayfly.toml:1: http.allowed_hosts, item 2: must be a host name, without scheme, port and path; \
                 for example \"ci.example.com\""
            ]
        );
    }
}

#[test]
fn labels_that_no_job_could_match_are_refused() {
    let reported = |list: &str| Written::new(SOUND.replace(r#"["self-hosted", "linux"]"#, list)).problems();
    let long = format!(r#"["self-hosted", "{}"]"#, "x".repeat(300));
    let many: Vec<_> = (0..101).map(|i| format!("\"l{i}\"")).collect();
    for (list, expected) in [
        ("[]", r#"labels: must not be empty; for example ["self-hosted", "linux", "x64"]"#),
        (r#"["self-hosted", ""]"#, "labels, item 2: is an empty label; remove it"),
        (
            r#"["self-hosted", "a,b"]"#,
            r#"labels, item 2: "a,b" contains a space or a comma, so no job could ask for it; write each label as a separate string"#,
        ),
        (
            r#"["self-hosted", "a\tb"]"#,
            r#"labels, item 2: "a\tb" contains white space or control characters; remove them"#,
        ),
        (
            r#"["self-hosted", "Linux", "linux"]"#,
            r#"labels, item 3: "linux" is listed twice; GitHub ignores case; remove one"#,
        ),
        (&long, "labels, item 2: has 300 characters, but GitHub accepts at most 256; shorten it"),
        (r#""self-hosted""#, r#"labels: must be a list in brackets, not a string; write labels = ["…"]"#),
        (r#"["self-hosted", 3]"#, "labels, item 2: must be a string in quotes, not a whole number"),
        (&format!("[{}]", many.join(",")), "labels: are 101, but GitHub accepts at most 100"),
    ] {
        assert_eq!(reported(list), [format!("dayfly.toml:5: pool \"linux\": {expected}")], "{list}");
    }
}

#[test]
fn pools_must_name_what_there_is() {
    for (text, reported) in [
        (
            "credentials = \"defualt\"\n[credentials.default]\ntoken_env = \"GITHUB_TOKEN\"\n",
            r#"credentials: there is no [credentials.defualt]; did you mean "default"?"#,
        ),
        ("credentials = \"acme\"\n", "credentials: there is no [credentials.acme]; none is configured"),
        ("host = \"remote\"\n[hosts.big]\n", "host: there is no [hosts.remote]; known names: big"),
    ] {
        hold(6, text, reported);
    }
    // A wrong value is reported where it is, and only there.
    assert_eq!(
        pool("host = \"big\"\n[hosts.big]\nmemory = \"many\"\n"),
        [r#"dayfly.toml:8: hosts.big.memory: must be a size such as "8GiB" or "500MB""#]
    );
    let socket_without_scheme = pool("host = \"big\"\n[hosts.big]\nendpoint = \"/var/run/docker.sock\"\n");
    assert_eq!(socket_without_scheme.len(), 1, "{socket_without_scheme:?}");
    assert!(socket_without_scheme[0].starts_with("dayfly.toml:8: hosts.big.endpoint: is invalid: "));
}

#[test]
fn names_must_fit_into_a_runners_name() {
    let named = |name: &str| Written::new(SOUND.replace("\"linux\"\n", &format!("\"{name}\"\n")));
    assert_eq!(
        named("Linux").problems(),
        [
            r#"dayfly.toml:3: pool "Linux": name: is invalid: 'L' is not allowed; use lower-case letters, digits and hyphens, a letter or digit at both ends; write "linux""#
        ]
    );
    let long = "x".repeat(25);
    assert_eq!(
        named(&long).with("DAYFLY_INSTANCE", "instance").problems(),
        [format!(
            "dayfly.toml:3: pool \"{long}\": name: has 25 characters, but at most 21 fit into a runner's \
             name beside instance \"instance\"; shorten either"
        )]
    );
    assert_eq!(
        head("instance = \"Build-1\""),
        ["dayfly.toml:1: instance: is invalid: 'B' is not allowed; use lower-case letters, digits"]
    );
}

#[test]
fn scopes_that_are_none_are_refused_without_their_passwords() {
    let at = |url: &str, keys: &str| {
        let text = SOUND.replace("https://github.com/acme", url);
        Written::new(format!("{text}{keys}")).problems()
    };
    assert_eq!(
        at("https://me:canary@github.com/acme", ""),
        [
            r#"dayfly.toml:4: pool "linux": url: is invalid: it must not contain a user name or password; put credentials in their own section"#
        ]
    );
    assert_eq!(
        at("https://github.com/acme/widgets", "group = \"Big\"\n"),
        [
            r#"dayfly.toml:6: pool "linux": group: must be "Default": a repository has no other runner groups; leave it out, or register at the organization"#
        ]
    );
}

#[test]
fn what_this_version_does_not_serve_is_said_and_never_ignored() {
    for (keys, reported) in [
        (
            "container.gpus = 1",
            "container.gpus: is 1, and host \"local\" has 0, so no runner could ever start; list them in gpus of the \
             host, or lower it",
        ),
        (
            "container.exclusive = { serial = 2 }",
            "container.exclusive.serial: is 2, and host \"local\" has 0, so no runner could ever start; list them in \
             exclusive.serial of the host, or lower it",
        ),
        (
            "container.pull = \"allways\"",
            r#"container.pull: must be one of "always", "missing", "never"; did you mean "always"?"#,
        ),
    ] {
        hold(6, keys, reported);
    }
}

#[test]
fn containers_are_checked_before_docker_would() {
    let no_mount = r#"is not a mount; write "SOURCE:TARGET" or "SOURCE:TARGET:ro", SOURCE an absolute path or a volume's name"#;
    for (keys, reported) in [
        (
            "image = \"\"",
            r#"image: must be an image reference; for example "ghcr.io/actions/actions-runner:latest""#,
        ),
        ("mounts = [\"cache\"]", &format!("mounts, item 1: \"cache\" {no_mount}")),
        ("mounts = [\"./a:/b\"]", &format!("mounts, item 1: \"./a:/b\" {no_mount}")),
        ("mounts = [\"/a:b\"]", &format!("mounts, item 1: \"/a:b\" {no_mount}")),
        (
            "env = { ACTIONS_RUNNER_INPUT_JITCONFIG = \"x\" }",
            "env.ACTIONS_RUNNER_INPUT_JITCONFIG: is set by Dayfly itself; remove it",
        ),
        ("env = { A = 3 }", "env.A: must be a string in quotes, not a whole number"),
        ("dns = [\"one\"]", "dns, item 1: must be an IP address"),
        (
            "extra_hosts = [\"cache\"]",
            r#"extra_hosts, item 1: must be NAME:ADDRESS; for example "cache:10.0.0.7""#,
        ),
        (
            "cap_add = [\"sys_ptrace\"]",
            r#"cap_add, item 1: must be a capability in capital letters; for example "SYS_PTRACE""#,
        ),
        ("security_opt = [\"\"]", "security_opt, item 1: must not be empty; remove it"),
        (
            "ulimits = { nofile = \"1\" }",
            "ulimits.nofile: must be a number, or [soft, hard], not a string; remove the quotation marks",
        ),
        ("ulimits = { nofile = [2, 1] }", "ulimits.nofile: the soft limit must not be above the hard limit"),
        ("ulimits = { nofile = [1, 2, 3] }", "ulimits.nofile: must be a number, or [soft, hard]"),
        ("ulimits = { nofile = -2 }", "ulimits.nofile: must be -1 (no limit) or more"),
        ("network = \"\"", "network: must not be empty; leave it out"),
    ] {
        hold(7, &format!("[pool.container]\n{keys}"), &format!("container.{reported}"));
    }
}

#[test]
fn egress_is_refused_where_it_could_not_restrict_anything() {
    let enforce = "egress = { mode = \"enforce\", allow = [\"github.com\"] }";
    for (keys, reported) in [
        (
            "egress = { mode = \"enforce\" }",
            "egress.allow: is empty, so a runner could not even reach GitHub; list what it needs; docs/how-to/egress.md \
             has the list for GitHub",
        ),
        (
            "egress = { mode = \"audit\", allow = [\"https://github.com\"] }",
            "egress.allow, item 1: write the host name alone, without https:// and without a path; paths cannot be \
             restricted; for example \"github.com\", \"*.githubusercontent.com\" or \"host:8080\"",
        ),
        ("egress = { mode = \"block\" }", "egress.mode: must be one of \"off\", \"audit\", \"enforce\""),
        (
            &format!("{enforce}\nnetwork = \"host\""),
            "network: is \"host\", and egress needs a network for its proxy; remove it, or name the network through \
             which the proxy reaches the world",
        ),
        (
            &format!("{enforce}\ndns = [\"1.1.1.1\"]"),
            "dns: cannot be set together with egress: runners reach no name server; remove it",
        ),
        (
            &format!("{enforce}\nproxy = {{ http = \"http://proxy:3128\" }}"),
            "proxy: cannot be set together with egress, whose proxy is the only one that runners reach; remove one of \
             both",
        ),
        (
            "egress = { allow = [\"github.com\"] }",
            "egress.allow: has no effect without mode; set mode = \"enforce\" to refuse all other hosts, or \"audit\" to \
             only report them",
        ),
        (
            &format!("{enforce}\ncap_add = [\"NET_ADMIN\"]"),
            "cap_add, item 1: is \"NET_ADMIN\", with which a job could get around egress; remove it",
        ),
    ] {
        let written = Written::new(format!("{SOUND}[pool.container]\n{keys}"));
        let problems = written.problems();
        assert_eq!(problems.len(), 1, "{keys}: {problems:#?}");
        assert!(problems[0].ends_with(&format!("pool \"linux\": container.{reported}")), "{problems:#?}");
    }
    let socket = Written::new(format!("{SOUND}[pool.container]\n{enforce}\ndocker = \"socket\""));
    let problem = "container.docker: is \"socket\", with which a job starts containers in any network, so egress would \
                   restrict nothing; use docker = \"none\" or \"dind\"";
    assert!(socket.problems().iter().any(|found| found.ends_with(problem)), "{:#?}", socket.problems());
}

#[test]
fn a_container_must_fit_into_its_hosts_budget() {
    let with = |keys: &str| {
        let budget = "[hosts.local]\nmemory = \"4GiB\"\ncpus = 2";
        Written::new(format!("{budget}{SOUND}[pool.container]\n{keys}"))
    };
    let too_much = |key: &str| {
        format!(
            "container.{key}: is more than the whole budget of host \"local\", so no runner could ever \
             start; lower it, or raise {key} of the host"
        )
    };
    assert_eq!(
        with("memory = \"8GiB\"\ncpus = 2.5").problems(),
        [
            format!("dayfly.toml:9: pool \"linux\": {}", too_much("memory")),
            format!("dayfly.toml:10: pool \"linux\": {}", too_much("cpus")),
        ]
    );
    assert_eq!(
        with("cpus = 2").warnings(),
        [
            r#"dayfly.toml:8: pool "linux": container.memory: is not set, so these runners do not count toward the budget of host "local"; write memory = …"#
        ]
    );
}
