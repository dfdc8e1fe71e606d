//! A proxy whose network has the names and servers of the test, and servers that record what they receive.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use dayfly::egress::{Limits, Line, Mode, Network, Policy, Report, Verdict, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// The addresses of the internet, of a private network, and of a machine that does not answer.
pub(super) const PUBLIC: &str = "203.0.113.1";
pub(super) const PRIVATE: &str = "10.0.0.1";
pub(super) const SILENT: &str = "203.0.113.99";
pub(super) const METADATA: &str = "169.254.169.254";

/// A name that no server answers about.
pub(super) const SILENT_NAME: &str = "silent.example";

/// Names with their addresses, and addresses with the servers of the test that are there.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Each resolution takes the next answer; the last one stays.
    names: BTreeMap<String, Vec<Vec<IpAddr>>>,
    servers: BTreeMap<SocketAddr, SocketAddr>,
    resolved: Vec<String>,
    connected: Vec<SocketAddr>,
}

impl World {
    /// Has a name resolve to these addresses, or to those of each answer in turn.
    pub(super) fn name(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect());
        self.0.lock().unwrap().names.insert(name.to_owned(), answers.collect());
    }

    /// Puts a server of the test at an address.
    pub(super) fn server(&self, address: &str, port: u16, server: SocketAddr) {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        self.0.lock().unwrap().servers.insert(address, server);
    }

    pub(super) fn resolved(&self) -> Vec<String> {
        self.0.lock().unwrap().resolved.clone()
    }

    pub(super) fn connected(&self) -> Vec<String> {
        self.0.lock().unwrap().connected.iter().map(ToString::to_string).collect()
    }
}

impl Network for World {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name == SILENT_NAME {
            std::future::pending::<()>().await;
        }
        let mut state = self.0.lock().unwrap();
        state.resolved.push(name.to_owned());
        let Some(answers) = state.names.get_mut(name) else {
            return Err(io::Error::other("Name or service not known"));
        };
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let server = {
            let mut state = self.0.lock().unwrap();
            state.connected.push(address);
            state.servers.get(&address).copied()
        };
        if address.ip().to_string() == SILENT {
            std::future::pending::<()>().await;
        }
        match server {
            Some(server) => TcpStream::connect(server).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

/// A running proxy.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) world: World,
    reports: mpsc::Receiver<Report>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn start(mode: Mode, allow: &[&str]) -> Self {
        Self::start_with(Limits::default(), mode, allow).await
    }

    pub(super) async fn start_with(limits: Limits, mode: Mode, allow: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, reports) = mpsc::channel(64);
        let world = World::default();
        let policy = Policy { mode, allow: allow.iter().map(|pattern| pattern.parse().unwrap()).collect() };
        let task = tokio::spawn(serve(listener, policy, world.clone(), limits, sender));
        Self { address, world, reports, task }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own, and returns everything that comes back until its end.
    pub(super) async fn send(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// The response to CONNECT, on a connection that ends unless it succeeds.
    pub(super) async fn tunnel(&self, destination: &str) -> (String, TcpStream) {
        let mut stream = self.connect().await;
        let request =
            format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = read_head(&mut stream).await;
        if !response.starts_with("HTTP/1.1 200") {
            response.push_str(&read_to_end(&mut stream).await);
        }
        (response, stream)
    }

    /// The response to a plain request.
    pub(super) async fn plain(&self, url: &str) -> String {
        self.send(&format!("GET {url} HTTP/1.1\r\nHost: ignored.example\r\nConnection: close\r\n\r\n")).await
    }

    /// The next reported destination: host, port, verdict and count.
    pub(super) async fn reported(&mut self) -> (String, u16, Verdict, u64) {
        match timeout(DEADLINE, self.reports.recv()).await.expect("a report in time").unwrap() {
            Report::Destination(Line { host, port, verdict, count }) => (host, port, verdict, count),
            other => panic!("{other:?}"),
        }
    }

    /// Whether a report waits that was not taken.
    pub(super) fn has_more(&mut self) -> bool {
        self.reports.try_recv().is_ok()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn expected(host: &str, port: u16, verdict: Verdict, count: u64) -> (String, u16, Verdict, u64) {
    (host.to_owned(), port, verdict, count)
}

pub(super) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("an end in time");
    // The proxy may close a connection with bytes that it has not read.
    if let Err(error) = read {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads up to the empty line.
pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
    };
    timeout(DEADLINE, read).await.expect("a head in time");
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that returns what it reads.
pub(super) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                // The other end has closed its side; this is after everything was returned.
                let _ = write.write_all(b" and goodbye").await;
            });
        }
    });
    address
}

/// An HTTP server that passes on what it receives, byte by byte, and gives one response to each connection.
pub(super) async fn web(response: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = read_head(&mut stream).await;
            let length = request.lines().find_map(|line| line.strip_prefix("content-length: "));
            if let Some(length) = length {
                let mut body = vec![0; length.parse().unwrap()];
                stream.read_exact(&mut body).await.unwrap();
                request.push_str(std::str::from_utf8(&body).unwrap());
            } else if request.contains("transfer-encoding: chunked") {
                while !request.ends_with("0\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap().into());
                }
            }
            stream.write_all(response.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            // Whatever else would come.
            request.push_str(&read_to_end(&mut stream).await);
            let _ = sender.send(request);
        }
    });
    (address, requests)
}
