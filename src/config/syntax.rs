//! Text that is not TOML: where the error is, and what was most likely meant. The text itself is not shown,
//! since it may be a secret.

use std::{collections::BTreeMap, path::Path};

use toml::de::Error;

use super::{
    key_path::line_and_column,
    problem::{Problem, Problems, SettingLocation},
};

/// One missing quote can break every line after it; at most this many errors are reported.
const SYNTAX_ERRORS: usize = 5;

/// Returns the syntax errors, if there are any.
pub(super) fn problems(file: &Path, text: &str, errors: &[Error]) -> Result<(), Problems> {
    if errors.is_empty() {
        return Ok(());
    }
    let problem = |line, text: String, hint: &str| Problem {
        location: SettingLocation::File { file: file.to_owned(), line },
        key: String::new(),
        text,
        hint: hint.to_owned(),
    };
    if let Some(language) = other_language(text) {
        let text = format!("is {language}, but the configuration must be TOML");
        let hint = "write KEY = VALUE, strings in quotes, and section names in brackets, such as [http] and [[pool]]";
        return Err(problem(None, text, hint).into());
    }
    let mut broken = BTreeMap::new();
    for error in errors {
        let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
        // Further errors on a broken line are often only consequences of the first.
        broken
            .entry(line)
            .or_insert_with(|| format!("column {column}: {}", error.message().replace('\n', ", ")));
    }
    let reported = broken.into_iter().take(SYNTAX_ERRORS).map(|(line, reported)| {
        let hint = hint(text.lines().nth(line - 1).unwrap_or_default(), &reported);
        problem(Some(line), reported, hint)
    });
    Err(Problems(reported.collect()))
}

/// The hint for a line with a syntax error.
fn hint(line: &str, reported: &str) -> &'static str {
    let line = line.trim();
    if line.contains(['“', '”', '‘', '’', '„']) {
        return "use plain quotation marks: \"…\"";
    }
    if line.starts_with("//") || line.starts_with(';') || line.starts_with("--") {
        return "comments start with #";
    }
    if line == "[[pool]]" {
        return "write [[pool]] and its keys first, and [pool.container] below them";
    }
    if line.starts_with('[') && reported.contains("unclosed") {
        return "close the brackets of the section's name, as in [http] and [[pool]]";
    }
    if line.starts_with('[') {
        return "each section may occur once, except [[pool]]";
    }
    if reported.ends_with("duplicate key") {
        return "each key may occur once";
    }
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let value = value.trim();
    if !line.contains('=') && key.contains(':') {
        "write KEY = VALUE, with an equals sign"
    } else if value.is_empty() {
        "write KEY = VALUE"
    } else if value.starts_with('[') {
        "write a list as [\"…\", \"…\"], each string in quotes"
    } else if value.matches('"').count() % 2 == 1 {
        "a quotation mark is missing, or is part of the string: write that as \\\""
    } else if value.starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '~' | '$' | '*')) {
        "write strings in quotes: KEY = \"VALUE\""
    } else {
        ""
    }
}

/// The language of a file that is not TOML, judging by its first line that is not a comment.
fn other_language(text: &str) -> Option<&'static str> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let is_key = |key: &str| {
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let is_pair = first.split_once(':').is_some_and(|(key, value)| {
        is_key(key.trim_end()) && (value.is_empty() || value.starts_with([' ', '\t']))
    });
    if first.starts_with('{') {
        Some("JSON")
    } else if first == "---" || first.starts_with("- ") || is_pair {
        Some("YAML")
    } else {
        None
    }
}
