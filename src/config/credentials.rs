//! Where tokens come from. Nothing here reads a token, and no text here repeats a value: a token
//! may have been written where its file's name belongs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
};

use super::{Reading, Tokens, file, findings::At};
use crate::{fleet::HostName, github::TokenSource};

/// What GitHub's tokens begin with (docs.github.com, "About authentication to GitHub").
const TOKEN_PREFIXES: [&str; 6] = ["ghp_", "github_pat_", "gho_", "ghu_", "ghs_", "ghr_"];

pub(super) const PASTED: &str = "holds a token itself, which does not belong into this file";
pub(super) const FILE_OF_ITS_OWN: &str =
    "put the token into a file of its own with mode 0600, name that in token_file, and revoke this token";

/// Whether a text is a token rather than a name or a path.
pub(super) fn is_token(text: &str) -> bool {
    TOKEN_PREFIXES.iter().any(|prefix| text.trim().starts_with(prefix))
}

impl Reading<'_> {
    /// All credentials; without any, the one that takes its token from `$GITHUB_TOKEN`.
    pub(super) fn credentials(&self, file: &file::File, at: &At<'_>) -> BTreeMap<String, TokenSource> {
        if file.credentials.is_empty() && !at.is_broken() {
            if self.tokens == Tokens::Needed && self.variable("GITHUB_TOKEN").is_none() {
                at.error(
                    "there are none, and GITHUB_TOKEN is not set either",
                    "write [credentials.default] with token_file = \"…\", or set GITHUB_TOKEN",
                );
            }
            let usual = TokenSource::Env("GITHUB_TOKEN".to_owned());
            return BTreeMap::from([("default".to_owned(), usual)]);
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

    fn source(&self, written: &file::Credential, at: &At<'_>) -> Option<TokenSource> {
        if at.has_broken() {
            return None;
        }
        let file::Credential { token_file, token_env, token_command, .. } = written;
        match (token_file, token_env, token_command) {
            (Some(path), None, None) => self.file(path, &at.key("token_file")),
            (None, Some(name), None) => self.env(name, &at.key("token_env")),
            (None, None, Some(command)) => {
                let sound = command.first().is_some_and(|program| !program.is_empty());
                at.key("token_command")
                    .require(sound, "must begin with a program", "for example [\"gh\", \"auth\", \"token\"]")
                    .then(|| TokenSource::Command(command.clone()))
            }
            (None, None, None) => {
                at.error("says nothing about where the token is", "write token_file = \"…\"");
                None
            }
            _ => {
                at.error(
                    "says more than one place for the token",
                    "keep one of token_file, token_env, token_command",
                );
                None
            }
        }
    }

    pub(super) fn file(&self, written: &str, at: &At<'_>) -> Option<TokenSource> {
        if is_token(written) {
            at.error(PASTED, FILE_OF_ITS_OWN);
            return None;
        }
        // systemd puts credentials into a directory that only the unit knows (systemd.exec(5)).
        let in_credentials = ["$CREDENTIALS_DIRECTORY/", "${CREDENTIALS_DIRECTORY}/"]
            .iter()
            .find_map(|prefix| written.strip_prefix(prefix));
        let path = match (in_credentials, self.variable("CREDENTIALS_DIRECTORY")) {
            (Some(rest), Some(directory)) => PathBuf::from(directory).join(rest),
            (Some(_), None) if self.tokens == Tokens::Unneeded => self.base.join(written),
            (Some(_), None) => {
                at.error(
                    "needs CREDENTIALS_DIRECTORY, which is not set",
                    "systemd sets it for a unit with LoadCredential=; elsewhere write the whole path",
                );
                return None;
            }
            (None, _) => self.base.join(written),
        };
        if self.tokens == Tokens::Needed {
            // Opened and not read: being allowed to is all that counts here.
            match fs::File::open(&path).and_then(|file| file.metadata()) {
                Err(error) => at.error(
                    format_args!("names a file that cannot be read: {error}"),
                    "put the token there, owned by the user that runs this, with mode 0600",
                ),
                Ok(found) if found.is_dir() => {
                    at.error("names a directory", "name the file in it");
                }
                Ok(found) if found.is_file() && found.len() == 0 => {
                    at.error("names an empty file", "put the token there");
                }
                // systemd guards its own directory; the mode there shows an access list's mask.
                Ok(found) if in_credentials.is_none() && found.mode() & 0o077 != 0 => at.warn(
                    format_args!(
                        "names a file that others may read (mode {:04o})",
                        found.permissions().mode() & 0o7777
                    ),
                    "chmod 0600",
                ),
                Ok(_) => {}
            }
        }
        Some(TokenSource::File(path))
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
