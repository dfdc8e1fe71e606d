//! The web server, over a real socket.

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
    fleet::{
        ClockReading, Ending, ExitReason, FailureReport, Instant, ScopeReport, Status, Step, Timestamp,
        TroubleKind, TroubleReport, Why,
    },
    github,
    http::{About, AboutEngine, App, HostNames, Patience, serve_with},
    telemetry::Metrics,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{NOON, fleet, reference::check_http, runner, scope};

const DEADLINE: Duration = Duration::from_mins(1);

/// A server over a report and a clock that tests set.
struct Server {
    address: SocketAddr,
    reports: watch::Sender<Arc<Status>>,
    now: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// When it was noon.
const AT_NOON: Instant = Instant::from_millis(5_000_000);

fn report(status: Status, planned_at: Option<Timestamp>) -> Arc<Status> {
    Arc::new(Status { planned: planned_at.map(|shown| ClockReading { at: AT_NOON, shown }), ..status })
}

impl Server {
    fn start(first: Arc<Status>) -> Self {
        Self::start_with(Patience::default(), first)
    }

    fn start_with(patience: Patience, first: Arc<Status>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Connections inherit it: the less fits into it, the sooner a response that is not read blocks.
        socket.set_send_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(first);
        let now = Arc::new(AtomicU64::new(AT_NOON.as_millis()));
        let clock = Arc::clone(&now);
        let metrics = Arc::new(Metrics::new("0.1.0").unwrap());
        let app = App {
            about: About {
                instance: "ci1".into(),
                version: "0.1.0",
                started_at: NOON,
                engines: BTreeMap::from([(
                    "local".parse().unwrap(),
                    AboutEngine {
                        kind: "docker",
                        endpoint: "unix:///run/docker.sock".to_owned(),
                        endpoint_source: "DOCKER_HOST".to_owned(),
                    },
                )]),
            },
            reports: receiver,
            rates: Arc::new(|of| {
                (*of == scope()).then(|| github::Rate {
                    limit: 5000,
                    remaining: 4990,
                    reset_at: AT_NOON + Duration::from_hours(1),
                    resource: "core".to_owned(),
                })
            }),
            metrics: Arc::new(move || metrics.gather()),
            now: Arc::new(move || Instant::from_millis(clock.load(Ordering::SeqCst))),
            webhook: None,
            names: HostNames::new(address, &["ci.example.com".to_owned()]),
        };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve_with(patience, listener, app, async {
            let _ = stopped.await;
        }));
        Self { address, reports: sender, now, stop, task }
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        self.ask_as("localhost", method, path).await
    }

    async fn ask_as(&self, host: &str, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
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
    let server = Server::start(report(fleet(), Some(NOON)));
    let (status, head, body) = server.ask("GET", "/api/v1/status").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let document: Value = serde_json::from_str(&body).unwrap();
    check_http(&document);
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
                "name": "linux", "url": "https://github.com/acme", "hosts": ["local"], "placement": "spread",
                "desired": 3, "min_idle": 1, "max": 10, "queued": 0, "oldest_queued_at": null,
                "phases": {"starting": 0, "idle": 1, "busy": 1, "stopping": 0,
                           "finished": 0, "orphaned": 0, "ghost": 0, "unknown": 0},
                "oldest_starting_at": null, "held": null, "held_since": null, "held_detail": null,
                "sources_down": [], "source_troubles": []
            }],
            "runners": [{
                "name": runner("linux", 1).as_str(), "pool": "linux", "phase": "busy",
                "registration_id": 23, "container_id": "c0ffee0123456789", "host": "local", "node": "ci1",
                "since": "2026-11-22T12:00:00.000Z", "removal_reason": null, "ending": null, "job": "build",
                "job_details": details("build"), "more_destinations": 0,
                "destinations": [
                    {"host": "evil.example", "port": 443, "verdict": "refused", "requests": 2}
                ]
            }],
            "scopes": [{
                "url": "https://github.com/acme", "up": true, "last_listed_at": "2026-11-22T12:00:00.000Z",
                "trouble": null, "rate_limit": {"limit": 5000, "remaining": 4990, "reset_at": "2026-11-22T13:00:00.000Z"}
            }],
            "hosts": [{
                "name": "local", "engine": "docker", "endpoint": "unix:///run/docker.sock",
                "endpoint_source": "DOCKER_HOST", "up": true, "last_listed_at": "2026-11-22T12:00:00.000Z",
                "trouble": null, "runners": 2, "memory_committed": 17_179_869_184_u64, "cpu_millis_committed": 8000,
                "nodes": [{"name": "ci1", "availability": "pause", "reachable": true, "drain_requested": true,
                    "runners": 2}],
                "pulls": [{"image": "ghcr.io/acme/ci:1", "since": "2026-11-22T12:00:00.000Z", "layers_done": 3,
                    "layers": 7, "bytes": 31_457_280, "bytes_known": 104_857_600}],
                "blocked": "host_memory"
            }],
            "jobs": [{
                "id": 7, "name": "deploy", "repository": "https://github.com/acme/widgets", "run_id": 11,
                "url": "https://github.com/acme/widgets/actions/runs/11/job/7",
                "queued_at": "2026-11-22T12:00:00.000Z", "labels": ["gpu"], "pool": null,
                "unmatched": "labels", "seen_at": "2026-11-22T12:00:00.000Z"
            }],
            "failures": []
        })
    );
}

