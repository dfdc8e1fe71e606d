//! What is forwarded of a request, and requests that are written to be read in two ways.

use dayfly::egress::Mode;
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

use super::stand::{DEADLINE, PUBLIC, Proxy, web};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
                  Proxy-Authenticate: Basic\r\nX-End: 2\r\n\r\nhello";

/// A proxy that allows `plain.example`, and what its server receives.
async fn stand() -> (Proxy, UnboundedReceiver<String>) {
    let proxy = Proxy::start(Mode::Enforce, &["plain.example", "plain.example:8080"]).await;
    let (server, requests) = web(OK).await;
    proxy.world.name("plain.example", &[&[PUBLIC]]);
    proxy.world.server(PUBLIC, 80, server);
    proxy.world.server(PUBLIC, 8080, server);
    (proxy, requests)
}

async fn received(requests: &mut UnboundedReceiver<String>) -> String {
    timeout(DEADLINE, requests.recv()).await.expect("a request in time").unwrap()
}

#[tokio::test]
async fn the_server_gets_the_destination_as_host_and_no_header_that_is_for_the_proxy() {
    let (proxy, mut requests) = stand().await;
    let response = proxy
        .send(
            "POST http://Plain.example:8080/a?b=c HTTP/1.1\r\nHost: evil.example\r\nProxy-Authorization: Basic \
             c2VjcmV0\r\nProxy-Connection: keep-alive\r\nConnection: close, X-Hop, Content-Length, Host\r\n\
             X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: websocket\r\nX-End: 2\r\n\
             Content-Length: 4\r\n\r\nbody",
        )
        .await;
    let request = received(&mut requests).await;
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /a?b=c HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(lines, ["content-length: 4", "host: plain.example:8080", "x-end: 2"]);
    assert_eq!(body, "body");

    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("x-end: 2"), "{head}");
    assert!(!head.contains("x-hop") && !head.contains("proxy-authenticate"), "{head}");
    assert_eq!(body, "hello");
}

#[tokio::test]
async fn a_request_without_a_path_is_for_the_root_and_one_of_an_older_version_is_served() {
    let (proxy, mut requests) = stand().await;
    let response = proxy.send("GET http://plain.example HTTP/1.0\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.0 200 OK\r\n") && response.ends_with("hello"), "{response}");
    assert_eq!(received(&mut requests).await, "GET / HTTP/1.1\r\nhost: plain.example\r\n\r\n");
}

#[tokio::test]
async fn a_request_with_two_lengths_reaches_the_server_with_one_and_ends_its_connection() {
    let (proxy, mut requests) = stand().await;
    for lengths in [
        "Content-Length: 70\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 70",
    ] {
        let response = proxy
            .send(&format!(
                "POST http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n{lengths}\r\n\r\n0\r\n\r\n\
                 GET http://evil.example/ HTTP/1.1\r\nHost: plain.example\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let request = received(&mut requests).await;
        assert!(!request.contains("content-length") && !request.contains("evil"), "{request}");
        assert!(request.ends_with("transfer-encoding: chunked\r\n\r\n0\r\n\r\n"), "{request}");
        let answers: Vec<_> =
            response.match_indices("HTTP/1.1 ").map(|(at, _)| &response[at + 9..at + 12]).collect();
        assert_eq!(answers, ["200"], "{response}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn each_request_on_a_connection_is_judged_by_itself() {
    let (proxy, mut requests) = stand().await;
    let response = proxy
        .send(
            "POST http://plain.example/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
             GET http://evil.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n\
             GET http://plain.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        )
        .await;
    let answers: Vec<_> =
        response.match_indices("HTTP/1.1 ").map(|(at, _)| &response[at + 9..at + 12]).collect();
    assert_eq!(answers, ["200", "403", "200"], "{response}");
    for _ in 0..2 {
        let request = received(&mut requests).await;
        assert!(request.contains("host: plain.example\r\n") && !request.contains("evil"), "{request}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_request_that_is_malformed_or_ambiguous_is_refused() {
    let (proxy, _requests) = stand().await;
    let long = format!("CONNECT {}.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", "a.".repeat(200));
    let huge =
        format!("GET http://plain.example/ HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(1_000_000));
    for request in [
        "POST http://plain.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST http://plain.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        "POST http://plain.example/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST http://plain.example/ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET http://plain.example/ HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET http://plain.example/ HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        "GET http://plain.example/\r\nX-Injected: 1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT plain.example:443\r\nHost: a HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        "GET https://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        "GET ftp://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        "GET http://plain.example@evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://evil.example@plain.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://plain.example:0/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://plain.example:99999/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://plain.example:/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://plain.example%00.evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://bücher.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///plain.example HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT plain.example HTTP/1.1\r\nHost: plain.example\r\n\r\n",
        "CONNECT plain.example:0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT user@plain.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT http://plain.example/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT /plain.example HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03 a TLS hello\r\n\r\n",
        &long,
        &huge,
    ] {
        let mut request = request.to_owned();
        // So that the connection ends after it.
        if let Some(at) = request.find("\r\n\r\n") {
            request.insert_str(at, "\r\nConnection: close");
        }
        let response = proxy.send(&request).await;
        let status = response.get(9..12).unwrap_or_default();
        // A head that is too large may end the connection before its response is read.
        let is_refused = ["400", "431"].contains(&status) || (request.len() > 70_000 && response.is_empty());
        assert!(is_refused, "{request:.200} got {response}");
    }
    assert!(proxy.world.connected().is_empty(), "{:?}", proxy.world.connected());
}

#[tokio::test]
async fn a_server_that_changes_the_protocol_unasked_is_refused() {
    let proxy = Proxy::start(Mode::Enforce, &["plain.example"]).await;
    let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: upgrade\r\n\r\nraw bytes";
    let (server, _requests) = web(response).await;
    proxy.world.name("plain.example", &[&[PUBLIC]]);
    proxy.world.server(PUBLIC, 80, server);
    let response = proxy.plain("http://plain.example/").await;
    assert!(response.starts_with("HTTP/1.1 502 ") && !response.contains("raw bytes"), "{response}");
}
