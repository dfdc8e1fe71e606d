//! The files on this machine that a container is created from: variables (`env_file`) and a seccomp profile. They
//! are read at each launch, so that a changed secret is used at once. Their content is never shown.

use std::{
    collections::BTreeMap,
    fmt,
    hash::Hasher as _,
    path::{Path, PathBuf},
};

use fnv::FnvHasher;
use secrecy::{ExposeSecret as _, SecretString};

use super::environment::is_of_dayfly;
use crate::{
    files::{self, FileError},
    fleet::{FilesDigest, Template},
};

/// Why a file cannot be used. Shows names of variables, never values.
#[derive(Debug, thiserror::Error)]
pub enum TemplateFileError {
    /// The file cannot be read.
    #[error("{what} {} {error}; {}", .path.display(), .error.hint())]
    Unreadable { what: &'static str, path: PathBuf, error: FileError },
    /// A line of a file with variables.
    #[error("env_file {}:{line}: {why}", .path.display())]
    Line {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        why: String,
    },
    /// The profile is not one.
    #[error("seccomp profile {} is not JSON: {why}", .path.display())]
    Profile { path: PathBuf, why: String },
}

/// The content of a template's files.
#[derive(Default)]
pub struct TemplateFiles {
    /// Variables by their names.
    pub(super) env: BTreeMap<String, SecretString>,
    /// The seccomp profile as JSON in one line.
    pub(super) seccomp: Option<String>,
}

impl TemplateFiles {
    /// Reads the files of a template; at once for one that has none.
    pub async fn read(template: &Template) -> Result<Self, TemplateFileError> {
        let (env_file, profile) = (template.env_file.clone(), template.seccomp_profile.clone());
        if env_file.is_none() && profile.is_none() {
            return Ok(Self::default());
        }
        let first = env_file.as_ref().or(profile.as_ref()).cloned().unwrap_or_default();
        let reading =
            tokio::task::spawn_blocking(move || Self::read_now(env_file.as_deref(), profile.as_deref()));
        reading.await.unwrap_or_else(|error| {
            let error = FileError::Io(error.into());
            Err(TemplateFileError::Unreadable { what: "file", path: first, error })
        })
    }

    fn read_now(env_file: Option<&Path>, profile: Option<&Path>) -> Result<Self, TemplateFileError> {
        let bytes = |what, path: &Path, most| {
            files::read(path, most).map_err(|error| TemplateFileError::Unreadable {
                what,
                path: path.to_owned(),
                error,
            })
        };
        let env = env_file.map(|path| variables(path, &bytes("env_file", path, files::MAX_SECRET)?));
        let seccomp = profile.map(|path| {
            let json = serde_json::from_slice::<Box<serde_json::value::RawValue>>(&bytes(
                "seccomp profile",
                path,
                files::MAX_TEXT,
            )?);
            let compact = json.and_then(|json| serde_json::from_str::<serde_json::Value>(json.get()));
            compact.map(|json| json.to_string()).map_err(|error| TemplateFileError::Profile {
                path: path.to_owned(),
                // Without a piece of the text.
                why: format!("line {}, column {}", error.line(), error.column()),
            })
        });
        Ok(Self { env: env.transpose()?.unwrap_or_default(), seccomp: seccomp.transpose()? })
    }

    /// A hash of the content, which cannot be turned back into it.
    pub fn digest(&self) -> FilesDigest {
        let mut content = ring::digest::Context::new(&ring::digest::SHA256);
        for (name, value) in &self.env {
            for part in [name, value.expose_secret()] {
                content.update(&part.len().to_le_bytes());
                content.update(part.as_bytes());
            }
        }
        content.update(self.seccomp.as_deref().unwrap_or_default().as_bytes());
        let mut hasher = FnvHasher::default();
        hasher.write(content.finish().as_ref());
        FilesDigest(hasher.finish())
    }

    /// The values that no text of an engine may show.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.env.values()
    }
}

impl fmt::Debug for TemplateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.env.keys().collect();
        f.debug_struct("TemplateFiles").field("env", &names).finish_non_exhaustive()
    }
}

