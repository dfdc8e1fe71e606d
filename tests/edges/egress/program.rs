//! The program itself: its output, its end, and what it makes of wrong options.

use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use dayfly::egress::{Line, Report, Verdict};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::stand::{DEADLINE, read_to_end};

/// Starts the proxy on any free port, and waits until it listens.
async fn start(options: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["egress-proxy", "--listen", "127.0.0.1:0"])
        .args(options)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    match next(&mut lines).await {
        Report::Listening { listening } => (child, lines, listening),
        other => panic!("{other:?}"),
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Report {
    let line = timeout(DEADLINE, lines.next_line()).await.expect("a line in time").unwrap().unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[tokio::test]
async fn the_program_reports_that_it_listens_and_each_destination_and_ends_at_sigterm_with_a_request_open() {
    let (mut child, mut lines, address) = start(&["--mode", "enforce", "--allow", "localhost:1"]).await;
    for (host, port, reason) in [
        ("evil.example", 443, "no entry of the allow list matches it"),
        // It is resolved by the system, and refused although it is listed.
        ("localhost", 1, "a loopback address"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = read_to_end(&mut stream).await;
        assert!(response.starts_with("HTTP/1.1 403 ") && response.contains(reason), "{response}");
        let line = Line { host: host.to_owned(), port, verdict: Verdict::Refused, count: 1 };
        assert_eq!(next(&mut lines).await, Report::Destination(line));
    }

    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET http://half.example/ HTTP/1.1\r\n").await.unwrap();
    let began = Instant::now();
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    let status = timeout(DEADLINE, child.wait()).await.expect("an end in time").unwrap();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn wrong_options_are_refused_with_what_to_write() {
    for (options, reason) in [
        (&["--mode", "enforce", "--allow", "https://github.com"][..], "write the host name alone"),
        (&["--mode", "enforce", "--allow", "bücher.example"], "begins with xn--"),
        (&["--mode", "enforce", "--allow", "169.254.169.254"], "never allowed"),
        (&["--mode", "on"], "it must be audit or enforce"),
        (&["--mode", "audit", "--listen", "192.0.2.1:1"], "failed to listen on 192.0.2.1:1"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_dayfly"))
            .arg("egress-proxy")
            .args(options)
            .kill_on_drop(true)
            .output();
        let output = timeout(DEADLINE, output).await.expect("an end in time").unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(reason), "{options:?}: {text}");
    }
}
