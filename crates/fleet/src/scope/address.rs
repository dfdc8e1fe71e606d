//! Parses a scope from the address in a browser, of the scope or of one of its pages, or from the address for
//! `git clone`.

use std::str::FromStr;

use super::{Scope, Target};

/// Names of GitHub's own pages, which no account can have.
const PAGES: [&str; 12] = [
    "about",
    "apps",
    "enterprises",
    "explore",
    "features",
    "login",
    "marketplace",
    "organizations",
    "orgs",
    "settings",
    "topics",
    "users",
];

/// Why an address is not a scope; reads after "is invalid: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not `https://…` or `http://…`.
    #[error("it must start with https:// (or http://)")]
    Scheme,
    /// No host name, or characters that cannot be in one.
    #[error("it has no host name")]
    Host,
    /// It contains a user name or password.
    #[error("it must not contain a user name or password; put credentials in their own section")]
    Userinfo,
    /// No path.
    #[error(
        "it has no organization or repository; write …/ORGANIZATION, …/OWNER/REPOSITORY or …/enterprises/NAME"
    )]
    NoPath,
    /// A path that is not that of a scope.
    #[error(
        "its path is not that of an organization, a repository or an enterprise; write …/ORGANIZATION, \
         …/OWNER/REPOSITORY or …/enterprises/NAME"
    )]
    Path,
    /// An address of the API instead of a page.
    #[error("it is an address of GitHub's API; use the address of the page in a browser, such as {0}")]
    Api(String),
    /// Something whose meaning a person can guess, but which could mean something else.
    #[error("it is not a full address; write {0}, or the same with the name of your own GitHub server")]
    Short(String),
}

