//! Image references, and the credentials for their registries in Docker's configuration file.

use std::{collections::BTreeMap, env, io, path::PathBuf};

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use super::HostError;
use crate::files::{self, FileError};

/// The name of Docker Hub in Docker's configuration.
const HUB: &str = "index.docker.io";

/// An image reference that is safe in a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// `registry/path`, as written.
    pub(super) name: &'a str,
    /// Tag or digest. Never empty: without one, the engine would pull every tag there is.
    pub(super) tag: &'a str,
}

impl<'a> Reference<'a> {
    /// Parses a reference; rejects what would become another request in bollard, which does not escape it.
    pub(super) fn read(text: &'a str) -> Result<Self, HostError> {
        let wrong = || HostError::Refused(format!("{text:?} is not an image reference"));
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '+');
        if !text.chars().all(fits) || text.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(wrong());
        }
        let (name, tag) = match text.split_once('@') {
            // A digest is sufficient; the engine accepts no tag beside it.
            Some((name, digest)) => (without_tag(name).0, digest),
            None => without_tag(text),
        };
        if name.is_empty() || name.contains('@') || tag.is_empty() || tag.contains(['/', '@']) {
            return Err(wrong());
        }
        Ok(Self { name, tag })
    }

    /// The registry's host, as in Docker's configuration.
    fn registry(&self) -> &str {
        match self.name.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => bare_host(host),
            _ => HUB,
        }
    }
}

fn without_tag(text: &str) -> (&str, &str) {
    match text.rsplit_once(':') {
        // A colon before the last slash is that of the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (text, "latest"),
    }
}

/// `https://ghcr.io/v1/` and `ghcr.io` are the same registry.
fn bare_host(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key);
    if matches!(host, "docker.io" | "registry-1.docker.io") { HUB } else { host }
}

/// The supported part of `config.json`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    identitytoken: String,
}

/// The credentials for a registry.
#[derive(Debug, PartialEq)]
pub(super) enum Login {
    /// None are configured.
    None,
    /// These. (bollard's type shows them in `Debug`, so this must not be logged.)
    With(Box<DockerCredentials>),
    /// A credential helper is configured, which Dayfly does not support.
    HelperOnly,
}

/// Looks the registry up in `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`: entries of
/// `auths` only, no credential helpers.
pub(super) fn login(reference: &Reference<'_>) -> Result<Login, HostError> {
    let dir = match (env::var_os("DOCKER_CONFIG"), env::home_dir()) {
        (Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
        (_, Some(home)) => home.join(".docker"),
        (_, None) => return Ok(Login::None),
    };
    let path = dir.join("config.json");
    let text = match files::read(&path, files::MAX_TEXT) {
        Ok(text) => text,
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Login::None),
        Err(error) => {
            let detail = format!("{} {error}; {}", path.display(), error.hint());
            return Err(HostError::Failed { detail, source: None });
        }
    };
    // The parser's error could quote a credential.
    find(&text, reference).ok_or_else(|| HostError::Failed {
        detail: format!("{} is invalid, or its entry for {} is", path.display(), reference.registry()),
        source: None,
    })
}

fn find(config: &[u8], reference: &Reference<'_>) -> Option<Login> {
    let config: ConfigFile = serde_json::from_slice(config).ok()?;
    let registry = reference.registry();
    let entry = config.auths.iter().find(|(key, _)| bare_host(key) == registry).map(|(_, auth)| auth);
    // With a helper, Docker leaves an empty entry behind.
    let entry = entry.filter(|entry| !entry.auth.is_empty() || !entry.identitytoken.is_empty());
    let Some(entry) = entry else {
        let helped = !config.creds_store.is_empty()
            || config.cred_helpers.keys().any(|key| bare_host(key) == registry);
        return Some(if helped { Login::HelperOnly } else { Login::None });
    };
    let mut credentials =
        DockerCredentials { serveraddress: Some(registry.to_owned()), ..DockerCredentials::default() };
    if !entry.auth.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, password) = decoded.split_once(':')?;
        credentials.username = Some(user.to_owned());
        credentials.password = Some(password.trim_end_matches('\0').to_owned());
    }
    if !entry.identitytoken.is_empty() {
        credentials.identitytoken = Some(entry.identitytoken.clone());
    }
    Some(Login::With(Box::new(credentials)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference<'_> {
        Reference::read(text).unwrap()
    }

    #[test]
    fn a_reference_has_a_name_a_tag_and_a_registry() {
        let digest = "sha256:aaaa";
        for (text, name, tag, registry) in [
            ("busybox", "busybox", "latest", HUB),
            ("acme/runner:v2", "acme/runner", "v2", HUB),
            ("docker.io/acme/runner", "docker.io/acme/runner", "latest", HUB),
            ("ghcr.io/actions/actions-runner:latest", "ghcr.io/actions/actions-runner", "latest", "ghcr.io"),
            ("localhost:5000/runner", "localhost:5000/runner", "latest", "localhost:5000"),
            ("localhost/runner:1", "localhost/runner", "1", "localhost"),
            (&format!("ghcr.io/a/b:1@{digest}"), "ghcr.io/a/b", digest, "ghcr.io"),
        ] {
            let read = reference(text);
            assert_eq!((read.name, read.tag, read.registry()), (name, tag, registry), "{text}");
        }
    }

    #[test]
    fn what_would_be_another_request_is_no_reference() {
        for text in
            ["", "a/../b", "../a", "/a", "a/", "a//b", "a?b", "a#b", "a b", "a:", "a@", "ä", "a%2e", ":1"]
        {
            assert!(matches!(Reference::read(text), Err(HostError::Refused(_))), "{text}");
        }
    }

    #[test]
    fn credentials_are_found_by_registry() {
        // user:p:w, where only the first colon separates
        let config = br#"{"auths": {"https://ghcr.io/v1/": {"auth": "dXNlcjpwOnc="}, "quay.io": {},
            "https://index.docker.io/v1/": {"identitytoken": "t"}},
            "credHelpers": {"quay.io": "pass"}, "HttpHeaders": {"x": "y"}}"#;
        let Some(Login::With(found)) = find(config, &reference("ghcr.io/a/b")) else { panic!("not found") };
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("user"), Some("p:w")));
        let Some(Login::With(found)) = find(config, &reference("a/b")) else { panic!("not found") };
        assert_eq!((found.username, found.identitytoken.as_deref()), (None, Some("t")));
        assert_eq!(find(config, &reference("quay.io/a/b")), Some(Login::HelperOnly));
        assert_eq!(find(config, &reference("r.example/a")), Some(Login::None));
        assert_eq!(find(b"{}", &reference("a")), Some(Login::None));
    }

    #[test]
    fn broken_credentials_are_an_error_and_not_anonymous() {
        for config in [
            "{",
            r#"{"auths": {"ghcr.io": {"auth": "?"}}}"#,
            r#"{"auths": {"ghcr.io": {"auth": "dXNlcg=="}}}"#,
        ] {
            assert_eq!(find(config.as_bytes(), &reference("ghcr.io/a")), None, "{config}");
        }
    }
}
