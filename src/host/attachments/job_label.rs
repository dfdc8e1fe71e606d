//! The label that the runner gives to the containers and networks of its job, kept where it outlives the runner's
//! container.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{Docker, HostError, labels::labels};
use crate::{fleet::DockerMode, host::Launch};

/// Label of a volume: the label of the job.
pub(super) const LABEL_JOB: &str = "dev.dayfly.job-label";

impl Docker {
    /// Records the label of a runner's job, if the job uses this engine.
    pub(in crate::host) async fn mark_job(&self, launch: &Launch<'_>) -> Result<(), HostError> {
        let Launch { runner, pool, .. } = *launch;
        if !matches!(pool.template.docker, DockerMode::Socket { .. }) {
            return Ok(());
        }
        let Some(label) = job_label(launch.jit) else {
            tracing::debug!(%runner, "the JIT config has no file .runner: containers of its job are found by their mounts only");
            return Ok(());
        };
        let mut labels = labels(runner, "job");
        labels.insert(LABEL_JOB.to_owned(), label);
        self.create_volume(format!("{runner}-job"), labels).await?;
        Ok(())
    }
}

/// Six hexadecimal digits: the SHA-256 of the file `.runner` in lower case (actions/runner, `DockerCommandManager` and
/// `IOUtil.GetSha256Hash`). The JIT config contains the file.
fn job_label(jit: &SecretString) -> Option<String> {
    let files: Value = serde_json::from_slice(&BASE64_STANDARD.decode(jit.expose_secret()).ok()?).ok()?;
    let file = BASE64_STANDARD.decode(files[".runner"].as_str()?).ok()?;
    let text = String::from_utf8(file).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_lowercase();
    Some(hex::encode(&digest(&SHA256, text.as_bytes()).as_ref()[..3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jit(runner: &[u8]) -> SecretString {
        let files = serde_json::json!({ ".runner": BASE64_STANDARD.encode(runner), ".credentials": "" });
        BASE64_STANDARD.encode(files.to_string()).into()
    }

    #[test]
    fn the_label_is_the_beginning_of_the_hash_of_the_file_in_lower_case() {
        // printf '{"agentname":"one"}' | sha256sum
        let expected = Some("6236f7".to_owned());
        assert_eq!(job_label(&jit(br#"{"AgentName":"One"}"#)), expected);
        assert_eq!(job_label(&jit("\u{feff}{\"AgentName\":\"One\"}".as_bytes())), expected);
        assert_ne!(job_label(&jit(br#"{"AgentName":"Two"}"#)), expected);
    }

    #[test]
    fn what_is_no_jit_config_has_no_label() {
        for text in ["", "?", "e30=", "W10="] {
            assert_eq!(job_label(&text.to_owned().into()), None, "{text}");
        }
    }
}
