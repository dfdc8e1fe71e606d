//! The texts for invalid values. They never contain the value: it may be a secret in the wrong place.

use figment::error::{Actual, Kind};

/// The known word that is most likely meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Why a key cannot be read; reads after the key.
pub(super) fn refusal(kind: &Kind) -> String {
    match kind {
        Kind::Message(text) => text.clone(),
        Kind::UnknownField(..) => "is not a known key".to_owned(),
        Kind::UnknownVariant(_, known) => {
            let known: Vec<_> = known.iter().map(|word| format!("{word:?}")).collect();
            format!("must be one of {}", known.join(", "))
        }
        // Numbers that fit no Rust type of the usual widths.
        Kind::InvalidType(Actual::Other(_), wanted) => {
            format!("is out of range: must be {}", expected(wanted))
        }
        Kind::InvalidType(actual, wanted) => format!("must be {}, not {}", expected(wanted), found(actual)),
        Kind::InvalidValue(_, wanted) => format!("must be {}", expected(wanted)),
        Kind::InvalidLength(_, wanted) => format!("has the wrong length: must be {}", expected(wanted)),
        Kind::MissingField(key) => format!("lacks {key:?}"),
        Kind::DuplicateField(key) => format!("has {key:?} twice"),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "is out of range".to_owned(),
        Kind::Unsupported(_) | Kind::UnsupportedKey(..) => "cannot be read".to_owned(),
    }
}

/// serde's names for what it expects, in TOML's terms.
fn expected(wanted: &str) -> &str {
    match wanted {
        "a string" | "path string" | "a borrowed string" => "a string in quotes",
        "u32" | "u64" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list in brackets",
        "a map" => "a table",
        other if other.starts_with("variant of enum") || other.starts_with("enum") => "a string in quotes",
        other => other,
    }
}

fn found(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a number with a decimal point",
        Actual::Char(_) | Actual::Str(_) => "a string",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "this",
    }
}

/// A text from the file, quoted and cut to fit into a line.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

pub(super) fn did_you_mean(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "none is configured".to_owned(),
        None => {
            format!("known names: {}", known.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A name as in a table's header.
pub(super) fn shown(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare && name.len() <= 40 { name.to_owned() } else { quoted(name) }
}
