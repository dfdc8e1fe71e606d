//! The facts about the machine that defaults depend on, in a struct, so that tests can provide others.

use std::{
    fs,
    hash::Hasher,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use fnv::FnvHasher;

use super::unit::UNIT_DIRS;
use crate::{files::line, fleet::InstanceId};

/// Facts about the machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The machine id (machine-id(5)).
    pub id: Option<String>,
    pub hostname: Option<String>,
    pub root: bool,
    /// Whether the process runs in a container, whose id and host name may not outlive it.
    pub contained: bool,
    /// The directories of systemd's units, highest priority first.
    pub unit_dirs: Vec<PathBuf>,
}

impl Machine {
    /// The machine that this runs on.
    pub fn here() -> Self {
        Self {
            id: line("/etc/machine-id").or_else(|| line("/var/lib/dbus/machine-id")),
            hostname: line("/proc/sys/kernel/hostname").or_else(|| line("/etc/hostname")),
            root: fs::metadata("/proc/self").is_ok_and(|us| us.uid() == 0),
            contained: ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists()),
            unit_dirs: UNIT_DIRS.map(PathBuf::from).to_vec(),
        }
    }

    /// A short stable id: six letters and digits from a hash, since machine-id(5) asks not to expose the id
    /// itself.
    pub fn instance(&self) -> Option<InstanceId> {
        // An image that is not set up yet says "uninitialized".
        let id = self.id.as_ref().filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        let seed = id.or(self.hostname.as_ref().filter(|name| !name.is_empty()))?;
        // Not the standard library's hasher: that may change between its versions.
        let mut hasher = FnvHasher::default();
        hasher.write(format!("dayfly/{seed}").as_bytes());
        let mut hash = hasher.finish();
        let mut text = String::new();
        for _ in 0..6 {
            text.push(char::from_digit(u32::try_from(hash % 36).ok()?, 36)?);
            hash /= 36;
        }
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_follows_the_machine_id_and_is_the_same_in_every_version() {
        let one = Machine { id: Some("0123456789abcdef0123456789abcdef".to_owned()), ..Machine::default() };
        let other = Machine { id: Some("0123456789abcdef0123456789abcdee".to_owned()), ..Machine::default() };
        assert_eq!(one.instance().unwrap().as_str(), "7udwgp");
        assert_ne!(one.instance(), other.instance());
    }

    #[test]
    fn without_a_machine_id_the_host_name_serves() {
        let named = Machine { hostname: Some("builder".to_owned()), ..Machine::default() };
        let unset = Machine { id: Some("uninitialized".to_owned()), ..named.clone() };
        assert!(named.instance().is_some());
        assert_eq!(named.instance(), unset.instance());
        assert_eq!(Machine::default().instance(), None);
    }
}
