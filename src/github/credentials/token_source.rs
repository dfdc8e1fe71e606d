//! Where a personal token is read from: a file, a variable or a command. A token never shows in
//! `Debug` or in an error text.

use std::{fmt, path::PathBuf, process::Stdio, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;

use super::secret_file::{open_to_others, read_file};
use crate::github::GithubError;

/// How long a token command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// No token is longer; GitHub's longest have some 520 characters (changelog of 2026-05-15).
const MAX_TOKEN: u64 = 16 * 1024;

/// Where a token is read from.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file that holds the token and nothing else.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A program with its arguments, which prints the token.
    Command(Vec<String>),
}

impl TokenSource {
    /// Reads the token.
    pub async fn read(&self) -> Result<SecretString, GithubError> {
        let raw = match self {
            Self::File(path) => {
                read_file(path).await.map_err(|why| self.refused(&format!("it {why}; {}", why.hint())))?
            }
            Self::Env(name) => {
                std::env::var_os(name).ok_or_else(|| self.refused("it is not set"))?.into_encoded_bytes()
            }
            Self::Command(line) => run(line).await.map_err(|why| self.refused(&why))?,
        };
        token_in(raw).map_err(|why| self.refused(&why))
    }

    /// A warning about the source, for `check` and the log: other users can read its file.
    pub fn warning(&self) -> Option<String> {
        let Self::File(path) = self else { return None };
        open_to_others(path).map(|mode| {
            format!("other users can read {self} (mode {mode:04o}); run: chmod 600 {}", path.display())
        })
    }

    fn refused(&self, why: &str) -> GithubError {
        GithubError::Refused(format!("no token from {self}: {why}"))
    }
}

impl fmt::Display for TokenSource {
    /// Names the source, without the arguments of a command, since they may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "token file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Command(line) => write!(f, "token command {}", line.first().map_or("", String::as_str)),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSource({self})")
    }
}

async fn run(line: &[String]) -> Result<Vec<u8>, String> {
    let [program, arguments @ ..] = line else { return Err("the command is empty".to_owned()) };
    // Its standard error may contain the token (`set -x`), so it is dropped.
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("failed to start it: {e}"))?;
    let output = child.stdout.take();
    let ended = tokio::time::timeout(COMMAND_TIMEOUT, async {
        let mut raw = Vec::new();
        if let Some(output) = output {
            output.take(MAX_TOKEN + 1).read_to_end(&mut raw).await?;
        }
        child.wait().await.map(|status| (status, raw))
    });
    match ended.await {
        Err(_) => Err(format!("it did not exit within {} s", COMMAND_TIMEOUT.as_secs())),
        Ok(Err(e)) => Err(e.to_string()),
        Ok(Ok((status, _))) if !status.success() => {
            Err(format!("it failed ({status}); run it in a shell to see why"))
        }
        Ok(Ok((_, raw))) => Ok(raw),
    }
}

/// The token in what a source gave. What stands around a token in files that other programs write is cut off:
/// blanks, line breaks, a byte order mark, quotation marks, and the name of a variable.
fn token_in(raw: Vec<u8>) -> Result<SecretString, String> {
    if raw.starts_with(b"\xff\xfe") || raw.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16, as PowerShell writes files; save it as UTF-8".to_owned());
    }
    let Ok(text) = String::from_utf8(raw) else { return Err("it is not text".to_owned()) };
    let text = SecretString::from(text);
    let whole = text.expose_secret().trim_start_matches('\u{feff}').trim();
    let token = unquoted(assigned(whole).unwrap_or(whole));
    if token.is_empty() {
        return Err("it is empty".to_owned());
    }
    if token.len() as u64 > MAX_TOKEN {
        return Err("it is too long to be a token".to_owned());
    }
    if whole.contains("-----BEGIN") {
        return Err(
            "it contains a private key or a certificate; for a GitHub App, set private_key_file and app_id \
             instead"
                .to_owned(),
        );
    }
    let lines = whole.lines().filter(|line| !line.trim().is_empty()).count();
    if lines > 1 {
        return Err(format!("it has {lines} lines of text, but must contain nothing but the token"));
    }
    if token.contains(['"', '\'']) {
        return Err(
            "it contains a quotation mark, which no token does; it must contain nothing but the token"
                .to_owned(),
        );
    }
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err("it contains white space or another character that no token contains; it must contain nothing but the token"
            .to_owned());
    }
    Ok(token.into())
}

/// The value of a text such as `GITHUB_TOKEN=…` or `export GITHUB_TOKEN=…`, as in files of variables.
fn assigned(text: &str) -> Option<&str> {
    let (name, value) = text.strip_prefix("export ").unwrap_or(text).split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    is_name.then(|| value.trim())
}

