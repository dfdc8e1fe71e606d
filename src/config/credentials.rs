//! The sources of tokens and keys. Nothing here reads one, and no message repeats a value: a token may have
//! been written in place of a file name.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    file,
    findings::At,
    model::{PoolConfig, Tokens},
    reading::Reading,
    unit::{Loaded, loaded},
    units::NumberOrText,
};
use crate::{
    files::{self, FileError},
    fleet::{HostName, Scope, Target},
    github::{AppSource, CredentialKind, CredentialSource, TokenSource},
};

/// The prefixes of GitHub's tokens (docs.github.com, "About authentication to GitHub").
const TOKEN_PREFIXES: [&str; 6] = ["ghp_", "github_pat_", "gho_", "ghu_", "ghs_", "ghr_"];

pub(super) const PASTED: &str = "contains a token; don't put tokens in this file";
pub(super) const FILE_OF_ITS_OWN: &str =
    "put the token in a separate file with mode 0600, set token_file to its path, and revoke this token";

/// Whether a text is a token, not a name or a path.
pub(super) fn is_token(text: &str) -> bool {
    TOKEN_PREFIXES.iter().any(|prefix| text.trim().starts_with(prefix))
}

/// Whether a file has a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guarded {
    Yes,
    No,
}

impl Guarded {
    fn content(self, at: &At<'_>) -> &'static str {
        match self {
            Self::Yes if at.is("private_key_file") => "the private key",
            Self::Yes if at.is("webhook_secret_file") => "the webhook's secret",
            Self::Yes if at.is("registry_password_file") => "the password",
            Self::Yes => "the token",
            Self::No => "the certificates in PEM",
        }
    }

    const fn most(self) -> u64 {
        match self {
            Self::Yes => files::MAX_SECRET,
            Self::No => files::MAX_TEXT,
        }
    }

    const fn how(self) -> &'static str {
        match self {
            Self::Yes => "owned by the user that runs this, with mode 0600",
            Self::No => "readable by the user that runs this",
        }
    }
}

/// Rejects a credential that GitHub does not accept for this kind of scope.
pub(super) fn check_kind(file: &file::File, name: &str, scope: Option<&Scope>, at: &At<'_>) {
    let is_app = file.credentials.get(name).is_some_and(|written| written.app_id.is_some());
    if is_app && scope.is_some_and(|scope| matches!(scope.target(), Target::Enterprise { .. })) {
        // docs.github.com: these endpoints accept neither App tokens nor fine-grained ones.
        at.error(
            "is a GitHub App, but only classic tokens can manage an enterprise's runners",
            "use a classic token with manage_runners:enterprise, or register at the organizations instead",
        );
    }
}

/// Rejects an installation that would have to serve another account than its own.
pub(super) fn check_accounts(file: &file::File, pools: &[PoolConfig], at: &At<'_>) {
    for (name, written) in &file.credentials {
        let account = |pool: &PoolConfig| {
            let scope = &pool.pool.scope;
            let owner = scope.path().split('/').next().unwrap_or_default();
            (&pool.credential == name).then(|| format!("{}/{owner}", scope.site()))
        };
        let accounts: BTreeSet<String> = pools.iter().filter_map(account).collect();
        if written.installation_id.is_some() && accounts.len() > 1 {
            at.key(name).key("installation_id").error(
                format_args!(
                    "belongs to one account, but pools use this credential for {}",
                    Vec::from_iter(accounts).join(" and ")
                ),
                "remove it: the installation of each account is found automatically",
            );
        }
    }
}

