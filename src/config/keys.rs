//! The keys of each table, and what was most likely meant by an unknown one: a typing error, another
//! program's name for it, or a key of another table.

use std::sync::LazyLock;

use serde::{
    de::{DeserializeOwned, Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};

use super::{
    file::{Cache, Container, Credential, Dind, Egress, File, Hooks, Host, Http, Poll, Pool, Proxy, Window},
    wording::nearest,
};

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Top,
    Credential,
    Host,
    Http,
    Poll,
    Pool,
    Window,
    Container,
    Dind,
    Egress,
    Hooks,
    Proxy,
    Cache,
}

/// Other programs' names for it.
const MEANT: [(&str, &str); 41] = [
    ("runs_on", "labels"),
    ("label", "labels"),
    ("tags", "labels"),
    ("client_id", "app_id"),
    ("id", "app_id"),
    ("installation", "installation_id"),
    ("private_key", "private_key_file"),
    ("private_key_path", "private_key_file"),
    ("pem", "private_key_file"),
    ("key_file", "private_key_file"),
    ("token_path", "token_file"),
    ("credential", "credentials"),
    ("ca", "ca_file"),
    ("webhook_secret", "webhook_secret_file"),
    ("secret_file", "webhook_secret_file"),
    ("repo", "url"),
    ("repository", "url"),
    ("org", "url"),
    ("organization", "url"),
    ("enterprise", "url"),
    ("scope", "url"),
    ("address", "listen"),
    ("bind", "listen"),
    ("port", "listen"),
    ("socket", "endpoint"),
    ("docker_host", "endpoint"),
    ("runner_group", "group"),
    ("runners", "max"),
    ("count", "max"),
    ("replicas", "max"),
    ("max_runners", "max"),
    ("idle", "min_idle"),
    ("min", "min_idle"),
    ("min_runners", "min_idle"),
    ("volumes", "mounts"),
    ("environment", "env"),
    ("ram", "memory"),
    ("mem", "memory"),
    ("mem_limit", "memory"),
    ("zone", "timezone"),
    ("tz", "timezone"),
];

/// What was most likely meant by an unknown key.
pub(super) struct Meant {
    pub(super) table: Table,
    pub(super) key: &'static str,
}

impl Table {
    const ALL: [Self; 13] = [
        Self::Pool,
        Self::Container,
        Self::Dind,
        Self::Egress,
        Self::Hooks,
        Self::Proxy,
        Self::Host,
        Self::Credential,
        Self::Http,
        Self::Poll,
        Self::Window,
        Self::Cache,
        Self::Top,
    ];

    /// The table that a key is in, by the key's path.
    pub(super) fn of(path: &[String]) -> Option<Self> {
        let inside: Vec<&str> = path.iter().map(String::as_str).collect();
        Some(match inside[..] {
            [_] => Self::Top,
            ["credentials", _, _] => Self::Credential,
            ["hosts", _, _] => Self::Host,
            ["http", _] => Self::Http,
            ["poll", _] => Self::Poll,
            ["pool", _, _] => Self::Pool,
            ["pool", _, "container", _] => Self::Container,
            ["pool", _, "container", "dind", _] => Self::Dind,
            ["pool", _, "container", "egress", _] => Self::Egress,
            ["pool", _, "container", "hooks", _] => Self::Hooks,
            ["pool", _, "container", "proxy", _] => Self::Proxy,
            ["pool", _, "container", "cache", _, _] => Self::Cache,
            ["pool", _, "schedule", _, _] => Self::Window,
            _ => return None,
        })
    }

