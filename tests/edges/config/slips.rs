//! The most common mistakes of new users, each with its correction.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{SOUND, Written, head, pool, pool_warnings};

/// Holds a line of the pool, from line 6 on, to what is said of it.
fn hold(line: usize, text: &str, said: &str) {
    assert_eq!(pool(text), [format!("dayfly.toml:{line}: pool \"linux\": {said}")], "{text}");
}

#[test]
fn a_key_in_the_wrong_table_gets_the_right_one_as_hint_and_is_not_reported_as_missing() {
    let text = SOUND
        .replace("labels = [\"self-hosted\", \"linux\"]\n", "[pool.container]\nlabels = [\"self-hosted\"]\n");
    assert_eq!(
        Written::new(text).problems(),
        ["dayfly.toml:6: pool \"linux\": container.labels: is not a known key; labels is a key of \
             [[pool]]: move it above [pool.container]"]
    );
    hold(
        6,
        "image = \"x\"",
        "image: is not a known key; image is a key of [pool.container]: move it below [pool.container]",
    );
    hold(
        6,
        "memory = \"8GiB\"",
        "memory: is not a known key; memory is a key of [pool.container]: move it below [pool.container]",
    );
    hold(
        7,
        "[pool.container]\nstate_dir = \"/x\"",
        "container.state_dir: is not a known key; state_dir belongs at the top of the file: move it above \
         the first [section]",
    );
    for (keys, said) in [
        (
            "token_file = \"x\"",
            "1: token_file: is not a known key; token_file is a key of [credentials.NAME]: move it below \
             [credentials.NAME]",
        ),
        ("listen = \"x\"", "1: listen: is not a known key; listen is a key of [http]: move it below [http]"),
        (
            "[http]\ninterval = \"10s\"",
            "2: http.interval: is not a known key; interval is a key of [poll]: move it below [poll]",
        ),
        (
            "[container]\nimage = \"x\"",
            "1: container: is not a known key; write it as [pool.container], below its [[pool]]",
        ),
        ("[host.local]\nmax_runners = 3", "1: host: is not a known key; did you mean \"hosts\"?"),
    ] {
        assert_eq!(head(keys), [format!("dayfly.toml:{said}")], "{keys}");
    }
}

#[test]
fn the_words_of_other_programs_lead_to_ours() {
    for (from, key) in
        [("runs-on", "labels"), ("runs_on", "labels"), ("Labels", "labels"), ("tags", "labels")]
    {
        let problems = Written::new(SOUND.replace("labels", from)).problems();
        assert_eq!(
            problems,
            [format!("dayfly.toml:5: pool \"linux\": {from}: is not a known key; did you mean \"{key}\"?")]
        );
    }
    hold(6, "min-idle = 1", "min-idle: is not a known key; did you mean \"min_idle\"?");
    hold(6, "replicas = 1", "replicas: is not a known key; did you mean \"max\"?");
    assert_eq!(
        head("[credentials.default]\nclient_id = \"Iv1\"\nprivate_key = \"x\""),
        [
            "dayfly.toml:2: credentials.default.client_id: is not a known key; did you mean \"app_id\"?",
            "dayfly.toml:3: credentials.default.private_key: is not a known key; did you mean \
             \"private_key_file\"?",
        ]
    );
}

#[test]
fn another_language_is_called_by_its_name() {
    for (text, language) in [
        ("pool:\n  - name: linux\n", "YAML"),
        ("---\nhttp:\n", "YAML"),
        ("# a comment\n- name: linux\n", "YAML"),
        ("{\n  \"pool\": []\n}\n", "JSON"),
    ] {
        let problems = Written::new(text).problems();
        let [line] = &problems[..] else { panic!("{problems:?}") };
        assert!(
            line.starts_with(&format!("dayfly.toml: is {language}, but the configuration must be TOML; ")),
            "{line}"
        );
    }
}

