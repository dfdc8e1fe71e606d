//! The endpoint of an engine, connecting to it, and a one-line text of why that failed.

use std::{
    env,
    error::Error as StdError,
    fmt, fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use bollard::errors::Error;

use super::{
    HostError,
    address::is_host,
    call::Call,
    ssh::{self, Forward, SshTarget, SshTargetError},
};
use crate::{
    files,
    text::{chain, is_out_of_files, one_line},
};

/// Seconds that bollard itself waits for the first byte of a response. The actual deadlines are in
/// [`super::Deadlines`]; a stop waits for its grace period.
const CLIENT_TIMEOUT: u64 = 24 * 3600;

/// The endpoint of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this machine: `unix:///var/run/docker.sock`.
    Unix(PathBuf),
    /// A port: `tcp://machine:2376`.
    Tcp {
        /// `host:port`.
        address: String,
        /// Directory with `ca.pem`, `cert.pem` and `key.pem`; without it the connection is plain.
        tls_dir: Option<PathBuf>,
    },
    /// A machine to log in to: `ssh://user@machine`.
    Ssh(SshTarget),
}

/// Why a text is not an endpoint; reads after "is invalid: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("it must start with unix://, tcp:// or ssh://")]
    Scheme,
    /// `unix://` without an absolute path.
    #[error("unix:// must be followed by an absolute path, such as unix:///var/run/docker.sock")]
    Path,
    /// Not `host:port`.
    #[error("tcp:// must be followed by host:port and nothing else, such as tcp://ci1.example:2376")]
    Address,
    /// Not `[user@]host[:port][/path]`.
    #[error(
        "ssh:// must be followed by [user@]host, with :PORT and the path of the socket there if they are unusual"
    )]
    Login,
    /// `ssh://` without a login.
    #[error(transparent)]
    Ssh(#[from] SshTargetError),
    /// TLS files for an endpoint other than tcp://.
    #[error("tls_dir can only be used with tcp://")]
    TlsWithoutTcp,
}

/// The engine of this machine, at the default path of its packages.
impl Default for Endpoint {
    fn default() -> Self {
        Self::Unix(PathBuf::from("/var/run/docker.sock"))
    }
}

impl Endpoint {
    /// Whether the engine is on this machine, so that its disk can be checked from here.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// The same endpoint with mutual TLS and the files in `dir`.
    pub fn with_tls(self, dir: PathBuf) -> Result<Self, EndpointError> {
        match self {
            Self::Tcp { address, .. } => Ok(Self::Tcp { address, tls_dir: Some(dir) }),
            Self::Unix(_) | Self::Ssh(_) => Err(EndpointError::TlsWithoutTcp),
        }
    }

    /// Connects, negotiates an API version, and makes sure that the server is an engine. Not for `ssh://`: nothing would
    /// hold its login.
    pub async fn connect(&self) -> Result<bollard::Docker, HostError> {
        match self {
            Self::Ssh(_) => Err(failed(format!("{self} is not on this machine"), None)),
            Self::Unix(_) | Self::Tcp { .. } => self.connect_through(&mut None).await,
        }
    }

    /// The same for every endpoint. `ssh://` goes through a socket that is forwarded, and opened again when it has ended.
    pub(super) async fn connect_through(
        &self,
        forward: &mut Option<Forward>,
    ) -> Result<bollard::Docker, HostError> {
        let version = bollard::API_DEFAULT_VERSION;
        let client = match self {
            Self::Unix(path) => {
                usable_socket(path)?;
                bollard::Docker::connect_with_unix(&path.to_string_lossy(), CLIENT_TIMEOUT, version)
            }
            Self::Tcp { address, tls_dir: None } => {
                bollard::Docker::connect_with_http(address, CLIENT_TIMEOUT, version)
            }
            Self::Tcp { address, tls_dir: Some(dir) } => {
                let [ca, cert, key] = tls_files(dir)?;
                bollard::Docker::connect_with_ssl(address, &key, &cert, &ca, CLIENT_TIMEOUT, version)
            }
            Self::Ssh(target) => {
                let opened = match forward.take_if(|opened| !opened.has_ended()) {
                    Some(opened) => opened,
                    None => Forward::open(target).await?,
                };
                let socket = forward.insert(opened).socket().to_string_lossy();
                bollard::Docker::connect_with_unix(&socket, CLIENT_TIMEOUT, version)
            }
        };
        let client = client.map_err(|error| explain(self, error))?;
        match client.with_request_modifier(url_safe_credentials).negotiate_version().await {
            Ok(client) => Ok(client),
            Err(Error::DockerResponseServerError { status_code: 403, message }) => Err(HostError::Refused(
                format!("{}: {} (HTTP status 403)", Call::Version, one_line(&message)),
            )),
            Err(Error::DockerResponseServerError { status_code: 400, message }) if asks_for_tls(&message) => {
                let todo =
                    "set tls_dir in the host's section to a directory with ca.pem, cert.pem and key.pem";
                Err(failed(format!("{self} speaks TLS only; {todo}"), None))
            }
            // Other HTTP servers do not have `/version`, or return no version there.
            Err(
                Error::APIVersionParseError {}
                | Error::JsonDataError { .. }
                | Error::JsonSerdeError { .. }
                | Error::DockerResponseServerError { status_code: 200..=499, .. },
            ) => Err(not_an_engine(self, None)),
            Err(Error::DockerResponseServerError { status_code, message }) => {
                let message = one_line(&message);
                Err(failed(format!("{self} answers with HTTP status {status_code}: {message}"), None))
            }
            Err(error) => Err(match (self, forward) {
                (Self::Ssh(target), Some(forward)) => {
                    failed(ssh::no_engine(target, &forward.complaint()), None)
                }
                _ => explain(self, error),
            }),
        }
    }
}

