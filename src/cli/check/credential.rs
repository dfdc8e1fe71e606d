//! Checks the credentials themselves, before any request to GitHub.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    report::Line,
    wording::{github_error_text, problem_and_hint},
};
use crate::{
    config::{Config, Problem},
    github::{Credential, CredentialKind, CredentialSource},
};

/// The configured credentials. Scopes share them, since GitHub's limits apply to the credential.
pub(super) type Credentials = Arc<BTreeMap<String, Credential>>;

pub(super) fn credentials(config: &Config) -> Credentials {
    let credential =
        |(name, source): (&String, &CredentialSource)| (name.clone(), Credential::new(source.clone()));
    Arc::new(config.credentials.iter().map(credential).collect())
}

/// Checks that the tokens can be read. Credentials with `problems` have been reported with the configuration,
/// and are skipped here.
pub(super) async fn tokens(credentials: Credentials, problems: Vec<Problem>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, credential) in &*credentials {
        let subject = format!("credential {name:?}");
        if problems.iter().any(|problem| is_about(problem, name)) {
            lines.push(Line::skip(&subject, "see configuration above"));
            continue;
        }
        let source = credential.source();
        let found = match &source.kind {
            CredentialKind::Token(token) => {
                token.kind().await.map(|kind| format!("{source} provides {kind}"))
            }
            CredentialKind::App(_) => source.check().await.map(|()| format!("{source} has a private key")),
        };
        lines.push(match found {
            Ok(found) => Line::ok(&subject, found),
            Err(error) => {
                let (what, fix) = problem_and_hint(&github_error_text(&error));
                Line::fail(&subject, what, fix)
            }
        });
        if let Some(warning) = source.warning().filter(|_| !problems.is_empty()) {
            lines.push(Line::warn(&subject, warning, ""));
        }
    }
    lines
}

/// Whether a problem concerns this credential, or all of them.
fn is_about(problem: &Problem, name: &str) -> bool {
    let key = problem.key.strip_prefix("credentials");
    key.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('.').is_some_and(|rest| rest.split('.').next() == Some(name))
    })
}