#[test]
fn text_that_is_not_toml_gets_a_hint() {
    for (text, line, hint) in [
        ("[[pool]]\nname = canary\n", 2, "write strings in quotes: KEY = \"VALUE\""),
        ("[[pool]]\nlabels = [canary, b]\n", 2, "write a list as [\"…\", \"…\"], each string in quotes"),
        ("[[pool]]\nname: \"canary\"\n", 2, "write KEY = VALUE, with an equals sign"),
        (
            "[[pool]]\nname = \"canary\nmax = 1\n",
            2,
            "a quotation mark is missing, or is part of the string: write that as \\\"",
        ),
        ("[[pool]]\nname = “canary”\n", 2, "use plain quotation marks: \"…\""),
        ("// canary\n[[pool]]\n", 1, "comments start with #"),
        (
            "[pool.container]\n[[pool]]\n",
            2,
            "write [[pool]] and its keys first, and [pool.container] below them",
        ),
        ("[[pool]\n", 1, "close the brackets of the section's name, as in [http] and [[pool]]"),
        ("[http]\n[http]\n", 2, "each section may occur once, except [[pool]]"),
    ] {
        let problems = Written::new(text).problems();
        let first = &problems[0];
        assert!(first.starts_with(&format!("dayfly.toml:{line}: column ")), "{first}");
        assert!(first.ends_with(&format!("; {hint}")) && !first.contains("canary"), "{first}");
    }
}

#[test]
fn what_has_the_wrong_type_is_shown_in_the_right_one() {
    hold(
        6,
        "demand = \"queue\"",
        "demand: must be a list in brackets, not a string; write demand = [\"queue\"]",
    );
    hold(
        6,
        "repositories = \"canary\"",
        "repositories: must be a list in brackets, not a string; write repositories = [\"…\"]",
    );
    hold(
        6,
        "[[pool.container]]\nimage = \"x\"",
        "container, item 1: must be a single table, not a list of tables; write [pool.container] with single \
         brackets: a pool has one container",
    );
    hold(
        6,
        "[[pool.container.proxy]]\nhttp = \"http://proxy\"",
        "container.proxy, item 1: must be a single table, not a list of tables; write [pool.container.proxy] with \
         single brackets",
    );
    hold(
        6,
        "[pool.container.cache]\ntarget = \"/c\"",
        "container.cache: must be a list in brackets, not a table; write [[pool.container.cache]] with double \
         brackets: a pool can have several caches",
    );
    hold(
        7,
        "[pool.container]\nmounts = [{ source = \"/a\", target = \"/b\" }]",
        "container.mounts, item 1: must be a string in quotes, not a table; write it as docker run -v does: \
         \"SOURCE:TARGET\" or \"SOURCE:TARGET:ro\"",
    );
    hold(
        7,
        "[pool.container]\nprivileged = true",
        "container.privileged: is not a known key; runners are never privileged: docker = \"dind\" gives each one \
         an engine of its own (docs/how-to/docker-in-jobs.md)",
    );
    hold(
        7,
        "[pool.container]\nenv = [\"A=canary\"]",
        "container.env: must be a table, not a list; write env = { NAME = \"VALUE\" }",
    );
    hold(
        6,
        "token = \"canary\"",
        "token: is not a known key; never put a token in this file: put it in a separate file with mode \
         0600 and set token_file to its path",
    );
    hold(
        6,
        "max = \"4\"",
        "max: must be a whole number, 0 or more, not a string; remove the quotation marks",
    );
    hold(
        6,
        "allow_public = \"true\"",
        "allow_public: must be true or false, not a string; remove the quotation marks",
    );
}

#[test]
fn time_zones_that_are_none_are_answered_with_one() {
    let window = |zone: &str| {
        format!("schedule = [{{ hours = \"08:00-18:00\", timezone = \"{zone}\", min_idle = 1 }}]")
    };
    for (zone, hint) in [
        ("CEST", "write the zone, such as \"Europe/Berlin\""),
        ("pst", "write the zone, such as \"America/Los_Angeles\""),
        ("UTC+2", "or \"UTC\""),
        ("+02:00", "or \"UTC\""),
        ("Berlin", "did you mean \"Europe/Berlin\"?"),
        ("Europe/Berln", "did you mean \"Europe/Berlin\"?"),
        ("local", "use a name from the IANA time zone database"),
    ] {
        let problems = pool(&window(zone));
        let [line] = &problems[..] else { panic!("{zone}: {problems:?}") };
        assert!(line.contains("timezone: ") && line.contains(hint), "{line}");
    }
    for zone in ["CET", "Etc/GMT+2", "utc", "America/New_York"] {
        assert_eq!(pool_warnings(&window(zone)), [""; 0], "{zone}");
    }
}