/// Whether a text is what Go's servers answer to plain HTTP on a port with TLS: it has no status of its own.
fn asks_for_tls(message: &str) -> bool {
    message.contains("HTTP request to an HTTPS server")
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix://") {
            let path = Path::new(path);
            return if path.is_absolute() { Ok(Self::Unix(path.into())) } else { Err(EndpointError::Path) };
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            let address = address.strip_suffix('/').unwrap_or(address);
            return match address.rsplit_once(':') {
                Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                    Ok(Self::Tcp { address: address.to_owned(), tls_dir: None })
                }
                _ => Err(EndpointError::Address),
            };
        }
        let target = text.strip_prefix("ssh://").ok_or(EndpointError::Scheme)?;
        Ok(Self::Ssh(SshTarget::read(target)?))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { address, .. } => write!(f, "tcp://{address}"),
            Self::Ssh(target) => write!(f, "ssh://{target}"),
        }
    }
}

/// A problem of a socket can be reported better before connecting than afterwards.
fn usable_socket(path: &Path) -> Result<(), HostError> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(file) if file.file_type().is_socket() => Ok(()),
        Ok(_) => Err(failed(format!("{shown} is not a socket; set the host's endpoint to Docker's"), None)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(failed(no_socket(path), None)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(failed(permission_denied(path), None))
        }
        Err(error) => Err(failed(format!("cannot access the socket {shown}"), Some(error.into()))),
    }
}

fn tls_files(dir: &Path) -> Result<[PathBuf; 3], HostError> {
    let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.join(name));
    for file in &files {
        // bollard notices an unreadable key only at the first request, and does not say which.
        if let Err(error) = files::open(file, files::MAX_TEXT) {
            let detail = format!("the TLS file {} {error}; {}", file.display(), error.hint());
            return Err(failed(detail, None));
        }
    }
    Ok(files)
}

/// The engine reads these headers as base64 of the alphabet that is safe in an address, and takes
/// anything else for "no credentials"; bollard writes the other alphabet.
fn url_safe_credentials(mut request: bollard::BollardRequest) -> bollard::BollardRequest {
    if let Some(header) = request.headers_mut().get_mut("x-registry-auth") {
        let safe = header.to_str().unwrap_or_default().replace('+', "-").replace('/', "_");
        if let Ok(mut value) = http::HeaderValue::try_from(safe) {
            value.set_sensitive(true);
            *header = value;
        }
    }
    request
}

/// Why there was no response, in one line.
pub(super) fn explain(endpoint: &Endpoint, error: Error) -> HostError {
    let cause = find::<io::Error>(&error);
    let kind = cause.map(io::Error::kind);
    let broken = find::<hyper::Error>(&error);
    if let Some(error) = find::<io::Error>(&error)
        && is_out_of_files(error)
        && let Some(code) = error.raw_os_error()
    {
        let source = io::Error::from_raw_os_error(code);
        return failed(format!("failed to connect to {endpoint}"), Some(source.into()));
    }
    match (endpoint, kind) {
        (Endpoint::Unix(path), Some(io::ErrorKind::PermissionDenied)) => {
            failed(permission_denied(path), None)
        }
        (Endpoint::Unix(path), Some(io::ErrorKind::NotFound)) => failed(no_socket(path), None),
        (Endpoint::Ssh(_), Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)) => {
            failed(format!("{endpoint}: ssh has lost its connection"), None)
        }
        (_, Some(io::ErrorKind::ConnectionRefused)) => {
            failed(format!("nothing listens on {endpoint}; start Docker there"), None)
        }
        _ if broken.is_some_and(hyper::Error::is_parse) => not_an_engine(endpoint, Some(error.into())),
        _ => failed(format!("{endpoint}: {}", chain(&error)), None),
    }
}

