//! The surroundings of a configuration file that its meaning depends on.

use std::{collections::BTreeMap, path::Path};

use super::{machine::Machine, model::Tokens};

/// What the meaning of a file depends on, besides its text.
pub(super) struct Reading<'a> {
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) machine: &'a Machine,
    pub(super) tokens: Tokens,
    /// The directory of the file, which relative paths start from.
    pub(super) base: &'a Path,
}

impl Reading<'_> {
    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
