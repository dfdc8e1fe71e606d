//! The key pair of a GitHub App that exists in tests only.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dayfly_simulator::{App, Installation};
use ring::rsa::KeyPair;

/// The key pair.
pub(crate) fn pair() -> KeyPair {
    let base64: String =
        include_str!("app.pkcs1.pem").lines().filter(|line| !line.starts_with('-')).collect();
    KeyPair::from_der(&BASE64_STANDARD.decode(base64).expect("a key")).expect("an RSA key")
}

/// An App with that key, installed on `acme` with number 41.
pub(crate) fn app() -> App {
    App {
        id: 7,
        client_id: "Iv23liabc".to_owned(),
        public_key: pair().public().as_ref().to_vec(),
        installations: vec![Installation::new(41, "acme")],
    }
}
