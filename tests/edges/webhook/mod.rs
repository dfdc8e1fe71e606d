//! `POST /webhook` over a real socket: what is believed, what is answered, and that no bytes break it.

mod any_bytes;
mod endpoint;
mod examples;
mod hooks;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dayfly::{
    fleet::{ClockReading, Evidence, Instant, Job, JobState, Status, Timestamp},
    github::{Identities, webhook::Secrets},
    http::{About, App, HostNames, Webhook, serve},
    telemetry::Metrics,
};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};

const NOON: Timestamp = Timestamp::from_millis(1_795_348_800_000);

/// GitHub's clock, at noon.
const CLOCK: ClockReading = ClockReading { at: Instant::from_millis(5_000_000_000), shown: NOON };
const SECRET: &str = "a secret of the hook";
const DEADLINE: Duration = Duration::from_mins(1);

/// A server whose webhooks end in a list that has room for so many.
struct Server {
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    room: Arc<AtomicUsize>,
    reported: Arc<Mutex<Vec<Evidence>>>,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

/// A delivery that GitHub could send, to be spoiled.
#[derive(Clone)]
struct Delivery {
    headers: BTreeMap<&'static str, String>,
    body: Vec<u8>,
}

impl Delivery {
    fn new(event: &str, id: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = BTreeMap::from([
            ("content-type", "application/json".to_owned()),
            ("x-github-event", event.to_owned()),
            ("x-github-delivery", id.to_owned()),
            ("x-hub-signature-256", signature(SECRET, &body)),
        ]);
        Self { headers, body }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.to_owned());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }
}

fn signature(secret: &str, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let digits: String = ring::hmac::sign(&key, body)
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect();
    format!("sha256={digits}")
}

fn payload(action: &str, job: u64) -> Value {
    json!({
        "action": action,
        "workflow_job": {
            "id": job, "run_id": 7, "name": "build", "status": "queued", "labels": ["linux"],
            "html_url": "https://github.com/acme/widgets/actions/runs/7/job/1",
            "created_at": "2026-11-22T11:59:00Z", "runner_name": null
        },
        "repository": { "html_url": "https://github.com/acme/widgets", "private": true }
    })
}

fn queued(id: &str, job: u64) -> Delivery {
    Delivery::new("workflow_job", id, payload("queued", job).to_string())
}

impl Server {
    async fn start() -> Self {
        Self::start_with(Some(Secrets::fixed(&SECRET.into()))).await
    }

    async fn start_with(secrets: Option<Secrets>) -> Self {
        Self::start_as(secrets, Vec::new()).await
    }

    async fn start_knowing(identities: Vec<Identities>) -> Self {
        Self::start_as(Some(Secrets::fixed(&SECRET.into())), identities).await
    }

    async fn start_as(secrets: Option<Secrets>, identities: Vec<Identities>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new("0.1.0").unwrap());
        metrics.expect_webhooks();
        let (room, reported) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(Mutex::new(Vec::new())));
        let (space, list, counted) = (room.clone(), reported.clone(), metrics.clone());
        let webhook = secrets.map(|secrets| {
            let sink = move |evidence| {
                let mut list = list.lock().unwrap();
                let fits = list.len() < space.load(Ordering::SeqCst);
                if fits {
                    list.push(evidence);
                }
                fits
            };
            let recorder = move |event, result| counted.record_webhook(event, result);
            let webhook = Webhook::new(secrets, Arc::new(sink), Arc::new(recorder), Arc::new(|| CLOCK));
            webhook.knowing(identities)
        });
        let about =
            About { instance: "ci1".into(), version: "0.1.0", started_at: NOON, engines: BTreeMap::new() };
        let (_, reports) = watch::channel(Arc::new(Status::default()));
        let names = HostNames::new(address, &[]);
        let app = App {
            about,
            reports,
            rates: Arc::new(|_| None),
            metrics: Arc::new(String::new),
            now: Arc::new(|| CLOCK.at),
            webhook,
            names,
        };
        let task = tokio::spawn(serve(listener, app, std::future::pending()));
        // No connection is kept: the server may close an idle one just as it is used again.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { address, client, room, reported, metrics, task }
    }

    async fn send(&self, method: &str, delivery: Delivery) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(format!("http://{}/webhook", self.address));
        for (name, value) in delivery.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(delivery.body)).unwrap();
        let exchange = async {
            let response = self.client.request(request).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        timeout(DEADLINE, exchange).await.unwrap()
    }

    async fn deliver(&self, delivery: Delivery) -> u16 {
        self.send("POST", delivery).await.0
    }

    /// What it reported about jobs, oldest first.
    fn reported(&self) -> Vec<(Job, JobState)> {
        let reported = self.reported.lock().unwrap();
        reported
            .iter()
            .map(|evidence| match evidence {
                Evidence::Job { job, state, at, asked: false } if *at == CLOCK.at => {
                    (job.clone(), state.clone())
                }
                other => panic!("no hint of a job: {other:?}"),
            })
            .collect()
    }

    fn counted(&self, event: &str, result: &str) -> u64 {
        let series = format!("dayfly_webhook_deliveries_total{{event=\"{event}\",result=\"{result}\"}} ");
        let text = self.metrics.gather();
        let line = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
        line.unwrap_or_else(|| panic!("no {series}")).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The payload examples of octokit/webhooks by file name; none, with a line that says so, when the
/// environment names no folder.
fn examples() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = std::env::var_os("DAYFLY_WEBHOOKS_DIR").map(PathBuf::from) else {
        use std::io::Write as _;
        // Not a print macro: the test harness would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: DAYFLY_WEBHOOKS_DIR names no folder with the payload examples of octokit/webhooks"
        );
        return Vec::new();
    };
    let mut examples: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    examples.sort();
    assert!(examples.len() > 10, "{} has too few examples", folder.display());
    examples
}
