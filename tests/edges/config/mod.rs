//! The configuration: the texts of its errors, that all of them are reported at once, and that the files in
//! `config/` are valid.

mod any_text;
mod apps;
mod caches;
mod container_files;
mod credentials;
mod demand;
mod docker_socket;
mod layers;
mod pool_hosts;
mod refusals;
mod registry;
mod schedule;
mod shipped;
mod slips;
mod swarm;
mod warnings;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use dayfly::{
    config::{self, Config, Machine, Problems, Tokens},
    github::TokenSource,
    host::Endpoint,
};

/// A valid file, to which tests add keys. Its pool comes last.
const SOUND: &str = r#"
[[pool]]
name = "linux"
url = "https://github.com/acme"
labels = ["self-hosted", "linux"]
"#;

/// A file in a directory of its own, and what else a configuration depends on.
struct Written {
    directory: tempfile::TempDir,
    env: BTreeMap<String, String>,
    machine: Machine,
}

impl Written {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("dayfly.toml"), text).expect("a file");
        let env = BTreeMap::from([("GITHUB_TOKEN".to_owned(), "ghp_canary".to_owned())]);
        let machine = Machine { hostname: Some("builder".to_owned()), root: true, ..Machine::default() };
        Self { directory, env, machine }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Puts a secret beside the file that only we can read.
    fn secret(&self, name: &str) {
        let path = self.directory.path().join(name);
        fs::write(&path, "secret").expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("dayfly.toml")
    }

    fn load_with(&self, tokens: Tokens) -> Result<Config, Problems> {
        config::load_for(&self.path(), self.env.clone().into_iter(), &self.machine, tokens)
    }

    fn load(&self) -> Config {
        self.load_with(Tokens::Needed).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The reported lines, without the temporary directory.
    fn lines(&self, reported: &impl ToString) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        reported.to_string().replace(&directory, "").lines().map(str::to_owned).collect()
    }

    fn problems(&self) -> Vec<String> {
        match self.load_with(Tokens::Needed) {
            Err(problems) => self.lines(&problems),
            Ok(config) => panic!("it is sound: {config:?}"),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.load().warnings.iter().flat_map(|warning| self.lines(warning)).collect()
    }
}

/// The problems of a sound file with `keys` at its head.
fn head(keys: &str) -> Vec<String> {
    Written::new(format!("{keys}{SOUND}")).problems()
}

/// The problems of a sound file with `keys` in its pool, from line 6 on.
fn pool(keys: &str) -> Vec<String> {
    Written::new(format!("{SOUND}{keys}")).problems()
}

/// The warnings of a sound file with `keys` in its pool.
fn pool_warnings(keys: &str) -> Vec<String> {
    Written::new(format!("{SOUND}{keys}")).warnings()
}

#[test]
fn the_smallest_file_means_the_defaults() {
    let config = Written::new(SOUND).load();
    assert_eq!(config.warnings, []);
    assert_eq!(config.listen.to_string(), "127.0.0.1:9745");
    assert_eq!(config.poll_interval, Duration::from_secs(10));
    assert_eq!(config.state_dir, Path::new("/var/lib/dayfly"));
    assert_eq!(config.credentials["default"], TokenSource::Env("GITHUB_TOKEN".to_owned()).into());
    let [host] = &config.hosts[..] else { panic!("{:?}", config.hosts) };
    assert_eq!((host.host.name.as_str(), host.host.max_runners, host.min_free_disk), ("local", None, None));
    assert!(matches!(&host.endpoint, Endpoint::Unix(path) if path == Path::new("/var/run/docker.sock")));
    let [only] = &config.pools[..] else { panic!("{:?}", config.pools) };
    assert_eq!((only.pool.name.as_str(), only.credential.as_str()), ("linux", "default"));
    assert_eq!((only.pool.hosts[0].as_str(), only.pool.group.as_str()), ("local", "Default"));
    assert_eq!(only.pool.policy, dayfly::fleet::Policy::default());
    assert_eq!(only.pool.template, dayfly::fleet::Template::default());
}

#[test]
fn everything_that_is_wrong_is_reported_at_once_and_in_the_order_of_the_file() {
    let text = r#"pols = 3
state_dir = "here"
[credentials.default]
token_file = 77
[hosts.big]
memory = "56 cows"
cpus = -1
[http]
listen = "9745"
[poll]
interval = 10
[[pool]]
name = "linux"
url = "https://github.com"
labels = ["self-hosted", "a b"]
min_idle = 3
max = 2
[[pool]]
name = "linux"
host = "bigg"
max = "four"
"#;
    let written = Written::new(text).with("DAYFLY_HOSTS__BIG__MAX_RUNNERS", "-4");
    assert_eq!(
        written.problems(),
        [
            r#"dayfly.toml:1: pols: is not a known key; did you mean "poll"?"#,
            "dayfly.toml:2: state_dir: must be an absolute path",
            "dayfly.toml:4: credentials.default.token_file: must be a string in quotes, not a whole number",
            r#"dayfly.toml:6: hosts.big.memory: must be a size such as "8GiB" or "500MB""#,
            "dayfly.toml:7: hosts.big.cpus: must be a number from 0.01 to 10000; remove it for no limit",
            r#"dayfly.toml:9: http.listen: must be IP-ADDRESS:PORT; for example "127.0.0.1:9745""#,
            r#"dayfly.toml:11: poll.interval: must be a duration such as "10s" or "1h30m", not a whole number"#,
            r#"dayfly.toml:14: pool "linux": url: is invalid: it has no organization or repository; write …/ORGANIZATION, …/OWNER/REPOSITORY or …/enterprises/NAME"#,
            r#"dayfly.toml:15: pool "linux": labels, item 2: "a b" contains a space or a comma, so no job could ask for it; write each label as a separate string"#,
            r#"dayfly.toml:17: pool "linux": max: must not be below min_idle (3); raise max or lower min_idle"#,
            r#"dayfly.toml:18: pool "linux": url: is missing; set url = "https://github.com/ORGANIZATION" or "https://github.com/OWNER/REPOSITORY""#,
            r#"dayfly.toml:18: pool "linux": labels: is missing; write labels = ["self-hosted", "linux", "x64"]"#,
            r#"dayfly.toml:19: pool "linux": name: is already the name of pool number 1; give each pool a different name"#,
            r#"dayfly.toml:20: pool "linux": host: there is no [hosts.bigg]; did you mean "big"?"#,
            r#"dayfly.toml:21: pool "linux": max: must be a whole number, 0 or more, not a string"#,
            "DAYFLY_HOSTS__BIG__MAX_RUNNERS: hosts.big.max_runners: must be a whole number, 0 or more",
        ]
    );
}

