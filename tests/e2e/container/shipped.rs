//! What the shipped files say about how the container is started.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    process::Command,
};

use serde::{Deserialize, de::IgnoredAny};

/// How the daemon's container is started.
pub(crate) struct Settings {
    /// Where this is from.
    pub(crate) by: &'static str,
    pub(crate) restart: String,
    pub(crate) user: String,
    pub(crate) environment: HashMap<String, String>,
    /// `ADDRESS:PORT:PORT`
    pub(crate) port: String,
    pub(crate) volumes: Vec<String>,
    pub(crate) read_only: bool,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) security_opt: Vec<String>,
}

/// A key that is not here is new: say above what becomes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compose {
    services: BTreeMap<String, Service>,
    volumes: BTreeMap<String, serde_norway::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    #[serde(rename = "build")]
    _build: IgnoredAny,
    #[serde(rename = "image")]
    _image: IgnoredAny,
    #[serde(rename = "container_name")]
    _container_name: IgnoredAny,
    restart: String,
    user: String,
    environment: HashMap<String, String>,
    ports: [String; 1],
    volumes: Vec<String>,
    read_only: bool,
    cap_drop: Vec<String>,
    security_opt: Vec<String>,
    #[serde(rename = "stop_grace_period")]
    _stop_grace_period: IgnoredAny,
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The settings of `deploy/compose.yaml`, for a machine whose socket has this group.
pub(crate) fn compose(group: u32) -> Settings {
    let text = read("deploy/compose.yaml");
    let mut text = text.as_str();
    let mut filled = String::new();
    while let Some((before, rest)) = text.split_once("${") {
        let (variable, after) = rest.split_once('}').unwrap();
        let name = variable.split(':').next().unwrap();
        let value = match name {
            "DOCKER_GID" => group.to_string(),
            "DAYFLY_INSTANCE" => "a1".to_owned(),
            _ => panic!("{name} is new to this test"),
        };
        filled.extend([before, &value]);
        text = after;
    }
    filled.push_str(text);
    let Compose { mut services, volumes } = serde_norway::from_str(&filled).unwrap();
    assert_eq!(volumes.keys().collect::<Vec<_>>(), ["state"]);
    let service = services.remove("dayfly").unwrap();
    let Service { restart, user, environment, ports, volumes, read_only, cap_drop, security_opt, .. } =
        service;
    let [port] = ports;
    let by = "compose";
    Settings { by, restart, user, environment, port, volumes, read_only, cap_drop, security_opt }
}

/// The settings of the `docker run` in `docs/how-to/install.md`, with what a shell makes of it.
pub(crate) fn docker_run(group: u32) -> Settings {
    let text = read("docs/how-to/install.md");
    let (_, command) = text.split_once("docker run ").expect("docs/how-to/install.md has a docker run");
    // Its lines end with a backslash but for the last one.
    let last = command.lines().position(|line| !line.ends_with('\\')).unwrap();
    let command = command.lines().take(last + 1).collect::<Vec<_>>().join("\n");
    // What is asked of the machine is answered here, so that a machine without it will do.
    let script = format!(
        "docker() {{ printf '%s\\n' \"$@\"; }}; stat() {{ echo {group}; }}; sha256sum() {{ echo 0a1b2c3d4e5f; }}\n\
         docker {command}"
    );
    let words = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(words.status.success(), "{words:?}");
    let words = String::from_utf8(words.stdout).unwrap();
    let mut settings = Settings {
        by: "run",
        restart: String::new(),
        user: String::new(),
        environment: HashMap::new(),
        port: String::new(),
        volumes: Vec::new(),
        read_only: false,
        cap_drop: Vec::new(),
        security_opt: Vec::new(),
    };
    let mut words = words.lines().map(str::to_owned);
    while let Some(option) = words.next() {
        let mut value = || words.next().expect("an option has a value");
        match option.as_str() {
            "-d" => {}
            "--name" => drop(value()),
            "--restart" => settings.restart = value(),
            "--user" => settings.user = value(),
            "--read-only" => settings.read_only = true,
            "--cap-drop" => settings.cap_drop.push(value()),
            "--security-opt" => settings.security_opt.push(value()),
            "-v" => settings.volumes.push(value()),
            "-p" => settings.port = value(),
            "-e" => {
                let value = value();
                let (key, value) = value.split_once('=').unwrap();
                settings.environment.insert(key.to_owned(), value.to_owned());
            }
            image => {
                assert_eq!(image, "dayfly:local", "this option is new to this test");
                assert_eq!(words.next(), None, "the image's own command is used");
            }
        }
    }
    settings
}

/// The mode of the token's file in `docs/how-to/install.md`, which is its owner's alone.
pub(crate) fn token_mode() -> u32 {
    let text = read("docs/how-to/install.md");
    let written = "install -m 0400 -o 65532 -g 65532 /dev/null /etc/dayfly/token";
    assert!(text.contains(written), "docs/how-to/install.md does not say {written}");
    0o400
}
