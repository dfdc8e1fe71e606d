//! Which destinations can be reached, and what is reported of them.

use dayfly::egress::{Mode, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stand::{METADATA, PRIVATE, PUBLIC, Proxy, echo, expected, read_to_end, web};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn an_allowed_host_is_reached_by_connect_and_by_plain_http() {
    let mut proxy = Proxy::start(Mode::Enforce, &["tunnel.example", "*.plain.example"]).await;
    proxy.world.name("tunnel.example", &[&[PUBLIC]]);
    proxy.world.name("a.plain.example", &[&[PUBLIC]]);
    proxy.world.server(PUBLIC, 443, echo().await);
    proxy.world.server(PUBLIC, 80, web(OK).await.0);

    let (response, mut stream) = proxy.tunnel("Tunnel.Example.:443").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    stream.write_all(b"\x16\x03\x01 any bytes").await.unwrap();
    let mut back = [0; 13];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"\x16\x03\x01 any bytes");
    // One side can be closed alone.
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, " and goodbye");
    assert_eq!(proxy.reported().await, expected("tunnel.example", 443, Verdict::Allowed, 1));

    let response = proxy.plain("http://a.plain.example/page").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("hello"), "{response}");
    assert_eq!(proxy.reported().await, expected("a.plain.example", 80, Verdict::Allowed, 1));
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_refused_and_its_name_reaches_no_dns_server() {
    let mut proxy = Proxy::start(Mode::Enforce, &["*.example.com"]).await;
    let (response, _) = proxy.tunnel("data-in-a-name.evil.example:443").await;
    assert!(response.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{response}");
    let body = response.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(
        body,
        "dayfly egress proxy: data-in-a-name.evil.example:443 is refused: no entry of the allow list matches \
         it; to permit it, add \"data-in-a-name.evil.example\" to [pool.container.egress] allow\n"
    );
    // Clients show this, and not the body of a response to CONNECT.
    assert!(
        response.contains(
            "proxy-status: \"dayfly egress proxy\"; error=http_request_denied; \
             details=\"data-in-a-name.evil.example:443 is refused: no entry of the allow list matches it; to permit \
             it, add \\\"data-in-a-name.evil.example\\\" to [pool.container.egress] allow\"\r\n"
        ),
        "{response}"
    );
    let plain = proxy.plain("http://example.com/").await;
    assert!(plain.starts_with("HTTP/1.1 403 "), "{plain}");
    assert!(plain.contains("content-type: text/plain"), "{plain}");
    let other_port = proxy.tunnel("a.example.com:22").await.0;
    assert!(other_port.contains("add \"a.example.com:22\" to"), "{other_port}");
    assert_eq!((proxy.world.resolved(), proxy.world.connected()), (vec![], vec![]));
    for (host, port) in [("data-in-a-name.evil.example", 443), ("example.com", 80), ("a.example.com", 22)] {
        assert_eq!(proxy.reported().await, expected(host, port, Verdict::Refused, 1));
    }
}

#[tokio::test]
async fn audit_lets_through_what_is_not_listed_and_reports_it() {
    let mut proxy = Proxy::start(Mode::Audit, &["listed.example"]).await;
    let echo = echo().await;
    for (name, address) in
        [("listed.example", PUBLIC), ("other.example", PUBLIC), ("intern.example", PRIVATE)]
    {
        proxy.world.name(name, &[&[address]]);
        proxy.world.server(address, 443, echo);
    }
    proxy.world.server(PUBLIC, 22, echo);
    for (host, port, verdict) in [
        ("listed.example", 443, Verdict::Allowed),
        ("listed.example", 22, Verdict::Audited),
        ("other.example", 443, Verdict::Audited),
        ("intern.example", 443, Verdict::Audited),
        (PUBLIC, 443, Verdict::Audited),
    ] {
        let (response, _) = proxy.tunnel(&format!("{host}:{port}")).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{host}: {response}");
        assert_eq!(proxy.reported().await, expected(host, port, verdict, 1));
    }
}

#[tokio::test]
async fn an_address_is_refused_unless_the_same_one_is_listed() {
    let mut proxy = Proxy::start(Mode::Enforce, &["listed.example", PUBLIC, "10.0.0.5:5000"]).await;
    let echo = echo().await;
    proxy.world.server(PUBLIC, 443, echo);
    proxy.world.server("10.0.0.5", 5000, echo);
    for (destination, status) in [
        ("203.0.113.1:443", "200"),
        ("[::ffff:203.0.113.1]:443", "200"),
        ("10.0.0.5:5000", "200"),
        ("203.0.113.1:8443", "403"),
        ("203.0.113.2:443", "403"),
        ("[2001:db8::1]:443", "403"),
        ("10.0.0.5:443", "403"),
        ("10.0.0.6:5000", "403"),
    ] {
        let (response, _) = proxy.tunnel(destination).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{destination}: {response}");
        assert_eq!(proxy.reported().await.2 == Verdict::Allowed, status == "200", "{destination}");
    }
    assert_eq!(proxy.world.connected(), ["203.0.113.1:443", "203.0.113.1:443", "10.0.0.5:5000"]);
}

#[tokio::test]
async fn metadata_loopback_and_the_like_are_refused_in_both_modes_however_they_are_written() {
    for mode in [Mode::Audit, Mode::Enforce] {
        let mut proxy = Proxy::start(mode, &["*.example"]).await;
        proxy.world.name("metadata.example", &[&[METADATA, "fd00:ec2::254", "::ffff:169.254.169.254"]]);
        proxy.world.name("localhost.example", &[&["127.0.0.1", "::1"]]);
        proxy.world.name("link.example", &[&["fe80::1", "0.0.0.0", "ff02::1"]]);
        for host in [
            METADATA,
            "[fd00:ec2::254]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::a9fe:a9fe]",
            "127.0.0.1",
            "[::1]",
            "0.0.0.0",
            "[fe80::1]",
            "metadata.example",
            "localhost.example",
            "link.example",
        ] {
            let response = proxy.plain(&format!("http://{host}/latest/meta-data/")).await;
            assert!(response.starts_with("HTTP/1.1 403 "), "{mode} {host}: {response}");
            assert!(response.contains("cannot permit it"), "{mode} {host}: {response}");
            assert_eq!(proxy.reported().await.2, Verdict::Refused, "{mode} {host}");
        }
        // What a resolver may read as an address is no name.
        for host in ["127.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"] {
            let response = proxy.plain(&format!("http://{host}/")).await;
            assert!(
                response.starts_with("HTTP/1.1 400 ") || response.starts_with("HTTP/1.1 403 "),
                "{response}"
            );
        }
        assert!(proxy.world.connected().is_empty(), "{:?}", proxy.world.connected());
    }
}

#[tokio::test]
async fn a_name_that_resolves_differently_the_next_time_gains_nothing() {
    let mut proxy = Proxy::start(Mode::Enforce, &["rebinds.example", "*.wild.example"]).await;
    let echo = echo().await;
    // It is there, but must not be reached.
    for address in [PUBLIC, METADATA, "127.0.0.1", PRIVATE] {
        proxy.world.server(address, 443, echo);
    }
    proxy.world.name("rebinds.example", &[&[PUBLIC], &[METADATA], &["127.0.0.1"]]);
    for (status, verdict) in [("200", Verdict::Allowed), ("403", Verdict::Refused), ("403", Verdict::Refused)]
    {
        let (response, _) = proxy.tunnel("rebinds.example:443").await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        assert_eq!(proxy.reported().await.2, verdict);
    }
    assert_eq!(proxy.world.resolved().len(), 3, "a name is resolved once for each request");
    assert_eq!(proxy.world.connected(), ["203.0.113.1:443"]);

    // Among several addresses, only those that are permitted are tried.
    proxy.world.name("both.wild.example", &[&[METADATA, PRIVATE, "203.0.113.7", PUBLIC]]);
    let (response, _) = proxy.tunnel("both.wild.example:443").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(proxy.world.connected()[1..], ["203.0.113.7:443", "203.0.113.1:443"]);

    // So that audit shows what enforce would do.
    let mut audit = Proxy::start(Mode::Audit, &["*.wild.example"]).await;
    audit.world.name("both.wild.example", &[&[METADATA, PRIVATE, PUBLIC]]);
    audit.world.server(PUBLIC, 443, echo);
    let (response, _) = audit.tunnel("both.wild.example:443").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert_eq!(audit.world.connected(), ["203.0.113.1:443"]);
    assert_eq!(audit.reported().await, expected("both.wild.example", 443, Verdict::Allowed, 1));
}

#[tokio::test]
async fn a_name_reaches_private_addresses_only_if_it_is_listed_by_itself() {
    let proxy = Proxy::start(Mode::Enforce, &["registry.corp.example", "*.corp.example"]).await;
    proxy.world.name("registry.corp.example", &[&[PRIVATE]]);
    proxy.world.name("other.corp.example", &[&[PRIVATE]]);
    proxy.world.server(PRIVATE, 443, echo().await);
    let (response, _) = proxy.tunnel("registry.corp.example:443").await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let (response, _) = proxy.tunnel("other.corp.example:443").await;
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    assert!(response.contains("private address 10.0.0.1"), "{response}");
}

#[tokio::test]
async fn a_busy_destination_is_reported_when_its_count_doubles() {
    let mut proxy = Proxy::start(Mode::Enforce, &[]).await;
    for _ in 0..9 {
        proxy.plain("http://busy.example/").await;
    }
    for count in [1, 2, 4, 8] {
        assert_eq!(proxy.reported().await, expected("busy.example", 80, Verdict::Refused, count));
    }
    assert!(!proxy.has_more());
}
