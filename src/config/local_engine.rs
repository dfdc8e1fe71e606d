//! The engine of a host without `endpoint`: the one that the docker command would use, else the first socket that is
//! there.

use std::{
    fmt, fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    files,
    host::{Endpoint, EndpointError, usual_sockets},
};

/// Where an endpoint comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointSource {
    /// The configuration.
    Configured,
    /// The variable `DOCKER_HOST`.
    DockerHost,
    /// A context of the docker command, by its name.
    Context(String),
    /// The first of the usual sockets that exists; the default one when none does.
    UsualSocket,
}

impl fmt::Display for EndpointSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("the configuration"),
            Self::DockerHost => f.write_str("DOCKER_HOST"),
            Self::Context(name) => write!(f, "the Docker context {name:?}"),
            Self::UsualSocket => f.write_str("the usual sockets"),
        }
    }
}

/// Why there is no endpoint. The texts of the first two read after the key.
#[derive(Debug, thiserror::Error)]
pub enum LocalEngineError {
    /// `DOCKER_HOST` or a context has an endpoint that cannot be used.
    #[error("is invalid: {error}; it comes from {from}; change that, or set endpoint = \"…\"")]
    Invalid { from: EndpointSource, error: EndpointError },
    /// The docker command's current context cannot be read.
    #[error(
        "is not set, and the current Docker context {name:?} cannot be read ({why}); run docker context use default, or \
         set endpoint = \"…\""
    )]
    Context { name: String, why: String },
}

impl LocalEngineError {
    fn context(name: &str, why: impl fmt::Display) -> Self {
        Self::Context { name: name.to_owned(), why: why.to_string() }
    }
}

/// `~/.docker/config.json`
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CommandConfig {
    current_context: String,
}

/// `meta.json` of a context.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextMeta {
    endpoints: ContextEndpoints,
}

#[derive(Deserialize)]
struct ContextEndpoints {
    docker: ContextEndpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContextEndpoint {
    host: String,
}

/// The endpoint that the docker command would use with these variables, and where it comes from. The order is the
/// command's: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context.
pub fn local_engine<'v>(
    variable: impl Fn(&str) -> Option<&'v str>,
) -> Result<(Endpoint, EndpointSource), LocalEngineError> {
    if let Some(text) = variable("DOCKER_HOST") {
        let verify = variable("DOCKER_TLS_VERIFY").is_some();
        let certificates = verify.then(|| variable("DOCKER_CERT_PATH")).flatten().map(PathBuf::from);
        return Ok((endpoint(text, certificates, &EndpointSource::DockerHost)?, EndpointSource::DockerHost));
    }
    let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(Path::new(variable("HOME")?).join(".docker")));
    if let Some(folder) = folder
        && let Some(name) = current_context(&folder, variable("DOCKER_CONTEXT"))
    {
        let (text, certificates) = read_context(&folder, &name)?;
        let source = EndpointSource::Context(name);
        return Ok((endpoint(&text, certificates, &source)?, source));
    }
    let own = variable("XDG_RUNTIME_DIR").map(Path::new);
    let is_socket = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let found = usual_sockets(own).find(is_socket).map_or_else(Endpoint::default, Endpoint::Unix);
    Ok((found, EndpointSource::UsualSocket))
}

/// The name of the context in use, unless it is the default one.
fn current_context(folder: &Path, variable: Option<&str>) -> Option<String> {
    let configured = || {
        let config = files::read(&folder.join("config.json"), files::MAX_TEXT).ok()?;
        Some(serde_json::from_slice::<CommandConfig>(&config).ok()?.current_context)
    };
    let name = variable.map(str::to_owned).or_else(configured)?;
    Some(name).filter(|name| !name.is_empty() && name != "default")
}

/// The endpoint of a context as text, and the folder of its certificates where it has some.
fn read_context(folder: &Path, name: &str) -> Result<(String, Option<PathBuf>), LocalEngineError> {
    // The command stores a context by the hash of its name.
    let id = hex::encode(ring::digest::digest(&ring::digest::SHA256, name.as_bytes()));
    let path = folder.join("contexts/meta").join(&id).join("meta.json");
    let meta = files::read(&path, files::MAX_TEXT)
        .map_err(|error| LocalEngineError::context(name, format_args!("{} {error}", path.display())))?;
    let meta: ContextMeta =
        serde_json::from_slice(&meta).map_err(|error| LocalEngineError::context(name, error))?;
    let certificates = folder.join("contexts/tls").join(&id).join("docker");
    Ok((meta.endpoints.docker.host, Some(certificates).filter(|folder| folder.is_dir())))
}