    /// Its header.
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Top => "the top of the file",
            Self::Credential => "[credentials.NAME]",
            Self::Host => "[hosts.NAME]",
            Self::Http => "[http]",
            Self::Poll => "[poll]",
            Self::Pool => "[[pool]]",
            Self::Window => "a window of schedule",
            Self::Container => "[pool.container]",
            Self::Dind => "[pool.container.dind]",
            Self::Egress => "[pool.container.egress]",
            Self::Hooks => "[pool.container.hooks]",
            Self::Proxy => "[pool.container.proxy]",
            Self::Cache => "[[pool.container.cache]]",
        }
    }

    /// All keys of the table.
    pub(super) fn keys(self) -> &'static [&'static str] {
        static KEYS: LazyLock<[&[&str]; 13]> = LazyLock::new(|| {
            [
                keys_of::<File>(),
                keys_of::<Credential>(),
                keys_of::<Host>(),
                keys_of::<Http>(),
                keys_of::<Poll>(),
                keys_of::<Pool>(),
                keys_of::<Window>(),
                keys_of::<Container>(),
                keys_of::<Dind>(),
                keys_of::<Egress>(),
                keys_of::<Hooks>(),
                keys_of::<Proxy>(),
                keys_of::<Cache>(),
            ]
        });
        KEYS[self as usize]
    }

    fn key(self, wanted: &str) -> Option<&'static str> {
        self.keys().iter().copied().find(|key| *key == wanted)
    }

    /// What was most likely meant by a key that this table does not have; `is_table` if it was written as a
    /// table itself.
    pub(super) fn meant(self, written: &str, is_table: bool) -> Option<Meant> {
        let word = written.to_ascii_lowercase().replace('-', "_");
        let meant = MEANT.iter().find(|(other, _)| *other == word).map_or(word.as_str(), |(_, key)| key);
        let here = |word: &str| self.key(word).map(|key| Meant { table: self, key });
        let elsewhere = |word: &str| {
            // A pool and its container are nearest to each other.
            let mut tables = Self::ALL.into_iter().filter(|table| *table != self);
            tables.find_map(|table| table.key(word).map(|key| Meant { table, key }))
        };
        here(&word)
            .or_else(|| here(meant))
            .or_else(|| if is_table { None } else { elsewhere(&word) })
            .or_else(|| nearest(&word, self.keys()).map(|key| Meant { table: self, key }))
            .or_else(|| elsewhere(meant))
    }

    /// The hint for a key that is written here and belongs there.
    pub(super) fn way_to(self, meant: &Meant, written: &str) -> String {
        let Meant { table, key } = *meant;
        let header = table.header();
        let way = match (self, table) {
            (_, Self::Pool) if key == "container" => {
                return "write it as [pool.container], below its [[pool]]".to_owned();
            }
            (_, Self::Top) => {
                return format!("{key} belongs at the top of the file: move it above the first [section]");
            }
            (Self::Container, Self::Pool) => format!("move it above {}", self.header()),
            (_, Self::Window) => "write it there".to_owned(),
            _ => format!("move it below {header}"),
        };
        let named = if key == written { "" } else { ", if that is meant" };
        format!("{key} is a key of {header}{named}: {way}")
    }
}

/// A deserializer that collects the names of a struct's fields and returns no value.
struct Fields<'s>(&'s mut &'static [&'static str]);

impl<'de> serde::Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only its fields are needed"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only structs have fields"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The names are collected before the error, which always occurs.
    let _ = T::deserialize(Fields(&mut names));
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The keys of one section of the commented file, including those after a `#`; each of those must be TOML
    /// by itself.
    fn shown(section: &str) -> BTreeSet<&'static str> {
        let mut within = String::new();
        let mut keys = BTreeSet::new();
        for line in include_str!("../../config/dayfly.toml").lines() {
            // A table that would have an effect of its own is a comment as a whole.
            let line = line.strip_prefix("# ").unwrap_or(line);
            if line.starts_with('[') && line.ends_with(']') {
                within = line.trim_matches(['[', ']']).to_owned();
            }
            let Some((key, _)) = line.split_once(" = ") else { continue };
            if within == section && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                assert!(line.parse::<toml::Table>().is_ok(), "{line}");
                keys.insert(key);
            }
        }
        keys
    }

    #[test]
    fn the_commented_file_shows_every_key_and_no_other() {
        let sections =
            ["credentials", "hosts", "http", "poll", "pool", "container", "dind", "egress", "hooks", "proxy"];
        for (section, table) in [
            ("", Table::Top),
            ("credentials.default", Table::Credential),
            ("hosts.local", Table::Host),
            ("http", Table::Http),
            ("poll", Table::Poll),
            ("pool", Table::Pool),
            ("pool.container", Table::Container),
            ("pool.container.dind", Table::Dind),
            ("pool.container.egress", Table::Egress),
            ("pool.container.hooks", Table::Hooks),
            ("pool.container.proxy", Table::Proxy),
        ] {
            // `credentials` is a key of a pool and also a table.
            let is_table = |key: &str| {
                sections.contains(&key)
                    && (table != Table::Pool || key == "container")
                    && table != Table::Proxy
            };
            let known: BTreeSet<_> = table.keys().iter().copied().filter(|key| !is_table(key)).collect();
            assert_eq!(shown(section), known, "[{section}]");
        }
    }

    #[test]
    fn every_word_of_others_means_a_key_and_is_none_itself_where_that_is() {
        for (word, key) in MEANT {
            let tables: Vec<_> = Table::ALL.into_iter().filter(|table| table.key(key).is_some()).collect();
            assert!(!tables.is_empty(), "{word} means {key}, which no table has");
            assert!(tables.iter().any(|table| table.key(word).is_none()), "{word} needs no other word");
        }
    }
}
