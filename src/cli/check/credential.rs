//! What `check` says of the credentials themselves, before GitHub is asked.

use std::{collections::BTreeMap, sync::Arc};

use super::{scope::plainly, with_fix};
use crate::{
    cli::lines::Line,
    config::{Config, Problem},
    github::{Credential, CredentialKind, CredentialSource},
};

/// The configured credentials; scopes share them, because GitHub's limits are the credential's.
pub(super) type Credentials = Arc<BTreeMap<String, Credential>>;

pub(super) fn credentials(config: &Config) -> Credentials {
    let credential =
        |(name, source): (&String, &CredentialSource)| (name.clone(), Credential::new(source.clone()));
    Arc::new(config.credentials.iter().map(credential).collect())
}

/// Whether the tokens can be read. With `problems` of the configuration, its lines say already what is wrong with
/// some, and have no warnings.
pub(super) async fn tokens(credentials: Credentials, problems: Vec<Problem>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, credential) in &*credentials {
        let subject = format!("credential {name:?}");
        if problems.iter().any(|problem| is_about(problem, name)) {
            lines.push(Line::skip(&subject, "see configuration above"));
            continue;
        }
        let source = credential.source();
        let told = match &source.kind {
            CredentialKind::Token(token) => token.kind().await.map(|kind| format!("{source} gives {kind}")),
            CredentialKind::App(_) => source.check().await.map(|()| format!("{source} has a private key")),
        };
        lines.push(match told {
            Ok(told) => Line::ok(&subject, told),
            Err(error) => {
                let (what, fix) = with_fix(&plainly(&error));
                Line::fail(&subject, what, fix)
            }
        });
        if let Some(warning) = source.warning().filter(|_| !problems.is_empty()) {
            lines.push(Line::warn(&subject, warning, ""));
        }
    }
    lines
}

/// Whether a problem is one of this credential, or of all.
fn is_about(problem: &Problem, name: &str) -> bool {
    let key = problem.key.strip_prefix("credentials");
    key.is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('.').is_some_and(|rest| rest.split('.').next() == Some(name))
    })
}