impl Reading<'_> {
    /// All credentials. Without any, one that reads its token from `$GITHUB_TOKEN`.
    pub(super) fn credentials(&self, file: &file::File, at: &At<'_>) -> BTreeMap<String, CredentialSource> {
        if file.credentials.is_empty() && !at.is_broken() {
            if self.tokens == Tokens::Needed && self.variable("GITHUB_TOKEN").is_none() {
                at.error(
                    "none is configured, and GITHUB_TOKEN is not set",
                    "write [credentials.default] with token_file = \"…\", or set GITHUB_TOKEN",
                );
            }
            let usual = TokenSource::Env("GITHUB_TOKEN".to_owned());
            return BTreeMap::from([("default".to_owned(), usual.into())]);
        }
        let mut credentials = BTreeMap::new();
        for (name, written) in &file.credentials {
            let at = at.key(name);
            // The rule for the names of hosts: what the environment and metrics allow.
            at.parsed::<HostName>(name, "");
            if let Some(source) = self.source(written, &at) {
                credentials.insert(name.clone(), source);
            }
        }
        credentials
    }

    fn source(&self, written: &file::Credential, at: &At<'_>) -> Option<CredentialSource> {
        if at.has_broken() {
            return None;
        }
        let ca_file = match &written.ca_file {
            Some(path) => Some(self.path(path, Guarded::No, &at.key("ca_file"))?),
            None => None,
        };
        let file::Credential { token_file, token_env, token_command, .. } = written;
        let app = written.app_id.is_some()
            || written.private_key_file.is_some()
            || written.installation_id.is_some();
        let kind = match (token_file, token_env, token_command) {
            (None, None, None) if app => CredentialKind::App(self.app(written, at)?),
            (Some(path), None, None) if !app => {
                CredentialKind::Token(self.token_file(path, &at.key("token_file"))?)
            }
            (None, Some(name), None) if !app => CredentialKind::Token(self.env(name, &at.key("token_env"))?),
            (None, None, Some(command)) if !app => {
                let sound = command.first().is_some_and(|program| !program.is_empty());
                let at = at.key("token_command");
                if !at.require(
                    sound,
                    "must begin with a program",
                    "for example [\"gh\", \"auth\", \"token\"]",
                ) {
                    return None;
                }
                CredentialKind::Token(TokenSource::Command(command.clone()))
            }
            (None, None, None) => {
                at.error(
                    "has no token",
                    "write token_file = \"…\", or for a GitHub App app_id and private_key_file",
                );
                return None;
            }
            _ if app => {
                at.error(
                    "has both a token and a GitHub App",
                    "keep one: a token_… key, or app_id with private_key_file",
                );
                return None;
            }
            _ => {
                at.error(
                    "has more than one source for the token",
                    "keep one of token_file, token_env, token_command",
                );
                return None;
            }
        };
        Some(CredentialSource { kind, ca_file, allow_plain_http: written.allow_plain_http })
    }

    fn app(&self, written: &file::Credential, at: &At<'_>) -> Option<AppSource> {
        let app_id = at.key("app_id").required(
            written.app_id.as_ref(),
            "set it to the App's client id, which its settings show, for example app_id = \"Iv23liAbCdEf\"",
        );
        let app_id = app_id.filter(|NumberOrText(id)| {
            let at = at.key("app_id");
            let sound = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
            at.require(
                sound && !is_token(id),
                "is not the client id of a GitHub App",
                "the App's settings show it: \"Iv23…\"",
            )
        });
        let key = at.key("private_key_file");
        let path = key.required(
            written.private_key_file.as_deref(),
            "set it to the path of the PEM file that GitHub offered when the key was created",
        );
        let path = path.and_then(|path| self.path(path, Guarded::Yes, &key));
        Some(AppSource {
            app_id: app_id?.0.clone(),
            private_key_file: path?,
            installation_id: written.installation_id,
        })
    }

    fn token_file(&self, written: &str, at: &At<'_>) -> Option<TokenSource> {
        self.path(written, Guarded::Yes, at).map(TokenSource::File)
    }

    /// The path of a file with a secret that is no token.
    pub(super) fn secret_file(&self, written: &str, at: &At<'_>) -> Option<PathBuf> {
        self.path(written, Guarded::Yes, at)
    }

    /// The path of a file that must exist when tokens are needed.
    fn path(&self, written: &str, guarded: Guarded, at: &At<'_>) -> Option<PathBuf> {
        if is_token(written) {
            at.error(PASTED, FILE_OF_ITS_OWN);
            return None;
        }
        if written.contains("-----BEGIN") {
            at.error(
                "contains a key or certificate; don't put these in this file",
                "put it in a separate file and set this to its path; if it was a private key, create a new \
                 one",
            );
            return None;
        }
        // systemd puts credentials in a directory that only the unit knows (systemd.exec(5)).
        let in_credentials = ["$CREDENTIALS_DIRECTORY/", "${CREDENTIALS_DIRECTORY}/"]
            .iter()
            .find_map(|prefix| written.strip_prefix(prefix));
        if let (Some(name), None) = (in_credentials, self.variable("CREDENTIALS_DIRECTORY")) {
            return self
                .of_the_unit(name, guarded, at)
                .or_else(|| (self.tokens == Tokens::Unneeded).then(|| self.base.join(written)));
        }
        let path = match (in_credentials, self.variable("CREDENTIALS_DIRECTORY")) {
            (Some(name), Some(directory)) => PathBuf::from(directory).join(name),
            _ if !self.is_plain(written, at) => return None,
            _ => self.base.join(written),
        };
        self.look(&path, guarded, "", in_credentials.is_some(), at);
        Some(path)
    }

    /// The path of a systemd credential outside of its unit: the file that the unit loads it from.
    fn of_the_unit(&self, name: &str, guarded: Guarded, at: &At<'_>) -> Option<PathBuf> {
        match loaded(&self.machine.unit_dirs, name) {
            Some(Loaded::Plain(path)) => {
                let whose = format!("the unit loads it from {}; ", path.display());
                self.look(&path, guarded, &whose, false, at);
                Some(path)
            }
            Some(Loaded::Encrypted(path)) => {
                if self.tokens == Tokens::Needed {
                    at.error(
                        format_args!("is encrypted in {}, which only the service can read", path.display()),
                        "for commands in a shell, use --config with a configuration that has another token \
                         file",
                    );
                }
                None
            }
            None => {
                if self.tokens == Tokens::Needed {
                    at.error(
                        "needs CREDENTIALS_DIRECTORY, which is not set",
                        "systemd sets it for a unit with LoadCredential=; elsewhere write the full path",
                    );
                }
                None
            }
        }
    }

    /// Records the problems of a file, where files must exist.
    fn look(&self, path: &Path, guarded: Guarded, whose: &str, is_systemds: bool, at: &At<'_>) {
        if self.tokens == Tokens::Unneeded {
            return;
        }
        let content = guarded.content(at);
        // Opened but not read: only the permission matters here.
        match files::open(path, guarded.most()).map(|file| file.metadata()) {
            Err(FileError::Io(error)) if !whose.is_empty() && error.kind() == ErrorKind::PermissionDenied => {
                at.error(
                    format_args!(
                        "can be read only by the service and by root: {whose}this user may not read it"
                    ),
                    "run this command as root, for example with sudo",
                );
            }
            Err(FileError::Io(error)) if error.kind() == ErrorKind::PermissionDenied => at.error(
                format_args!("names a file that this user may not read: {whose}{}", path.display()),
                "run this command with sudo, or as the user that owns the file",
            ),
            Err(FileError::Io(error)) => at.error(
                format_args!("names a file that cannot be read: {whose}{error}"),
                format_args!("put {content} there, {}", guarded.how()),
            ),
            Err(error) => match error {
                FileError::NotRegular(kind) => at.error(format_args!("names {kind}"), error.hint()),
                _ => at.error(format_args!("names a file that {error}"), error.hint()),
            },
            Ok(Ok(found)) if found.len() == 0 => {
                at.error("names an empty file", format_args!("put {content} there"));
            }
            // systemd protects its own directory; the mode there is the mask of an access list.
            Ok(Ok(found)) if guarded == Guarded::Yes && !is_systemds && found.mode() & 0o077 != 0 => {
                at.warn(
                    format_args!(
                        "names a file that other users can read (mode {:04o})",
                        found.permissions().mode() & 0o7777
                    ),
                    format_args!("chmod 0600 {}", path.display()),
                );
            }
            Ok(_) => {}
        }
    }

    /// Whether a path is literal; records a problem if only a shell could expand it.
    pub(super) fn is_plain(&self, written: &str, at: &At<'_>) -> bool {
        let home = self.variable("HOME").filter(|home| home.starts_with('/'));
        let (what, is_home) = if written == "~" || written.starts_with("~/") {
            ("~", true)
        } else if ["$HOME", "${HOME}"].iter().any(|variable| written.starts_with(variable)) {
            ("$HOME", true)
        } else if written.starts_with(['~', '$']) || written.contains("${") {
            ("a variable or \"~\"", false)
        } else {
            return true;
        };
        let hint = match home.filter(|_| is_home) {
            Some(home) => format!("write {home} instead"),
            None => "write the full path".to_owned(),
        };
        at.error(format_args!("contains {what}, which only a shell expands"), hint);
        false
    }

    fn env(&self, name: &str, at: &At<'_>) -> Option<TokenSource> {
        if is_token(name) {
            at.error(PASTED, FILE_OF_ITS_OWN);
            return None;
        }
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !at.require(named, "must be the name of an environment variable", "for example \"GITHUB_TOKEN\"") {
            return None;
        }
        if self.tokens == Tokens::Needed && self.variable(name).is_none() {
            at.error("names a variable that is not set", "set it in dayfly's environment, or use token_file");
        }
        Some(TokenSource::Env(name.to_owned()))
    }
}
