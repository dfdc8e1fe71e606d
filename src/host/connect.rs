//! How an engine is reached.

use std::{path::PathBuf, str::FromStr};

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address, with mutual TLS when there is a directory of certificates.
    Tcp {
        /// `host:port`.
        address: String,
        /// Directory with `ca.pem`, `cert.pem` and `key.pem`.
        tls_dir: Option<PathBuf>,
    },
    /// An address for `ssh`.
    Ssh(String),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) if !address.is_empty() => {
                Ok(Self::Tcp { address: address.to_owned(), tls_dir: None })
            }
            Some(("ssh", address)) if !address.is_empty() => Ok(Self::Ssh(address.to_owned())),
            _ => Err("it must begin with unix:///, tcp:// or ssh://".to_owned()),
        }
    }
}
