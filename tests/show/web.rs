//! The web server, asked over a real socket.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dayfly::{
    fleet::{ClockReading, Instant, ScopeReport, Status, Timestamp},
    github,
    http::{App, Snapshot, serve},
    telemetry::Metrics,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{NOON, fleet, runner, scope};

const DEADLINE: Duration = Duration::from_mins(1);

/// A server over a snapshot and a clock that tests set.
struct Server {
    address: SocketAddr,
    snapshot: watch::Sender<Arc<Snapshot>>,
    now: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// When it was noon.
const AT_NOON: Instant = Instant::from_millis(5_000_000);

fn snapshot(status: Status, planned_at: Option<Timestamp>) -> Arc<Snapshot> {
    let rate = github::Rate {
        limit: 5000,
        remaining: 4990,
        reset_at: AT_NOON + Duration::from_hours(1),
        resource: "core".to_owned(),
    };
    Arc::new(Snapshot {
        instance: "ci1".into(),
        version: "0.1.0",
        started_at: NOON,
        planned: planned_at.map(|shown| ClockReading { at: AT_NOON, shown }),
        status,
        engines: BTreeMap::from([("local".parse().unwrap(), "docker")]),
        rates: BTreeMap::from([(scope(), rate)]),
    })
}

impl Server {
    async fn start(first: Arc<Snapshot>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(first);
        let now = Arc::new(AtomicU64::new(AT_NOON.as_millis()));
        let clock = Arc::clone(&now);
        let metrics = Arc::new(Metrics::new("0.1.0").unwrap());
        let app = App {
            snapshot: receiver,
            metrics: Arc::new(move || metrics.gather()),
            now: Arc::new(move || Instant::from_millis(clock.load(Ordering::SeqCst))),
            webhook: None,
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, app, async {
            let _ = stopped.await;
        }));
        Self { address, snapshot: sender, now, stop, task }
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: dayfly\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path).await;
        (status, body)
    }
}

#[tokio::test]
async fn the_status_document_is_as_promised() {
    let server = Server::start(snapshot(fleet(), Some(NOON))).await;
    let (status, head, body) = server.ask("GET", "/api/v1/status").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let document: Value = serde_json::from_str(&body).unwrap();
    let details = |name: &str| {
        json!({
            "name": name, "repository": "https://github.com/acme/widgets", "run_id": 11,
            "url": "https://github.com/acme/widgets/actions/runs/11/job/7",
            "queued_at": "2026-11-22T12:00:00.000Z"
        })
    };
    assert_eq!(
        document,
        json!({
            "instance": "ci1", "version": "0.1.0", "draining": false,
            "started_at": "2026-11-22T12:00:00.000Z", "planned_at": "2026-11-22T12:00:00.000Z",
            "pools": [{
                "name": "linux", "url": "https://github.com/acme", "host": "local",
                "desired": 3, "min_idle": 1, "max": 10, "queued": 0, "oldest_queued_at": null,
                "phases": {"starting": 0, "idle": 1, "busy": 1, "stopping": 0,
                           "finished": 0, "orphaned": 0, "ghost": 0, "unknown": 0},
                "oldest_starting_at": null, "held": null, "sources_down": []
            }],
            "runners": [{
                "name": runner("linux", 1).as_str(), "pool": "linux", "phase": "busy",
                "registration_id": 23, "container_id": "c0ffee", "host": "local",
                "since": "2026-11-22T12:00:00.000Z", "job": "build",
                "job_details": details("build")
            }],
            "scopes": [{
                "url": "https://github.com/acme", "up": true, "last_listed_at": "2026-11-22T12:00:00.000Z",
                "rate_limit": {"limit": 5000, "remaining": 4990, "reset_at": "2026-11-22T13:00:00.000Z"}
            }],
            "hosts": [{
                "name": "local", "engine": "docker", "up": true, "last_listed_at": "2026-11-22T12:00:00.000Z",
                "runners": 2, "memory_committed": 17_179_869_184_u64, "cpu_millis_committed": 8000,
                "blocked": "host_memory"
            }],
            "jobs": [{
                "id": 7, "name": "deploy", "repository": "https://github.com/acme/widgets", "run_id": 11,
                "url": "https://github.com/acme/widgets/actions/runs/11/job/7",
                "queued_at": "2026-11-22T12:00:00.000Z", "labels": ["gpu"], "pool": null,
                "unmatched": "labels", "seen_at": "2026-11-22T12:00:00.000Z"
            }]
        })
    );
}

#[tokio::test]
async fn healthy_is_who_planned_within_the_minute() {
    let server = Server::start(snapshot(fleet(), None)).await;
    assert_eq!(server.get("/healthz").await, (503, "nothing planned yet\n".to_owned()));
    server.snapshot.send_replace(snapshot(fleet(), Some(NOON)));
    assert_eq!(server.get("/healthz").await, (200, "ok\n".to_owned()));
    server.now.store(AT_NOON.as_millis() + 59_999, Ordering::SeqCst);
    assert_eq!(server.get("/healthz").await.0, 200);
    server.now.store(AT_NOON.as_millis() + 60_000, Ordering::SeqCst);
    assert_eq!(server.get("/healthz").await, (503, "nothing planned for 60 s\n".to_owned()));
}

#[tokio::test]
async fn ready_is_who_has_seen_every_scope_and_host() {
    let mut status = fleet();
    status.scopes[0] = ScopeReport { url: scope(), up: false, last_listed_at: None };
    (status.hosts[0].up, status.hosts[0].last_listed_at) = (false, None);
    let server = Server::start(snapshot(Status::default(), None)).await;
    assert_eq!(server.get("/readyz").await.0, 503, "before the first pass nothing is known");
    server.snapshot.send_replace(snapshot(status, Some(NOON)));
    let (code, body) = server.get("/readyz").await;
    assert_eq!(code, 503);
    assert_eq!(
        body,
        "the runners of https://github.com/acme were never listed\nthe containers of host local were never listed\n"
    );
    server.snapshot.send_replace(snapshot(fleet(), Some(NOON)));
    assert_eq!(server.get("/readyz").await, (200, "ok\n".to_owned()));
    let mut down = fleet();
    (down.scopes[0].up, down.hosts[0].up) = (false, false);
    server.snapshot.send_replace(snapshot(down, Some(NOON)));
    assert_eq!(server.get("/readyz").await.0, 200, "an outage does not make a running daemon unready");
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let server = Server::start(snapshot(fleet(), Some(NOON))).await;
    let (status, head, body) = server.ask("GET", "/nowhere/%22%3Cscript%3E").await;
    assert_eq!((status, head.contains("content-type: application/json")), (404, true));
    assert_eq!(body, r#"{"error":"there is no /nowhere/%22%3Cscript%3E"}"#);
    let (status, head, body) = server.ask("POST", "/metrics").await;
    assert_eq!((status, head.contains("allow: get")), (405, true), "{head}");
    assert_eq!(body, r#"{"error":"/metrics can only be read: use GET"}"#);
    let (status, head, _) = server.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_is_cut() {
    let server = Server::start(snapshot(fleet(), Some(NOON))).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: day").await.unwrap();
    let mut rest = Vec::new();
    timeout(DEADLINE, slow.read_to_end(&mut rest)).await.expect("the connection is closed").unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.get("/healthz").await.0, 200, "and the others are served");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_clients() {
    let server = Server::start(snapshot(fleet(), Some(NOON))).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: day").await.unwrap();
    assert_eq!(server.get("/healthz").await.0, 200);
    server.stop.send(()).unwrap();
    timeout(Duration::from_secs(5), server.task).await.expect("it stops").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "and nobody listens any more");
}
