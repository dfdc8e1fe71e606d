//! The key pair of a GitHub App that exists in tests only.

use dayfly::simulator::{App, Installation};
use ring::rsa::KeyPair;
use rustls::pki_types::{PrivatePkcs1KeyDer, pem::PemObject};

/// The key pair.
pub(crate) fn pair() -> KeyPair {
    let der = PrivatePkcs1KeyDer::from_pem_slice(include_bytes!("app.pkcs1.pem")).expect("a key");
    KeyPair::from_der(der.secret_pkcs1_der()).expect("an RSA key")
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
