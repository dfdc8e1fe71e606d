//! The hints for keys that cannot be read: what was most likely meant, and how to write it.

use figment::error::{Actual, Kind};
use toml::de::DeValue;

use super::{
    file,
    key_path::{KeyPath, below},
    keys::{Meant, Table},
    layers::{Layers, PREFIX},
    wording::{self, nearest},
};

/// The tables in `[pool.container]` of which there is one.
const SINGLE: [&str; 5] = ["dind", "egress", "env", "hooks", "proxy"];

/// Why a key cannot be read; reads after the key.
pub(super) fn refusal(path: &[String], kind: &Kind) -> String {
    match (kind, path) {
        // A list of tables is read as a table's values one by one.
        (Kind::InvalidType(Actual::Map, _), [pool, _, container, rest @ ..])
            if pool == "pool" && container == "container" && is_item_of_single(rest) =>
        {
            "must be a single table, not a list of tables".to_owned()
        }
        _ => wording::refusal(kind),
    }
}

/// Whether a path below `[pool.container]` is an item where there is one table: of itself, or of a table in it.
fn is_item_of_single(path: &[String]) -> bool {
    match path {
        [item] => item.parse::<usize>().is_ok(),
        [key, _] => SINGLE.contains(&key.as_str()),
        _ => false,
    }
}

impl Layers<'_> {
    /// The hint for a key that cannot be read.
    pub(super) fn hint(&self, path: &[String], kind: &Kind) -> String {
        let inside: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(hint) = self.variables.get(path).and_then(|(name, _)| in_section(name)) {
            return hint;
        }
        if let Kind::UnknownField(..) = kind
            && let ["credentials", _, "token" | "pat" | "password" | "secret" | "value"]
            | ["pool", _, "token" | "pat"]
            | ["token" | "pat"] = inside[..]
        {
            return "never put a token in this file: put it in a separate file with mode 0600 and set token_file to its path"
                .to_owned();
        }
        if let Kind::UnknownField(..) = kind
            && let ["pool", _, "container", "privileged"] = inside[..]
        {
            return "runners are never privileged: docker = \"dind\" gives each one an engine of its own \
                    (docs/how-to/docker-in-jobs.md)"
                .to_owned();
        }
        if let Some((meant, _)) = self.meant(path, kind)
            && let (Some(table), Some(written)) = (Table::of(path), inside.last())
        {
            return if meant.table == table {
                format!("did you mean {:?}?", meant.key)
            } else {
                table.way_to(&meant, written)
            };
        }
        match (kind, &inside[..]) {
            (Kind::UnknownField(_, known), _) => format!("known keys: {}", known.join(", ")),
            (Kind::UnknownVariant(word, known), _) => match nearest(word, known) {
                Some(near) => format!("did you mean {near:?}?"),
                None => String::new(),
            },
            (Kind::InvalidType(Actual::Map, _), ["pool"]) => "begin each pool with [[pool]]".to_owned(),
            (Kind::InvalidType(Actual::Str(word), wanted), [.., key]) if wanted == "a sequence" => {
                // A value is shown only where it cannot be a secret.
                let word = if file::Demand::is_word(word) { word } else { "…" };
                format!("write {key} = [{word:?}]")
            }
            (Kind::InvalidType(Actual::Seq, _), [.., "env"]) => "write env = { NAME = \"VALUE\" }".to_owned(),
            (Kind::InvalidType(Actual::Map, _), ["pool", _, "container", "cache"]) => {
                "write [[pool.container.cache]] with double brackets: a pool can have several caches"
                    .to_owned()
            }
            (Kind::InvalidType(Actual::Map, _), ["pool", _, "container", key, _]) if SINGLE.contains(key) => {
                format!("write [pool.container.{key}] with single brackets")
            }
            (Kind::InvalidType(Actual::Map, _), ["pool", _, "container", "mounts", _]) => {
                "write it as docker run -v does: \"SOURCE:TARGET\" or \"SOURCE:TARGET:ro\"".to_owned()
            }
            (Kind::InvalidType(..), ["pool", _, "container", "docker"]) => {
                "write docker = \"dind\" for an engine of each runner's own, or \"socket\" for the host's"
                    .to_owned()
            }
            (Kind::InvalidType(Actual::Map, _), ["pool", _, "container", _]) => {
                "write [pool.container] with single brackets: a pool has one container".to_owned()
            }
            (Kind::InvalidType(Actual::Str(text), _), _)
                if text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok() =>
            {
                "remove the quotation marks".to_owned()
            }
            (Kind::InvalidType(..), ["credentials", key]) => {
                format!("write it below a name: [credentials.default], then {key} = …")
            }
            (Kind::InvalidType(..), ["hosts", key]) => {
                format!("write it below a name: [hosts.local], then {key} = …")
            }
            _ => String::new(),
        }
    }

    /// What was most likely meant by an unknown key, and the path of that key where it is certain.
    pub(super) fn meant(&self, path: &[String], kind: &Kind) -> Option<(Meant, Option<KeyPath>)> {
        let Kind::UnknownField(key, _) = kind else { return None };
        let table = Table::of(path)?;
        let mut written = Some(&self.root);
        for key in path {
            written = written.and_then(|within| Some(below(within, key)?.1));
        }
        let is_section = match written {
            Some(DeValue::Table(_)) => true,
            Some(DeValue::Array(list)) => list.first().is_some_and(|first| first.get_ref().is_table()),
            _ => false,
        };
        let meant = table.meant(key, is_section)?;
        let mut home = path.to_vec();
        home.pop();
        if (table, meant.table) == (Table::Container, Table::Pool) {
            home.pop();
        } else if table != meant.table {
            return Some((meant, None));
        }
        home.push(meant.key.to_owned());
        Some((meant, Some(home)))
    }
}

/// The right name for a variable with a single underscore between section and key.
pub(super) fn in_section(name: &str) -> Option<String> {
    let word = name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace("__", "_");
    let named = |table: Table, section: &str| {
        let inner = word.strip_prefix(section)?.strip_prefix('_')?;
        let ending = |key: &&&str| inner.strip_suffix(**key).and_then(|name| name.strip_suffix('_'));
        let key = table.keys().iter().filter(|key| ending(key).is_some()).max_by_key(|key| key.len())?;
        let name = ending(&key)?.trim_matches('_');
        (!name.is_empty()).then(|| format!("{section}__{name}__{key}"))
    };
    let plain = |table: Table, section: &str| {
        let key = word.strip_prefix(section)?.strip_prefix('_')?;
        table.keys().contains(&key).then(|| format!("{section}__{key}"))
    };
    plain(Table::Http, "http")
        .or_else(|| plain(Table::Poll, "poll"))
        .or_else(|| named(Table::Host, "hosts"))
        .or_else(|| named(Table::Credential, "credentials"))
        .map(|path| format!("{PREFIX}{}", path.to_ascii_uppercase()))
        .filter(|right| right != name)
        .map(|right| format!("section and key are separated by two underscores: write {right}"))
}
