//! The layers of a configuration: the file and, over it, the environment; with the location of every key, so
//! that a problem can name it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{
    key_path::{KeyPath, below, line_and_column},
    problem::{Problems, SettingLocation},
    syntax,
    wording::quoted,
};

/// The prefix of Dayfly's variables.
pub(super) const PREFIX: &str = "DAYFLY_";

/// Variables of the command line, which are not settings of the file.
const COMMAND_LINE: [&str; 2] = ["DAYFLY_CONFIG", "DAYFLY_LOG_FORMAT"];

/// The file and the environment as read.
pub(super) struct Layers<'a> {
    file: PathBuf,
    text: &'a str,
    pub(super) root: DeValue<'a>,
    /// Variables by the path of the key that they set.
    pub(super) variables: BTreeMap<KeyPath, (String, String)>,
    /// Variables that are not the path of a key, and whether they mean a key of a pool.
    pub(super) strays: Vec<(String, bool)>,
}

impl<'a> Layers<'a> {
    /// Parses the text of the file; syntax errors are reported with line and column.
    pub(super) fn parse(
        file: &Path,
        text: &'a str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Problems> {
        let (table, errors) = DeTable::parse_recoverable(text);
        syntax::problems(file, text, &errors)?;
        let mut variables = BTreeMap::new();
        let mut strays = Vec::new();
        for (name, value) in env {
            let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !COMMAND_LINE.contains(&name.as_str()))
            else {
                continue;
            };
            let path: KeyPath = rest.to_ascii_lowercase().split("__").map(str::to_owned).collect();
            // The environment cannot name a key of one pool: pools are a list.
            let in_pool = path[0] == "pool" && path.len() > 1;
            if in_pool || path.iter().any(|key| key.is_empty() || key.contains('.')) {
                strays.push((name, in_pool));
            } else {
                variables.insert(path, (name, value));
            }
        }
        Ok(Self { file: file.to_owned(), text, root: DeValue::Table(table.into_inner()), variables, strays })
    }

    /// The environment variable that sets this key.
    pub(super) fn variable(&self, path: &[String]) -> Option<&str> {
        self.variables.iter().rev().find(|(at, _)| path.starts_with(at)).map(|(_, (name, _))| name.as_str())
    }

    /// The location of a key in the file, or of the table that it would be in: the offset, for sorting, and
    /// the location.
    pub(super) fn position(&self, path: &[String]) -> (usize, SettingLocation) {
        let mut start = None;
        let mut within = &self.root;
        for key in path {
            let Some((at, value)) = below(within, key) else { break };
            start = Some(at);
            within = value;
        }
        let line = start.map(|start| line_and_column(self.text, start).0);
        (start.unwrap_or(0), SettingLocation::File { file: self.file.clone(), line })
    }

    /// A key as it is shown to people: `pool "linux": container.memory`.
    pub(super) fn shown(&self, path: &[String]) -> String {
        // Keys can be any text; shown bare only where that is unambiguous.
        let bare = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let joined = |first: usize| {
            let mut text = String::new();
            for (at, key) in path.iter().enumerate().skip(first) {
                if let Some(number) = self.number(path, at) {
                    let _ = write!(text, ", item {number}");
                    continue;
                }
                let after_item = self.number(path, at.saturating_sub(1)).is_some();
                text.push_str(if at == first {
                    ""
                } else if after_item {
                    ": "
                } else {
                    "."
                });
                text.push_str(&if bare(key) { key.clone() } else { quoted(key) });
            }
            text
        };
        match path {
            [pool, index] if pool == "pool" => self.pool_shown(index),
            [pool, index, ..] if pool == "pool" => format!("{}: {}", self.pool_shown(index), joined(2)),
            _ => joined(0),
        }
    }

    /// The number, counted from 1, of the element of a list that is at this place of a path; `None` for a name.
    fn number(&self, path: &[String], at: usize) -> Option<usize> {
        let number = path[at].parse::<usize>().ok()? + 1;
        let mut within = Some(&self.root);
        for key in &path[..at] {
            within = within.and_then(|within| Some(below(within, key)?.1));
        }
        match within {
            Some(within) => within.is_array().then_some(number),
            // From the environment: there, the names of hosts, credentials and variables are the only others.
            None => (!matches!(path[at.checked_sub(1)?].as_str(), "hosts" | "credentials" | "env"))
                .then_some(number),
        }
    }

    fn pool_shown(&self, index: &str) -> String {
        let at = index.parse::<usize>().ok();
        let written = !self.variables.contains_key(["pool".to_owned()].as_slice());
        let path = ["pool", index, "name"];
        let name = path
            .iter()
            .try_fold(&self.root, |within, key| Some(below(within, key)?.1))
            .and_then(DeValue::as_str)
            .filter(|name| written && !name.is_empty() && name.len() <= 64);
        match name {
            Some(name) => format!("pool {name:?}"),
            None => format!("pool {}", at.map_or_else(|| index.to_owned(), |at| (at + 1).to_string())),
        }
    }
}
