//! Image references, and the credentials for their registries: a pool's own, or those of Docker's configuration file
//! and its credential helpers.

use std::{
    collections::BTreeMap,
    env, fmt, io,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{
    HostError,
    credential_helper::{self, HelperError},
};
use crate::files::{self, FileError};

/// The name of Docker Hub in Docker's configuration.
const HUB: &str = "index.docker.io";

/// Its address, by which credential helpers know it.
const HUB_ADDRESS: &str = "https://index.docker.io/v1/";

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

/// Whether two images are of one registry.
pub fn is_same_registry(a: &str, b: &str) -> bool {
    matches!((Reference::read(a), Reference::read(b)), (Ok(a), Ok(b)) if a.registry() == b.registry())
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

/// A pool's own credentials for the registry of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLogin {
    pub username: String,
    /// The file that contains the password and nothing else; it is read for each pull.
    pub password_file: PathBuf,
}

/// The credentials for a pull.
pub(super) struct Login {
    /// Without any, the registry is asked anonymously. (bollard's type shows them in `Debug`.)
    pub(super) credentials: Option<DockerCredentials>,
    /// What to add to a refusal: why there are no credentials, where some could be expected.
    pub(super) note: Option<String>,
}

/// Where the credentials for a registry are, by Docker's configuration file.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Nowhere,
    /// In the file itself.
    File(Entry),
    /// The helper with this name has them; `own` if it is configured for this registry alone.
    Helper {
        name: String,
        own: bool,
    },
}

/// The credentials for the pull of an image: those of its pool, else those of Docker's configuration, read now:
/// some expire within hours.
pub(super) async fn login(
    reference: &Reference<'_>,
    own: Option<&RegistryLogin>,
) -> Result<Login, HostError> {
    let registry = reference.registry();
    if let Some(own) = own {
        let path = own.password_file.clone();
        let password = read(path.clone(), files::MAX_SECRET).await;
        let password = password.map_err(|error| unreadable(&path, &error))?;
        let password = String::from_utf8(password).ok();
        let password = password.as_deref().map(str::trim).filter(|password| !password.is_empty());
        let password =
            password.ok_or_else(|| failed(format!("{} is empty, or is not text", path.display())))?;
        return Ok(Login::with(registry, Some(&own.username), password));
    }
    let Some(path) = config_path() else { return Ok(Login::none(None)) };
    let text = match read(path.clone(), files::MAX_TEXT).await {
        Ok(text) => text,
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Login::none(None)),
        Err(error) => return Err(unreadable(&path, &error)),
    };
    // The parser's error could quote a credential.
    let source = source(&text, registry)
        .ok_or_else(|| failed(format!("{} is invalid, or its entry for {registry} is", path.display())))?;
    let (name, own) = match source {
        Source::Nowhere => return Ok(Login::none(None)),
        Source::File(entry) => return Ok(entry.login(registry)),
        Source::Helper { name, own } => (name, own),
    };
    let program = credential_helper::program(&name);
    // Docker Hub has an address as its name in Docker's configuration, and helpers know it by that.
    let asked = if registry == HUB { HUB_ADDRESS } else { registry };
    match credential_helper::credentials(&name, asked).await {
        Ok(Some(found)) => Ok(Login::with(registry, found.username.as_deref(), found.secret.expose_secret())),
        Ok(None) => Ok(Login::none(Some(format!(
            "the credential helper {program} has no credentials for {registry}"
        )))),
        // One for all registries is not needed for public images.
        Err(HelperError::NotInstalled) if !own => Ok(Login::none(Some(format!(
            "no credentials were used: {} names the credential helper {program}, which is not installed",
            path.display()
        )))),
        Err(HelperError::NotInstalled) => Err(failed(format!(
            "the credential helper {program} for {registry} is not installed; install it in a directory of \
             PATH, or remove it from credHelpers in {}",
            path.display()
        ))),
        Err(HelperError::Failed(why)) => Err(failed(format!(
            "no credentials for {registry} from the credential helper {program}: {why}; to see it fail, run: \
             echo {asked} | {program} get"
        ))),
    }
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
fn config_path() -> Option<PathBuf> {
    let directory = match env::var_os("DOCKER_CONFIG") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory),
        _ => env::home_dir()?.join(".docker"),
    };
    Some(directory.join("config.json"))
}

/// Reads a file without blocking the other tasks of this thread.
async fn read(path: PathBuf, most: u64) -> Result<Vec<u8>, FileError> {
    let reading = tokio::task::spawn_blocking(move || files::read(&path, most));
    reading.await.unwrap_or_else(|error| Err(FileError::Io(error.into())))
}

fn unreadable(path: &Path, error: &FileError) -> HostError {
    failed(format!("{} {error}; {}", path.display(), error.hint()))
}

fn failed(detail: String) -> HostError {
    HostError::Failed { detail, source: None }
}