fn endpoint(
    text: &str,
    certificates: Option<PathBuf>,
    source: &EndpointSource,
) -> Result<Endpoint, LocalEngineError> {
    let invalid = |error| LocalEngineError::Invalid { from: source.clone(), error };
    let endpoint: Endpoint = text.parse().map_err(invalid)?;
    match (endpoint, certificates) {
        (endpoint @ Endpoint::Tcp { .. }, Some(folder)) => endpoint.with_tls(folder).map_err(invalid),
        (endpoint, _) => Ok(endpoint),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::net::UnixListener};

    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<(String, EndpointSource), String> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let found = local_engine(|name| variables.get(name).copied());
        found.map(|(endpoint, source)| (endpoint.to_string(), source)).map_err(|error| error.to_string())
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A home directory with a context.
    fn home(name: &str, host: &str) -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let id = hex::encode(ring::digest::digest(&ring::digest::SHA256, name.as_bytes()));
        let folder = home.path().join(".docker");
        let meta = format!(r#"{{"Name":"{name}","Endpoints":{{"docker":{{"Host":"{host}"}}}}}}"#);
        write(&folder.join("contexts/meta").join(&id).join("meta.json"), &meta);
        write(&folder.join("config.json"), &format!(r#"{{"auths":{{}},"currentContext":"{name}"}}"#));
        (home, folder.join("contexts/tls").join(id).join("docker"))
    }

    #[test]
    fn the_current_context_is_used_with_its_certificates_and_variables_come_first() {
        let (home, tls) = home("builder", "tcp://10.0.0.7:2376");
        let at = home.path().to_str().unwrap();
        let context = EndpointSource::Context("builder".to_owned());
        let usual = ("tcp://10.0.0.7:2376".to_owned(), context.clone());
        assert_eq!(found(&[("HOME", at)]), Ok(usual.clone()));
        write(&tls.join("ca.pem"), "");
        let variables = BTreeMap::from([("HOME", at)]);
        let (endpoint, _) = local_engine(|name| variables.get(name).copied()).unwrap();
        assert!(matches!(endpoint, Endpoint::Tcp { tls_dir: Some(folder), .. } if folder == tls));

        let folder = home.path().join(".docker");
        assert_eq!(found(&[("DOCKER_CONFIG", folder.to_str().unwrap())]), Ok(usual));
        let other = ("unix:///other.sock".to_owned(), EndpointSource::DockerHost);
        assert_eq!(found(&[("HOME", at), ("DOCKER_HOST", "unix:///other.sock")]), Ok(other));
        let (_, source) = found(&[("HOME", at), ("DOCKER_CONTEXT", "default")]).unwrap();
        assert_eq!(source, EndpointSource::UsualSocket);
    }

    #[test]
    fn a_context_that_cannot_be_used_is_an_error_and_not_the_default() {
        let (home, _) = home("builder", "npipe:////./pipe/docker");
        let at = home.path().to_str().unwrap();
        let error = found(&[("HOME", at)]).unwrap_err();
        assert!(
            error.contains("must start with unix://") && error.contains("the Docker context \"builder\""),
            "{error}"
        );
        let error = found(&[("HOME", at), ("DOCKER_CONTEXT", "gone")]).unwrap_err();
        assert!(
            error.contains("\"gone\" cannot be read") && error.contains("docker context use default"),
            "{error}"
        );
    }

    #[test]
    fn the_first_socket_that_exists_is_used_where_there_is_no_context() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().to_str().unwrap();
        let (before, source) = found(&[("XDG_RUNTIME_DIR", own)]).unwrap();
        assert_eq!(source, EndpointSource::UsualSocket);
        let socket = folder.path().join("docker.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let (after, _) = found(&[("XDG_RUNTIME_DIR", own)]).unwrap();
        // Docker's own socket comes first where this machine has one.
        let expected = if Path::new("/var/run/docker.sock").exists() {
            before
        } else {
            format!("unix://{}", socket.display())
        };
        assert_eq!(after, expected);
    }
}
