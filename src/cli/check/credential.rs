//! What `check` says of the credentials themselves, before GitHub is asked.

use std::{collections::BTreeMap, sync::Arc};

use super::scope::plainly;
use crate::{
    cli::lines::Line,
    config::Config,
    github::{Credential, CredentialKind, CredentialSource},
};

/// The configured credentials; scopes share them, because GitHub's limits are the credential's.
pub(super) type Credentials = Arc<BTreeMap<String, Credential>>;

pub(super) fn credentials(config: &Config) -> Credentials {
    let credential =
        |(name, source): (&String, &CredentialSource)| (name.clone(), Credential::new(source.clone()));
    Arc::new(config.credentials.iter().map(credential).collect())
}

/// Whether the tokens can be read; `warned` when the configuration's own lines have their warnings.
pub(super) async fn tokens(credentials: Credentials, warned: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, credential) in &*credentials {
        let subject = format!("credential {name:?}");
        let source = credential.source();
        let told = match &source.kind {
            CredentialKind::Token(token) => token.kind().await.map(|kind| format!("{source} gives {kind}")),
            CredentialKind::App(_) => source.check().await.map(|()| format!("{source} has a private key")),
        };
        lines.push(match told {
            Ok(told) => Line::ok(&subject, told),
            Err(error) => Line::fail(&subject, plainly(&error), ""),
        });
        if let Some(warning) = source.warning().filter(|_| !warned) {
            lines.push(Line::warn(&subject, warning, ""));
        }
    }
    lines
}
