//! The secrets that deliveries are signed with: reloaded when their file changes, two of them while one
//! replaces the other. They are never shown.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::{
    files::{self, FileError},
    github::reloaded::{FileState, Refresh, Reloaded},
};

/// More than two secrets of any length that is of use.
const MAX_FILE: u64 = 4096;

/// What a signature header begins with.
const PREFIX: &str = "sha256=";

/// Why secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{path} {error}; {}", .error.hint())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: FileError,
    },
    /// The file's content is not one or two secrets.
    #[error(
        "{path} {what}; it must contain the webhook's secret on one line, and while it is being changed the \
         other secret on a second line"
    )]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

type Keys = Arc<[hmac::Key]>;

/// The secrets in use.
pub struct Secrets {
    path: Option<PathBuf>,
    keys: Mutex<Reloaded<Keys>>,
}

impl Secrets {
    /// The secrets in a file, one per line. Fails when it cannot be read or has none.
    pub fn in_file(path: PathBuf) -> Result<Self, SecretError> {
        let state = FileState::of(&path);
        let keys = Mutex::new(Reloaded::new(keys_in(&path)?, state));
        Ok(Self { path: Some(path), keys })
    }

    /// One secret that never changes.
    pub fn fixed(secret: &SecretString) -> Self {
        let keys = Arc::new([key(secret.expose_secret())]);
        Self { path: None, keys: Mutex::new(Reloaded::new(keys, FileState::NONE)) }
    }

    /// Whether one of the secrets made this `X-Hub-Signature-256` of exactly these bytes. The time that it
    /// takes reveals nothing about the secrets.
    pub async fn signed(&self, signature: &str, body: &[u8]) -> bool {
        let Some(tag) = signature.strip_prefix(PREFIX).and_then(digest) else { return false };
        // All are tried, so that the time does not reveal which one it was.
        self.keys().await.iter().fold(false, |found, key| found | hmac::verify(key, body, &tag).is_ok())
    }

    /// The keys, reloaded when the file has changed. While it is being replaced, or is invalid, the old ones
    /// stay in use.
    async fn keys(&self) -> Keys {
        let mut keys = self.keys.lock().await;
        if let Some(path) = &self.path {
            match keys.refresh(Some(path), async |_: &Keys| read_keys(path).await).await {
                Refresh::Current | Refresh::StillFailing => {}
                Refresh::Reloaded => tracing::info!(file = %path.display(), "reloaded the webhook secret"),
                Refresh::Failed(error) => {
                    tracing::warn!(%error, "failed to reload the webhook secret, using the previous one");
                }
            }
        }
        Arc::clone(keys.value())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("path", &self.path).finish_non_exhaustive()
    }
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// The same as [`keys_in`] without blocking the other tasks of this thread.
async fn read_keys(path: &Path) -> Result<Keys, SecretError> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || keys_in(&file)).await;
    read.unwrap_or_else(|error| {
        Err(SecretError::Unreadable { path: path.to_owned(), error: FileError::Io(error.into()) })
    })
}

fn keys_in(path: &Path) -> Result<Keys, SecretError> {
    let refused = |what| SecretError::Content { path: path.to_owned(), what };
    let text = files::read(path, MAX_FILE)
        .map_err(|error| SecretError::Unreadable { path: path.to_owned(), error })?;
    let text = SecretString::from(String::from_utf8(text).map_err(|_| refused("is not UTF-8"))?);
    // Editors on Windows begin files with this mark.
    let text = text.expose_secret().trim_start_matches('\u{feff}');
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.iter().any(|line| line.trim() != *line) {
        return Err(refused("has white space before or after a secret"));
    }
    match lines.len() {
        0 => Err(refused("is empty")),
        1 | 2 => Ok(lines.into_iter().map(key).collect()),
        _ => Err(refused("has more than two lines")),
    }
}

/// 32 bytes from their hexadecimal digits.
fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hex, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const BODY: &[u8] = b"Hello, World!";
    /// docs.github.com, "Validating webhook deliveries": secret `It's a Secret to Everybody`.
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[tokio::test]
    async fn the_example_of_the_documentation_is_signed() {
        let secrets = Secrets::fixed(&"It's a Secret to Everybody".into());
        assert!(secrets.signed(SIGNATURE, BODY).await);
        assert!(secrets.signed(&SIGNATURE.to_uppercase().replace("SHA256", "sha256"), BODY).await);
        for wrong in [
            "",
            "sha256=",
            "sha1=757107ea0eb2509fc211221cce984b8a37570b6d",
            &SIGNATURE[7..],
            &SIGNATURE.replace('7', "8"),
            &SIGNATURE[..SIGNATURE.len() - 1],
            &format!("{SIGNATURE}0"),
            &SIGNATURE.replace("75", "+5"),
            &SIGNATURE.replace("75", "ä"),
        ] {
            assert!(!secrets.signed(wrong, BODY).await, "{wrong}");
        }
        assert!(!secrets.signed(SIGNATURE, b"Hello, World").await);
        assert!(!Secrets::fixed(&"another".into()).signed(SIGNATURE, BODY).await);
    }

    #[tokio::test]
    async fn a_secret_can_change_while_deliveries_come() {
        let (_folder, path) = file("It's a Secret to Everybody\n");
        let secrets = Secrets::in_file(path.clone()).unwrap();
        assert!(secrets.signed(SIGNATURE, BODY).await);
        fs::write(&path, "new\r\nIt's a Secret to Everybody").unwrap();
        assert!(secrets.signed(SIGNATURE, BODY).await, "both are valid during the change");
        fs::write(&path, "\u{feff}new\n").unwrap();
        assert!(!secrets.signed(SIGNATURE, BODY).await, "and then only the new one");
        fs::write(&path, "").unwrap();
        let tag = hmac::sign(&key("new"), BODY);
        let digits = hex::encode(tag);
        assert!(secrets.signed(&format!("sha256={digits}"), BODY).await, "a broken file changes nothing");
    }

    #[test]
    fn a_file_without_a_secret_is_refused_and_no_secret_shows() {
        for content in ["", "\n\n", "hush\nhush2\nhush3", " hush", "hush ", &"hush".repeat(2000)] {
            let (_folder, path) = file(content);
            let error = Secrets::in_file(path).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
        let (folder, path) = file("hush");
        assert!(!format!("{:?}", Secrets::in_file(path).unwrap()).contains("hush"));
        assert!(Secrets::in_file(folder.path().join("none")).is_err());
        assert!(Secrets::in_file(folder.path().to_owned()).is_err());
    }
}
