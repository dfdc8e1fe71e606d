//! JSON web tokens that the App of the tests signs, as GitHub takes them and otherwise.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{rand::SystemRandom, signature::RSA_PKCS1_SHA256};
use serde_json::{Value, json};

use crate::keys::pair;

/// A JSON web token with these claims, signed.
pub(crate) fn with(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
    let pair = pair();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .expect("a signature");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// One that is good now, give or take these seconds.
pub(crate) fn from(issuer: &str, since: i64, expires: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    with(&json!({ "iss": issuer, "iat": now + since, "exp": now + expires }))
}