#[test]
fn what_only_a_shell_replaces_is_no_part_of_a_path() {
    let at_home = |keys: &str| Written::new(format!("{keys}{SOUND}")).with("HOME", "/home/me").problems();
    for (keys, said) in [
        (
            "state_dir = \"~/state\"",
            "1: state_dir: contains ~, which only a shell expands; write /home/me instead",
        ),
        (
            "state_dir = \"$HOME/state\"",
            "1: state_dir: contains $HOME, which only a shell expands; write /home/me instead",
        ),
        (
            "[credentials.default]\ntoken_file = \"${HOME}/token\"",
            "2: credentials.default.token_file: contains $HOME, which only a shell expands; write /home/me \
             instead",
        ),
        (
            "[credentials.default]\ntoken_env = \"GITHUB_TOKEN\"\nca_file = \"~me/canary\"",
            "3: credentials.default.ca_file: contains a variable or \"~\", which only a shell expands; \
             write the full path",
        ),
        (
            "[hosts.local]\nendpoint = \"tcp://127.0.0.1:1\"\ntls_dir = \"~/tls\"",
            "3: hosts.local.tls_dir: contains ~, which only a shell expands; write /home/me instead",
        ),
    ] {
        assert_eq!(at_home(keys), [format!("dayfly.toml:{said}")], "{keys}");
    }
    hold(
        6,
        "container.mounts = [\"~/cache:/cache\"]",
        "container.mounts, item 1: contains ~, which only a shell expands; write the full path",
    );
    for (endpoint, hint) in [
        ("https://10.0.0.1:2376", "write tcp:// instead of https://"),
        ("localhost:2375", "put tcp:// in front of it"),
    ] {
        let problems = head(&format!("hosts.local.endpoint = \"{endpoint}\""));
        assert!(problems[0].ends_with(&format!("; {hint}")), "{problems:?}");
    }
    assert_eq!(
        head("http.listen = \"localhost:80\"")[0].split("; ").last(),
        Some("for example \"127.0.0.1:80\"")
    );
    assert_eq!(
        head("hosts.local.endpoint = \"/run/docker.sock\""),
        ["dayfly.toml:1: hosts.local.endpoint: is invalid: it must start with unix://, tcp:// or ssh://; \
             write \"unix:///run/docker.sock\""]
    );
}

#[test]
fn a_variable_with_one_underscore_too_few_gets_its_name_as_hint() {
    for (name, right) in [
        ("DAYFLY_HTTP_LISTEN", "DAYFLY_HTTP__LISTEN"),
        ("DAYFLY_POLL_INTERVAL", "DAYFLY_POLL__INTERVAL"),
        ("DAYFLY_HOSTS_LOCAL_MAX_RUNNERS", "DAYFLY_HOSTS__LOCAL__MAX_RUNNERS"),
        ("DAYFLY_HOSTS__LOCAL_MAX_RUNNERS", "DAYFLY_HOSTS__LOCAL__MAX_RUNNERS"),
        ("DAYFLY_CREDENTIALS_DEFAULT_TOKEN_FILE", "DAYFLY_CREDENTIALS__DEFAULT__TOKEN_FILE"),
    ] {
        let said = Written::new(SOUND).with(name, "canary").problems().join("\n");
        assert!(said.starts_with(&format!("{name}: ")), "{said}");
        assert!(said.ends_with(&format!("write {right}")) && !said.contains("canary"), "{said}");
    }
}

#[test]
fn labels_of_githubs_own_runners_are_warned_of_where_there_are_any() {
    let labelled = |url: &str, label: &str| {
        let text = SOUND.replace("\"linux\"]", &format!("\"{label}\"]")).replace("https://github.com", url);
        Written::new(text).warnings()
    };
    for label in ["ubuntu-latest", "Ubuntu-24.04", "macos-14", "windows-2022", "ubuntu-22.04-arm"] {
        let warnings = labelled("https://github.com", label);
        let [line] = &warnings[..] else { panic!("{label}: {warnings:?}") };
        assert!(line.contains("is also a label of GitHub's own runners"), "{line}");
    }
    assert_eq!(labelled("https://git.example.org", "ubuntu-latest"), [""; 0]);
    assert_eq!(labelled("https://github.com", "ubuntu-gpu"), [""; 0]);
}

