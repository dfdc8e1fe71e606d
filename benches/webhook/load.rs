//! The load generator: connections that stay open, each with one request at a time. The requests
//! are composed without an HTTP client, so that it costs less than what it measures.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ring::hmac;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use super::{CONNECTIONS, SECRET, server::Told};

/// Stands in the payload where the job's id goes, with as many digits.
const PLACE: u64 = 700_000_000_000;

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `GET /healthz`.
    Floor,
    /// Deliveries, each of another job.
    Good,
    /// Deliveries that are signed with another secret.
    Forged,
    /// One of these and one of those.
    Mixed,
    /// The same delivery again and again.
    Doubled,
}

/// What came back.
pub(crate) struct Outcome {
    pub(crate) lasted: Duration,
    pub(crate) took: Vec<Duration>,
    pub(crate) statuses: BTreeMap<u16, u64>,
}

impl Outcome {
    pub(crate) fn all(&self, status: u16) -> bool {
        self.statuses.keys().all(|&met| met == status) && !self.statuses.is_empty()
    }
}

/// The generator, and how many of its deliveries were accepted.
pub(crate) struct Load {
    address: SocketAddr,
    payload: Arc<Payload>,
    next: Arc<AtomicU64>,
    accepted: Told,
}

/// A payload in three parts: the id goes between them.
struct Payload {
    before: String,
    after: String,
    key: hmac::Key,
    wrong: hmac::Key,
}

impl Payload {
    fn new() -> Self {
        let addresses: BTreeMap<String, String> = (0..90)
            .map(|n| {
                (format!("address_{n}_url"), format!("https://api.github.com/repos/acme/widgets/{n}{{/id}}"))
            })
            .collect();
        // As long as a real one, most of which is URLs that are never read.
        let payload = json!({
            "action": "queued",
            "workflow_job": {
                "id": PLACE, "run_id": 29_000_000_001_u64, "name": "build", "status": "queued",
                "labels": ["self-hosted", "linux", "x64"], "created_at": "2026-11-22T11:59:00Z",
                "html_url": "https://github.com/acme/widgets/actions/runs/29000000001/job/1",
                "runner_name": null, "steps": []
            },
            "repository": {
                "html_url": "https://github.com/acme/widgets", "private": true, "more": addresses
            },
            "sender": addresses
        });
        let text = payload.to_string();
        let (before, after) = text.split_once(&PLACE.to_string()).unwrap_or_default();
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self {
            before: before.to_owned(),
            after: after.to_owned(),
            key: key(SECRET),
            wrong: key("somebody else's"),
        }
    }

    fn request(&self, id: u64, forged: bool) -> Vec<u8> {
        let body = format!("{}{}{}", self.before, PLACE + id, self.after);
        let key = if forged { &self.wrong } else { &self.key };
        let tag = hmac::sign(key, body.as_bytes());
        let digits: String = tag
            .as_ref()
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(u32::from(digit), 16))
            .collect();
        let head = format!(
            "POST /webhook HTTP/1.1\r\nhost: dayfly\r\ncontent-type: application/json\r\n\
             x-github-event: workflow_job\r\nx-github-delivery: 00000000-0000-0000-0000-{id:012}\r\n\
             x-hub-signature-256: sha256={digits}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

impl Load {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let next = Arc::new(AtomicU64::new(1));
        Self { address, payload: Arc::new(Payload::new()), next, accepted: Told::default() }
    }

    /// Bytes of a delivery's body.
    pub(crate) fn size(&self) -> usize {
        self.payload.before.len() + self.payload.after.len() + PLACE.to_string().len()
    }

    /// The jobs whose deliveries were answered with 202 for the first time.
    pub(crate) fn accepted(&self) -> Told {
        self.accepted
    }

    /// Sends for so long on all connections.
    pub(crate) async fn run(&mut self, kind: Kind, lasting: Duration) -> Result<Outcome> {
        // The first delivery of a repeated job is accepted.
        let same = self.next.fetch_add(1, Ordering::Relaxed);
        if kind == Kind::Doubled {
            let mut connection = TcpStream::connect(self.address).await?;
            exchange(&mut connection, &self.payload.request(same, false)).await?;
            self.accepted.add(PLACE + same);
        }
        let began = Instant::now();
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (payload, next, address) = (self.payload.clone(), self.next.clone(), self.address);
            senders.spawn(send(kind, same, payload, next, address, began + lasting));
        }
        let mut outcome = Outcome { lasted: lasting, took: Vec::new(), statuses: BTreeMap::new() };
        while let Some(sent) = senders.join_next().await {
            let (took, statuses, accepted) = sent??;
            outcome.took.extend(took);
            for (status, many) in statuses {
                *outcome.statuses.entry(status).or_default() += many;
            }
            self.accepted.join(accepted);
        }
        outcome.lasted = began.elapsed();
        Ok(outcome)
    }
}

type Sent = (Vec<Duration>, BTreeMap<u16, u64>, Told);

async fn send(
    kind: Kind,
    same: u64,
    payload: Arc<Payload>,
    next: Arc<AtomicU64>,
    address: SocketAddr,
    until: Instant,
) -> Result<Sent> {
    let mut connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    let (mut took, mut statuses, mut accepted) = Sent::default();
    let mut forge = kind == Kind::Forged;
    while Instant::now() < until {
        let id = if kind == Kind::Doubled { same } else { next.fetch_add(1, Ordering::Relaxed) };
        let request = match kind {
            Kind::Floor => b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            _ => payload.request(id, forge),
        };
        let began = Instant::now();
        let status = exchange(&mut connection, &request).await?;
        took.push(began.elapsed());
        *statuses.entry(status).or_default() += 1;
        if status == 202 && kind != Kind::Doubled {
            accepted.add(PLACE + id);
        }
        if forge && status == 202 {
            bail!("a forged delivery was accepted");
        }
        forge ^= kind == Kind::Mixed;
    }
    Ok((took, statuses, accepted))
}

/// Sends a request and reads its answer; says the status.
async fn exchange(connection: &mut TcpStream, request: &[u8]) -> Result<u16> {
    connection.write_all(request).await?;
    let mut answer = Vec::with_capacity(512);
    loop {
        if connection.read_buf(&mut answer).await? == 0 {
            bail!("the connection was closed");
        }
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("an answer without a length")?.parse()?;
        if body.len() >= length {
            return head.get(9..12).context("an answer without a status")?.parse().context("no status");
        }
    }
}
