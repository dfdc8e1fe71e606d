//! The parts of a container template that have types of their own.

use std::fmt;

/// A proxy that jobs use. An address may contain a password, so it is never shown.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// For addresses that begin with `http:`.
    pub http: Option<String>,
    /// For addresses that begin with `https:`.
    pub https: Option<String>,
    /// Names that are reached without a proxy, separated by commas.
    pub no_proxy: Option<String>,
}

impl Proxy {
    /// The user and password of an address, with which a proxy would be shown.
    pub fn login(address: &str) -> Option<&str> {
        let (_, rest) = address.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        authority.rsplit_once('@').map(|(login, _)| login)
    }

    /// An address as it can be shown.
    pub fn without_login(address: &str) -> String {
        match Self::login(address) {
            Some(login) => address.replacen(login, "…", 1),
            None => address.to_owned(),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("http", &self.http.as_deref().map(Self::without_login))
            .field("https", &self.https.as_deref().map(Self::without_login))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Scripts that the runner runs around its job: absolute paths on the engine's machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hooks {
    pub job_started: Option<String>,
    pub job_completed: Option<String>,
}

/// A device of the engine's machine that all runners share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Absolute path on the engine's machine.
    pub source: String,
    pub target: String,
    /// Of `r`, `w` and `m` (mknod).
    pub permissions: String,
}

/// A hash of the content of the files on this machine that a template names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilesDigest(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_proxy_is_not_shown() {
        let proxy = |address: &str| Proxy { http: Some(address.to_owned()), ..Proxy::default() };
        for address in
            ["http://user:hush@proxy:3128", "http://hush@proxy:3128/", "http://a@b:hush@proxy:3128"]
        {
            let shown = format!("{:?}", proxy(address));
            assert!(shown.contains("@proxy:3128") && !shown.contains("hush"), "{shown}");
        }
        assert!(format!("{:?}", proxy("http://proxy:3128")).contains("\"http://proxy:3128\""));
        assert_eq!(Proxy::login("http://proxy/a@b"), None);
    }
}
