//! Why GitHub answers 403, from its headers where there are any, else from its message, which is all that
//! most responses have. The hint to change permissions is given only where GitHub mentions permissions.

use http::HeaderMap;

use crate::{
    fleet::{Scope, Target},
    github::{CredentialKind, CredentialSource, redact::foreign},
};

/// The longest address that is shown; one for single sign-on has some 200 characters.
const LONGEST_ADDRESS: usize = 600;

/// Why GitHub refuses.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::github) enum Reason {
    /// The organization requires the token to be authorized for its single sign-on, possibly at this address.
    SingleSignOn(Option<String>),
    /// This machine's address is not on the organization's list.
    AllowList,
    /// The organization does not allow tokens that are valid for this long.
    Lifetime,
    /// The organization does not allow this kind of token.
    Kind,
    /// The repository is archived.
    Archived,
    /// The App's installation or the token's account is suspended.
    Suspended,
    /// The token's account may not manage the scope.
    NotAdmin,
    /// A classic token lacks a scope: the ones needed, and the ones it has.
    Scopes(String, String),
    /// A permission is missing: the one that GitHub names, where it does.
    Permission(Option<String>),
    /// Something else.
    Unsaid,
}

impl Reason {
    /// Reads a 403 with GitHub's message.
    pub(in crate::github) fn of(headers: &HeaderMap, complaint: &str) -> Self {
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
            value.filter(|value| !value.is_empty())
        };
        let words = complaint.to_ascii_lowercase();
        let says = |text: &str| words.contains(text);
        if let Some(wanted) = header("x-github-sso")
            && wanted.starts_with("required")
        {
            let address = wanted.split(';').find_map(|part| part.trim().strip_prefix("url="));
            return Self::SingleSignOn(address.map(str::to_owned));
        }
        // The texts are GitHub's own; nothing else distinguishes these.
        if says("saml enforcement") {
            Self::SingleSignOn(None)
        } else if says("ip allow list") {
            Self::AllowList
        } else if says("lifetime is greater than") {
            Self::Lifetime
        } else if says("forbids access via a") {
            Self::Kind
        } else if says("archived so is read-only") {
            Self::Archived
        } else if says("suspended") {
            Self::Suspended
        } else if says("must have admin rights") {
            Self::NotAdmin
        } else if let (Some(wanted), Some(has)) =
            (header("x-accepted-oauth-scopes"), header("x-oauth-scopes"))
            && !wanted.split(',').any(|wanted| has.split(',').any(|has| has.trim() == wanted.trim()))
        {
            Self::Scopes(foreign(wanted, ""), foreign(has, ""))
        } else if let Some(wanted) = header("x-accepted-github-permissions") {
            Self::Permission(Some(foreign(wanted, "")))
        } else if says("resource not accessible") {
            Self::Permission(None)
        } else {
            Self::Unsaid
        }
    }

    /// What to do about it; `permission` is what to do about a missing permission.
    pub(in crate::github) fn hint(
        &self,
        scope: &Scope,
        source: &CredentialSource,
        permission: impl FnOnce() -> String,
    ) -> String {
        let site = scope.site();
        let account = scope.path().split('/').next().unwrap_or_default();
        match self {
            Self::SingleSignOn(address) => {
                let ours = |address: &&String| {
                    address.len() <= LONGEST_ADDRESS
                        && address.strip_prefix(site).is_some_and(|rest| rest.starts_with('/'))
                        && address.chars().all(|c| c.is_ascii_graphic())
                };
                match address.as_ref().filter(ours) {
                    Some(address) => format!(
                        "{account} requires single sign-on; authorize the token for it at {address} (valid \
                         for an hour)"
                    ),
                    None => format!(
                        "{account} requires single sign-on; authorize the token for it at \
                         {site}/settings/tokens, Configure SSO"
                    ),
                }
            }
            Self::AllowList => format!(
                "{account} has an IP allow list; have an owner add the public address of this machine to it"
            ),
            Self::Lifetime => {
                format!("create a token that expires sooner, and put it in {source}")
            }
            Self::Kind => {
                "use a kind of token that the organization allows: usually a fine-grained token or a GitHub \
                 App (docs/how-to/credentials.md)"
                    .to_owned()
            }
            Self::Archived => {
                "an archived repository cannot have runners; unarchive it in its settings, or remove its \
                 pools"
                    .to_owned()
            }
            Self::Suspended => match &source.kind {
                CredentialKind::App(app) => format!(
                    "the installation of {app} is suspended; an owner of {account} can lift that in its \
                     settings, \
                     GitHub Apps"
                ),
                CredentialKind::Token(_) => {
                    format!(
                        "the account that the token of {source} belongs to is suspended; use a token of \
                         another account"
                    )
                }
            },
            Self::NotAdmin => {
                let role = match scope.target() {
                    Target::Repository { .. } => "an admin of the repository",
                    Target::Organization { .. } => "an owner of the organization",
                    Target::Enterprise { .. } => "an owner of the enterprise",
                };
                format!("the account that the token of {source} belongs to must be {role}")
            }
            Self::Scopes(wanted, has) => format!(
                "the token needs one of the scopes {wanted}, and has {has}; change it at \
                 {site}/settings/tokens"
            ),
            Self::Permission(Some(wanted)) => format!("GitHub requires {wanted}; {}", permission()),
            Self::Permission(None) => permission(),
            Self::Unsaid => format!(
                "GitHub gives no reason; have an owner of {account} check which policy or setting forbids it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::{AppSource, TokenSource};

    fn reason(headers: &[(&'static str, &str)], complaint: &str) -> Reason {
        let headers = headers.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Reason::of(&headers.collect(), complaint)
    }

    fn hint(reason: &Reason, source: impl Into<CredentialSource>) -> String {
        let scope = "https://github.com/acme/widgets".parse().unwrap();
        reason.hint(&scope, &source.into(), || "PERMISSION".to_owned())
    }

    fn token() -> TokenSource {
        TokenSource::Env("GITHUB_TOKEN".to_owned())
    }

    #[test]
    fn each_reason_is_read_from_what_github_says() {
        let permissions = ("x-accepted-github-permissions", "administration=write");
        for (complaint, expected) in [
            ("Resource protected by organization SAML enforcement.", Reason::SingleSignOn(None)),
            (
                "Although you appear to have the correct authorization credentials, the `acme` organization \
                 has an \
                 IP allow list enabled, and your IP address is not permitted to access this resource.",
                Reason::AllowList,
            ),
            (
                "The 'acme' organization forbids access via a fine-grained personal access tokens if the \
                 token's \
                 lifetime is greater than 366 days.",
                Reason::Lifetime,
            ),
            (
                "`acme` forbids access via a personal access token (classic). Please use a GitHub App, \
                 OAuth App, \
                 or a personal access token with fine-grained permissions.",
                Reason::Kind,
            ),
            ("Repository was archived so is read-only.", Reason::Archived),
            ("This installation has been suspended", Reason::Suspended),
            ("Sorry. Your account was suspended.", Reason::Suspended),
            ("Must have admin rights to Repository.", Reason::NotAdmin),
        ] {
            // Responses to fine-grained tokens and Apps have the permission header for every reason.
            assert_eq!(reason(&[permissions], complaint), expected, "{complaint}");
            assert!(!hint(&expected, token()).contains("PERMISSION"));
        }
        let accessible = "Resource not accessible by personal access token";
        assert_eq!(reason(&[], accessible), Reason::Permission(None));
        let wanted = Reason::Permission(Some("administration=write".to_owned()));
        assert_eq!(reason(&[permissions], accessible), wanted);
        assert_eq!(hint(&wanted, token()), "GitHub requires administration=write; PERMISSION");
        for other in ["", "The runner group cannot have self-hosted runners.", "Repository access blocked"] {
            assert_eq!(
                reason(&[("x-accepted-oauth-scopes", "repo"), ("x-oauth-scopes", "repo")], other),
                Reason::Unsaid
            );
            assert!(!hint(&Reason::Unsaid, token()).contains("PERMISSION"));
        }
        let scopes = [("x-accepted-oauth-scopes", "admin:org"), ("x-oauth-scopes", "repo, gist")];
        assert!(hint(&reason(&scopes, ""), token()).contains("admin:org, and has repo, gist"));
    }

    #[test]
    fn the_address_for_single_sign_on_is_shown_if_it_is_on_this_github() {
        let address = "https://github.com/orgs/acme/sso?authorization_request=AAAA";
        let header = format!("required; url={address}");
        let found =
            reason(&[("x-github-sso", &header)], "Resource protected by organization SAML enforcement.");
        assert_eq!(found, Reason::SingleSignOn(Some(address.to_owned())));
        assert!(hint(&found, token()).contains(address));
        let partial = [("x-github-sso", "partial-results; organizations=1,2")];
        assert_eq!(reason(&partial, ""), Reason::Unsaid);
        for other in ["https://github.com.evil.example/sso", "javascript:alert(1)", "https://github.com/a b"]
        {
            let hint = hint(&Reason::SingleSignOn(Some(other.to_owned())), token());
            assert!(!hint.contains(other) && hint.contains("Configure SSO"), "{hint}");
        }
    }

    #[test]
    fn who_is_suspended_is_said() {
        let app = AppSource {
            app_id: "Iv1.a".to_owned(),
            private_key_file: "/key.pem".into(),
            installation_id: None,
        };
        assert!(hint(&Reason::Suspended, app).contains("the installation of"));
        assert!(hint(&Reason::Suspended, token()).contains("the account that"));
    }
}
