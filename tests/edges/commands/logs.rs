//! The daemon's log with different readers: one that stalls, a file or a program, and the journal.

use std::{
    io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use dayfly::simulator::{Settings, Simulator};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, fstat};
use tokio::{net::TcpListener, process::Child, time::timeout};

use super::{
    stand::{DEADLINE, Stand, pool},
    status::{terminate, until},
};

/// A pipe that takes no more until it is read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    loop {
        match writer.write(&[b'\n'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// A free address, which no other test is given before the daemon listens on it: they use 127.0.0.1.
async fn free_address() -> String {
    TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap().to_string()
}

/// Starts the daemon at this address with its log in the pipe; with `name_stream` the pipe looks like the
/// journal's.
fn start(stand: &Stand, address: &str, log: PipeWriter, name_stream: bool) -> Child {
    // Two daemons of one instance refuse to run on one machine, and other tests of this process have daemons too.
    static DAEMONS: AtomicU32 = AtomicU32::new(0);
    let instance = format!("l{}x{}", DAEMONS.fetch_add(1, Relaxed), std::process::id() % 1_000_000);
    let mut command = stand.command(&["run", "--log", "debug"]);
    command.env("DAYFLY_INSTANCE", instance);
    if name_stream {
        let stat = fstat(&log).unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    }
    command.env("DAYFLY_HTTP__LISTEN", address).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_reader_that_stalls_stops_neither_planning_nor_the_end() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    let address = free_address().await;
    let (_unread, log) = full_pipe();
    let mut daemon = start(&stand, &address, log, false);
    let ask = || {
        let mut command = stand.command(&["status", "--json"]);
        command.env("DAYFLY_HTTP__LISTEN", &address);
        command
    };
    // `status` fails unless /healthz says that the daemon plans.
    let paused = |said: &super::stand::Said| said.status.success() && said.out.contains("image_missing");
    let planned = until(ask, paused).await.json()["planned_at"].clone();
    until(ask, |said| said.status.success() && said.json()["planned_at"] != planned).await;

    terminate(&daemon);
    let status = timeout(DEADLINE, daemon.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_are_written_and_the_journal_gets_their_priorities() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    for for_journal in [false, true] {
        let address = free_address().await;
        let (mut reader, log) = pipe().unwrap();
        let mut daemon = start(&stand, &address, log, for_journal);
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let ask = || {
            let mut command = stand.command(&["status", "--quiet"]);
            command.env("DAYFLY_HTTP__LISTEN", &address);
            command
        };
        until(ask, |said| said.status.success()).await;
        terminate(&daemon);
        assert!(timeout(DEADLINE, daemon.wait()).await.expect("it ends").unwrap().success());
        let text = timeout(DEADLINE, text).await.unwrap().unwrap().unwrap();
        assert!(text.lines().any(|line| line.contains("stopping; runners are left running")), "{text}");
        let prioritized =
            |line: &str| ["<4>", "<6>", "<7>"].iter().any(|priority| line.starts_with(priority));
        assert!(text.lines().all(|line| prioritized(line) == for_journal), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_gets_the_reason_of_a_failed_start_as_errors() {
    let stand = Stand::new();
    stand.configure("[[pool]]\nlabels = []\n");
    let (mut reader, log) = pipe().unwrap();
    let mut daemon = start(&stand, "127.0.0.1:0", log, true);
    assert_eq!(timeout(DEADLINE, daemon.wait()).await.expect("it ends").unwrap().code(), Some(2));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.lines().count() > 1 && text.lines().all(|line| line.starts_with("<3>")), "{text}");
}
