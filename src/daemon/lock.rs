//! Two daemons of one instance would fight over the same runners, so the second one does not start.

use std::{
    fs::{File, TryLockError},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
};

use crate::fleet::InstanceId;

/// Held for as long as the daemon lives; the kernel lets go of it however the daemon ends.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
    _name: UnixListener,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error(
        "another daemon of instance {0} runs on this machine; stop it first, or give this one another `instance`"
    )]
    Taken(InstanceId),
    /// The state directory cannot be written.
    #[error("cannot write {path}: create the directory for the user that runs dayfly, or set `state_dir`")]
    StateDir {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl InstanceLock {
    /// Takes the lock, or says who has it. A file in the state directory guards those who share
    /// that directory, even from containers; an abstract socket those who share the machine.
    pub fn acquire(state_dir: &Path, instance: &InstanceId) -> Result<Self, LockError> {
        let path = state_dir.join("lock");
        let unwritable = |source| LockError::StateDir { path: path.clone(), source };
        std::fs::create_dir_all(state_dir).map_err(unwritable)?;
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Taken(instance.clone())),
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let address = SocketAddr::from_abstract_name(format!("dayfly/{instance}")).map_err(unwritable)?;
        match UnixListener::bind_addr(&address) {
            Ok(name) => Ok(Self { _file: file, _name: name }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken(instance.clone())),
            Err(source) => Err(unwritable(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
