//! What this machine lacks for the `ssh` program, and the meaning of that program's messages. It exits with the same
//! status for every failure, so its message is the only information.

use std::{env, ffi::OsStr, io, path::PathBuf};

use rustix::fs::{Access, access};

use super::target::SshTarget;

/// What this machine lacks for a login, if anything.
pub(super) fn missing() -> Option<String> {
    missing_in(env::var_os("PATH").as_deref())
}

fn missing_in(path: Option<&OsStr>) -> Option<String> {
    let is_program = |dir: PathBuf| access(dir.join("ssh"), Access::EXEC_OK).is_ok();
    let found = path.is_some_and(|path| env::split_paths(path).any(is_program));
    (!found).then(|| "the program ssh was not found; install the package openssh-client".to_owned())
}

/// Why a login failed, and what to do.
pub(super) fn refused(login: &str, error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let try_it = format!("`ssh {login} true`, run as the user that runs dayfly, must work without a prompt");
    let todo = if words.contains("Permission denied") {
        "put a key that it accepts in ~/.ssh, without a passphrase, or in an agent (SSH_AUTH_SOCK); "
    } else if words.contains("Host key verification failed") {
        "its host key is not the one in ~/.ssh/known_hosts: log in once from a shell; "
    } else if words.contains("Could not resolve hostname") {
        "check the name; "
    } else {
        ""
    };
    format!("ssh cannot log in to {login}: {words}; {todo}{try_it}")
}

/// The login succeeded, but there was no engine; `complaint` is the last line of `ssh`.
pub(in crate::host) fn no_engine(target: &SshTarget, complaint: &str) -> String {
    let (login, socket) = (target.login(), target.socket().display());
    let todo = if complaint.contains("administratively prohibited") {
        "set AllowStreamLocalForwarding and AllowTcpForwarding to yes in sshd_config there".to_owned()
    } else {
        format!(
            "start Docker there, add that user to the group docker, or write the path of its socket at the end of the \
             endpoint: `ssh {login} ls -l {socket}`"
        )
    };
    let complaint = if complaint.is_empty() { String::new() } else { format!(" ({complaint})") };
    format!("ssh can log in to {login}, but no Docker Engine responds at {socket} there{complaint}; {todo}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().as_os_str();
        assert!(missing_in(Some(path)).unwrap().contains("openssh-client"));
        assert!(missing_in(None).unwrap().contains("openssh-client"));
        let program = folder.path().join("ssh");
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(missing_in(Some(path)), None);
    }

    #[test]
    fn an_engine_that_does_not_respond_is_named_with_what_to_do() {
        let target = SshTarget::read("me@ci1:2222").unwrap();
        let text = no_engine(&target, "channel 1: open failed: connect failed: open failed");
        assert!(text.contains("`ssh -p 2222 me@ci1 ls -l /var/run/docker.sock`"), "{text}");
        let text = no_engine(&target, "channel 1: open failed: administratively prohibited: open failed");
        assert!(text.contains("AllowStreamLocalForwarding"), "{text}");
    }

    #[test]
    fn sshs_words_come_with_what_to_do() {
        for (words, reported) in [
            ("me@ci1: Permission denied (publickey).", "SSH_AUTH_SOCK"),
            ("No ED25519 host key is known\r\nHost key verification failed.\r\n", "known_hosts"),
            ("Could not resolve hostname ci1: Name or service not known", "check the name"),
            ("connect to host ci1 port 22: Connection refused", "`ssh me@ci1 true`"),
        ] {
            let text = refused("me@ci1", &io::Error::other(words));
            assert!(text.contains(reported) && text.lines().count() == 1, "{text}");
        }
    }
}
