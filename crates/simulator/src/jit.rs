//! The JIT config: base64 of a JSON object whose values are base64 of the files that the runner writes, as
//! GitHub's is (actions/runner, `Runner.cs`), with the simulator's own content.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// About the length of GitHub's own.
const LENGTH: usize = 4088;

/// What the runner needs to connect.
pub(super) struct Jit {
    pub(super) server_url: String,
    pub(super) agent_id: u64,
    pub(super) agent_name: String,
    pub(super) secret: String,
}

/// Why a text is not a JIT config.
#[derive(Debug, thiserror::Error)]
pub(super) enum JitError {
    #[error("it is not base64")]
    Base64(#[from] base64::DecodeError),
    #[error("it is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl Jit {
    pub(super) fn encode(&self, work_folder: &str) -> String {
        let runner = json!({
            "AgentId": self.agent_id.to_string(),
            "AgentName": self.agent_name,
            "DisableUpdate": "True",
            "Ephemeral": "True",
            "GitHubUrl": "",
            "PoolId": "1",
            "PoolName": "Default",
            "ServerUrl": self.server_url,
            "ServerUrlV2": self.server_url,
            "UseV2Flow": "True",
            "WorkFolder": work_folder,
        });
        let credentials = json!({
            "Scheme": "OAuth",
            "Data": { "ClientId": self.secret, "AuthorizationUrl": self.server_url, "RequireFipsCryptography": "True" },
        });
        let file = |content: &Value| BASE64_STANDARD.encode(content.to_string());
        let with_key = |key: &str| {
            let files = json!({
                ".runner": file(&runner),
                ".credentials": file(&credentials),
                ".credentials_rsaparams": file(&json!({ "d": key })),
            });
            BASE64_STANDARD.encode(files.to_string())
        };
        // Base64 twice: nine characters of the key are sixteen of the result.
        let missing = LENGTH.saturating_sub(with_key("").len()) * 9 / 16;
        with_key(&"k".repeat(missing))
    }

    /// The file `.runner` that the runner writes.
    pub(super) fn settings(text: &str) -> Option<Vec<u8>> {
        let files: Value = serde_json::from_slice(&BASE64_STANDARD.decode(text.trim()).ok()?).ok()?;
        BASE64_STANDARD.decode(files[".runner"].as_str()?).ok()
    }

    pub(super) fn decode(text: &str) -> Result<Self, JitError> {
        let files: Value = serde_json::from_slice(&BASE64_STANDARD.decode(text.trim())?)?;
        let file = |name: &'static str| -> Result<Value, JitError> {
            let content = files[name].as_str().ok_or(JitError::Missing(name))?;
            Ok(serde_json::from_slice(&BASE64_STANDARD.decode(content)?)?)
        };
        let (runner, credentials) = (file(".runner")?, file(".credentials")?);
        let field = |value: &Value, name| value.as_str().map(str::to_owned).ok_or(JitError::Missing(name));
        Ok(Self {
            server_url: field(&runner["ServerUrl"], "ServerUrl")?,
            agent_id: field(&runner["AgentId"], "AgentId")?
                .parse()
                .map_err(|_| JitError::Missing("a numeric AgentId"))?,
            agent_name: field(&runner["AgentName"], "AgentName")?,
            secret: field(&credentials["Data"]["ClientId"], "ClientId")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jit_config_comes_back_as_it_was_and_is_as_long_as_githubs() {
        let jit = Jit {
            server_url: "http://127.0.0.1:1".to_owned(),
            agent_id: 7,
            agent_name: "dayfly-linux-ci1-x".to_owned(),
            secret: "s".to_owned(),
        };
        let text = jit.encode("_work");
        assert!(text.len().abs_diff(LENGTH) < 32, "{}", text.len());
        let back = Jit::decode(&text).unwrap();
        assert_eq!(
            (back.server_url, back.agent_id, back.agent_name, back.secret),
            (jit.server_url, jit.agent_id, jit.agent_name, jit.secret)
        );
    }

    #[test]
    fn what_is_no_jit_config_is_refused() {
        for text in ["", "%", "bm8=", "e30="] {
            assert!(Jit::decode(text).is_err(), "{text}");
        }
    }
}
