//! Collects problems while the whole configuration is read, so that all of them are reported at once.

use std::{cell::RefCell, fmt};

use super::{
    key_path::KeyPath,
    layers::Layers,
    problem::{Problem, Problems, SettingLocation},
};

/// All problems so far.
pub(super) struct Findings<'a> {
    layers: &'a Layers<'a>,
    errors: RefCell<Vec<(usize, Problem)>>,
    warnings: RefCell<Vec<(usize, Problem)>>,
    /// Keys that were removed because they cannot be read. Their meaning is unknown, which is not the same as
    /// not set.
    broken: RefCell<Vec<KeyPath>>,
}

/// A key that is being checked.
#[derive(Clone)]
pub(super) struct At<'a> {
    findings: &'a Findings<'a>,
    path: KeyPath,
}

impl<'a> Findings<'a> {
    pub(super) fn new(layers: &'a Layers<'a>) -> Self {
        Self { layers, errors: RefCell::default(), warnings: RefCell::default(), broken: RefCell::default() }
    }

    /// The key at this path; an empty path is the whole file.
    pub(super) fn at(&'a self, path: &[String]) -> At<'a> {
        At { findings: self, path: path.to_vec() }
    }

    /// Records that a key could not be read.
    pub(super) fn set_broken(&self, path: KeyPath) {
        self.broken.borrow_mut().push(path);
    }

    /// Adds errors that belong to no key, such as those of the environment itself.
    pub(super) fn error(&self, problem: Problem) {
        self.errors.borrow_mut().push((usize::MAX, problem));
    }

    /// Adds warnings that belong to no key.
    pub(super) fn warn(&self, problem: Problem) {
        self.warnings.borrow_mut().push((usize::MAX, problem));
    }

    /// All warnings, or all errors, in the order of the file and then of the environment.
    pub(super) fn verdict(self) -> Result<Vec<Problem>, Problems> {
        let sorted = |found: RefCell<Vec<(usize, Problem)>>| {
            let mut found = found.into_inner();
            found.sort_by_key(|(position, _)| *position);
            found.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>()
        };
        let errors = sorted(self.errors);
        if errors.is_empty() { Ok(sorted(self.warnings)) } else { Err(Problems(errors)) }
    }
}

impl<'a> At<'a> {
    /// A key below this one.
    pub(super) fn key(&self, key: impl fmt::Display) -> Self {
        let mut path = self.path.clone();
        path.push(key.to_string());
        Self { findings: self.findings, path }
    }

    /// A key of the whole file.
    pub(super) fn root(&self, key: &str) -> Self {
        self.findings.at(&[key.to_owned()])
    }

    /// Whether it is the key of this name.
    pub(super) fn is(&self, key: &str) -> bool {
        self.path.last().is_some_and(|last| last == key)
    }

    /// Whether this key, or a table around it, was written but could not be read.
    pub(super) fn is_broken(&self) -> bool {
        self.findings.broken.borrow().iter().any(|broken| self.path.starts_with(broken))
    }

    /// Whether something in this could not be read.
    pub(super) fn has_broken(&self) -> bool {
        self.findings.broken.borrow().iter().any(|broken| broken.starts_with(&self.path))
    }

    /// Records an error: what is wrong, and what to do.
    pub(super) fn error(&self, text: impl fmt::Display, hint: impl fmt::Display) {
        self.note(&self.findings.errors, &text, &hint);
    }

    /// Records a warning: what is doubtful, and what to do.
    pub(super) fn warn(&self, text: impl fmt::Display, hint: impl fmt::Display) {
        self.note(&self.findings.warnings, &text, &hint);
    }

    /// Records an error unless the condition holds; returns the condition.
    pub(super) fn require(&self, holds: bool, text: impl fmt::Display, hint: impl fmt::Display) -> bool {
        if !holds {
            self.error(text, hint);
        }
        holds
    }

    /// The value of a required key.
    pub(super) fn required<T>(&self, value: Option<T>, hint: &str) -> Option<T> {
        if value.is_none() && !self.is_broken() {
            self.error("is missing", hint);
        }
        value
    }

    /// Parses text as a `T`; the error of `T` reads after "is invalid: ".
    pub(super) fn parsed<T>(&self, text: &str, hint: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        text.parse().map_err(|error| self.error(format_args!("is invalid: {error}"), hint)).ok()
    }

    fn note(&self, list: &RefCell<Vec<(usize, Problem)>>, text: &dyn fmt::Display, hint: &dyn fmt::Display) {
        let layers: &Layers<'a> = self.findings.layers;
        let (position, location) = match layers.variable(&self.path) {
            Some(name) => (usize::MAX, SettingLocation::Environment(name.to_owned())),
            None => layers.position(&self.path),
        };
        let problem = Problem {
            location,
            key: layers.shown(&self.path),
            text: text.to_string(),
            hint: hint.to_string(),
        };
        list.borrow_mut().push((position, problem));
    }
}
