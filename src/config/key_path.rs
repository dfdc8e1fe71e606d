//! Paths of keys, and what they lead to in the text of the file.

use toml::de::DeValue;

/// The path of a key: names, and indexes in lists.
pub(super) type KeyPath = Vec<String>;

/// The value at a key or an index, and where it begins in the text.
pub(super) fn below<'t, 'i>(within: &'t DeValue<'i>, key: &str) -> Option<(usize, &'t DeValue<'i>)> {
    match within {
        DeValue::Table(table) => {
            table.get_key_value(key).map(|(name, value)| (name.span().start, value.get_ref()))
        }
        DeValue::Array(list) => {
            list.get(key.parse::<usize>().ok()?).map(|value| (value.span().start, value.get_ref()))
        }
        _ => None,
    }
}

/// Line and column of an offset, both counted from 1, the column in characters.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
