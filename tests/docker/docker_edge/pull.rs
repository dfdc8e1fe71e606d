//! Looking images up and pulling them, from a registry that fits in a test.

use std::{
    env,
    io::Write as _,
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::Engine as _;
use bollard::query_parameters::RemoveImageOptions;
use dayfly::host::HostError;
use http::{HeaderMap, StatusCode, header};

use super::stand::Stand;
use crate::{engines::TestEngine, shell_image};

#[tokio::test]
async fn an_image_is_there_or_it_is_not() {
    let stand = Stand::new().await;
    let id = stand.docker.image(&stand.image).await.unwrap().unwrap();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(stand.docker.image(&format!("{}:latest", stand.image)).await.unwrap(), Some(id));
    assert_eq!(stand.docker.image("dayfly-edge-no-such-image").await.unwrap(), None);
    for text in ["../containers/json", "a/../../info", "a?b=c", ""] {
        assert!(matches!(stand.docker.image(text).await, Err(HostError::Refused(_))), "{text}");
        assert!(matches!(stand.docker.pull(text).await, Err(HostError::Refused(_))), "{text}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_an_error_also_when_the_image_is() {
    let stand = Stand::new().await;
    let name = format!("127.0.0.1:1/{}", stand.image);
    let tag = bollard::query_parameters::TagImageOptionsBuilder::new().repo(&name).tag("latest").build();
    stand.engine.tag_image(&stand.image, Some(tag)).await.unwrap();
    let error = stand.docker.pull(&name).await.unwrap_err();
    let there = stand.docker.image(&name).await.unwrap();
    stand.engine.remove_image(&name, None::<RemoveImageOptions>, None).await.unwrap();
    // Podman does not say where.
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") || text.contains("pull image: connection refused"), "{text}");
    assert!(there.is_some());
}

/// A password whose base64 has characters that only one of the two alphabets has.
const LOGIN: &str = "me:???>>>~~~:x";

/// The tests' own process cannot change its environment, so a second one pulls.
#[tokio::test]
async fn a_pull_uses_the_credentials_of_dockers_configuration() {
    const INNER: &str = "DAYFLY_TEST_PULL";
    if let Ok(name) = env::var(INNER) {
        let stand = Stand::new().await;
        let id = stand.docker.pull(&name).await.unwrap();
        let found = stand.docker.image(&name).await.unwrap();
        stand.engine.remove_image(&name, None::<RemoveImageOptions>, None).await.unwrap();
        assert_eq!(found, Some(id));
        let error = stand.docker.pull(&format!("{name}-missing")).await.unwrap_err();
        assert!(error.to_string().contains("unknown"), "{error}");
        return;
    }

    let registry = Registry::start().await;
    let name = format!("{}/runner:v1", registry.address);
    let auth = base64::engine::general_purpose::STANDARD.encode(LOGIN);
    let mut outcomes = Vec::new();
    for config in
        [format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.address), "{}".to_owned()]
    {
        let dir = tempfile::tempdir().unwrap();
        std::fs::File::create(dir.path().join("config.json")).unwrap().write_all(config.as_bytes()).unwrap();
        let mut pull = Command::new(env::current_exe().unwrap());
        pull.args([
            "--exact",
            "docker_edge::pull::a_pull_uses_the_credentials_of_dockers_configuration",
            "--nocapture",
        ])
        .env("DOCKER_CONFIG", dir.path())
        .env(INNER, &name);
        let output = tokio::task::spawn_blocking(move || (pull.output().unwrap(), dir)).await.unwrap().0;
        let text = [output.stdout, output.stderr].concat();
        outcomes.push((output.status.success(), String::from_utf8_lossy(&text).into_owned()));
    }
    assert!(outcomes[0].0, "{}", outcomes[0].1);
    let stand = Stand::new().await;
    if stand.is_podman().await {
        eprintln!("skipped: a pull without credentials; Podman's succeeds after one with them");
    } else {
        assert!(!outcomes[1].0 && outcomes[1].1.contains("no basic auth credentials"), "{}", outcomes[1].1);
    }
    let logins = registry.logins.lock().unwrap();
    assert!(logins.iter().any(|login| login == LOGIN), "{logins:?}");
}

/// A registry with one image of one layer, which wants to know who asks.
struct Registry {
    address: String,
    logins: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Shelf {
    manifest: Arc<Vec<u8>>,
    blobs: Arc<[(String, Vec<u8>)]>,
    logins: Arc<Mutex<Vec<String>>>,
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

impl Registry {
    async fn start() -> Self {
        let layer = shell_image::root();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(), "digest": digest(&config),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                "size": layer.len(), "digest": digest(&layer),
            }],
        });
        let logins = Arc::<Mutex<Vec<String>>>::default();
        let shelf = Shelf {
            manifest: Arc::new(manifest.to_string().into_bytes()),
            blobs: [(digest(&config), config), (digest(&layer), layer)].into(),
            logins: Arc::clone(&logins),
        };
        let app = Router::new()
            .route("/v2/", get(async |State(shelf): State<Shelf>, headers: HeaderMap| shelf.admits(&headers)))
            .route("/v2/runner/manifests/{tag}", get(manifest_of))
            .route("/v2/runner/blobs/{digest}", get(blob))
            .with_state(shelf);
        let listener = tokio::net::TcpListener::bind((TestEngine::usual().host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, logins }
    }
}

impl Shelf {
    fn admits(&self, headers: &HeaderMap) -> Response {
        let login =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
        let Some(login) = login else {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")])
                .into_response();
        };
        let login = base64::engine::general_purpose::STANDARD.decode(login).unwrap();
        self.logins.lock().unwrap().push(String::from_utf8(login).unwrap());
        StatusCode::OK.into_response()
    }
}

async fn manifest_of(State(shelf): State<Shelf>, Path(tag): Path<String>, headers: HeaderMap) -> Response {
    let admitted = shelf.admits(&headers);
    if admitted.status() != StatusCode::OK {
        return admitted;
    }
    if tag != "v1" && tag != digest(&shelf.manifest) {
        let unknown = r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}"#;
        return (StatusCode::NOT_FOUND, unknown).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, MANIFEST.to_owned()),
        (header::HeaderName::from_static("docker-content-digest"), digest(&shelf.manifest)),
    ];
    (headers, shelf.manifest.to_vec()).into_response()
}

async fn blob(State(shelf): State<Shelf>, Path(digest): Path<String>) -> Response {
    match shelf.blobs.iter().find(|(name, _)| *name == digest) {
        Some((_, bytes)) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn digest(bytes: &[u8]) -> String {
    use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
