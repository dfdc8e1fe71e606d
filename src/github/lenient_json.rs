//! Lists are read row by row: a row that cannot be read is skipped and reported once, without affecting
//! others.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// A row of a list, or something that cannot be read as one.
#[derive(Deserialize)]
#[serde(from = "Box<RawValue>", bound = "T: DeserializeOwned")]
pub(super) enum Row<T> {
    /// As expected.
    Read(T),
    /// Anything else, as sent.
    Unreadable(Box<RawValue>),
}

impl<T: DeserializeOwned> From<Box<RawValue>> for Row<T> {
    fn from(raw: Box<RawValue>) -> Self {
        match serde_json::from_str(raw.get()) {
            Ok(row) => Self::Read(row),
            Err(_) => Self::Unreadable(raw),
        }
    }
}

impl<T> Row<T> {
    pub(super) fn read(self) -> Option<T> {
        match self {
            Self::Read(row) => Some(row),
            Self::Unreadable(_) => None,
        }
    }
}

/// A field that is of use but not needed: what cannot be read is missing.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).ok())
}

/// The name in a row that has no other use.
pub(super) fn name_in(row: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    serde_json::from_str::<Named>(row.get()).ok().map(|row| row.name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Thing {
        id: u64,
        #[serde(default, deserialize_with = "lenient")]
        size: Option<u64>,
    }

    #[test]
    fn a_row_that_cannot_be_read_costs_no_other_and_a_field_costs_itself() {
        let text = r#"[{"id":1,"size":2},{"id":-1},null,7,{"id":3,"size":-1},{"id":4,"size":null}]"#;
        let rows: Vec<Row<Thing>> = serde_json::from_str(text).unwrap();
        let read = rows.into_iter().filter_map(Row::read).map(|thing| (thing.id, thing.size));
        assert_eq!(read.collect::<Vec<_>>(), [(1, Some(2)), (3, None), (4, None)]);
    }
}