/// Reads `NAME=VALUE` lines as `docker run --env-file` does: blank lines and those that begin with `#` are
/// skipped, and a value is what follows the first `=`, without any interpretation. Unlike there, a name without
/// `=` is an error: it would pass a variable of this daemon on to every job.
fn variables(path: &Path, content: &[u8]) -> Result<BTreeMap<String, SecretString>, TemplateFileError> {
    let mut env = BTreeMap::new();
    let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let refused = |why: String| TemplateFileError::Line { path: path.to_owned(), line: at + 1, why };
        let line = std::str::from_utf8(line).map_err(|_| refused("is not UTF-8".to_owned()))?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            // It may be the rest of a secret that was wrapped.
            return Err(refused("has no \"=\"; write NAME=VALUE, a value on one line".to_owned()));
        };
        if name.is_empty() {
            return Err(refused("has no name before the \"=\"".to_owned()));
        }
        if name.contains(|c: char| c.is_whitespace() || c.is_control()) || value.contains('\0') {
            return Err(refused("has white space in the name, or a NUL; write NAME=VALUE".to_owned()));
        }
        if is_of_dayfly(name) {
            return Err(refused(format!("{name} is set by Dayfly itself; remove the line")));
        }
        env.insert(name.to_owned(), SecretString::from(value));
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(content: &[u8]) -> Result<BTreeMap<String, String>, String> {
        let env = variables(Path::new("/e"), content).map_err(|error| error.to_string())?;
        Ok(env.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect())
    }

    #[test]
    fn lines_are_read_as_the_docker_command_reads_them() {
        let content = "\u{feff}# comment\n\nA=1\r\n  B = two \n#C=3\nD=a=b\"c\"\nE=\nA=4";
        // A name with a blank behind it is refused there too.
        assert_eq!(
            read(content.as_bytes()).unwrap_err(),
            "env_file /e:4: has white space in the name, or a NUL; write NAME=VALUE"
        );
        let read = read(content.replace("B =", "B=").as_bytes()).unwrap();
        let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, [("A", "4"), ("B", " two "), ("D", "a=b\"c\""), ("E", "")]);
    }

    #[test]
    fn a_wrong_line_is_named_without_its_content() {
        for (content, reported) in [
            (&b"A=1\nhush"[..], "2: has no \"=\"; write NAME=VALUE, a value on one line"),
            (b"=hush", "1: has no name before the \"=\""),
            (b"\n\n\n=hush", "4: has no name before the \"=\""),
            (b"A=\xff", "1: is not UTF-8"),
            (b"A=hush\0", "1: has white space in the name, or a NUL; write NAME=VALUE"),
            (
                b"ACTIONS_RUNNER_INPUT_JITCONFIG=hush",
                "1: ACTIONS_RUNNER_INPUT_JITCONFIG is set by Dayfly itself; remove the line",
            ),
        ] {
            assert_eq!(read(content).unwrap_err(), format!("env_file /e:{reported}"));
        }
    }

    #[tokio::test]
    async fn the_digest_follows_the_content_and_nothing_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        let template = Template { env_file: Some(path.clone()), ..Template::default() };
        let error = TemplateFiles::read(&template).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("env_file {} cannot be read: ", path.display())), "{error}");
        let mut digests = Vec::new();
        for content in ["A=hush-hush", "A=hush-hush\n# more", "A=other", "AB=ther"] {
            fs::write(&path, content).unwrap();
            let files = TemplateFiles::read(&template).await.unwrap();
            assert!(!format!("{files:?}").contains("hush"), "{files:?}");
            digests.push(files.digest());
        }
        assert_eq!(digests[0], digests[1]);
        digests.dedup();
        assert_eq!(digests.len(), 3);
    }

    #[tokio::test]
    async fn a_profile_is_sent_as_json_on_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        let template = Template { seccomp_profile: Some(path.clone()), ..Template::default() };
        fs::write(&path, "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n").unwrap();
        let read = TemplateFiles::read(&template).await.unwrap();
        assert_eq!(read.seccomp.as_deref(), Some("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}"));
        fs::write(&path, "{\n").unwrap();
        let error = TemplateFiles::read(&template).await.unwrap_err().to_string();
        assert!(error.ends_with("profile.json is not JSON: line 2, column 0"), "{error}");
    }
}