fn unquoted(text: &str) -> &str {
    let within = |mark: char| text.strip_prefix(mark)?.strip_suffix(mark);
    within('"').or_else(|| within('\'')).map_or(text, str::trim)
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    pub(in crate::github) fn source_with(content: &[u8]) -> (tempfile::TempDir, TokenSource) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, content).unwrap();
        (directory, TokenSource::File(path))
    }

    pub(in crate::github) fn shell(script: &str) -> TokenSource {
        TokenSource::Command(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()])
    }

    #[tokio::test]
    async fn what_other_programs_write_around_a_token_is_not_part_of_it() {
        for content in [
            "ghp_abc",
            "ghp_abc\n",
            "ghp_abc\r\n",
            "\n  ghp_abc \t\n\n",
            "\u{feff}ghp_abc\r\n",
            "\"ghp_abc\"\n",
            "'ghp_abc'",
            "GITHUB_TOKEN=ghp_abc\n",
            "export GH_TOKEN='ghp_abc'\n",
        ] {
            let (_directory, source) = source_with(content.as_bytes());
            assert_eq!(source.read().await.unwrap().expose_secret(), "ghp_abc", "{content:?}");
        }
        // No variable's name: as likely as not a token itself.
        let (_directory, source) = source_with(b"abc=def==");
        assert_eq!(source.read().await.unwrap().expose_secret(), "abc=def==");
    }

    #[tokio::test]
    async fn what_is_no_token_is_called_what_it_is() {
        for (content, reported) in [
            (&b"\xff\xfeg\0h\0p\0"[..], "UTF-16"),
            (b"GITHUB_TOKEN=ghp_secret\nOTHER=1\n", "2 lines of text"),
            (b"GITHUB_TOKEN=\n", "it is empty"),
            (b"''", "it is empty"),
            (b"\"ghp_secret", "a quotation mark"),
            (
                b"-----BEGIN RSA PRIVATE KEY-----\nghp_secret\n-----END RSA PRIVATE KEY-----",
                "private_key_file",
            ),
            (b"token: ghp_secret", "white space"),
        ] {
            let (_directory, source) = source_with(content);
            let text = source.read().await.unwrap_err().to_string();
            assert!(text.contains(reported) && !text.contains("ghp_sec"), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused_in_one_line_that_does_not_show_it() {
        for content in [
            &b""[..],
            b"\n",
            b"ghp_sec\nret",
            b"ghp_sec\x07ret",
            "ghp_secrét".as_bytes(),
            b"ghp_sec\xffret",
            "x".repeat(20_000).as_bytes(),
        ] {
            let (_directory, source) = source_with(content);
            let error = source.read().await.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(matches!(error, GithubError::Refused(_)), "{text}");
            assert!(
                text.contains("token file") && !text.contains("ghp_sec") && !text.contains('\n'),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn a_missing_file_a_directory_and_an_unset_variable_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = TokenSource::File(directory.path().join("none"));
        assert!(missing.read().await.unwrap_err().to_string().contains("No such file"));
        let not_a_file = TokenSource::File(directory.path().to_owned());
        let text = not_a_file.read().await.unwrap_err().to_string();
        assert!(
            text.ends_with("it is a directory, not a regular file; set the path of the file in it"),
            "{text}"
        );
        assert_eq!(not_a_file.warning(), None, "a directory's mode is no fault");
        let unset = TokenSource::Env("DAYFLY_SURELY_UNSET".to_owned());
        assert!(unset.read().await.unwrap_err().to_string().contains("DAYFLY_SURELY_UNSET"));
    }

    #[tokio::test]
    async fn a_command_gives_the_token_and_its_failure_shows_neither_arguments_nor_output() {
        assert_eq!(shell("echo ghp_abc").read().await.unwrap().expose_secret(), "ghp_abc");
        let failing = shell("echo ghp_secret; echo ghp_secret >&2; exit 3");
        let text = format!("{} {failing:?}", failing.read().await.unwrap_err());
        assert!(text.contains("exit status: 3") && !text.contains("ghp_secret"), "{text}");
        assert!(TokenSource::Command(vec![]).read().await.is_err());
        assert!(TokenSource::Command(vec!["/nonexistent/x".to_owned()]).read().await.is_err());
    }

    #[test]
    fn a_file_that_others_may_read_is_warned_about() {
        let (_directory, source) = source_with(b"ghp_abc");
        let TokenSource::File(path) = &source else { unreachable!() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(source.warning().unwrap().contains("mode 0640"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(source.warning(), None);
    }
}
