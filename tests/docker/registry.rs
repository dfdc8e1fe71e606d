//! A registry that fits in a test: images of one layer, in any repository, for whoever gives any password.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};

use crate::engines::TestEngine;

/// A registry, and who asked it.
pub(crate) struct Registry {
    pub(crate) address: String,
    pub(crate) logins: Arc<Mutex<Vec<String>>>,
    shelf: Shelf,
}

#[derive(Clone)]
struct Shelf {
    open: bool,
    layer: Arc<Vec<u8>>,
    /// Manifests by `repository:tag` and by digest, and blobs by digest.
    kept: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    logins: Arc<Mutex<Vec<String>>>,
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

impl Registry {
    /// One that wants to know who asks, or that anybody may ask, with images of this layer.
    pub(crate) async fn start(open: bool, layer: Vec<u8>) -> Self {
        let logins = Arc::<Mutex<Vec<String>>>::default();
        let layer = Arc::new(layer);
        let shelf = Shelf { open, layer, kept: Arc::default(), logins: Arc::clone(&logins) };
        let app = Router::new()
            .route("/v2/", get(async |State(shelf): State<Shelf>, headers: HeaderMap| shelf.admits(&headers)))
            .route("/v2/{repository}/manifests/{tag}", get(manifest))
            .route("/v2/{repository}/blobs/{digest}", get(blob))
            // What Docker calls `NAME` alone is this at Docker Hub.
            .route("/v2/library/{repository}/manifests/{tag}", get(manifest))
            .route("/v2/library/{repository}/blobs/{digest}", get(blob))
            .with_state(shelf.clone());
        let listener = tokio::net::TcpListener::bind((TestEngine::usual().host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, logins, shelf }
    }

    /// Keeps an image under a tag. Images with other marks have other ids. Returns its reference.
    pub(crate) fn push(&self, repository: &str, tag: &str, mark: &str) -> String {
        let layer = &self.shelf.layer;
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Labels": {"mark": mark}},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(), "digest": digest(&config),
            },
            "layers": [{
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar",
                "size": layer.len(), "digest": digest(layer),
            }],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut kept = self.shelf.kept.lock().unwrap();
        kept.insert(digest(layer), layer.to_vec());
        kept.insert(digest(&config), config);
        kept.insert(digest(&manifest), manifest.clone());
        kept.insert(format!("{repository}:{tag}"), manifest);
        format!("{}/{repository}:{tag}", self.address)
    }
}

impl Shelf {
    fn admits(&self, headers: &HeaderMap) -> Response {
        let login =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
        let Some(login) = login else {
            if self.open {
                return StatusCode::OK.into_response();
            }
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")])
                .into_response();
        };
        let login = base64::engine::general_purpose::STANDARD.decode(login).unwrap();
        self.logins.lock().unwrap().push(String::from_utf8(login).unwrap());
        StatusCode::OK.into_response()
    }
}

async fn manifest(
    State(shelf): State<Shelf>,
    Path((repository, tag)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let admitted = shelf.admits(&headers);
    if admitted.status() != StatusCode::OK {
        return admitted;
    }
    let kept = shelf.kept.lock().unwrap();
    let Some(manifest) = kept.get(&tag).or_else(|| kept.get(&format!("{repository}:{tag}"))) else {
        let unknown = r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}"#;
        return (StatusCode::NOT_FOUND, unknown).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, MANIFEST.to_owned()),
        (header::HeaderName::from_static("docker-content-digest"), digest(manifest)),
    ];
    (headers, manifest.clone()).into_response()
}

async fn blob(State(shelf): State<Shelf>, Path((_, digest)): Path<(String, String)>) -> Response {
    match shelf.kept.lock().unwrap().get(&digest) {
        Some(bytes) => bytes.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn digest(bytes: &[u8]) -> String {
    use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("a suite of TLS 1.3");
    let hash = suite.common.hash_provider.hash(bytes);
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
