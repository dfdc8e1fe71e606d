//! Where tokens and keys come from. Nothing here reads one, and no text here repeats a value: a token
//! may have been written where its file's name belongs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{
    PoolConfig, Reading, Tokens, file,
    findings::At,
    unit::{Loaded, loaded},
    units::NumberOrText,
};
use crate::{
    files::{self, FileError},
    fleet::{HostName, Scope, Target},
    github::{AppSource, CredentialKind, CredentialSource, TokenSource},
};

/// What GitHub's tokens begin with (docs.github.com, "About authentication to GitHub").
const TOKEN_PREFIXES: [&str; 6] = ["ghp_", "github_pat_", "gho_", "ghu_", "ghs_", "ghr_"];

pub(super) const PASTED: &str = "holds a token itself, which does not belong into this file";
pub(super) const FILE_OF_ITS_OWN: &str =
    "put the token into a file of its own with mode 0600, name that in token_file, and revoke this token";

/// Whether a text is a token rather than a name or a path.
pub(super) fn is_token(text: &str) -> bool {
    TOKEN_PREFIXES.iter().any(|prefix| text.trim().starts_with(prefix))
}

/// Whether a file is a secret.
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

/// Refuses a credential that GitHub takes at no scope of this kind.
pub(super) fn check_kind(file: &file::File, name: &str, scope: Option<&Scope>, at: &At<'_>) {
    let is_app = file.credentials.get(name).is_some_and(|written| written.app_id.is_some());
    if is_app && scope.is_some_and(|scope| matches!(scope.target(), Target::Enterprise { .. })) {
        // docs.github.com: these endpoints take neither App tokens nor fine-grained ones.
        at.error(
            "is a GitHub App, and GitHub lets only classic tokens manage an enterprise's runners",
            "use a classic token with manage_runners:enterprise, or register at the organizations instead",
        );
    }
}

/// Refuses an installation that would have to serve more than the one account that it is on.
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
                    "is that of one account, and pools use this credential for {}",
                    Vec::from_iter(accounts).join(" and ")
                ),
                "leave it out: the installation of each account is found by itself",
            );
        }
    }
}

impl Reading<'_> {
    /// All credentials; without any, the one that takes its token from `$GITHUB_TOKEN`.
    pub(super) fn credentials(&self, file: &file::File, at: &At<'_>) -> BTreeMap<String, CredentialSource> {
        if file.credentials.is_empty() && !at.is_broken() {
            if self.tokens == Tokens::Needed && self.variable("GITHUB_TOKEN").is_none() {
                at.error(
                    "there are none, and GITHUB_TOKEN is not set either",
                    "write [credentials.default] with token_file = \"…\", or set GITHUB_TOKEN",
                );
            }
            let usual = TokenSource::Env("GITHUB_TOKEN".to_owned());
            return BTreeMap::from([("default".to_owned(), usual.into())]);
        }
        let mut credentials = BTreeMap::new();
        for (name, written) in &file.credentials {
            let at = at.key(name);
            // The rule for the names of hosts: what the environment and metrics can carry.
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
                    "says nothing about where the token is",
                    "write token_file = \"…\", or for a GitHub App app_id and private_key_file",
                );
                return None;
            }
            _ if app => {
                at.error(
                    "says both a token and a GitHub App",
                    "keep one: a token_… key, or app_id with private_key_file",
                );
                return None;
            }
            _ => {
                at.error(
                    "says more than one place for the token",
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
            "write the App's client id, which its settings show, for example app_id = \"Iv23liAbCdEf\"",
        );
        let app_id = app_id.filter(|NumberOrText(id)| {
            let at = at.key("app_id");
            let sound = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
            at.require(
                sound && !is_token(id),
                "is no client id of a GitHub App",
                "its settings show it, \"Iv23…\"",
            )
        });
        let key = at.key("private_key_file");
        let path = key.required(
            written.private_key_file.as_deref(),
            "write the name of the PEM file that GitHub gave when the key was made",
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

    /// The path of the file with the webhooks' secret.
    pub(super) fn webhook_secret(&self, written: &str, at: &At<'_>) -> Option<PathBuf> {
        self.path(written, Guarded::Yes, at)
    }

    /// The path of a file that must be there when tokens must.
    fn path(&self, written: &str, guarded: Guarded, at: &At<'_>) -> Option<PathBuf> {
        if is_token(written) {
            at.error(PASTED, FILE_OF_ITS_OWN);
            return None;
        }
        if written.contains("-----BEGIN") {
            at.error(
                "holds a key or certificate itself, which does not belong into this file",
                "put it into a file of its own and name that; make a new key if it was a private one",
            );
            return None;
        }
        // systemd puts credentials into a directory that only the unit knows (systemd.exec(5)).
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

    /// The path of a credential outside of the unit that has it: where the unit loads it from.
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
                        format_args!("is encrypted in {}, and only the service can read it", path.display()),
                        "for commands from a shell name another file with a token in --config",
                    );
                }
                None
            }
            None => {
                if self.tokens == Tokens::Needed {
                    at.error(
                        "needs CREDENTIALS_DIRECTORY, which is not set",
                        "systemd sets it for a unit with LoadCredential=; elsewhere write the whole path",
                    );
                }
                None
            }
        }
    }

    /// Notes what is wrong with a file, where files must be there.
    fn look(&self, path: &Path, guarded: Guarded, whose: &str, is_systemds: bool, at: &At<'_>) {
        if self.tokens == Tokens::Unneeded {
            return;
        }
        let content = guarded.content(at);
        // Opened and not read: being allowed to is all that counts here.
        match files::open(path, guarded.most()).map(|file| file.metadata()) {
            Err(FileError::Io(error)) if !whose.is_empty() && error.kind() == ErrorKind::PermissionDenied => {
                at.error(
                    format_args!("is readable by the service and by root: {whose}this user may not"),
                    "run this command as root, such as with sudo",
                );
            }
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
            // systemd guards its own directory; the mode there shows an access list's mask.
            Ok(Ok(found)) if guarded == Guarded::Yes && !is_systemds && found.mode() & 0o077 != 0 => {
                at.warn(
                    format_args!(
                        "names a file that others may read (mode {:04o})",
                        found.permissions().mode() & 0o7777
                    ),
                    format_args!("chmod 0600 {}", path.display()),
                );
            }
            Ok(_) => {}
        }
    }

    /// Whether a path means what it says; notes it where only a shell would know.
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
            Some(home) => format!("write {home} in its place"),
            None => "write the whole path".to_owned(),
        };
        at.error(format_args!("has {what} in it, which only a shell replaces"), hint);
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
            at.error("names a variable that is not set", "set it where this is started, or use token_file");
        }
        Some(TokenSource::Env(name.to_owned()))
    }
}