fn no_socket(path: &Path) -> String {
    let shown = path.display();
    let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|own| own.is_absolute());
    match usual_sockets(own.as_deref()).find(|other| other != path && usable_socket(other).is_ok()) {
        Some(other) => format!(
            "the socket {shown} does not exist, but {other} does; set endpoint = \"unix://{other}\" in the \
             host's section",
            other = other.display()
        ),
        None => format!(
            "the socket {shown} does not exist; start Docker (systemctl start docker), install it \
             (https://docs.docker.com/engine/install), or set the host's endpoint to its socket"
        ),
    }
}

/// The paths of Docker's and Podman's sockets, for root and for the user whose runtime directory `own` is.
pub fn usual_sockets(own: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    let own = |name: &str| own.map(|own| own.join(name));
    let all = [
        Some("/var/run/docker.sock".into()),
        own("docker.sock"),
        Some("/run/podman/podman.sock".into()),
        own("podman/podman.sock"),
    ];
    all.into_iter().flatten()
}

fn permission_denied(path: &Path) -> String {
    format!(
        "permission denied on {}; add this user to the docker group (sudo usermod -aG docker \"$(id -un)\") \
         and log in \
         again, or run as root",
        path.display()
    )
}

fn not_an_engine(endpoint: &Endpoint, source: Option<Box<dyn StdError + Send + Sync>>) -> HostError {
    failed(format!("the server at {endpoint} is not a Docker Engine; check the host's endpoint"), source)
}

fn failed(detail: String, source: Option<Box<dyn StdError + Send + Sync>>) -> HostError {
    HostError::Failed { detail, source }
}

fn find<E: StdError + 'static>(error: &Error) -> Option<&E> {
    // These two return their cause's source, and so hide the cause itself.
    let mut next: Option<&(dyn StdError + 'static)> = Some(match error {
        Error::IOError { err } => err,
        Error::HyperResponseError { err } => err,
        other => other,
    });
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown() {
        for text in [
            "unix:///var/run/docker.sock",
            "tcp://ci1.example:2376",
            "tcp://[::1]:2375",
            "ssh://ci1",
            "ssh://me@ci1.example",
            "ssh://[fe80::1]",
            "ssh://me@ci1:2222",
            "ssh://ci1/run/user/1000/docker.sock",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        use EndpointError as E;
        for (text, why) in [
            ("", E::Scheme),
            ("/var/run/docker.sock", E::Scheme),
            ("http://ci1:2375", E::Scheme),
            ("unix://docker.sock", E::Path),
            ("unix://", E::Path),
            ("tcp://ci1", E::Address),
            ("tcp://:2375", E::Address),
            ("tcp://ci1:0", E::Address),
            ("tcp://ci1:99999", E::Address),
            ("tcp://ci1:2375/v1.41", E::Address),
            ("tcp://me@ci1:2375", E::Address),
            ("ssh://", E::Ssh(SshTargetError::Login)),
            ("ssh://-oProxyCommand=x", E::Ssh(SshTargetError::Login)),
            ("ssh://-x@ci1", E::Ssh(SshTargetError::Login)),
            ("ssh://ci1/a:b", E::Ssh(SshTargetError::Login)),
            ("ssh://me:secret@ci1", E::Ssh(SshTargetError::Password)),
            ("ssh://me@ci1:0", E::Ssh(SshTargetError::Login)),
            ("ssh://me@[::1]:x", E::Ssh(SshTargetError::Login)),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_socket_that_may_not_be_used_says_what_to_do() {
        // Tested on the error itself: the tests may run as root, which can use any socket.
        let error = Error::IOError { err: io::Error::from(io::ErrorKind::PermissionDenied) };
        let text = explain(&"unix:///var/run/docker.sock".parse().unwrap(), error).to_string();
        assert!(
            text.contains("permission denied on /var/run/docker.sock; add this user to the docker group")
        );
    }

    #[test]
    fn credentials_are_sent_in_the_alphabet_that_the_engine_reads() {
        let body = http_body_util::Either::Left(http_body_util::Full::default());
        let request = http::Request::builder().header("X-Registry-Auth", "a+b/c=").body(body).unwrap();
        let header = url_safe_credentials(request).headers()["x-registry-auth"].clone();
        assert_eq!(header, "a-b_c=");
        assert!(header.is_sensitive());
    }

    #[test]
    fn tls_files_belong_to_a_port() {
        let tcp: Endpoint = "tcp://ci1:2376".parse().unwrap();
        assert!(matches!(tcp.with_tls("/tls".into()), Ok(Endpoint::Tcp { tls_dir: Some(_), .. })));
        let unix: Endpoint = "unix:///s".parse().unwrap();
        assert_eq!(unix.with_tls("/tls".into()), Err(EndpointError::TlsWithoutTcp));
    }
}