/// Finds where a registry's credentials are, in Docker's order; but an entry with content counts more than a helper
/// for all registries, since Docker never writes both. `None` for a file that cannot be read.
fn source(config: &[u8], registry: &str) -> Option<Source> {
    let config: ConfigFile = serde_json::from_slice(config).ok()?;
    let of_registry = |key: &str| bare_host(key) == registry;
    let helper = |name: &String, own| Source::Helper { name: name.clone(), own };
    let own = config.cred_helpers.iter().find(|(key, name)| of_registry(key) && !name.is_empty());
    if let Some((_, name)) = own {
        return Some(helper(name, true));
    }
    let entry = config.auths.iter().find(|(key, _)| of_registry(key)).map(|(_, auth)| auth);
    // With a helper, Docker leaves an empty entry behind.
    match entry.filter(|entry| !entry.auth.is_empty() || !entry.identitytoken.is_empty()) {
        Some(entry) => Some(Source::File(entry.read()?)),
        None if !config.creds_store.is_empty() => Some(helper(&config.creds_store, false)),
        None => Some(Source::Nowhere),
    }
}

/// An entry of the file.
#[derive(Default, PartialEq, Eq)]
struct Entry {
    username: Option<String>,
    password: Option<String>,
    identity_token: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

impl Auth {
    fn read(&self) -> Option<Entry> {
        let mut entry = Entry::default();
        if !self.auth.is_empty() {
            let decoded = base64::engine::general_purpose::STANDARD.decode(self.auth.trim()).ok()?;
            let decoded = String::from_utf8(decoded).ok()?;
            let (user, password) = decoded.split_once(':')?;
            entry.username = Some(user.to_owned());
            entry.password = Some(password.trim_end_matches('\0').to_owned());
        }
        entry.identity_token = Some(self.identitytoken.clone()).filter(|token| !token.is_empty());
        Some(entry)
    }
}

impl Entry {
    fn login(self, registry: &str) -> Login {
        let credentials = DockerCredentials {
            username: self.username,
            password: self.password,
            identitytoken: self.identity_token,
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        };
        Login { credentials: Some(credentials), note: None }
    }
}

impl Login {
    fn none(note: Option<String>) -> Self {
        Self { credentials: None, note }
    }

    /// A user with a password; without a user, the secret is an identity token.
    fn with(registry: &str, username: Option<&str>, secret: &str) -> Self {
        let secret = Some(secret.to_owned());
        let entry = match username {
            Some(name) => Entry { username: Some(name.to_owned()), password: secret, identity_token: None },
            None => Entry { identity_token: secret, ..Entry::default() },
        };
        entry.login(registry)
    }
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
            "https://index.docker.io/v1/": {"identitytoken": "t"}, "ecr.example": {"auth": "dXNlcjpwOnc="}},
            "credHelpers": {"ecr.example": "ecr-login", "plain.example": ""}, "HttpHeaders": {"x": "y"}}"#;
        let user = Entry {
            username: Some("user".to_owned()),
            password: Some("p:w".to_owned()),
            identity_token: None,
        };
        let token = Entry { identity_token: Some("t".to_owned()), ..Entry::default() };
        let helper = |name: &str, own| Source::Helper { name: name.to_owned(), own };
        for (image, found) in [
            ("ghcr.io/a/b", Source::File(user)),
            ("a/b", Source::File(token)),
            ("quay.io/a/b", Source::Nowhere),
            ("r.example/a", Source::Nowhere),
            ("plain.example/a", Source::Nowhere),
            ("ecr.example/a", helper("ecr-login", true)),
        ] {
            assert!(source(config, reference(image).registry()) == Some(found), "{image}");
        }
        assert_eq!(source(b"{}", HUB), Some(Source::Nowhere));
        let stored =
            br#"{"auths": {"ghcr.io": {"auth": "dXNlcjpwOnc="}, "quay.io": {}}, "credsStore": "pass"}"#;
        assert!(matches!(source(stored, "ghcr.io"), Some(Source::File(_))));
        for registry in ["quay.io", HUB] {
            assert_eq!(source(stored, registry), Some(helper("pass", false)));
        }
    }

    #[test]
    fn broken_credentials_are_an_error_and_not_anonymous() {
        for config in [
            "{",
            r#"{"auths": {"ghcr.io": {"auth": "?"}}}"#,
            r#"{"auths": {"ghcr.io": {"auth": "dXNlcg=="}}}"#,
        ] {
            assert_eq!(source(config.as_bytes(), "ghcr.io"), None, "{config}");
        }
    }

    #[tokio::test]
    async fn a_pools_own_password_is_read_from_its_file_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let own =
            RegistryLogin { username: "me".to_owned(), password_file: directory.path().join("password") };
        let image = reference("r.example/a");
        let missing = login(&image, Some(&own)).await.err().unwrap().to_string();
        assert!(missing.contains("password cannot be read: No such file"), "{missing}");
        std::fs::write(&own.password_file, "pw-secret\n").unwrap();
        let found = login(&image, Some(&own)).await.ok().unwrap().credentials.unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("pw-secret")));
        assert_eq!(found.serveraddress.as_deref(), Some("r.example"));
        std::fs::write(&own.password_file, "\n").unwrap();
        assert!(login(&image, Some(&own)).await.err().unwrap().to_string().contains("is empty"));
    }
}
