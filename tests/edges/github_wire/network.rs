//! The way to a GitHub: a certificate authority of its own, and proxies. The TLS peer and the proxy
//! are real ones on loopback.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dayfly::{
    fleet::Scope,
    github::{Client, Credential, CredentialSource, GithubError, RunnerApi, TokenSource},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::world::{TOKEN, chain, runners};

/// Says what a child of a test is to connect to.
const CHILD: &str = "DAYFLY_TEST_CHILD";

/// A server with a certificate from an authority that only it knows.
struct Peer {
    address: SocketAddr,
    directory: tempfile::TempDir,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1", "github.test"].map(str::to_owned);
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        std::fs::write(directory.path().join("token"), TOKEN).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    // One that does not trust us breaks off here.
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let head = head(&mut stream).await;
                        log.lock().unwrap().push(head);
                        list(&mut stream).await;
                    }
                });
            }
        });
        Self { address, directory, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Reads until the empty line.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers with a list of one runner.
async fn list(stream: &mut (impl AsyncWrite + Unpin)) {
    let body = runners(1, [1]).to_string();
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// A proxy that wants a password, leads every tunnel to one address, and answers what is not
/// encrypted itself.
async fn proxy(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&heads);
    let right = format!("proxy-authorization: basic {}", BASE64_STANDARD.encode("me:p@ss-canary"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (log, right) = (Arc::clone(&log), right.clone());
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                log.lock().unwrap().push(head.clone());
                if !head.to_lowercase().contains(&right.to_lowercase()) {
                    let refused = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(refused).await.unwrap();
                } else if head.starts_with("CONNECT ") {
                    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    let mut onward = TcpStream::connect(to).await.unwrap();
                    // However it ends, it is the other sides' business.
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut onward).await);
                } else {
                    list(&mut stream).await;
                }
            });
        }
    });
    (address, heads)
}

fn client(scope: &str, directory: &Path, ca_file: Option<PathBuf>) -> Client {
    let scope: Scope = scope.parse().unwrap();
    let token = CredentialSource::from(TokenSource::File(directory.join("token")));
    let credential = Credential::new(CredentialSource { ca_file, allow_plain_http: true, ..token });
    Client::new(scope, &credential, Arc::new(|_| {})).unwrap()
}

/// Runs a test of this file again in a process with these variables and no other proxy's.
async fn child(test: &str, directory: &Path, variables: &BTreeMap<&str, String>) -> Output {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("github_wire::network::{test}"), "--nocapture"]).env(CHILD, directory);
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = command.envs(variables).stdin(Stdio::null()).output().await.unwrap();
    let reported = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && reported.contains("1 passed"),
        "{reported}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn directory_of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

#[tokio::test]
async fn a_server_with_an_authority_of_its_own_is_trusted_by_its_file_and_only_so() {
    let peer = Peer::new().await;
    let scope = format!("https://{}/acme", peer.address);
    let trusting = client(&scope, peer.directory.path(), Some(peer.file("ca.pem")));
    assert_eq!(trusting.list().await.unwrap().registrations.len(), 1);
    let head = &peer.heads()[0];
    assert!(head.starts_with("GET /api/v3/orgs/acme/actions/runners?per_page=100 HTTP/1.1"), "{head}");
    assert!(head.contains(TOKEN));

    let strange = client(&scope, peer.directory.path(), None);
    assert!(matches!(strange.list().await, Err(GithubError::Unreachable(_))));
    for (content, why) in [
        ("", "no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "bad.pem"),
    ] {
        std::fs::write(peer.file("bad.pem"), content).unwrap();
        let bad = client(&scope, peer.directory.path(), Some(peer.file("bad.pem")));
        let error = bad.list().await.unwrap_err();
        assert!(matches!(error, GithubError::Unreachable(_)), "{error}");
        let text = chain(&error);
        assert!(text.contains("CA file") && text.contains(why), "{text}");
    }
    assert_eq!(peer.heads().len(), 1, "nobody else got as far as to send a token");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_and_its_password_shown_to_no_one_else() {
    if let Some(directory) = directory_of_child() {
        let log = crate::captured_log::CapturedLog::default();
        let _guard = log.listen();
        let ca_file = Some(directory.join("ca.pem"));
        let encrypted = client("https://github.test/acme", &directory, ca_file.clone());
        assert_eq!(encrypted.list().await.unwrap().registrations.len(), 1);
        let plain = client("http://ghes.test/acme", &directory, None);
        assert_eq!(plain.list().await.unwrap().registrations.len(), 1);
        let proxy = encrypted.proxy().unwrap();
        assert!(proxy.starts_with("http://127.0.0.1:") && !proxy.contains("me:"), "{proxy}");
        for straight in [
            "https://direct.test/a",
            "https://x.inner.test/a",
            "http://127.0.0.1:1/a",
            "http://localhost:1/a",
            "https://[::1]:1/a",
        ] {
            assert_eq!(client(straight, &directory, ca_file.clone()).proxy(), None, "{straight}");
        }
        let shown = format!("{encrypted:?} {plain:?} {}", log.text());
        assert!(
            !shown.contains("canary") && !shown.contains(&BASE64_STANDARD.encode("me:p@ss-canary")),
            "{shown}"
        );
        return;
    }
    let peer = Peer::new().await;
    let (proxy, heads) = proxy(peer.address).await;
    let address = format!("http://me:p%40ss-canary@{proxy}");
    let variables = BTreeMap::from([
        ("HTTPS_PROXY", address.clone()),
        ("HTTP_PROXY", address),
        ("NO_PROXY", "direct.test,.inner.test".to_owned()),
    ]);
    let test = "a_proxy_of_the_environment_is_used_and_its_password_shown_to_no_one_else";
    child(test, peer.directory.path(), &variables).await;
    let heads = heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(
        heads[0].starts_with("CONNECT github.test:443 HTTP/1.1\r\n") && !heads[0].contains(TOKEN),
        "{heads:?}"
    );
    assert!(
        heads[1].starts_with("GET http://ghes.test/api/v3/orgs/acme/actions/runners?per_page=100 "),
        "{heads:?}"
    );
    let seen = peer.heads();
    assert!(
        seen[0].contains("host: github.test\r\n") && !seen[0].to_lowercase().contains("proxy-auth"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    if let Some(directory) = directory_of_child() {
        let encrypted = client("https://github.test/acme", &directory, Some(directory.join("ca.pem")));
        let error = encrypted.list().await.unwrap_err();
        let text = format!("{} {error:?}", chain(&error));
        assert!(matches!(error, GithubError::Unreachable(_)), "{text}");
        for part in ["cannot connect through the proxy http://127.0.0.1:", "proxy authorization required"] {
            assert!(text.contains(part), "{text}");
        }
        let plain = client("http://ghes.test/acme", &directory, None);
        let refused = plain.list().await.unwrap_err().to_string();
        assert!(refused.contains("407") && refused.contains("HTTP_PROXY"), "{refused}");
        assert!(!text.contains("canary") && !refused.contains("canary"), "{text} {refused}");
        return;
    }
    let peer = Peer::new().await;
    let (proxy, _) = proxy(peer.address).await;
    let address = format!("http://me:wrong-canary@{proxy}");
    let variables = BTreeMap::from([("https_proxy", address.clone()), ("http_proxy", address)]);
    child("a_proxy_that_refuses_is_named_without_its_password", peer.directory.path(), &variables).await;
    assert!(peer.heads().is_empty());
}
