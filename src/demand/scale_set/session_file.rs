//! The id of the open session, in a file: after a kill the next daemon closes that session instead of waiting
//! for its expiry. Only a cache.

use std::{fs, io, path::Path};

use crate::{
    files,
    github::scale_set::{ScaleSetId, SessionId},
};

/// A session that was ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SavedSession {
    pub(super) set: ScaleSetId,
    pub(super) session: SessionId,
}

/// The session in a file, if it is there and can be read.
pub(super) fn read(file: &Path) -> Option<SavedSession> {
    let text = String::from_utf8(files::read(file, files::MAX_SECRET).ok()?).ok()?;
    let (set, session) = text.trim_end().split_once(' ')?;
    Some(SavedSession { set: ScaleSetId(set.parse().ok()?), session: SessionId::parse(session)? })
}

/// Saves a session's id. It is useless without a credential; still only this user can read it.
pub(super) fn write(file: &Path, set: ScaleSetId, session: &SessionId) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        files::make_private_dir(folder)?;
    }
    let fresh = file.with_extension("new");
    files::write_private(&fresh, format!("{set} {}\n", session.as_str()).as_bytes())?;
    fs::rename(&fresh, file)
}

/// Removes the file of a session that is closed.
pub(super) fn remove(file: &Path) {
    if let Err(error) = fs::remove_file(file)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(file = %file.display(), %error, "failed to remove the file of a closed session");
    }
}
