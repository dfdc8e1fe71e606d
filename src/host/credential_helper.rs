//! Runs Docker's credential helpers: programs `docker-credential-NAME` that return a registry's credentials
//! (docker/docker-credential-helpers). Neither their output nor the credentials show in an error.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use crate::text::one_line;

/// How long a helper may take: those of clouds ask their cloud.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long the standard error of a helper that has exited is waited for: a process that it left behind may have
/// it open.
const STDERR_GRACE: Duration = Duration::from_millis(100);

/// No credentials are longer.
const MAX_OUTPUT: u64 = 64 * 1024;

/// What helpers print, with a failure, for a registry that they have no credentials for.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The name under which a helper returns an identity token.
const IDENTITY_TOKEN: &str = "<token>";

/// A registry's credentials as a helper returns them.
pub(super) struct Found {
    /// Without one, the secret is an identity token.
    pub(super) username: Option<String>,
    pub(super) secret: SecretString,
}

/// Why a helper did not answer.
#[derive(Debug)]
pub(super) enum HelperError {
    /// It is not installed.
    NotInstalled,
    /// Anything else, in one line.
    Failed(String),
}

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    username: String,
    secret: SecretString,
}

impl Default for Answer {
    fn default() -> Self {
        Self { username: String::new(), secret: SecretString::from("") }
    }
}

/// The program of the helper with this name in Docker's configuration.
pub(super) fn program(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// Asks the helper with this name for a registry's credentials; `None` when it has none.
pub(super) async fn credentials(name: &str, registry: &str) -> Result<Option<Found>, HelperError> {
    // It is looked up in PATH, and is never a path itself.
    if name.contains(['/', '\0']) {
        return Err(HelperError::Failed("its name is not one of a program".to_owned()));
    }
    ask(&program(name), registry, DEADLINE).await
}

async fn ask(program: &str, registry: &str, deadline: Duration) -> Result<Option<Found>, HelperError> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => HelperError::NotInstalled,
            _ => HelperError::Failed(format!("it cannot be started: {error}")),
        })?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let answered = timeout(deadline, async {
        let question = async {
            if let Some(mut input) = input {
                // A helper that does not read it fails by itself, or needs no question.
                let _ = input.write_all(registry.as_bytes()).await;
            }
        };
        let ((), output) = tokio::join!(question, bounded(output));
        let output = output?;
        child.wait().await.map(|status| (status, output))
    });
    let (status, output) = match answered.await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return Err(HelperError::Failed(error.to_string())),
        Err(_) => {
            let text = format!("it did not answer within {} s", deadline.as_secs_f32());
            return Err(HelperError::Failed(text));
        }
    };
    if !status.success() {
        // Helpers print what is wrong to their output, some to standard error.
        let said = output.expose_secret().trim();
        if said == NOT_FOUND {
            return Ok(None);
        }
        let errors = timeout(STDERR_GRACE, bounded(errors)).await;
        let errors = errors.ok().and_then(Result::ok).unwrap_or_default();
        let said = if said.is_empty() { errors.expose_secret().trim() } else { said };
        return Err(HelperError::Failed(failure(said, status)));
    }
    let Ok(answer) = serde_json::from_str::<Answer>(output.expose_secret()) else {
        let text = "what it returned is not the JSON object of a credential helper";
        return Err(HelperError::Failed(text.to_owned()));
    };
    if answer.secret.expose_secret().is_empty() {
        return Ok(None);
    }
    let username = Some(answer.username).filter(|name| name != IDENTITY_TOKEN);
    Ok(Some(Found { username, secret: answer.secret }))
}

/// Reads until the end, or until no credentials can be that long.
async fn bounded(stream: Option<impl AsyncRead + Unpin>) -> io::Result<SecretString> {
    let mut read = Vec::new();
    if let Some(stream) = stream {
        stream.take(MAX_OUTPUT + 1).read_to_end(&mut read).await?;
    }
    if read.len() as u64 > MAX_OUTPUT {
        return Err(io::Error::other("it returned more than 64 KiB"));
    }
    Ok(String::from_utf8_lossy(&read).into_owned().into())
}

/// What a failing helper said, in one line. Credentials are JSON: an answer that could have some is not shown.
fn failure(said: &str, status: ExitStatus) -> String {
    if said.is_empty() || said.contains('{') {
        format!("it failed ({status}); run it in a shell to see why")
    } else {
        one_line(said)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

    use super::*;

    /// Asks a helper that is this shell script.
    async fn answer(script: &str) -> Result<Option<Found>, HelperError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("helper");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // Another test may be forking while the script is open for writing.
        for _ in 0..100 {
            match ask(path.to_str().unwrap(), "r.example:5000", Duration::from_secs(2)).await {
                Err(HelperError::Failed(text)) if text.contains("Text file busy") => {
                    tokio::task::yield_now().await;
                }
                answer => return answer,
            }
        }
        panic!("the script stays busy")
    }

    async fn refused(script: &str) -> String {
        match answer(script).await {
            Err(HelperError::Failed(text)) => text,
            Err(HelperError::NotInstalled) => panic!("it is installed"),
            Ok(_) => panic!("it answered"),
        }
    }

    #[tokio::test]
    async fn a_helper_gets_the_registry_and_returns_its_credentials() {
        let script = r#"read -r asked; echo "{\"ServerURL\": \"$asked\", \"Username\": \"$1-$asked\", \"Secret\": \"pw\"}""#;
        let found = answer(script).await.unwrap().unwrap();
        assert_eq!(
            (found.username.as_deref(), found.secret.expose_secret()),
            (Some("get-r.example:5000"), "pw")
        );
        let found = answer(r#"echo '{"Username": "<token>", "Secret": "t"}'"#).await.unwrap().unwrap();
        assert_eq!((found.username, found.secret.expose_secret()), (None, "t"));
    }

    #[tokio::test]
    async fn a_helper_without_credentials_for_a_registry_is_no_failure() {
        for script in [
            "echo 'credentials not found in native keychain'; exit 1",
            r#"echo '{"Username": "", "Secret": ""}'"#,
        ] {
            assert!(answer(script).await.unwrap().is_none(), "{script}");
        }
    }

    #[tokio::test]
    async fn a_failing_helper_is_reported_in_one_line_without_credentials() {
        for (script, reported) in [
            ("echo 'token expired:'; echo 'log in again'; exit 1", "token expired: log in again"),
            ("echo 'no region' >&2; exit 2", "no region"),
            (r#"echo '{"Username": "me", "Secret": "pw-secret"}'; exit 1"#, "exit status: 1"),
            ("exit 3", "exit status: 3"),
            ("echo pw-secret", "not the JSON object"),
            ("while :; do echo 0123456789012345678901234567890123456789; done", "more than 64 KiB"),
        ] {
            let text = refused(script).await;
            assert!(text.contains(reported) && !text.contains("pw-secret"), "{script}: {text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_given_up_and_one_that_is_missing_is_named_so() {
        let began = Instant::now();
        assert!(refused("sleep 600").await.contains("within 2 s"));
        assert!(began.elapsed() < Duration::from_mins(1));
        let missing = credentials("dayfly-surely-missing", "r.example").await;
        assert!(matches!(missing, Err(HelperError::NotInstalled)));
        assert!(matches!(credentials("../sh", "r.example").await, Err(HelperError::Failed(_))));
    }
}
