//! Files that hold a secret: how they are read, and who else may read them.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::files::{self, FileError};

/// The mode of a secret's file that others than its owner may read.
pub(super) fn open_to_others(path: &Path) -> Option<u32> {
    // systemd guards its credentials by their directory, and shows group bits for its ACLs.
    if std::env::var_os("CREDENTIALS_DIRECTORY").is_some_and(|guarded| path.starts_with(guarded)) {
        return None;
    }
    let found = std::fs::metadata(path).ok()?;
    let mode = found.permissions().mode() & 0o777;
    // Only a file has a mode that matters here: another answer than "no file" would be beside the point.
    (found.is_file() && mode & 0o077 != 0).then_some(mode)
}

/// Reads a secret's file without blocking the other tasks of this thread.
pub(super) async fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || files::read(&path, files::MAX_SECRET));
    reading.await.unwrap_or_else(|error| Err(FileError::Io(error.into())))
}