#[test]
fn memory_in_one_letter_is_dockers() {
    let memory = |size: &str| {
        let config = Written::new(format!("{SOUND}container.memory = \"{size}\"")).load();
        config.pools[0].pool.template.resources.memory
    };
    for (size, bytes) in [
        ("8g", 8 << 30),
        ("8G", 8 << 30),
        ("512m", 512 << 20),
        ("1.5 g", 3 << 29),
        ("8GB", 8_000_000_000),
        ("8GiB", 8 << 30),
        ("8000000", 8_000_000),
    ] {
        assert_eq!(memory(size), bytes, "{size}");
    }
}

#[test]
fn the_address_of_a_pool_may_be_the_one_that_was_copied() {
    let at = |url: &str| Written::new(SOUND.replace("https://github.com/acme", url));
    let config = at("git@github.com:acme/widgets.git").load();
    assert_eq!(config.pools[0].pool.scope.as_str(), "https://github.com/acme/widgets");
    assert_eq!(
        at("acme/widgets").problems(),
        ["dayfly.toml:4: pool \"linux\": url: is invalid: it is not a full address; write \
             https://github.com/acme/widgets, or the same with the name of your own GitHub server"]
    );
    assert_eq!(
        at("https://api.github.com/orgs/acme").problems(),
        ["dayfly.toml:4: pool \"linux\": url: is invalid: it is an address of GitHub's API; use the \
             address of the page in a browser, such as https://github.com/acme"]
    );
}

#[test]
fn files_that_are_none_are_refused_without_waiting() {
    let written = Written::new(format!("[credentials.default]\ntoken_file = \"token\"{SOUND}"));
    let token = written.directory.path().join("token");
    let pipe = |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    pipe(&token);
    let line = |said: &str| [format!("dayfly.toml:2: credentials.default.token_file: {said}")];
    assert_eq!(written.problems(), line("names a pipe; write its content to a regular file"));
    fs::remove_file(&token).unwrap();
    let large = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&token).unwrap();
    large.set_len(1 << 20).unwrap();
    assert_eq!(
        written.problems(),
        line("names a file that is larger than 64 KiB; check that it is the right file")
    );

    fs::remove_file(written.path()).unwrap();
    pipe(&written.path());
    assert_eq!(
        written.problems(),
        ["dayfly.toml: is a pipe, not a regular file; write its content to a regular file"]
    );
    fs::remove_file(written.path()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", written.path()).unwrap();
    assert_eq!(
        written.problems(),
        ["dayfly.toml: is a device, not a regular file; write its content to a regular file"]
    );
}

#[test]
fn outside_of_the_service_its_credentials_are_where_the_unit_loads_them_from() {
    let mut written =
        Written::new(format!("[credentials.default]\ntoken_file = \"$CREDENTIALS_DIRECTORY/token\"{SOUND}"));
    let units = written.directory.path().join("units");
    let token = written.directory.path().join("secret");
    fs::create_dir(&units).unwrap();
    let unit = |key: &str| {
        let text = format!("[Service]\n{key}=token:{}\n", token.display());
        fs::write(units.join("dayfly.service"), text).unwrap();
    };
    unit("LoadCredential");
    written.machine.unit_dirs.push(units.clone());
    let line = |said: &str| [format!("dayfly.toml:2: credentials.default.token_file: {said}")];
    assert_eq!(
        written.problems(),
        line(
            "names a file that cannot be read: the unit loads it from secret; No such file or directory (os \
             error 2); put the token there, owned by the user that runs this, with mode 0600"
        )
    );
    fs::write(&token, "ghp_canary").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let config = written.load();
    assert_eq!(config.warnings, []);
    assert_eq!(config.credentials["default"], dayfly::github::TokenSource::File(token.clone()).into());
    unit("LoadCredentialEncrypted");
    let problems = written.problems();
    assert!(problems[0].contains("is encrypted in secret, which only the service can read"), "{problems:?}");
    // In the service itself nothing changes.
    let directory = written.directory.path().join("credentials");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("token"), "ghp_canary").unwrap();
    let config = written.with("CREDENTIALS_DIRECTORY", directory.to_str().unwrap()).load();
    assert_eq!(
        config.credentials["default"],
        dayfly::github::TokenSource::File(directory.join("token")).into()
    );
}
