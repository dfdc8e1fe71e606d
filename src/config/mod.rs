//! The TOML file: its model, its layers (the file, and the environment over it) and its checks. All problems
//! are reported at once, with file, line and key; a valid file becomes a [`Config`].

mod caches;
mod container;
mod container_files;
mod credentials;
mod demand;
mod devices;
mod dind;
mod docker_socket;
mod egress;
mod file;
mod findings;
mod hints;
mod hosts;
mod key_path;
mod keys;
mod labels;
mod layers;
mod local_engine;
mod machine;
mod merge;
mod model;
mod pool_hosts;
mod pools;
mod problem;
mod proxy;
mod reading;
mod registry;
mod schedule;
mod swarm;
mod syntax;
mod unit;
mod units;
mod wording;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use local_engine::{EndpointSource, LocalEngineError, local_engine};
pub use machine::Machine;
pub use model::{Config, HostConfig, ImageSource, PoolConfig, Tokens};
pub use problem::{Problem, Problems, SettingLocation};

use crate::{files, fleet::InstanceId};
use findings::{At, Findings};
use layers::Layers;
use reading::Reading;

/// The default paths of the file.
const DEFAULT_PATHS: [&str; 2] = ["/etc/dayfly/dayfly.toml", "dayfly.toml"];

/// The environment of this process, without what is not UTF-8.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Which file to read: the one that the options name, else `$DAYFLY_CONFIG`, else `/etc/dayfly/dayfly.toml`,
/// else `./dayfly.toml`.
pub fn find(
    asked: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<PathBuf, Problem> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let named = env.into_iter().find(|(name, value)| name == "DAYFLY_CONFIG" && !value.is_empty());
    if let Some((_, named)) = named {
        return Ok(named.into());
    }
    DEFAULT_PATHS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| Problem {
        location: SettingLocation::File { file: DEFAULT_PATHS[0].into(), line: None },
        key: String::new(),
        text: format!("there is no configuration, neither here nor at ./{}", DEFAULT_PATHS[1]),
        hint: "create one there, or set its path with --config or DAYFLY_CONFIG".to_owned(),
    })
}

/// Reads the configuration for this machine.
pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Config, Problems> {
    load_for(path, env, &Machine::here(), Tokens::Needed)
}

/// Reads the configuration for a given machine, with or without checking the tokens.
pub fn load_for(
    path: &Path,
    env: impl Iterator<Item = (String, String)>,
    machine: &Machine,
    tokens: Tokens,
) -> Result<Config, Problems> {
    let whole = |text: String, hint: &str| Problem {
        location: SettingLocation::File { file: path.to_owned(), line: None },
        key: String::new(),
        text,
        hint: hint.to_owned(),
    };
    let bytes = files::read(path, files::MAX_TEXT).map_err(|error| whole(error.to_string(), error.hint()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].split(|&byte| byte == b'\n').count();
        let location = SettingLocation::File { file: path.to_owned(), line: Some(line) };
        Problem { location, ..whole("is not UTF-8".to_owned(), "save it as UTF-8") }
    })?;
    let env: BTreeMap<String, String> = env.collect();
    let layers = Layers::parse(path, &text, env.clone().into_iter())?;
    let findings = Findings::new(&layers);
    let file = layers.read(&findings);
    let base = path.parent().unwrap_or(Path::new(""));
    let reading = Reading { env: &env, machine, tokens, base };
    let config = reading.config(&file, &findings.at(&[]));
    let warnings = findings.verdict()?;
    match config {
        Some(config) => Ok(Config { warnings, ..config }),
        // Unreachable: everything that is missing has been recorded as an error.
        None => Err(whole("cannot be read".to_owned(), "").into()),
    }
}

