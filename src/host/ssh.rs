//! Hosts that are reached through the `ssh` program: what this machine lacks for it, and the meaning of its
//! messages. It exits with the same status for every failure, so its message is the only information.

use std::{
    env,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

/// What this machine lacks for a login, if anything.
pub(super) fn missing() -> Option<String> {
    missing_in(env::var_os("PATH").as_deref(), control_dir())
}

fn missing_in(path: Option<&OsStr>, control_dir: Option<PathBuf>) -> Option<String> {
    let is_program = |dir: PathBuf| access(dir.join("ssh"), Access::EXEC_OK).is_ok();
    if !path.is_some_and(|path| env::split_paths(path).any(is_program)) {
        return Some("the program ssh was not found; install the package openssh-client".to_owned());
    }
    let Some(dir) = control_dir else {
        return Some(
            "this user has no home directory for ssh; set HOME to a directory that contains .ssh".to_owned(),
        );
    };
    let there = dir.ancestors().find(|dir| dir.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    let error = match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there.is_dir() => return None,
        Ok(()) => format!("{} is not a directory", there.display()),
        Err(error) => error.to_string(),
    };
    Some(format!(
        "ssh cannot store its connection in {}: {error}; set HOME to a directory that this user can write \
         and that contains .ssh",
        dir.display()
    ))
}

/// The directory of the control sockets for shared connections, which bollard chooses.
fn control_dir() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    match env::var_os("XDG_STATE_HOME") {
        Some(dir) => absolute(dir.into()),
        None => Some(absolute(env::home_dir()?)?.join(".local/state")),
    }
}

/// Why a login failed, and what to do.
pub(super) fn refused(login: &str, error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let try_it =
        format!("`ssh {login} docker version`, run as the user that runs dayfly, must work without a prompt");
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

/// The login succeeded, but there was no engine.
pub(super) fn no_engine(login: &str) -> String {
    format!(
        "ssh can log in to {login}, but no Docker Engine responds there; install it, and add that user to \
         the group docker: `ssh {login} docker version` must show a server"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = Some(folder.path().join("home/.local/state"));
        let none = missing_in(Some(folder.path().as_os_str()), home.clone()).unwrap();
        assert!(none.contains("openssh-client"), "{none}");
        assert!(missing_in(None, home.clone()).unwrap().contains("openssh-client"));
        let program = folder.path().join("ssh");
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = folder.path().as_os_str();
        assert_eq!(missing_in(Some(path), home), None);
        assert!(missing_in(Some(path), None).unwrap().contains("set HOME"));
        let nowhere = missing_in(Some(path), Some(program.join(".local/state"))).unwrap();
        assert!(nowhere.contains("set HOME"), "{nowhere}");
    }

    #[test]
    fn sshs_words_come_with_what_to_do() {
        for (words, reported) in [
            ("me@ci1: Permission denied (publickey).", "SSH_AUTH_SOCK"),
            ("No ED25519 host key is known\r\nHost key verification failed.\r\n", "known_hosts"),
            ("Could not resolve hostname ci1: Name or service not known", "check the name"),
            ("connect to host ci1 port 22: Connection refused", "`ssh me@ci1 docker version`"),
        ] {
            let text = refused("me@ci1", &io::Error::other(words));
            assert!(text.contains(reported) && text.lines().count() == 1, "{text}");
        }
    }
}
