//! Servers that do not answer, clients that are slow, and the number of connections.

use std::time::Duration;

use dayfly::egress::{Limits, Mode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::stand::{DEADLINE, PUBLIC, Proxy, SILENT, SILENT_NAME, echo, read_to_end, web};

const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_destination_that_cannot_be_reached_gets_502_and_one_that_is_silent_504() {
    let limits = Limits { connect: SHORT, ..Limits::default() };
    let proxy = Proxy::start_with(limits, Mode::Enforce, &["*.example"]).await;
    proxy.world.name("closed.example", &[&[PUBLIC]]);
    proxy.world.name("empty.example", &[&[]]);
    proxy.world.name("hangs.example", &[&[SILENT]]);
    for (host, status, reason) in [
        ("closed.example", "502", "cannot be reached at 203.0.113.1:443: connection refused"),
        ("unknown.example", "502", "unknown.example could not be resolved: Name or service not known"),
        ("empty.example", "502", "empty.example has no address"),
        ("hangs.example", "504", "hangs.example:443 did not accept a connection in time"),
        (SILENT_NAME, "504", "silent.example could not be resolved in time"),
    ] {
        let (response, _) = proxy.tunnel(&format!("{host}:443")).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {response}");
        assert!(response.contains(reason), "{host}: {response}");
    }
    // One address that is silent leaves time for the others.
    proxy.world.name("second.example", &[&[SILENT, PUBLIC]]);
    proxy.world.server(PUBLIC, 8443, echo().await);
    let (response, _) = proxy.tunnel("second.example:8443").await;
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    proxy.world.server(PUBLIC, 443, echo().await);
    let (response, _) = proxy.tunnel("second.example:443").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
}

#[tokio::test]
async fn a_server_that_breaks_off_gets_502() {
    let proxy = Proxy::start(Mode::Enforce, &["plain.example"]).await;
    proxy.world.name("plain.example", &[&[PUBLIC]]);
    proxy.world.server(PUBLIC, 80, web("HTTP/1.1 2").await.0);
    let response = proxy.plain("http://plain.example/").await;
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    assert!(response.contains("plain.example:80 did not answer: "), "{response}");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_is_cut_off_and_an_idle_tunnel_is_not() {
    let limits = Limits { head: SHORT, ..Limits::default() };
    let proxy = Proxy::start_with(limits, Mode::Enforce, &["tunnel.example"]).await;
    proxy.world.name("tunnel.example", &[&[PUBLIC]]);
    proxy.world.server(PUBLIC, 443, echo().await);
    let (response, mut tunnel) = proxy.tunnel("tunnel.example:443").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");

    let mut slow = proxy.connect().await;
    slow.write_all(b"CONNECT tunnel.example:443 HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let response = read_to_end(&mut slow).await;
    assert!(!response.starts_with("HTTP/1.1 200"), "{response}");
    let mut mute = proxy.connect().await;
    assert_eq!(read_to_end(&mut mute).await, "");

    // The tunnel has been idle for longer than both.
    tunnel.write_all(b"still here").await.unwrap();
    let mut back = [0; 10];
    timeout(DEADLINE, tunnel.read_exact(&mut back)).await.expect("an echo in time").unwrap();
    assert_eq!(&back, b"still here");
}

#[tokio::test]
async fn above_the_limit_of_connections_requests_are_refused_until_one_ends() {
    let limits = Limits { connections: 2, refused_connections: 1, ..Limits::default() };
    let proxy = Proxy::start_with(limits, Mode::Enforce, &["tunnel.example"]).await;
    proxy.world.name("tunnel.example", &[&[PUBLIC]]);
    proxy.world.server(PUBLIC, 443, echo().await);
    let (first, tunnel) = proxy.tunnel("tunnel.example:443").await;
    let (second, _other) = proxy.tunnel("tunnel.example:443").await;
    assert!(first.starts_with("HTTP/1.1 200 ") && second.starts_with("HTTP/1.1 200 "), "{first} {second}");
    for _ in 0..3 {
        let (response, _) = proxy.tunnel("tunnel.example:443").await;
        assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
        assert!(response.contains("it has 2 open connections, which is its limit"), "{response}");
    }
    drop(tunnel);
    let reached = async {
        while !proxy.tunnel("tunnel.example:443").await.0.starts_with("HTTP/1.1 200 ") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, reached).await.expect("the place of a tunnel that has ended is free again");
}