impl Reading<'_> {
    fn config(&self, file: &file::File, root: &At<'_>) -> Option<Config> {
        let instance = self.instance(file, &root.key("instance"));
        let state_dir = self.state_dir(file, &root.key("state_dir"));
        let credentials = self.credentials(file, &root.key("credentials"));
        let hosts = self.hosts(file, &root.key("hosts"));
        let listen = listen(&file.http, &root.key("http"));
        let allowed_hosts = allowed_hosts(&file.http, &root.key("http"));
        let webhook_secret_file = self.webhook_secret_file(file, &root.key("http"));
        let poll_interval = poll_interval(&file.poll, &root.key("poll"));
        let pools = pools::pools(self, file, instance.as_ref(), &hosts, &root.key("pool"));
        credentials::check_accounts(file, &pools, &root.key("credentials"));
        Some(Config {
            instance: instance?,
            state_dir: state_dir?,
            credentials,
            hosts,
            listen: listen?,
            allowed_hosts,
            webhook_secret_file,
            poll_interval: poll_interval?,
            pools,
            warnings: Vec::new(),
        })
    }

    fn instance(&self, file: &file::File, at: &At<'_>) -> Option<InstanceId> {
        if let Some(text) = &file.instance {
            return at.parsed(text, "");
        }
        if at.is_broken() {
            return None;
        }
        let derived = self.machine.instance();
        match &derived {
            None => at.error(
                "is not set and cannot be derived, because this machine has neither a machine id nor a host \
                 name",
                "set instance = \"…\" to a short word that no other installation uses",
            ),
            Some(derived) if self.machine.contained => at.warn(
                format_args!("is not set and was derived from this container ({derived}); a new container may get another id, and would not find these runners again"),
                "set instance = \"…\" to a short word that no other installation uses",
            ),
            Some(_) => {}
        }
        derived
    }

    fn webhook_secret_file(&self, file: &file::File, at: &At<'_>) -> Option<PathBuf> {
        let at = at.key("webhook_secret_file");
        let written = file.http.webhook_secret_file.as_deref()?;
        let has_webhook = |pool: &file::Pool| {
            pool.demand.as_ref().is_some_and(|sources| sources.contains(&file::Demand::Webhook))
        };
        if !file.pool.iter().any(has_webhook) {
            at.warn(
                "is set, but no pool has \"webhook\" in its demand: webhooks are accepted and have no effect",
                "add \"webhook\" to a pool's demand, or remove it",
            );
        }
        self.secret_file(written, &at)
    }

    /// `$STATE_DIRECTORY` is systemd's, a list with colons (systemd.exec(5)).
    fn state_dir(&self, file: &file::File, at: &At<'_>) -> Option<PathBuf> {
        if let Some(written) = &file.state_dir {
            let sound = self.is_plain(&written.to_string_lossy(), at)
                && at.require(written.is_absolute(), "must be an absolute path", "");
            return sound.then(|| written.clone());
        }
        let under = |name| self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let systemd = self.variable("STATE_DIRECTORY").and_then(|list| list.split(':').next());
        Some(match systemd {
            Some(first) => first.into(),
            None if self.machine.root => "/var/lib/dayfly".into(),
            None => match (under("XDG_STATE_HOME"), under("HOME")) {
                (Some(state), _) => state.join("dayfly"),
                (None, Some(home)) => home.join(".local/state/dayfly"),
                (None, None) => "/var/lib/dayfly".into(),
            },
        })
    }
}

fn listen(http: &file::Http, at: &At<'_>) -> Option<SocketAddr> {
    let at = at.key("listen");
    let written = http.listen.as_deref().unwrap_or("127.0.0.1:9745");
    let Ok(listen) = written.parse::<SocketAddr>() else {
        let port = written.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(9745);
        let hint = format!("for example \"127.0.0.1:{port}\"");
        at.error("must be IP-ADDRESS:PORT", hint);
        return None;
    };
    if !listen.ip().is_loopback() {
        at.warn(
            "is reachable from other machines, and has no password: anyone who reaches it sees pools, \
             runners and job names",
            "use 127.0.0.1, or protect it with a firewall or a proxy",
        );
    }
    Some(listen)
}

fn allowed_hosts(http: &file::Http, at: &At<'_>) -> Vec<String> {
    let at = at.key("allowed_hosts");
    for (index, name) in http.allowed_hosts.iter().enumerate() {
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        at.key(index).require(
            !name.is_empty() && name.chars().all(in_name),
            "must be a host name, without scheme, port and path",
            "for example \"ci.example.com\"",
        );
    }
    http.allowed_hosts.clone()
}

fn poll_interval(poll: &file::Poll, at: &At<'_>) -> Option<Duration> {
    let interval = poll.interval.map_or(Duration::from_secs(10), |time| time.0);
    let bounds = Duration::from_millis(100)..=Duration::from_hours(1);
    at.key("interval")
        .require(bounds.contains(&interval), "must be between 100ms and 1h", "")
        .then_some(interval)
}
