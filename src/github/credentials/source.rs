//! What the configuration says of a credential.

use std::{fmt, path::PathBuf};

use super::{AppSource, TokenSource};
use crate::github::{GithubError, transport::Trust};

/// The source of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSource {
    /// What is sent to GitHub.
    pub kind: CredentialKind,
    /// A PEM file of certificate authorities that are trusted beside the system's, for a GitHub
    /// Enterprise Server (or a proxy) with certificates of its own.
    pub ca_file: Option<PathBuf>,
    /// Whether it may be sent without TLS to other machines, where others can read it.
    pub allow_plain_http: bool,
}

/// The kinds of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A personal token, classic or fine-grained.
    Token(TokenSource),
    /// A GitHub App, which mints a token for each account that it is installed on.
    App(AppSource),
}

impl CredentialSource {
    /// Whether the token or the private key can be read, without asking GitHub.
    pub async fn check(&self) -> Result<(), GithubError> {
        match &self.kind {
            CredentialKind::Token(source) => source.read().await.map(drop),
            CredentialKind::App(app) => app.key().await.map(drop),
        }
    }

    /// A warning about it, for `check` and the log: other users can read its file.
    pub fn warning(&self) -> Option<String> {
        match &self.kind {
            CredentialKind::Token(source) => source.warning(),
            CredentialKind::App(app) => app.warning(),
        }
    }
}

impl From<&CredentialSource> for Trust {
    fn from(source: &CredentialSource) -> Self {
        Self { ca_file: source.ca_file.clone(), allow_plain_http: source.allow_plain_http }
    }
}

impl From<TokenSource> for CredentialSource {
    fn from(source: TokenSource) -> Self {
        Self { kind: CredentialKind::Token(source), ca_file: None, allow_plain_http: false }
    }
}

impl From<AppSource> for CredentialSource {
    fn from(source: AppSource) -> Self {
        Self { kind: CredentialKind::App(source), ca_file: None, allow_plain_http: false }
    }
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            CredentialKind::Token(source) => source.fmt(f),
            CredentialKind::App(app) => app.fmt(f),
        }
    }
}
