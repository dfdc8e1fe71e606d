//! Where tokens come from.

use std::path::PathBuf;

/// Where a personal access token is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that holds the token and nothing else.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command that prints the token.
    Command(Vec<String>),
}