#[test]
fn unknown_keys_are_refused_at_every_level_with_the_nearest_known_one() {
    for (text, reported) in [
        ("statedir = 1", r#"1: statedir: is not a known key; did you mean "state_dir"?"#),
        ("[hosts.a]\nmemry = 1", r#"2: hosts.a.memry: is not a known key; did you mean "memory"?"#),
        (
            "[http]
port = 1",
            r#"2: http.port: is not a known key; did you mean "listen"?"#,
        ),
        (
            "[http]
theme = 1",
            "2: http.theme: is not a known key; known keys: listen, allowed_hosts, webhook_secret_file",
        ),
        ("[poll]\nintervall = 1", r#"2: poll.intervall: is not a known key; did you mean "interval"?"#),
    ] {
        assert_eq!(head(text), [format!("dayfly.toml:{reported}")]);
    }
    assert_eq!(
        pool("maximum = 3\n[pool.container]\nmemmory = 3\n"),
        [
            r#"dayfly.toml:6: pool "linux": maximum: is not a known key; did you mean "max"?"#,
            r#"dayfly.toml:8: pool "linux": container.memmory: is not a known key; did you mean "memory"?"#,
        ]
    );
}

#[test]
fn broken_toml_is_reported_with_line_and_column_and_without_its_text() {
    let lines = Written::new("a = 1\nb = ghp_canary\n").problems();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("dayfly.toml:2: column 5: "), "{lines:?}");
    assert!(!lines[0].contains("canary"), "{lines:?}");
    let twice = Written::new("[http]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n").problems();
    assert_eq!(twice, ["dayfly.toml:3: column 1: duplicate key; each key may occur once"]);
    let another_language = Written::new("{\n".repeat(50)).problems();
    assert!(another_language.len() <= 5, "{another_language:?}");
}

#[test]
fn a_file_that_cannot_be_read_at_all_is_one_line() {
    let written = Written::new("");
    let missing = written.directory.path().join("missing.toml");
    let reported =
        config::load_for(&missing, std::iter::empty(), &written.machine, Tokens::Needed).unwrap_err();
    assert_eq!(
        written.lines(&reported),
        ["missing.toml: cannot be read: No such file or directory (os error 2); check that it exists and \
             that this user can read it"]
    );
    let latin = Written::new(b"# ok\n# caf\xe9\n");
    assert_eq!(latin.problems(), ["dayfly.toml:2: is not UTF-8; save it as UTF-8"]);
    assert_eq!(
        written.problems(),
        ["dayfly.toml: pool: is missing; write [[pool]] with name, url and labels"]
    );
    assert_eq!(
        Written::new("[pool]\nname = \"a\"\n").problems(),
        ["dayfly.toml:1: pool: must be a list in brackets, not a table; begin each pool with [[pool]]"]
    );
}

#[test]
fn units_are_those_that_people_write() {
    let text = format!(
        "[hosts.local]\nmemory = \"56GiB\"\ncpus = 1.5\nmin_free_disk = 1024\n[poll]\ninterval = \
         \"1m30s\"{SOUND}\
         max_job_age = \"8h\"\n[pool.container]\nmemory = \"500MB\"\ncpus = 1\nshm_size = \"64 MiB\"\n\
         ulimits = {{ nofile = 1024, core = [0, -1] }}\nmounts = [\"cache:/cache\", \
         \"/etc/ssl:/etc/ssl:ro\"]\n"
    );
    let config = Written::new(text).load();
    let host = &config.hosts[0];
    assert_eq!((host.host.budget.memory, host.host.budget.cpu_millis), (56 << 30, 1500));
    assert_eq!((host.min_free_disk, config.poll_interval), (Some(1024), Duration::from_secs(90)));
    let pool = &config.pools[0].pool;
    assert_eq!(pool.policy.max_job_age, Some(Duration::from_hours(8)));
    let template = &pool.template;
    assert_eq!((template.resources.memory, template.resources.cpu_millis), (500_000_000, 1000));
    assert_eq!(template.shm_size, Some(64 << 20));
    assert_eq!((template.ulimits["nofile"], template.ulimits["core"]), ((1024, 1024), (0, -1)));
    let mounts: Vec<_> =
        template.mounts.iter().map(|m| (m.source.as_str(), m.target.as_str(), m.read_only)).collect();
    assert_eq!(mounts, [("cache", "/cache", false), ("/etc/ssl", "/etc/ssl", true)]);
}
