//! A problem of a configuration: where it is, the key, what is wrong, and what to do.

use std::{fmt, path::PathBuf};

/// Where a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingLocation {
    /// In the file, at a line counted from 1; without a line, the file as a whole.
    File {
        /// The path of the file, as it was given.
        file: PathBuf,
        /// The line, where there is one.
        line: Option<usize>,
    },
    /// In the environment, in the variable of this name.
    Environment(String),
}

/// A problem. Never contains the value of a setting that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub location: SettingLocation,
    /// The key, such as `pool "linux": max`; empty when it is about no key.
    pub key: String,
    /// What is wrong; reads after the key.
    pub text: String,
    /// What to do; empty when the text says it.
    pub hint: String,
}

impl fmt::Display for SettingLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: Some(line) } => write!(f, "{}:{line}", file.display()),
            Self::File { file, line: None } => write!(f, "{}", file.display()),
            Self::Environment(name) => name.escape_debug().fmt(f),
        }
    }
}

impl fmt::Display for Problem {
    /// One line: `dayfly.toml:12: pool "linux": max: must not be below min_idle (3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// All problems of a configuration, in the order of the file; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
