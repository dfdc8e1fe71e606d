//! Opens, reads and makes files: those that the operator names, those of the machine, and those of the state
//! directory. Only regular files of a bounded size are read, and opening one never waits: a named pipe in the
//! place of a token would otherwise stop the program before it has said a word.

use std::{
    fs::{self, DirBuilder, File, FileType},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// The largest file with a token, a key or another secret. GitHub's longest tokens have some 520 characters
/// (changelog of 2026-05-15), a key of 16384 bits 13 kB.
pub const MAX_SECRET: u64 = 64 << 10;

/// The largest file of any other kind: a configuration, or a bundle of certificates.
pub const MAX_TEXT: u64 = 4 << 20;

/// Why a file is not read; reads after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// Not a file that has an end.
    #[error("is {0}, not a regular file")]
    NotRegular(&'static str),
    /// Larger than this many bytes.
    #[error("is larger than {} KiB", .0 >> 10)]
    TooLarge(u64),
}

impl FileError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "run this as a user that can read it, for example as root with sudo"
            }
            Self::Io(_) => "check that it exists and that this user can read it",
            Self::NotRegular(DIRECTORY) => "set the path of the file in it",
            Self::NotRegular(_) => "write its content to a regular file",
            Self::TooLarge(_) => "check that it is the right file",
        }
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}

/// Opens a regular file of at most `most` bytes for reading.
pub fn open(path: &Path, most: u64) -> Result<File, FileError> {
    let file = open_regular(path, OFlags::RDONLY, Mode::empty())?;
    match file.metadata() {
        Ok(found) if found.len() > most => Err(FileError::TooLarge(most)),
        Ok(_) => Ok(file),
        Err(error) => Err(FileError::Io(error)),
    }
}

/// Reads a regular file of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let file = open(path, most)?;
    let mut content = Vec::new();
    // Its size is not to be relied on: it may grow, and files below /proc have none.
    file.take(most + 1).read_to_end(&mut content).map_err(FileError::Io)?;
    if content.len() as u64 > most { Err(FileError::TooLarge(most)) } else { Ok(content) }
}

/// The trimmed text of one of the machine's small files, if it can be had.
pub fn line(path: &str) -> Option<String> {
    let text = String::from_utf8(read(Path::new(path), MAX_SECRET).ok()?).ok()?;
    Some(text.trim().to_owned())
}

/// Opens a file for writing that no other user can read, and creates it if it does not exist. Its content
/// stays.
pub fn open_private(path: &Path) -> Result<File, FileError> {
    // A symbolic link that another user created there would lead elsewhere.
    open_regular(path, OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW, PRIVATE)
}

/// Writes a file that no other user can read.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = open_private(path)?;
    // One that was there may be open to others.
    rustix::fs::fchmod(&file, PRIVATE)?;
    file.set_len(0)?;
    file.write_all(content)
}

/// Creates a directory and its parents, which no other user can list. One that exists is left as it is.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Readable and writable for its owner.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

const DIRECTORY: &str = "a directory";

fn open_regular(path: &Path, flags: OFlags, mode: Mode) -> Result<File, FileError> {
    // Without NONBLOCK, opening a named pipe waits for its other end; without NOCTTY, a terminal becomes ours.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, mode) {
        Ok(opened) => File::from(opened),
        // A socket, or a pipe without a reader, is refused here already, in words that name neither.
        Err(error) => {
            let found = fs::metadata(path).ok().and_then(|found| other_kind(found.file_type()));
            return Err(found.map_or_else(|| FileError::Io(error.into()), FileError::NotRegular));
        }
    };
    let found = file.metadata().map_err(FileError::Io)?;
    match other_kind(found.file_type()) {
        Some(kind) => Err(FileError::NotRegular(kind)),
        None => Ok(file),
    }
}

/// What it is, unless it is a regular file.
fn other_kind(found: FileType) -> Option<&'static str> {
    if found.is_file() {
        None
    } else if found.is_dir() {
        Some(DIRECTORY)
    } else if found.is_fifo() {
        Some("a pipe")
    } else if found.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::PermissionsExt, net::UnixListener};

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, reported) in [
            (&*pipe, "is a pipe, not a regular file"),
            (&socket, "is a socket, not a regular file"),
            (folder.path(), "is a directory, not a regular file"),
            (Path::new("/dev/zero"), "is a device, not a regular file"),
        ] {
            assert_eq!(read(path, MAX_TEXT).unwrap_err().to_string(), reported);
            assert_eq!(open_private(path).unwrap_err().to_string(), reported);
            assert_eq!(write_private(path, b"x").unwrap_err().to_string(), reported);
        }
        let missing = read(&folder.path().join("none"), MAX_TEXT).unwrap_err();
        assert!(matches!(&missing, FileError::Io(error) if error.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, [b'x'; 2048]).unwrap();
        assert_eq!(read(&file, 2048).unwrap().len(), 2048);
        let error = read(&file, 2047).unwrap_err();
        assert_eq!(error.to_string(), "is larger than 1 KiB");
        // It says that it is empty, and is not.
        assert!(!read(Path::new("/proc/self/status"), MAX_TEXT).unwrap().is_empty());
        assert!(matches!(read(Path::new("/proc/self/status"), 8), Err(FileError::TooLarge(8))));
    }

    #[test]
    fn what_is_made_no_one_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let (state, file) = (folder.path().join("a/b"), folder.path().join("a/b/file"));
        make_private_dir(&state).unwrap();
        make_private_dir(&state).unwrap();
        write_private(&file, b"longer").unwrap();
        write_private(&file, b"short").unwrap();
        assert_eq!((mode(&folder.path().join("a")), mode(&state), mode(&file)), (0o700, 0o700, 0o600));
        assert_eq!(fs::read(&file).unwrap(), b"short");
    }
}