#[tokio::test]
async fn healthy_is_who_planned_within_the_minute() {
    let server = Server::start(report(fleet(), None));
    assert_eq!(server.get("/healthz").await, (503, "no plan yet\n".to_owned()));
    server.reports.send_replace(report(fleet(), Some(NOON)));
    assert_eq!(server.get("/healthz").await, (200, "ok\n".to_owned()));
    server.now.store(AT_NOON.as_millis() + 59_999, Ordering::SeqCst);
    assert_eq!(server.get("/healthz").await.0, 200);
    server.now.store(AT_NOON.as_millis() + 60_000, Ordering::SeqCst);
    assert_eq!(server.get("/healthz").await, (503, "no plan for 60 s\n".to_owned()));
}

#[tokio::test]
async fn ready_is_who_has_seen_every_scope_and_host() {
    let mut status = fleet();
    status.scopes[0] = ScopeReport { url: scope(), up: false, last_listed_at: None, trouble: None };
    (status.hosts[0].up, status.hosts[0].last_listed_at) = (false, None);
    let server = Server::start(report(Status::default(), None));
    assert_eq!(server.get("/readyz").await.0, 503, "before the first pass nothing is known");
    server.reports.send_replace(report(status, Some(NOON)));
    let (code, body) = server.get("/readyz").await;
    assert_eq!(code, 503);
    assert_eq!(
        body,
        "the runners of https://github.com/acme have not been listed yet\nthe containers of host local have \
         not been listed yet\n"
    );
    server.reports.send_replace(report(fleet(), Some(NOON)));
    assert_eq!(server.get("/readyz").await, (200, "ok\n".to_owned()));
    let mut down = fleet();
    (down.scopes[0].up, down.hosts[0].up) = (false, false);
    server.reports.send_replace(report(down, Some(NOON)));
    assert_eq!(server.get("/readyz").await.0, 200, "an outage does not make a running daemon unready");
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let server = Server::start(report(fleet(), Some(NOON)));
    let (status, head, body) = server.ask("GET", "/nowhere/%22%3Cscript%3E").await;
    assert_eq!((status, head.contains("content-type: application/json")), (404, true));
    assert_eq!(body, r#"{"error":"/nowhere/%22%3Cscript%3E not found; GET / lists the paths"}"#);
    let (status, head, body) = server.ask("POST", "/metrics").await;
    assert_eq!((status, head.contains("allow: get")), (405, true), "{head}");
    assert_eq!(body, r#"{"error":"/metrics accepts GET only"}"#);
    let (status, head, _) = server.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_is_cut() {
    let server = Server::start(report(fleet(), Some(NOON)));
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: day").await.unwrap();
    let mut rest = Vec::new();
    timeout(DEADLINE, slow.read_to_end(&mut rest)).await.expect("the connection is closed").unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert_eq!(server.get("/healthz").await.0, 200, "and the others are served");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_clients() {
    let server = Server::start(report(fleet(), Some(NOON)));
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost: day").await.unwrap();
    assert_eq!(server.get("/healthz").await.0, 200);
    server.stop.send(()).unwrap();
    timeout(Duration::from_secs(5), server.task).await.expect("it stops").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "and nothing listens any more");
}

#[tokio::test]
async fn the_status_document_says_why() {
    let mut status = fleet();
    let trouble = |reason, detail: &str| {
        Some(TroubleReport { reason, since: NOON - Duration::from_secs(5), detail: detail.to_owned() })
    };
    status.scopes[0].trouble = trouble(TroubleKind::Refused, "list the runners: 401");
    status.hosts[0].trouble = trouble(TroubleKind::EngineFailed, "connect: refused");
    status.runners[0].removal_reason = Some(Why::Surplus);
    status.runners[0].ending =
        Some(Ending { reason: ExitReason::OutOfMemory, at: NOON, exit_code: Some(137) });
    status.failures = vec![Arc::new(FailureReport {
        at: NOON,
        pool: "linux".to_owned(),
        runner: runner("linux", 2),
        step: Step::Launch,
        reason: "image_missing",
        exit_code: None,
        job: None,
        detail: "no such image".to_owned(),
    })];
    let server = Server::start(report(status, Some(NOON)));
    let document: Value = serde_json::from_str(&server.get("/api/v1/status").await.1).unwrap();
    check_http(&document);
    let trouble = |reason: &str, detail: &str| json!({"reason": reason, "since": "2026-11-22T11:59:55.000Z", "detail": detail});
    assert_eq!(document["scopes"][0]["trouble"], trouble("refused", "list the runners: 401"));
    assert_eq!(document["hosts"][0]["trouble"], trouble("engine_failed", "connect: refused"));
    assert_eq!(document["runners"][0]["removal_reason"], "surplus");
    let ending = json!({"reason": "oom", "at": "2026-11-22T12:00:00.000Z", "exit_code": 137});
    assert_eq!(document["runners"][0]["ending"], ending);
    assert_eq!(
        document["failures"],
        json!([{
            "at": "2026-11-22T12:00:00.000Z", "pool": "linux", "runner": runner("linux", 2).as_str(),
            "step": "launch", "reason": "image_missing", "exit_code": null, "job": null,
            "detail": "no such image"
        }])
    );
}

#[tokio::test]
async fn the_first_page_lists_the_others() {
    let server = Server::start(report(fleet(), Some(NOON)));
    let (status, head, body) = server.ask("GET", "/").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain") && head.contains("x-content-type-options: nosniff"),
        "{head}"
    );
    for page in ["/metrics", "/healthz", "/readyz", "/api/v1/status"] {
        assert!(body.contains(page), "{body}");
        check_http(&json!(format!("GET {page}")));
        let (status, head, _) = server.ask("GET", page).await;
        assert!(status == 200 && head.contains("x-content-type-options: nosniff"), "{page}: {status} {head}");
    }
    assert!(!body.contains("/webhook"), "there is none here: {body}");
    assert!(server.ask("GET", "/nowhere").await.1.contains("x-content-type-options: nosniff"));
}

#[tokio::test]
async fn a_page_of_another_name_cannot_read_the_answers() {
    let server = Server::start(report(fleet(), Some(NOON)));
    for path in ["/", "/metrics", "/healthz", "/api/v1/status", "/nowhere", "/webhook"] {
        let (status, head, body) = server.ask_as("evil.example:9745", "GET", path).await;
        assert_eq!(status, 403, "{path}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
        assert!(body.contains("evil.example:9745") && body.contains("http.allowed_hosts"), "{body}");
    }
    for host in ["localhost:9745", "127.0.0.1", "[::1]:9745", "ci.example.com"] {
        assert_eq!(server.ask_as(host, "GET", "/healthz").await.0, 200, "{host}");
    }
    assert_eq!(
        server.ask_as("evil.example", "POST", "/webhook").await.0,
        404,
        "webhooks are accepted under every name"
    );
}

const PIPELINED: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Sends requests until no more fit, and never reads a response. Returns the stream once it blocks.
async fn stall(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let requests = PIPELINED.repeat(1000);
    // A stream that accepts no more for this long is blocked.
    while timeout(Duration::from_millis(100), stream.write_all(&requests))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {}
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_keep_no_one_else_out() {
    let server = Server::start(report(fleet(), Some(NOON)));
    let stalled = futures_util::future::join_all((0..300).map(|_| stall(&server))).await;
    let healthy = timeout(DEADLINE, server.get("/healthz")).await.expect("others are served");
    assert_eq!(healthy.0, 200);
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_closes_the_connection() {
    let patience = Patience { answer: Duration::from_millis(300), ..Patience::default() };
    let server = Server::start_with(patience, report(fleet(), Some(NOON)));
    let mut stream = stall(&server).await;
    // Writing fails once the server has closed its end.
    let closed = async { while stream.write_all(PIPELINED).await.is_ok() {} };
    timeout(DEADLINE, closed).await.expect("the server closes the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_keeps_a_connection_for_ever() {
    let patience = Patience { connection: Duration::from_millis(300), ..Patience::default() };
    let server = Server::start_with(patience, report(fleet(), Some(NOON)));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let busy = async {
        let mut buffer = [0; 4096];
        // A client that always has one more request, and reads every response.
        while stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_ok() {
            if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                break;
            }
        }
    };
    timeout(DEADLINE, busy).await.expect("the server closes the connection");
    assert_eq!(server.get("/healthz").await.0, 200);
}
