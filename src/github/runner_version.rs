//! Versions of the runner software, which are three numbers: `2.336.0`.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A version of the runner software, such as `2.336.0`; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunnerVersion {
    /// The first number, which has been 2 since the runner is open source.
    pub major: u32,
    /// Incremented with about every monthly release.
    pub minor: u32,
    /// Incremented with a fix in between.
    pub patch: u32,
}

/// Not three numbers with dots between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a runner version must be three numbers, such as 2.336.0")]
pub struct NoVersion;

impl RunnerVersion {
    /// The version in the file name of a download: `actions-runner-linux-x64-2.336.0.tar.gz`.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        let name = [".tar.gz", ".zip"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        name.split('-').find_map(|part| part.parse().ok())
    }
}

impl FromStr for RunnerVersion {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let number = |part: Option<&str>| {
            let part = part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            part.and_then(|part| part.parse().ok()).ok_or(NoVersion)
        };
        let mut parts = text.split('.');
        let version =
            Self { major: number(parts.next())?, minor: number(parts.next())?, patch: number(parts.next())? };
        if parts.next().is_some() { Err(NoVersion) } else { Ok(version) }
    }
}

impl fmt::Display for RunnerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for RunnerVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_and_what_is_none_is_not() {
        let version: RunnerVersion = "v2.336.10".parse().unwrap();
        assert_eq!(version.to_string(), "2.336.10");
        assert!(version > "2.336.9".parse().unwrap() && version < "2.1000.0".parse().unwrap());
        for wrong in ["", "2", "22.04", "2.336.0.1", "2.336.x", "2.+3.0", "2..0", "99999999999.0.0", "latest"]
        {
            assert_eq!(wrong.parse::<RunnerVersion>(), Err(NoVersion), "{wrong}");
        }
    }

    #[test]
    fn file_names_bear_it() {
        for (name, version) in [
            ("actions-runner-linux-x64-2.336.0.tar.gz", Some("2.336.0")),
            ("actions-runner-win-arm64-2.336.0.zip", Some("2.336.0")),
            ("actions-runner-linux-x64-2.300.0-noexternals.tar.gz", Some("2.300.0")),
            ("actions-runner.tar.gz", None),
            ("", None),
        ] {
            assert_eq!(
                RunnerVersion::of_file(name),
                version.map(|version| version.parse().unwrap()),
                "{name}"
            );
        }
    }
}
