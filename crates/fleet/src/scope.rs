//! Where runners are registered: a repository, an organization or an enterprise.

pub(super) mod address;

use std::{fmt, sync::Arc};

use serde::Serialize;

/// A repository, organization or enterprise, by its address in a browser.
///
/// Two scopes are the same when their addresses are: GitHub ignores letter case, so it is folded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    url: Arc<str>,
    target: Target,
}

/// What a scope's address refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// `…/{owner}/{repository}`
    Repository { owner: Arc<str>, repository: Arc<str> },
    /// `…/{organization}`
    Organization { organization: Arc<str> },
    /// `…/enterprises/{enterprise}`
    Enterprise { enterprise: Arc<str> },
}

impl Scope {
    /// The address, lower-cased and without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// What the address refers to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The GitHub that it is on: scheme and host.
    pub fn site(&self) -> &str {
        let path = self.path().len();
        self.url[..self.url.len() - path].trim_end_matches('/')
    }

    /// The repository of this full name (`owner/name`) on the same GitHub, if it is one.
    pub fn repository(&self, full_name: &str) -> Option<Self> {
        let full_name = full_name.to_ascii_lowercase();
        let (scheme, authority) = self.site().split_once("://")?;
        let (owner, name) = full_name.split_once('/')?;
        let scope = Self::at(scheme, authority, &[owner, name]).ok()?;
        matches!(scope.target, Target::Repository { .. }).then_some(scope)
    }

    /// The address without scheme and host: `acme`, `acme/widgets` or `enterprises/acme`.
    pub fn path(&self) -> &str {
        self.url.splitn(4, '/').nth(3).unwrap_or_default()
    }

    /// Base address of the REST API, without a trailing slash.
    ///
    /// github.com and GHE.com have separate API hosts; any other host is a GitHub Enterprise Server, which
    /// serves `/api/v3` on the same host (docs.github.com, "Getting started with the REST API").
    pub fn api_base(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("https", &self.url));
        let authority = rest.split('/').next().unwrap_or_default();
        if authority == "github.com" {
            "https://api.github.com".to_owned()
        } else if authority.ends_with(".ghe.com") {
            format!("https://api.{authority}")
        } else {
            format!("{scheme}://{authority}/api/v3")
        }
    }

    /// Path of the scope in the REST API: `/orgs/acme`, `/repos/acme/widgets` or `/enterprises/acme`.
    pub fn api_path(&self) -> String {
        match &self.target {
            Target::Repository { owner, repository } => format!("/repos/{owner}/{repository}"),
            Target::Organization { organization } => format!("/orgs/{organization}"),
            Target::Enterprise { enterprise } => format!("/enterprises/{enterprise}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.url)
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_api_and_path() {
        for (url, base, path) in [
            ("https://github.com/Acme", "https://api.github.com", "/orgs/acme"),
            ("https://github.com/acme/widgets/", "https://api.github.com", "/repos/acme/widgets"),
            ("https://acme.ghe.com/ci", "https://api.acme.ghe.com", "/orgs/ci"),
            ("https://git.acme.example/a/b", "https://git.acme.example/api/v3", "/repos/a/b"),
            ("http://127.0.0.1:8080/acme", "http://127.0.0.1:8080/api/v3", "/orgs/acme"),
            ("https://github.com/enterprises/Acme", "https://api.github.com", "/enterprises/acme"),
            ("http://[::1]:8080/acme", "http://[::1]:8080/api/v3", "/orgs/acme"),
            // Many accounts have a repository of this name, with workflows in it.
            ("https://github.com/acme/.github", "https://api.github.com", "/repos/acme/.github"),
        ] {
            let scope: Scope = url.parse().unwrap();
            assert_eq!((scope.api_base().as_str(), scope.api_path().as_str()), (base, path));
        }
    }

    #[test]
    fn the_two_addresses_of_an_organization_are_one_scope() {
        let page: Scope = "https://github.com/orgs/acme".parse().unwrap();
        assert_eq!(page, "https://github.com/ACME".parse().unwrap());
        assert_eq!(page.as_str(), "https://github.com/acme");
        assert_eq!(page.path(), "acme");
    }

    #[test]
    fn a_repository_is_on_the_same_site() {
        for (url, site) in [
            ("https://github.com/enterprises/acme", "https://github.com"),
            ("http://127.0.0.1:8080/acme/widgets", "http://127.0.0.1:8080"),
        ] {
            let scope: Scope = url.parse().unwrap();
            assert_eq!(scope.site(), site);
            let repository = scope.repository("Acme/Tools").unwrap();
            assert_eq!(repository.as_str(), format!("{site}/acme/tools"));
            for other in
                ["acme", "acme/tools/settings", "acme/tools?x", "orgs/acme", "enterprises/big", "a.b"]
            {
                assert_eq!(scope.repository(other), None, "{other}");
            }
        }
    }
}
