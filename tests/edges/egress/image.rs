//! The image of the proxy on engines that do not take it.

use std::sync::Arc;

use axum::{Json, Router, extract::Request, http::StatusCode, routing::get};
use dayfly::host::{Docker, HostError};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::net::TcpListener;

/// An engine on a machine of this architecture, which has no image.
async fn engine(architecture: &'static str) -> Docker {
    let version = json!({"Version": "26.1.5", "ApiVersion": "1.41", "Os": "linux", "Arch": architecture});
    let version = get(move || async move { Json(version) });
    let missing = || async { (StatusCode::NOT_FOUND, Json(json!({"message": "No such image"}))) };
    // It reads the request first: a response that comes before may be lost.
    let refused = |request: Request| async {
        let mut body = request.into_body();
        while body.frame().await.is_some() {}
        (StatusCode::FORBIDDEN, Json(json!({"message": "read-only"})))
    };
    let pages = Router::new()
        .route("/version", version.clone())
        .route("/{api}/version", version)
        .route("/images/{name}/json", get(missing))
        .route("/{api}/images/{name}/json", get(missing))
        .fallback(refused);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async { axum::serve(listener, pages).await });
    Docker::new("remote".parse().unwrap(), endpoint, "test".parse().unwrap(), Arc::new(|_| ()))
}

#[tokio::test]
async fn an_engine_of_another_architecture_is_refused_with_the_key_to_set() {
    let error = engine("s390x").await.egress_image().await.unwrap_err();
    assert!(matches!(error, HostError::Refused(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("the engine runs programs for linux/s390x"), "{text}");
    assert!(text.contains("set image in [pool.container.egress]"), "{text}");
}

#[tokio::test]
async fn an_engine_that_refuses_the_image_is_reported_with_its_own_words() {
    let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let error = engine(own).await.egress_image().await.unwrap_err();
    assert!(error.to_string().contains("import image: read-only (HTTP status 403)"), "{error}");
}