impl Scope {
    /// The scope at a path, given by its parts, of a GitHub.
    pub(super) fn at(scheme: &str, authority: &str, parts: &[&str]) -> Result<Self, ScopeError> {
        let in_login = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name =
            |part: &&str| !part.is_empty() && !matches!(*part, "." | "..") && part.chars().all(in_login);
        if !parts.iter().all(is_name) {
            return Err(ScopeError::Path);
        }
        let (target, path) = match *parts {
            [] | ["enterprises" | "orgs" | "organizations"] => return Err(ScopeError::NoPath),
            ["enterprises", enterprise] => {
                (Target::Enterprise { enterprise: enterprise.into() }, format!("enterprises/{enterprise}"))
            }
            // GitHub shows an organization at all of these addresses.
            ["orgs" | "organizations", organization] | [organization] if !PAGES.contains(&organization) => {
                (Target::Organization { organization: organization.into() }, organization.to_owned())
            }
            [owner, repository] if !PAGES.contains(&owner) => {
                // The suffix for `git clone`; no repository can have such a name.
                let repository = repository.strip_suffix(".git").unwrap_or(repository);
                if repository.is_empty() {
                    return Err(ScopeError::Path);
                }
                let target = Target::Repository { owner: owner.into(), repository: repository.into() };
                (target, format!("{owner}/{repository}"))
            }
            _ => return Err(ScopeError::Path),
        };
        let authority = if authority == "www.github.com" { "github.com" } else { authority };
        Ok(Self { url: format!("{scheme}://{authority}/{path}").into(), target })
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    /// Accepts the address in a browser, of the scope itself or of one of its pages, and the address for `git
    /// clone`.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let text = text.trim().to_ascii_lowercase();
        let (scheme, authority, path) = parted(&text)?;
        if authority.contains('@') {
            return Err(ScopeError::Userinfo);
        }
        let in_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if authority.is_empty() || authority.starts_with(':') || !authority.chars().all(in_host) {
            return Err(ScopeError::Host);
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        // GHES serves its API on the host of its pages, the others on a separate host.
        let page = authority.strip_prefix("api.");
        let page = page.filter(|page| *page == "github.com" || page.ends_with(".ghe.com"));
        let api = match (&parts[..], page) {
            (["api", "v3", parts @ ..], None) => Some((authority, parts)),
            (parts, Some(page)) => Some((page, parts)),
            (_, None) => None,
        };
        if let Some((authority, parts)) = api {
            let named = match *parts {
                ["repos", owner, name, ..] => Self::at(scheme, authority, &[owner, name]).ok(),
                ["orgs", name, ..] => Self::at(scheme, authority, &[name]).ok(),
                ["enterprises", name, ..] => Self::at(scheme, authority, &["enterprises", name]).ok(),
                _ => None,
            };
            let page =
                named.map_or_else(|| format!("{scheme}://{authority}/ORGANIZATION"), |page| page.to_string());
            return Err(ScopeError::Api(page));
        }
        // Pages of a scope, such as the one that lists its runners.
        let of = match parts[..] {
            ["enterprises" | "orgs" | "organizations", _, _, ..] => &parts[..2],
            [organization, "settings"] | [organization, "settings", ..] if !PAGES.contains(&organization) => {
                &parts[..1]
            }
            [_, _, "actions" | "settings" | "tree" | "blob" | "issues" | "pulls", ..] => &parts[..2],
            _ => &parts[..],
        };
        Self::at(scheme, authority, of)
    }
}

/// Scheme, host and path of an address, or of one for `git clone`: `git@HOST:OWNER/REPOSITORY.git`.
fn parted(text: &str) -> Result<(&str, &str, &str), ScopeError> {
    for scheme in ["https", "http", "ssh"] {
        let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
            continue;
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if scheme != "ssh" {
            return Ok((scheme, authority, path));
        }
        let host = match authority.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(ScopeError::Userinfo),
            Some((_, host)) => host,
            None => authority,
        };
        // The port is for ssh, not for the pages.
        return Ok(("https", host.split_once(':').map_or(host, |(host, _)| host), path));
    }
    if text.contains("://") {
        return Err(ScopeError::Scheme);
    }
    if let Some((host, path)) = text.strip_prefix("git@").and_then(|rest| rest.split_once(':')) {
        return Ok(("https", host, path));
    }
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    if first.contains('@') {
        return Err(ScopeError::Userinfo);
    }
    // No account name contains a dot.
    if first.contains('.') {
        return Ok(("https", first, rest));
    }
    // No account name contains an underscore, but tokens do: those must not be repeated.
    let is_account = !first.is_empty() && first.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    match Scope::at("https", "github.com", &text.split('/').collect::<Vec<_>>()) {
        Ok(scope) if is_account && text.contains('/') => Err(ScopeError::Short(scope.to_string())),
        _ => Err(ScopeError::Scheme),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_copy_is_the_scope_that_it_belongs_to() {
        for (text, url) in [
            ("git@github.com:Acme/widgets.git", "https://github.com/acme/widgets"),
            ("ssh://git@git.acme.example:2222/acme/widgets.git", "https://git.acme.example/acme/widgets"),
            ("https://github.com/acme/widgets.git", "https://github.com/acme/widgets"),
            ("github.com/acme", "https://github.com/acme"),
            (" https://www.github.com/acme\n", "https://github.com/acme"),
            ("https://github.com/acme?tab=repositories", "https://github.com/acme"),
            ("https://github.com/acme/widgets#readme", "https://github.com/acme/widgets"),
            ("https://github.com/acme/widgets/settings/actions/runners", "https://github.com/acme/widgets"),
            ("https://github.com/acme/widgets/actions/runs/1/job/2", "https://github.com/acme/widgets"),
            ("https://github.com/organizations/acme/settings/actions/runners", "https://github.com/acme"),
            ("https://github.com/orgs/acme/repositories", "https://github.com/acme"),
            ("https://github.com/enterprises/big/settings/actions", "https://github.com/enterprises/big"),
            ("http://127.0.0.1:8080/organizations/acme", "http://127.0.0.1:8080/acme"),
        ] {
            assert_eq!(text.parse::<Scope>().map(|scope| scope.to_string()).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_refused_with_the_address_to_write() {
        for (text, reported) in [
            ("acme/widgets", "write https://github.com/acme/widgets, or"),
            ("enterprises/big", "write https://github.com/enterprises/big, or"),
            ("https://api.github.com/orgs/acme", "such as https://github.com/acme"),
            ("https://api.github.com/repos/acme/widgets/actions", "such as https://github.com/acme/widgets"),
            ("https://api.github.com", "such as https://github.com/ORGANIZATION"),
            ("https://api.acme.ghe.com/orgs/ci", "such as https://acme.ghe.com/ci"),
            (
                "https://git.acme.example/api/v3/enterprises/big",
                "such as https://git.acme.example/enterprises/big",
            ),
        ] {
            let error = text.parse::<Scope>().unwrap_err().to_string();
            assert!(error.contains(reported), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_scope_is_refused_with_the_reason() {
        for (url, why) in [
            ("ftp://github.com/acme", ScopeError::Scheme),
            ("acme", ScopeError::Scheme),
            ("ghp_0123/x", ScopeError::Scheme),
            ("", ScopeError::Scheme),
            ("https://", ScopeError::Host),
            ("https:///acme", ScopeError::Host),
            ("https://github.com/acme//", ScopeError::Path),
            ("https://me:secret@github.com/acme", ScopeError::Userinfo),
            ("https://github.com", ScopeError::NoPath),
            ("https://github.com/", ScopeError::NoPath),
            ("https://github.com/a/b/c", ScopeError::Path),
            ("https://github.com/a//b", ScopeError::Path),
            ("https://github.com/a/../b", ScopeError::Path),
            ("https://github.com/a/..", ScopeError::Path),
            ("https://github.com/./a", ScopeError::Path),
            ("https://github.com/a%20b", ScopeError::Path),
            ("me:secret@github.com/acme", ScopeError::Userinfo),
            ("ssh://me:secret@github.com/acme/widgets", ScopeError::Userinfo),
            ("https://github.com/enterprises", ScopeError::NoPath),
            ("https://github.com/orgs/", ScopeError::NoPath),
            ("https://github.com/settings/tokens", ScopeError::Path),
            ("https://github.com/users/acme", ScopeError::Path),
            ("https://github.com/a/.git", ScopeError::Path),
        ] {
            assert_eq!(url.parse::<Scope>(), Err(why), "{url}");
        }
    }
}
