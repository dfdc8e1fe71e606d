//! The file as written: its keys and their types, without checks that involve a second key. These structs are
//! the only list of keys.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{
    Deserialize,
    de::{self, IntoDeserializer as _, value::StrDeserializer},
};

use super::units::{Names, NumberOrText, Size, Time, TimeOrOff, Ulimit};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct File {
    pub(super) instance: Option<String>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) credentials: BTreeMap<String, Credential>,
    pub(super) hosts: BTreeMap<String, Host>,
    pub(super) http: Http,
    pub(super) poll: Poll,
    pub(super) pool: Vec<Pool>,
}

/// `[credentials.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Credential {
    pub(super) token_file: Option<String>,
    pub(super) token_env: Option<String>,
    pub(super) token_command: Option<Vec<String>>,
    pub(super) app_id: Option<NumberOrText>,
    pub(super) private_key_file: Option<String>,
    pub(super) installation_id: Option<u64>,
    pub(super) ca_file: Option<String>,
    pub(super) allow_plain_http: bool,
}

/// `[hosts.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) endpoint: Option<String>,
    pub(super) tls_dir: Option<PathBuf>,
    pub(super) max_runners: Option<u32>,
    pub(super) memory: Option<Size>,
    pub(super) cpus: Option<f64>,
    pub(super) min_free_disk: Option<Size>,
    pub(super) gpus: Option<Vec<String>>,
    pub(super) exclusive: BTreeMap<String, Vec<String>>,
}

/// The kind of engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Engine {
    #[default]
    Docker,
    Swarm,
}

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Http {
    pub(super) listen: Option<String>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) webhook_secret_file: Option<String>,
}

/// `[poll]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Poll {
    pub(super) interval: Option<Time>,
}

/// The host of pools that name none.
pub(super) const LOCAL: &str = "local";

/// `[[pool]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Pool {
    pub(super) name: Option<String>,
    pub(super) url: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) host: Option<Names>,
    pub(super) placement: Option<Placement>,
    pub(super) group: Option<String>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) demand: Option<Vec<Demand>>,
    pub(super) repositories: Vec<String>,
    pub(super) allow_public: bool,
    pub(super) match_unlabelled: bool,
    pub(super) min_idle: Option<u32>,
    pub(super) max: Option<u32>,
    pub(super) priority: Option<i32>,
    pub(super) weight: Option<u32>,
    pub(super) idle_timeout: Option<Time>,
    pub(super) idle_confirmation: Option<Time>,
    pub(super) boot_timeout: Option<Time>,
    pub(super) max_job_age: Option<TimeOrOff>,
    pub(super) schedule: Vec<Window>,
    pub(super) container: Container,
}

impl Pool {
    /// The names of its hosts, as written.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        let names = self.host.iter().flat_map(|hosts| hosts.0.iter().map(String::as_str));
        names.chain(self.host.is_none().then_some(LOCAL))
    }
}

/// One window of `schedule`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Window {
    pub(super) days: Option<String>,
    pub(super) hours: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) min_idle: Option<u32>,
}

/// Which of its hosts gets a pool's next runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Placement {
    #[default]
    Spread,
    Pack,
    Ordered,
}

/// A job source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Demand {
    Idle,
    Queue,
    Webhook,
    ScaleSet,
}

impl Demand {
    /// Whether this is the name of a job source.
    pub(super) fn is_word(word: &str) -> bool {
        let word: StrDeserializer<'_, de::value::Error> = word.into_deserializer();
        Self::deserialize(word).is_ok()
    }
}

/// `[pool.container]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Container {
    pub(super) image: Option<String>,
    pub(super) command: Option<Vec<String>>,
    pub(super) pull: Pull,
    pub(super) registry_username: Option<String>,
    pub(super) registry_password_file: Option<String>,
    pub(super) cpus: Option<f64>,
    pub(super) memory: Option<Size>,
    pub(super) pids: Option<u32>,
    pub(super) shm_size: Option<Size>,
    pub(super) docker: Docker,
    pub(super) docker_socket: Option<String>,
    pub(super) dind: Option<Dind>,
    pub(super) egress: Option<Egress>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) env_file: Option<String>,
    pub(super) mounts: Vec<String>,
    pub(super) cache: Vec<Cache>,
    pub(super) devices: Vec<String>,
    pub(super) gpus: u32,
    pub(super) exclusive: BTreeMap<String, u32>,
    pub(super) network: Option<String>,
    pub(super) runtime: Option<String>,
    pub(super) user: Option<String>,
    pub(super) extra_hosts: Vec<String>,
    pub(super) dns: Vec<String>,
    pub(super) ulimits: BTreeMap<String, Ulimit>,
    pub(super) cap_add: Vec<String>,
    pub(super) cap_drop: Vec<String>,
    pub(super) security_opt: Vec<String>,
    pub(super) read_only: bool,
    pub(super) writable: Option<Vec<String>>,
    pub(super) ca_file: Option<String>,
    pub(super) hooks: Hooks,
    pub(super) proxy: Proxy,
    pub(super) constraints: Vec<String>,
    pub(super) jit_config: Option<JitConfig>,
}

/// How a Swarm passes the JIT config to a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum JitConfig {
    Secret,
    Environment,
}

/// `[pool.container.hooks]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Hooks {
    pub(super) job_started: Option<String>,
    pub(super) job_completed: Option<String>,
}

/// `[pool.container.proxy]`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
#[expect(clippy::struct_field_names, reason = "the variable's name")]
pub(super) struct Proxy {
    pub(super) http: Option<String>,
    pub(super) https: Option<String>,
    pub(super) no_proxy: Option<String>,
}

impl fmt::Debug for Proxy {
    /// Without the addresses, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

/// `[pool.container.dind]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Dind {
    pub(super) image: Option<String>,
    pub(super) memory: Option<Size>,
    pub(super) cpus: Option<f64>,
    pub(super) registry_mirrors: Vec<String>,
    pub(super) mtu: Option<u32>,
    pub(super) start_timeout: Option<Time>,
}

/// `[pool.container.egress]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Egress {
    pub(super) mode: Option<EgressMode>,
    pub(super) allow: Vec<String>,
    pub(super) image: Option<String>,
}

/// What runners may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum EgressMode {
    #[default]
    Off,
    Audit,
    Enforce,
}

/// `[[pool.container.cache]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Cache {
    pub(super) target: Option<String>,
    pub(super) source: Option<String>,
    pub(super) mode: Option<CacheMode>,
    pub(super) promote: Option<Promote>,
    pub(super) env: Vec<String>,
}

/// Who can write to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CacheMode {
    Ro,
    Rw,
    Slot,
}

/// Which jobs leave the state of their slot to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Promote {
    #[default]
    Never,
    Trusted,
}

/// When to pull the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pull {
    Always,
    #[default]
    Missing,
    Never,
}

/// Whether jobs can use Docker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Docker {
    #[default]
    None,
    Socket,
    Dind,
}
