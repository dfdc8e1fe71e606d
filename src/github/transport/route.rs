//! Connections to GitHub: direct or through the proxy of the environment, and the trusted certificates. A
//! proxy's password is sent to the proxy and never shown.

use std::{
    error::Error,
    io,
    path::Path,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::{
    legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
    proxy::matcher::{Intercept, Matcher},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tower::{Service, ServiceExt as _, service_fn};

use super::address::Origin;
use crate::files::{self, FileError};

type BoxError = Box<dyn Error + Send + Sync>;

/// How connections to one GitHub are made.
#[derive(Clone, Debug)]
pub(in crate::github) struct Route {
    https: bool,
    proxy: Option<Intercept>,
}

impl Route {
    /// The way that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` (or lower-case) say. This
    /// machine itself is always reached straight.
    pub(in crate::github) fn to(origin: &Origin) -> Self {
        let proxy = origin.uri().filter(|_| !origin.is_loopback());
        let proxy = proxy.and_then(|address| Matcher::from_env().intercept(&address));
        Self { https: origin.is_https(), proxy }
    }

    /// The proxy without its password.
    pub(in crate::github) fn proxy(&self) -> Option<String> {
        self.proxy.as_ref().map(|proxy| shown(proxy.uri()))
    }

    /// The proxy authorization of requests. The proxy sees it only where they are not encrypted; else
    /// the request for a tunnel has it.
    pub(in crate::github) fn authorization(&self) -> Option<HeaderValue> {
        self.proxy.as_ref().filter(|_| !self.https)?.basic_auth().cloned()
    }

    /// Makes connections, each within `patience`.
    pub(in crate::github) fn connector(
        self,
        tls: ClientConfig,
        patience: Duration,
    ) -> impl Service<Uri, Response = ProxiedConnection, Error = BoxError, Future: Send> + Clone + Send + 'static
    {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared by all addresses of a name, so that a dead one leaves time for the others.
        tcp.set_connect_timeout(Some(patience));
        service_fn(move |to: Uri| {
            let (route, tls, tcp) = (self.clone(), tls.clone(), tcp.clone());
            async move {
                let proxy = route.proxy();
                let connected = tokio::time::timeout(patience, route.connect(to, tls, tcp)).await;
                let connected = connected.unwrap_or_else(|_| {
                    Err(format!("no connection within {} s", patience.as_secs_f32()).into())
                });
                connected.map_err(|cause| match proxy {
                    Some(proxy) => Box::new(NoWay { proxy, cause }) as BoxError,
                    None => cause,
                })
            }
        })
    }

    async fn connect(
        self,
        to: Uri,
        tls: ClientConfig,
        tcp: HttpConnector,
    ) -> Result<ProxiedConnection, BoxError> {
        let Some(proxy) = self.proxy else {
            return Ok(ProxiedConnection::over(tcp.oneshot(to).await?, false));
        };
        let at = proxy.uri().clone();
        Ok(match (at.scheme_str(), self.https) {
            (Some("http"), false) => ProxiedConnection::over(tcp.oneshot(at).await?, true),
            (Some("http"), true) => ProxiedConnection::over(tunnel(&proxy, tcp).oneshot(to).await?, false),
            (Some("https"), https) => {
                let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
                let connector = tls.wrap_connector(tcp);
                if https {
                    ProxiedConnection::over(tunnel(&proxy, connector).oneshot(to).await?, false)
                } else {
                    ProxiedConnection::over(connector.oneshot(at).await?, true)
                }
            }
            _ => return Err("only http:// and https:// proxies are supported, not SOCKS".into()),
        })
    }
}

fn tunnel<C>(proxy: &Intercept, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

fn shown(proxy: &Uri) -> String {
    let port = proxy.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", proxy.scheme_str().unwrap_or("http"), proxy.host().unwrap_or_default())
}

/// No connection through the proxy.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect through the proxy {proxy}, which is set in the environment")]
struct NoWay {
    proxy: String,
    #[source]
    cause: BoxError,
}

/// What requests and answers go over.
trait Io: Read + Write + Connection + Send + Unpin {}

impl<T: Read + Write + Connection + Send + Unpin> Io for T {}

/// A connection, and whether a proxy at its other end passes requests on, which it must be able to
/// see the whole address for.
pub(in crate::github) struct ProxiedConnection {
    io: Box<dyn Io>,
    forwarded: bool,
}

impl ProxiedConnection {
    fn over(io: impl Io + 'static, forwarded: bool) -> Self {
        Self { io: Box::new(io), forwarded }
    }
}

impl Connection for ProxiedConnection {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.forwarded)
    }
}

impl Read for ProxiedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for ProxiedConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }
}

/// TLS with the system's certificates, read once per process, and those of an extra file. A scope
/// without TLS needs none, so that loopback works where no certificates are installed.
pub(in crate::github) fn tls(needed: bool, ca_file: Option<&Path>) -> Result<ClientConfig, BoxError> {
    static SYSTEM: OnceLock<ClientConfig> = OnceLock::new();
    let config = |roots: RootCertStore| -> Result<ClientConfig, BoxError> {
        let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        Ok(config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
    };
    if !needed {
        return config(RootCertStore::empty());
    }
    if let (None, Some(known)) = (ca_file, SYSTEM.get()) {
        return Ok(known.clone());
    }
    let mut roots = RootCertStore::empty();
    // The library reads any file that SSL_CERT_FILE names, and ignores a missing one.
    if let Some(file) = std::env::var_os("SSL_CERT_FILE")
        && let Err(error @ (FileError::NotRegular(_) | FileError::TooLarge(_))) =
            files::open(Path::new(&file), files::MAX_TEXT)
    {
        let file = Path::new(&file).display();
        return Err(format!("SSL_CERT_FILE names {file}, which {error}; {}", error.hint()).into());
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(ca_file) = ca_file else {
        if roots.is_empty() {
            return Err(Box::new(NoRoots));
        }
        let config = config(roots)?;
        return Ok(SYSTEM.get_or_init(|| config).clone());
    };
    let unusable = |why: String| format!("the CA file {} cannot be used: {why}", ca_file.display());
    let text = files::read(ca_file, files::MAX_TEXT)
        .map_err(|error| unusable(format!("it {error}; {}", error.hint())))?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.len() == before {
        return Err(unusable("it contains no certificate in PEM format".to_owned()).into());
    }
    config(roots)
}

/// No certificate authority to trust.
#[derive(Debug, thiserror::Error)]
#[error(
    "there are no certificate authorities to verify its certificate; install the package ca-certificates, \
     or set SSL_CERT_FILE"
)]
struct NoRoots;
