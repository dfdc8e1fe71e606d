//! A GitHub App's private key, and the JSON Web Token that it signs. Neither shows in `Debug` or in
//! an error text.

use std::{fmt, path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
use rustls::pki_types::PrivateKeyDer;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    private_key::private_key,
    secret_file::{open_to_others, read_file},
};
use crate::{fleet::Timestamp, github::GithubError};

/// How far in the past a JWT is issued, and how long it is valid. GitHub accepts none that was issued in its
/// future, or that is valid for more than ten minutes.
const ISSUED_AGO: Duration = Duration::from_mins(1);
const GOOD_FOR: Duration = Duration::from_mins(9);

/// A GitHub App, and where its private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSource {
    /// The App's client id (`Iv1.…`, `Iv23…`) or number.
    pub app_id: String,
    /// Its private key in PEM, as GitHub gives it (PKCS#1) or as PKCS#8. Read again for each JWT,
    /// so that a new key needs no restart.
    pub private_key_file: PathBuf,
    /// Its installation on the one account that it serves; found from each scope when left out.
    pub installation_id: Option<u64>,
}

impl AppSource {
    /// Reads the private key and makes sure that it can sign.
    pub(in crate::github) async fn key(&self) -> Result<KeyPair, GithubError> {
        let refused = |why: &str| {
            let file = self.private_key_file.display();
            GithubError::Refused(format!(
                "no usable private key for {self} in {file}: it {why}; put the PEM file there that GitHub \
                 offered when the key was created"
            ))
        };
        let pem = read_file(&self.private_key_file).await.map_err(|why| refused(&why.to_string()))?;
        let key = private_key(&pem).map_err(refused)?;
        let pair = match &key {
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            _ => return Err(refused("contains a key that is not an RSA key, as GitHub's are")),
        };
        pair.map_err(|error| refused(&format!("contains no usable RSA key ({error})")))
    }

    /// A warning about the key's file.
    pub(in crate::github) fn warning(&self) -> Option<String> {
        let file = self.private_key_file.display();
        open_to_others(&self.private_key_file).map(|mode| {
            format!("other users can read the private key {file} (mode {mode:04o}); run: chmod 600 {file}")
        })
    }

    /// A JWT of this App, good for some minutes from `now` by GitHub's clock.
    pub(in crate::github) async fn jwt(&self, now: Timestamp) -> Result<SecretString, GithubError> {
        let key = self.key().await?;
        // A number is sent as a number, which older servers require.
        let issuer =
            self.app_id.parse::<u64>().map_or_else(|_| Value::from(self.app_id.as_str()), Value::from);
        let seconds = |at: Timestamp| at.as_millis() / 1000;
        let claims =
            json!({ "iat": seconds(now - ISSUED_AGO), "exp": seconds(now + GOOD_FOR), "iss": issuer });
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let mut jwt = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(&claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), jwt.as_bytes(), &mut signature)
            .map_err(|_| GithubError::Refused(format!("the private key of {self} cannot sign")))?;
        jwt.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&signature, &mut jwt);
        Ok(jwt.into())
    }
}

impl fmt::Display for AppSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitHub App {}", self.app_id)
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use secrecy::ExposeSecret;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_348_800_000);

    fn app(app_id: &str, key: &[u8]) -> (tempfile::TempDir, AppSource) {
        let directory = tempfile::tempdir().unwrap();
        let private_key_file = directory.path().join("app.pem");
        std::fs::write(&private_key_file, key).unwrap();
        (directory, AppSource { app_id: app_id.to_owned(), private_key_file, installation_id: None })
    }

    const PKCS1: &[u8] = include_bytes!("../../../tests/keys/app.pkcs1.pem");
    const PKCS8: &[u8] = include_bytes!("../../../tests/keys/app.pkcs8.pem");

    #[tokio::test]
    async fn both_forms_of_a_key_sign_a_jwt_that_the_public_key_verifies() {
        for (key, app_id, issuer) in
            [(PKCS1, "Iv23liabc", json!("Iv23liabc")), (PKCS8, "123456", json!(123_456))]
        {
            let (_directory, app) = app(app_id, key);
            let jwt = app.jwt(NOW).await.unwrap();
            let (signed, signature) = jwt.expose_secret().rsplit_once('.').unwrap();
            let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            let public = app.key().await.unwrap().public().as_ref().to_vec();
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public)
                .verify(signed.as_bytes(), &signature)
                .unwrap();
            let parts: Vec<Value> = signed
                .split('.')
                .map(|part| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
                .collect();
            assert_eq!(parts[0], json!({ "alg": "RS256", "typ": "JWT" }));
            let now = NOW.as_millis() / 1000;
            assert_eq!(parts[1], json!({ "iat": now - 60, "exp": now + 540, "iss": issuer }));
        }
    }

    #[tokio::test]
    async fn what_is_no_rsa_key_is_refused_with_the_reason_and_without_its_text() {
        let elliptic = include_bytes!("../../../tests/keys/elliptic.pem");
        for (key, why) in [
            (&b""[..], "is empty"),
            (b"ghp_canary", "no private key in PEM"),
            (
                b"-----BEGIN RSA PRIVATE KEY-----\nY2FuYXJ5\n-----END RSA PRIVATE KEY-----\n",
                "no usable RSA key",
            ),
            (elliptic, "RSA key"),
        ] {
            let (_directory, app) = app("1", key);
            let error = app.jwt(NOW).await.err().unwrap();
            let text = format!("{error} {error:?}");
            assert!(matches!(error, GithubError::Refused(_)) && text.contains(why), "{text}");
            assert!(text.contains("app.pem") && !text.contains("canary"), "{text}");
        }
        let (directory, app) = app("1", b"");
        drop(directory);
        assert!(app.jwt(NOW).await.err().unwrap().to_string().contains("No such file"));
    }
}
