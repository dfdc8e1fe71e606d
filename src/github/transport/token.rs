//! A token as requests send it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

/// A token in use, with a number that changes whenever its text does.
#[derive(Clone)]
pub(in crate::github) struct Token {
    secret: Arc<SecretString>,
    pub(in crate::github) generation: u64,
}

impl Token {
    pub(in crate::github) fn new(secret: SecretString, generation: u64) -> Self {
        Self { secret: Arc::new(secret), generation }
    }

    pub(in crate::github) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}
