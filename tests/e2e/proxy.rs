//! A socket before the engine's, at which the way can be cut, requests held up, and all requests
//! seen: what is slow or broken between daemon and engine.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use dayfly::fleet::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::engines::TestEngine;

/// Where a request gets stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The engine never sees it.
    Request(&'static str),
    /// The engine does it, and its answer never arrives.
    Answer(&'static str),
    /// The engine never sees it, and the answer is 403.
    Refuse(&'static str),
}

/// A request that passed, or got stuck.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Timestamp,
    /// Method and target.
    pub(crate) line: String,
}

struct Shared {
    engine: String,
    open: watch::Sender<bool>,
    hold: Mutex<Option<Hold>>,
    stuck: Mutex<usize>,
    seen: Mutex<Vec<Seen>>,
}

const REFUSAL: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 34\r\n\r\n{\"message\":\"forbidden by a proxy\"}";

/// The proxy. Dropping it cuts the way for good.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// Listens at a path, before the usual engine.
    pub(crate) fn start(path: &Path) -> Self {
        Self::before(&TestEngine::usual(), path)
    }

    /// Listens at a path, before an engine.
    pub(crate) fn before(engine: &TestEngine, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let shared = Arc::new(Shared {
            engine: engine.socket.clone(),
            open: watch::Sender::new(true),
            hold: Mutex::default(),
            stuck: Mutex::default(),
            seen: Mutex::default(),
        });
        let of_listener = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, Arc::clone(&of_listener)));
            }
        });
        Self { shared, listener }
    }

    /// Cuts every connection and refuses new ones, or ends that.
    pub(crate) fn cut(&self, cut: bool) {
        self.shared.open.send_replace(!cut);
    }

    /// Holds requests up whose first line contains a text; those held are never released.
    pub(crate) fn hold(&self, hold: Option<Hold>) {
        *self.shared.hold.lock().unwrap() = hold;
    }

    /// How many requests got stuck.
    pub(crate) fn stuck(&self) -> usize {
        *self.shared.stuck.lock().unwrap()
    }

    /// The requests that came, oldest first.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut(true);
        self.listener.abort();
    }
}

async fn serve(client: UnixStream, shared: Arc<Shared>) {
    let mut open = shared.open.subscribe();
    if !*open.borrow() {
        return;
    }
    let Ok(engine) = UnixStream::connect(&shared.engine).await else { return };
    let ((from_client, to_client), (from_engine, to_engine)) = (client.into_split(), engine.into_split());
    let mute = watch::Sender::new(false);
    let muted = mute.subscribe();
    let (refuse, refused) = mpsc::unbounded_channel();
    tokio::select! {
        // Either side's end is the end of the connection.
        _ = requests(from_client, to_engine, &shared, &mute, &refuse) => {}
        _ = answers(from_engine, to_client, muted, refused) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    mute: &watch::Sender<bool>,
    refuse: &mpsc::UnboundedSender<()>,
) -> io::Result<()> {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        // One request follows the other's answer, so each begins a chunk.
        if let Some(line) = first_line(&chunk[..read]) {
            let hold = *shared.hold.lock().unwrap();
            shared.seen.lock().unwrap().push(Seen { at: now(), line: line.clone() });
            match hold {
                Some(Hold::Request(text)) if line.contains(text) => {
                    *shared.stuck.lock().unwrap() += 1;
                    // The client may give up; nothing of the request is forwarded.
                    while from.read(&mut chunk).await? > 0 {}
                    return Ok(());
                }
                Some(Hold::Refuse(text)) if line.contains(text) => {
                    *shared.stuck.lock().unwrap() += 1;
                    let _ = refuse.send(());
                    continue;
                }
                Some(Hold::Answer(text)) if line.contains(text) => {
                    mute.send_replace(true);
                    *shared.stuck.lock().unwrap() += 1;
                }
                _ => {}
            }
        }
        to.write_all(&chunk[..read]).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    muted: watch::Receiver<bool>,
    mut refused: mpsc::UnboundedReceiver<()>,
) -> io::Result<()> {
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read?,
            Some(()) = refused.recv() => {
                to.write_all(REFUSAL).await?;
                continue;
            }
        };
        if read == 0 {
            return Ok(());
        }
        if !*muted.borrow() {
            to.write_all(&chunk[..read]).await?;
        }
    }
}

/// Method and target, where a request begins.
fn first_line(chunk: &[u8]) -> Option<String> {
    let begins = [b"GET ".as_slice(), b"POST ", b"DELETE ", b"HEAD "].iter().any(|m| chunk.starts_with(m));
    let line = chunk.split(|&byte| byte == b'\r').next().filter(|_| begins)?;
    let line = String::from_utf8_lossy(line);
    Some(line.trim_end_matches(" HTTP/1.1").to_owned())
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}
