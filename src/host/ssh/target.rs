//! Where an `ssh://` endpoint leads to: a login, and a socket there.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::host::address::is_host;

/// The socket that Docker's packages make.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// Why a text is not a login; reads after "is invalid: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshTargetError {
    /// Not `[user@]host[:port][/path]`.
    #[error(
        "ssh:// must be followed by [user@]host, with :PORT and the path of the socket there if they are unusual"
    )]
    Login,
    /// A password in the address.
    #[error("it must not contain a password; ssh takes its key from its agent or configuration")]
    Password,
}

/// A login and the engine's socket on that machine: `[user@]host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshTarget {
    user: Option<String>,
    /// A name of the `ssh` program's configuration, a DNS name, or an address without brackets.
    host: String,
    port: Option<u16>,
    socket: PathBuf,
}

impl SshTarget {
    /// Reads what follows `ssh://`.
    pub(in crate::host) fn read(text: &str) -> Result<Self, SshTargetError> {
        let (login, path) = match text.split_once('/') {
            Some((login, path)) => (login, Some(path).filter(|path| !path.is_empty())),
            None => (text, None),
        };
        let (user, machine) = match login.rsplit_once('@') {
            Some((user, machine)) => (Some(user), machine),
            None => (None, login),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(SshTargetError::Password);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // ssh would take a leading hyphen for an option.
        let is_user = |user: &str| !user.is_empty() && !user.starts_with('-') && user.chars().all(is_plain);
        let (host, port) = match machine.rsplit_once(':') {
            Some((host, port)) if is_host(host) => {
                let port = port.parse().ok().filter(|port| *port > 0);
                (host, Some(port.ok_or(SshTargetError::Login)?))
            }
            _ => (machine, None),
        };
        // A path goes into an option of ssh, which has colons between its parts.
        let socket = path.map_or(USUAL_SOCKET.to_owned(), |path| format!("/{path}"));
        if !user.is_none_or(is_user) || !is_host(host) || socket.contains(':') {
            return Err(SshTargetError::Login);
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, socket: socket.into() })
    }

    /// The engine's socket there.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The arguments of `ssh` that say where to log in.
    pub(super) fn arguments(&self) -> Vec<String> {
        let port = self.port.map(|port| ["-p".to_owned(), port.to_string()]);
        let user = self.user.clone().map(|user| ["-l".to_owned(), user]);
        port.into_iter().chain(user).flatten().chain(["--".to_owned(), self.host.clone()]).collect()
    }

    /// What a person writes after `ssh` to log in there.
    pub(super) fn login(&self) -> String {
        let port = self.port.map_or(String::new(), |port| format!("-p {port} "));
        let user = self.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
        format!("{port}{user}{}", self.host)
    }
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        if self.socket != Path::new(USUAL_SOCKET) {
            write!(f, "{}", self.socket.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_becomes_arguments_that_ssh_cannot_misread() {
        for (text, arguments) in [
            ("ci1", "-- ci1"),
            ("me@ci1.example:2222", "-p 2222 -l me -- ci1.example"),
            ("me@[fe80::1]:22", "-p 22 -l me -- fe80::1"),
        ] {
            let target = SshTarget::read(text).unwrap();
            assert_eq!(
                (target.arguments().join(" "), target.to_string()),
                (arguments.to_owned(), text.to_owned())
            );
            assert_eq!(target.socket(), Path::new("/var/run/docker.sock"));
        }
        let rootless = SshTarget::read("ci1/run/user/1000/docker.sock").unwrap();
        assert_eq!(rootless.socket(), Path::new("/run/user/1000/docker.sock"));
        assert_eq!(rootless.to_string(), "ci1/run/user/1000/docker.sock");
    }
}
