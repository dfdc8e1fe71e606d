//! Engines that are not there, are something else, or do not answer: one clear line, in time.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dayfly::host::{Deadlines, Docker, Host, HostError, Product, RequestReport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};

use crate::engines::TestEngine;

use super::stand::{Stand, docker_at};

async fn complaint(endpoint: &str) -> String {
    let docker = docker_at(endpoint, &"ci1".parse().unwrap(), &Arc::default());
    let error = docker.facts().await.unwrap_err();
    assert!(matches!(error, HostError::Failed { .. }), "{error}");
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[tokio::test]
async fn the_engine_reports_its_facts() {
    let stand = Stand::new().await;
    let facts = stand.docker.facts().await.unwrap();
    assert!(!facts.version.is_empty() && facts.api_version.starts_with("1."), "{facts:?}");
    assert!(facts.memory > 0 && facts.cpus > 0 && facts.storage_root.starts_with('/'), "{facts:?}");
    assert_eq!(facts.os, "linux");
    assert!(facts.runtimes.contains("runc"), "{facts:?}");
    let is_podman = std::env::var("DAYFLY_TEST_ENGINE").is_ok_and(|engine| engine.contains("podman"));
    assert_eq!(facts.product, if is_podman { Product::Podman } else { Product::Docker });
}

#[tokio::test]
async fn a_missing_socket_says_what_to_do() {
    let text = complaint("unix:///no/such/docker.sock").await;
    // The engine of these tests is at the usual place.
    assert!(
        text.contains("the socket /no/such/docker.sock does not exist, but /var/run/docker.sock does"),
        "{text}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_socket_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = complaint(&format!("unix://{}", file.path().display())).await;
    assert!(text.contains("is not a socket"), "{text}");
}

#[tokio::test]
async fn a_socket_that_no_one_listens_at_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let text = complaint(&format!("unix://{}", path.display())).await;
    assert!(text.contains("nothing listens on unix://"), "{text}");
}

/// A socket that answers every connection with these bytes.
fn answering(path: &std::path::Path, bytes: &'static [u8]) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(bytes).await;
            });
        }
    });
}

#[tokio::test]
async fn a_port_with_tls_that_is_spoken_to_without_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    // What servers written in Go answer.
    answering(&path, b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
    let text = complaint(&format!("unix://{}", path.display())).await;
    assert!(text.contains("speaks TLS only; set tls_dir"), "{text}");
}

#[tokio::test]
async fn a_socket_that_is_not_docker_says_so() {
    for bytes in [
        &b"220 mail.example ESMTP\r\n"[..],
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot found",
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        answering(&path, bytes);
        let text = complaint(&format!("unix://{}", path.display())).await;
        assert!(text.contains("is not a Docker Engine"), "{text}");
    }
}

#[tokio::test]
async fn missing_tls_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = "tcp://127.0.0.1:1".parse::<dayfly::host::Endpoint>().unwrap();
    let endpoint = endpoint.with_tls(dir.path().into()).unwrap();
    let docker = Docker::new(
        "local".parse().unwrap(),
        endpoint,
        "ci1".parse().unwrap(),
        Arc::new(|_: &RequestReport| {}),
    );
    let text = docker.facts().await.unwrap_err().to_string();
    assert!(text.contains("the TLS file") && text.contains("ca.pem cannot be read"), "{text}");
}

#[tokio::test]
async fn an_engine_that_never_answers_costs_a_deadline_and_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let reports = Arc::<Mutex<Vec<RequestReport>>>::default();
    let reporter = Arc::clone(&reports);
    let docker = Docker::with_deadlines(
        "far".parse().unwrap(),
        endpoint.parse().unwrap(),
        "ci1".parse().unwrap(),
        Arc::new(move |report: &RequestReport| reporter.lock().unwrap().push(report.clone())),
        Deadlines { read: Duration::from_millis(300), ..Deadlines::default() },
    );
    let began = Instant::now();
    let text = docker.list().await.unwrap_err().to_string();
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(text.contains("list containers: ") && text.contains("did not respond within 0.3 s"), "{text}");
    let reports = reports.lock().unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].host.as_str(), reports[0].operation, reports[0].failed), ("far", "list", true));
    assert!(reports[0].took >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_engine_that_comes_back_is_used_again() {
    let stand = Stand::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let docker = docker_at(&format!("unix://{}", path.display()), &stand.instance, &stand.reports);
    docker.list().await.unwrap_err();
    std::os::unix::fs::symlink(TestEngine::usual().socket, &path).unwrap();
    docker.list().await.unwrap();
    let reports = stand.reports();
    let lists = reports.iter().filter(|report| report.operation == "list");
    let failed: Vec<bool> = lists.map(|report| report.failed).collect();
    assert_eq!(failed, [true, false], "{reports:?}");
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_no_failure() {
    let stand = Stand::new().await;
    let mut pool = stand.pool("exit");
    pool.template.image = format!("dayfly-edge-missing-{}", stand.instance);
    stand.create(&pool).await.unwrap_err();
    let reports = stand.reports();
    assert!(reports.iter().any(|report| report.operation == "create" && !report.failed), "{reports:?}");
}
