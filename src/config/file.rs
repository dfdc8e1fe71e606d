//! The file as written: its keys and their types, nothing checked that needs a second key. These
//! structs are the only list of the keys that exist.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::units::{NumberOrText, Size, Time, TimeOrOff, Ulimit};

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
}

/// What kind of engine.
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
    pub(super) webhook_secret_file: Option<String>,
}

/// `[poll]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Poll {
    pub(super) interval: Option<Time>,
}

/// `[[pool]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Pool {
    pub(super) name: Option<String>,
    pub(super) url: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) host: Option<String>,
    pub(super) group: Option<String>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) demand: Option<Vec<Demand>>,
    pub(super) repositories: Vec<String>,
    pub(super) allow_public: bool,
    pub(super) match_unlabelled: bool,
    pub(super) min_idle: Option<u32>,
    pub(super) max: Option<u32>,
    pub(super) priority: Option<i32>,
    pub(super) idle_timeout: Option<Time>,
    pub(super) idle_confirmation: Option<Time>,
    pub(super) boot_timeout: Option<Time>,
    pub(super) max_job_age: Option<TimeOrOff>,
    pub(super) schedule: Vec<Window>,
    pub(super) container: Container,
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

/// Where demand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Demand {
    Idle,
    Queue,
    Webhook,
    ScaleSet,
}

/// `[pool.container]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub(super) struct Container {
    pub(super) image: Option<String>,
    pub(super) command: Option<Vec<String>>,
    pub(super) pull: Pull,
    pub(super) cpus: Option<f64>,
    pub(super) memory: Option<Size>,
    pub(super) pids: Option<u32>,
    pub(super) shm_size: Option<Size>,
    pub(super) docker: Docker,
    pub(super) env: BTreeMap<String, String>,
    pub(super) mounts: Vec<String>,
    pub(super) devices: Vec<String>,
    pub(super) gpus: u32,
    pub(super) network: Option<String>,
    pub(super) runtime: Option<String>,
    pub(super) user: Option<String>,
    pub(super) extra_hosts: Vec<String>,
    pub(super) dns: Vec<String>,
    pub(super) ulimits: BTreeMap<String, Ulimit>,
    pub(super) cap_add: Vec<String>,
    pub(super) cap_drop: Vec<String>,
    pub(super) security_opt: Vec<String>,
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

/// Whether jobs get a Docker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Docker {
    #[default]
    None,
    Socket,
    Dind,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::{
        de::{DeserializeOwned, Visitor, value::Error},
        forward_to_deserialize_any,
    };

    use super::*;

    /// Answers a struct's question for its fields with their names.
    struct Fields<'s>(&'s mut Vec<&'static str>);

    impl<'de> serde::Deserializer<'de> for Fields<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            visitor
                .visit_map(serde::de::value::MapDeserializer::<_, Error>::new(
                    std::iter::empty::<(&str, &str)>(),
                ))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(serde::de::Error::custom("only structs have fields"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
            unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields<T: DeserializeOwned>() -> Vec<&'static str> {
        let mut names = Vec::new();
        T::deserialize(Fields(&mut names)).unwrap();
        names
    }

    /// The keys of one section of the commented file, those behind a `#` too; each of those must be
    /// TOML by itself.
    fn shown(section: &str) -> BTreeSet<String> {
        let mut within = String::new();
        let mut keys = BTreeSet::new();
        for line in include_str!("../../config/dayfly.toml").lines() {
            if line.starts_with('[') {
                within = line.trim_matches(['[', ']']).to_owned();
            }
            let line = line.strip_prefix("# ").unwrap_or(line);
            let Some((key, _)) = line.split_once(" = ") else { continue };
            if within == section && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                assert!(line.parse::<toml::Table>().is_ok(), "{line}");
                keys.insert(key.to_owned());
            }
        }
        keys
    }

    #[test]
    fn the_commented_file_shows_every_key_and_no_other() {
        let sections = ["credentials", "hosts", "http", "poll", "pool"];
        let top: Vec<_> = fields::<File>().into_iter().filter(|key| !sections.contains(key)).collect();
        let pool: Vec<_> = fields::<Pool>().into_iter().filter(|key| *key != "container").collect();
        for (section, fields) in [
            ("", top),
            ("credentials.default", fields::<Credential>()),
            ("hosts.local", fields::<Host>()),
            ("http", fields::<Http>()),
            ("poll", fields::<Poll>()),
            ("pool", pool),
            ("pool.container", fields::<Container>()),
        ] {
            let known: BTreeSet<String> = fields.into_iter().map(str::to_owned).collect();
            assert_eq!(shown(section), known, "[{section}]");
        }
    }
}
