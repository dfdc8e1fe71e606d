//! Where systemd loads the credentials of Dayfly's unit from. Only the service has `$CREDENTIALS_DIRECTORY`;
//! commands in a shell find the same secret in the file that the unit names.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::files;

/// The name of the shipped unit.
const UNIT: &str = "dayfly.service";

/// The directories of units, highest priority first (systemd.unit(5)).
pub(super) const UNIT_DIRS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The source of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// A plain file.
    Plain(PathBuf),
    /// A file that only systemd can decrypt.
    Encrypted(PathBuf),
}

/// The source of the credential of this name: the last setting wins, drop-ins come after the unit.
pub(super) fn loaded(unit_dirs: &[PathBuf], name: &str) -> Option<Loaded> {
    let unit = unit_dirs.iter().map(|dir| dir.join(UNIT)).find(|unit| unit.is_file());
    let texts = unit.into_iter().chain(drop_ins(unit_dirs));
    let mut found = None;
    for text in texts.filter_map(|file| String::from_utf8(files::read(&file, files::MAX_TEXT).ok()?).ok()) {
        for line in text.replace("\\\n", " ").lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let loaded: fn(PathBuf) -> Loaded = match key.trim() {
                "LoadCredential" => Loaded::Plain,
                "LoadCredentialEncrypted" => Loaded::Encrypted,
                _ => continue,
            };
            match value.trim().split_once(':') {
                // A relative path means a directory of systemd's.
                Some((id, path)) if id == name && Path::new(path).is_absolute() => {
                    found = Some(loaded(path.into()));
                }
                None if value.trim().is_empty() => found = None,
                _ => {}
            }
        }
    }
    found
}

/// The unit's drop-ins in the order of their names; each hides those of the same name in later directories.
fn drop_ins(unit_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut by_name: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for dir in unit_dirs {
        let entries = fs::read_dir(dir.join(format!("{UNIT}.d"))).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "conf")) {
            by_name.entry(entry.file_name()).or_insert_with(|| entry.path());
        }
    }
    by_name.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_unit_says_where_its_token_is() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("none"), dir.path().to_owned()];
        assert_eq!(loaded(&dirs, "token"), None);
        let shipped = include_str!("../../deploy/systemd/dayfly.service");
        fs::write(dir.path().join(UNIT), shipped).unwrap();
        assert_eq!(loaded(&dirs, "token"), Some(Loaded::Plain("/etc/dayfly/token".into())));
        assert_eq!(loaded(&dirs, "other"), None);
    }

    #[test]
    fn drop_ins_come_after_the_unit_and_the_last_word_counts() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("etc"), dir.path().join("lib")];
        let write = |at: &Path, name: &str, text: &str| {
            fs::create_dir_all(at).unwrap();
            fs::write(at.join(name), text).unwrap();
        };
        write(&dirs[1], UNIT, "[Service]\n# LoadCredential=token:/comment\nLoadCredential=token:/a\n");
        let drop_in = |at: &Path, name: &str, text: &str| write(&at.join("dayfly.service.d"), name, text);
        drop_in(
            &dirs[1],
            "10.conf",
            "[Service]\nLoadCredentialEncrypted = token:/b\nLoadCredential=app:/c\n",
        );
        assert_eq!(loaded(&dirs, "token"), Some(Loaded::Encrypted("/b".into())));
        assert_eq!(loaded(&dirs, "app"), Some(Loaded::Plain("/c".into())));
        drop_in(&dirs[0], "10.conf", "[Service]\nLoadCredential=\\\n token:/d\n");
        drop_in(&dirs[0], "20.txt", "[Service]\nLoadCredential=token:/e\n");
        assert_eq!(loaded(&dirs, "token"), Some(Loaded::Plain("/d".into())));
        drop_in(&dirs[0], "30.conf", "[Service]\nLoadCredential=\n");
        assert_eq!(loaded(&dirs, "token"), None);
    }
}
