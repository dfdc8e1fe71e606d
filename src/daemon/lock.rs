//! Two daemons of one instance would manage the same runners, so the second one does not start.

use std::{
    fs::{File, TryLockError},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
};

use crate::{
    files::{self, FileError},
    fleet::InstanceId,
};

/// Held while the daemon runs; the kernel releases it however the daemon exits.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
    _name: UnixListener,
}

/// Why the lock could not be acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error(
        "another daemon of instance {0} is running on this machine; stop it first, or set `instance` to \
         another word"
    )]
    Taken(InstanceId),
    /// The state directory cannot be written.
    #[error(
        "cannot write {path} ({error}); the directory must belong to the user that runs dayfly: change its \
         owner, or set `state_dir` to another directory"
    )]
    StateDir {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The lock cannot be made in the state directory.
    #[error("the lock {path} {error}; remove it")]
    File {
        /// The lock.
        path: PathBuf,
        /// Why not.
        error: FileError,
    },
}

impl InstanceLock {
    /// Acquires the lock. A file in the state directory protects against daemons that share that directory,
    /// even in containers; an abstract socket against those on the same machine.
    pub fn acquire(state_dir: &Path, instance: &InstanceId) -> Result<Self, LockError> {
        let path = state_dir.join("lock");
        let unwritable = |error| LockError::StateDir { path: path.clone(), error };
        files::make_private_dir(state_dir).map_err(unwritable)?;
        let file = files::open_private(&path).map_err(|error| match error {
            FileError::Io(error) => unwritable(error),
            error => LockError::File { path: path.clone(), error },
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Taken(instance.clone())),
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let address = SocketAddr::from_abstract_name(format!("dayfly/{instance}")).map_err(unwritable)?;
        match UnixListener::bind_addr(&address) {
            Ok(name) => Ok(Self { _file: file, _name: name }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken(instance.clone())),
            Err(error) => Err(unwritable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn no_one_else_can_look_into_the_state_directory() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let instance: InstanceId = format!("mode{}", std::process::id()).parse().unwrap();
        let _lock = InstanceLock::acquire(&state, &instance).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn a_second_daemon_of_the_instance_is_refused_and_another_instance_is_not() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let instance: InstanceId = format!("lock{}", std::process::id()).parse().unwrap();
        let lock = InstanceLock::acquire(dirs[0].path(), &instance).unwrap();
        for dir in &dirs {
            let second = InstanceLock::acquire(dir.path(), &instance);
            assert!(matches!(second, Err(LockError::Taken(_))), "{second:?}");
        }
        InstanceLock::acquire(dirs[1].path(), &"lockother".parse().unwrap()).unwrap();
        drop(lock);
        InstanceLock::acquire(dirs[0].path(), &instance).unwrap();
    }
}
