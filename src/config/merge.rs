//! Merges the layers of a configuration, by figment, and reads what can be read of them.
//!
//! serde stops at the first error. To report all of them at once, what cannot be read is recorded and
//! removed, and the rest is read again.

use std::collections::BTreeSet;

use figment::{
    Figment, Metadata, Profile, Provider,
    error::{Actual, Kind},
    value::{Dict, Value},
};
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::{
    file::File,
    findings::Findings,
    hints,
    key_path::{KeyPath, below},
    layers::{Layers, PREFIX},
    problem::{Problem, SettingLocation},
    wording::{nearest, refusal},
};

/// One layer for figment.
struct Layer<'a>(&'a str, Dict);

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.to_owned())
    }

    fn data(&self) -> Result<figment::value::Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.1.clone()))
    }
}

impl Layers<'_> {
    /// Merges the layers and reads what can be read.
    pub(super) fn read(&self, findings: &Findings<'_>) -> File {
        for (name, in_pool) in &self.strays {
            if *in_pool {
                findings.error(Problem {
                    location: SettingLocation::Environment(name.clone()),
                    key: String::new(),
                    text: "pools are a list, and the environment cannot change a single key of it".to_owned(),
                    hint: "change it in the file, or set DAYFLY_POOL to the whole list as TOML".to_owned(),
                });
            } else {
                Self::report_stray(name, &[], findings);
            }
        }
        let mut figment = Figment::from(Layer("file", dict(self.root.as_table())));
        for (path, (name, value)) in &self.variables {
            let nested = figment::util::nest(&path.join("."), Value::from(value.as_str()));
            figment = figment.merge(Layer(name, nested.into_dict().unwrap_or_default()));
        }
        let merged = match figment.extract::<Dict>() {
            Ok(merged) => merged,
            Err(error) => {
                findings.at(&error.path).error(refusal(&error.kind), "");
                return File::default();
            }
        };
        self.salvage(Value::from(merged), findings)
    }

    /// Reads a merged value, removing what cannot be read until the rest can be.
    fn salvage(&self, mut merged: Value, findings: &Findings<'_>) -> File {
        let mut retried = BTreeSet::new();
        loop {
            let error = match File::deserialize(&merged) {
                Ok(file) => return file,
                Err(error) => error,
            };
            // The environment has only text. Where text does not fit, it is parsed as TOML.
            if let (Kind::InvalidType(Actual::Str(_), _), Some((_, text))) =
                (&error.kind, self.variables.get(&error.path))
                && retried.insert(error.path.clone())
                && let Some(value) = inline(text)
                && replace(&mut merged, &error.path, value)
            {
                continue;
            }
            let removed = remove(&mut merged, &error.path);
            if !self.is_stray(&error.path, &error.kind, findings) {
                findings
                    .at(&error.path)
                    .error(hints::refusal(&error.path, &error.kind), self.hint(&error.path, &error.kind));
                // A key that was written in the wrong form is not reported as missing too.
                if let Some(path) = self.meant(&error.path, &error.kind).and_then(|(_, path)| path) {
                    findings.set_broken(path);
                }
            }
            match removed {
                Some(path) => findings.set_broken(path),
                None => return File::default(),
            }
        }
    }

    /// Whether this is about a variable with Dayfly's prefix that sets no known key.
    fn is_stray(&self, path: &[String], kind: &Kind, findings: &Findings<'_>) -> bool {
        let Kind::UnknownField(key, known) = kind else { return false };
        if path.len() != 1 || below(&self.root, key).is_some() {
            return false;
        }
        for (_, (name, _)) in self.variables.iter().filter(|(set, _)| set.starts_with(path)) {
            Self::report_stray(name, known, findings);
        }
        true
    }

    /// An error where it is clear that a key was meant: as in the file, it would be lost without a trace.
    /// Other programs create variables with this prefix too (`DAYFLY_HOME`, `DAYFLY_SERVICE_PORT`): those only
    /// get a warning.
    fn report_stray(name: &str, known: &[&str], findings: &Findings<'_>) {
        let first = name.trim_start_matches(PREFIX).split("__").next().unwrap_or_default();
        let hint = match (hints::in_section(name), nearest(&first.to_ascii_lowercase(), known)) {
            (Some(hint), _) => hint,
            (None, Some(near)) => {
                format!("did you mean {}?", name.replacen(first, &near.to_ascii_uppercase(), 1))
            }
            (None, None) => String::new(),
        };
        let location = SettingLocation::Environment(name.to_owned());
        let key = String::new();
        if hint.is_empty() && !name.contains("__") {
            let text = "does not set a known key, and is ignored".to_owned();
            findings.warn(Problem { location, key, text, hint });
        } else {
            findings.error(Problem { location, key, text: "does not set a known key".to_owned(), hint });
        }
    }
}

/// A parsed table in figment's words.
fn dict(table: Option<&DeTable<'_>>) -> Dict {
    table
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.get_ref().to_string(), value_of(value.get_ref())))
        .collect()
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            match (i64::from_str_radix(digits, radix), i128::from_str_radix(digits, radix)) {
                (Ok(number), _) => Value::from(number),
                (_, Ok(number)) => Value::from(number),
                // Larger than any key allows: all that matters is that it is a number.
                _ => Value::from(i128::MAX),
            }
        }
        DeValue::Float(number) => Value::from(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(moment) => Value::from(moment.to_string()),
        DeValue::Array(list) => {
            Value::from(list.iter().map(|value| value_of(value.get_ref())).collect::<Vec<_>>())
        }
        DeValue::Table(table) => Value::from(dict(Some(table))),
    }
}

/// A variable's text as a TOML value.
fn inline(text: &str) -> Option<Value> {
    DeValue::parse(text).ok().map(|value| value_of(value.get_ref()))
}

fn child<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    match value {
        Value::Dict(_, dict) => dict.get_mut(key),
        Value::Array(_, list) => list.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    }
}

fn replace(root: &mut Value, path: &[String], value: Value) -> bool {
    let mut target = Some(root);
    for key in path {
        target = target.and_then(|within| child(within, key));
    }
    target.map(|target| *target = value).is_some()
}

/// Removes the innermost named key on the path, and returns its path. Elements of a list are not removed, so
/// that the indexes of the others stay valid: the whole list is.
fn remove(root: &mut Value, path: &[String]) -> Option<KeyPath> {
    let mut within = &*root;
    let mut named = 0;
    for (depth, key) in path.iter().enumerate() {
        within = match within {
            Value::Dict(_, dict) => {
                named = depth + 1;
                match dict.get(key) {
                    Some(value) => value,
                    None => break,
                }
            }
            Value::Array(_, list) => match key.parse::<usize>().ok().and_then(|at| list.get(at)) {
                Some(value) => value,
                None => break,
            },
            _ => break,
        };
    }
    let (last, parents) = path.get(..named)?.split_last()?;
    let mut parent = root;
    for key in parents {
        parent = child(parent, key)?;
    }
    match parent {
        Value::Dict(_, dict) => dict.remove(last).map(|_| path[..named].to_vec()),
        _ => None,
    }
}
