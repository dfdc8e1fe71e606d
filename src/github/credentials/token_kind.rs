//! The kind of a token, by its prefix (docs.github.com, "GitHub's token formats").

use std::fmt;

use secrecy::ExposeSecret;

use super::TokenSource;
use crate::github::GithubError;

/// The kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A person's, with scopes.
    Classic,
    /// A person's, with permissions on some repositories.
    FineGrained,
    /// An `OAuth` app's for a person, as of the `gh` command.
    Oauth,
    /// A GitHub App's for a person.
    AppUser,
    /// A GitHub App's for an account; it lives for an hour.
    Installation,
    /// A token without a known prefix.
    Unknown,
}

impl TokenKind {
    /// The kind of this token.
    pub fn of(token: &str) -> Self {
        match token.split_once('_') {
            Some(("ghp", _)) => Self::Classic,
            Some(("github", rest)) if rest.starts_with("pat_") => Self::FineGrained,
            Some(("gho", _)) => Self::Oauth,
            Some(("ghu", _)) => Self::AppUser,
            Some(("ghs", _)) => Self::Installation,
            // Before 2021 tokens were hexadecimal digits alone.
            None if token.len() == 40 && token.bytes().all(|byte| byte.is_ascii_hexdigit()) => Self::Classic,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "a classic token",
            Self::FineGrained => "a fine-grained token",
            Self::Oauth => "an OAuth token, such as that of the gh command",
            Self::AppUser => "a GitHub App's user token",
            Self::Installation => "a GitHub App's installation token",
            Self::Unknown => "a token of an unknown kind",
        })
    }
}

impl TokenSource {
    /// Reads the token and returns only its kind.
    pub async fn kind(&self) -> Result<TokenKind, GithubError> {
        Ok(TokenKind::of(self.read().await?.expose_secret()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reports_its_kind() {
        for (token, kind) in [
            ("ghp_0123", TokenKind::Classic),
            ("0123456789abcdef0123456789abcdef01234567", TokenKind::Classic),
            ("github_pat_11AA_bb", TokenKind::FineGrained),
            ("gho_0", TokenKind::Oauth),
            ("ghu_0", TokenKind::AppUser),
            ("ghs_12_ey.J", TokenKind::Installation),
            ("simulated-token", TokenKind::Unknown),
        ] {
            assert_eq!(TokenKind::of(token), kind);
        }
    }
}
