//! A credential in use: its token, the renewal after a rotation, its expiry, and its rate limits. A token
//! never shows in `Debug` or in an error text.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};

use super::{CredentialKind, CredentialSource, TokenSource, app::App, token_expiry::Expiry};
use crate::{
    fleet::Timestamp,
    github::{
        GithubError,
        limits::Limits,
        reloaded::{FileState, Refresh, Reloaded},
        transport::Token,
    },
};

/// A credential in use. Scopes that share a credential must share this value (cheap to clone),
/// because GitHub's limits are the credential's; and an App's installation token is minted once for
/// all scopes of its account.
#[derive(Clone)]
pub struct Credential(Arc<Inner>);

struct Inner {
    source: CredentialSource,
    held: tokio::sync::Mutex<Option<Reloaded<Token>>>,
    limits: Mutex<BTreeMap<String, Arc<Limits>>>,
    expiry: Expiry,
    app: Option<App>,
}

impl Credential {
    /// A credential whose token or key is read when first needed.
    pub fn new(source: impl Into<CredentialSource>) -> Self {
        let source = source.into();
        let app = match &source.kind {
            CredentialKind::Token(_) => None,
            CredentialKind::App(app) => Some(App::new(app.clone())),
        };
        Self(Arc::new(Inner {
            source,
            held: tokio::sync::Mutex::default(),
            limits: Mutex::default(),
            expiry: Expiry::default(),
            app,
        }))
    }

    /// What it is made of.
    pub fn source(&self) -> &CredentialSource {
        &self.0.source
    }

    /// When its personal token expires, as GitHub said with its last answer; `None` for a token
    /// that never does, for one that was not used yet, and for an App, whose tokens renew themselves.
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.0.expiry.at()
    }

    pub(in crate::github) fn expiry(&self) -> &Expiry {
        &self.0.expiry
    }

    /// The App, if it is one.
    pub(in crate::github) fn app(&self) -> Option<&App> {
        self.0.app.as_ref()
    }

    /// The limits at one GitHub, by its API's base address: a personal token's, or an App's own.
    pub(in crate::github) fn limits_at(&self, api_base: &str) -> Arc<Limits> {
        let mut limits = self.0.limits.lock();
        Arc::clone(limits.entry(api_base.to_owned()).or_default())
    }

    /// The personal token, read again when its file changed. While a file is being replaced and cannot be
    /// read, the old token stays in use: if it was revoked, GitHub rejects it, and [`Credential::renew`]
    /// reports the problem of the file.
    pub(in crate::github) async fn token(&self) -> Result<Token, GithubError> {
        let mut held = self.0.held.lock().await;
        let Some(held) = &mut *held else {
            let state = FileState::now(self.file()).await;
            let first = Token::new(self.read().await?, 0);
            return Ok(held.insert(Reloaded::new(first, state)).value().clone());
        };
        let read = async |before: &Token| Ok::<_, GithubError>(succeed(before, self.read().await?));
        if let Refresh::Failed(error) = held.refresh(self.file(), read).await {
            let source = &self.0.source;
            tracing::debug!(%source, %error, "failed to read the token again, using the previous one");
        }
        Ok(held.value().clone())
    }

    /// The personal token after GitHub has rejected `refused`: read again, unless that has happened since.
    /// The same generation again means that there is no other.
    pub(in crate::github) async fn renew(&self, refused: &Token) -> Result<Token, GithubError> {
        let mut held = self.0.held.lock().await;
        if let Some(held) = &*held
            && held.value().generation != refused.generation
        {
            return Ok(held.value().clone());
        }
        let state = FileState::now(self.file()).await;
        let renewed = succeed(refused, self.read().await?);
        Ok(held.insert(Reloaded::new(renewed, state)).value().clone())
    }

    async fn read(&self) -> Result<SecretString, GithubError> {
        match &self.0.source.kind {
            CredentialKind::Token(source) => source.read().await,
            CredentialKind::App(app) => Err(GithubError::Refused(format!("{app} has no personal token"))),
        }
    }

    fn file(&self) -> Option<&Path> {
        match &self.0.source.kind {
            CredentialKind::Token(TokenSource::File(path)) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.0.source)
    }
}

/// The token after `before`: of the same generation if it is the same one.
fn succeed(before: &Token, secret: SecretString) -> Token {
    let changed = before.expose() != secret.expose_secret();
    Token::new(secret, before.generation + u64::from(changed))
}

#[cfg(test)]
mod tests {
    use super::{
        super::token_source::tests::{shell, source_with},
        *,
    };

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_leaves_the_token_in_use() {
        let (directory, source) = source_with(b"one");
        let path = directory.path().join("token");
        let credential = Credential::new(source);
        let first = credential.token().await.unwrap();
        assert_eq!((first.expose(), first.generation), ("one", 0));
        assert_eq!(credential.token().await.unwrap().generation, 0);
        std::fs::write(&path, "other\n").unwrap();
        let second = credential.token().await.unwrap();
        assert_eq!((second.expose(), second.generation), ("other", 1));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(credential.token().await.unwrap().expose(), "other");
        assert!(credential.renew(&second).await.is_err());
    }

    #[tokio::test]
    async fn a_refused_token_is_renewed_once_for_all_who_had_it() {
        let directory = tempfile::tempdir().unwrap();
        let runs = directory.path().join("runs");
        let credential =
            Credential::new(shell(&format!("echo x >> {0}; wc -l < {0} | tr -d ' '", runs.display())));
        let first = credential.token().await.unwrap();
        let (one, two) = tokio::join!(credential.renew(&first), credential.renew(&first));
        assert_eq!((one.unwrap().expose(), two.unwrap().expose()), ("2", "2"));
        assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn debug_shows_no_token() {
        let (_directory, source) = source_with(b"ghp_secret");
        let credential = Credential::new(source);
        credential.token().await.unwrap();
        assert!(!format!("{credential:?}").contains("ghp_secret"));
    }
}
