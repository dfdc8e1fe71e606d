//! Connecting to a destination: its name is resolved once, each address is judged, and only an address that
//! was judged is connected to.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    line::Verdict,
    policy::{Policy, Refusal},
    target::{Host, Target},
};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// How long a connection may be silent before its peer is probed, and between probes.
const KEEP_ALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Probes without an answer before the connection is given up.
const KEEP_ALIVE_PROBES: u32 = 4;

/// What the proxy needs of the network.
pub trait Network: Send + Sync + 'static {
    /// The addresses of a name, the preferred ones first.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;

    /// Connects to an address.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

/// The network of this machine, with the resolver of its C library.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNetwork;

impl Network for SystemNetwork {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    Refused(Refusal),
    /// No address was found in time.
    ResolveTimeout,
    /// The name has no address, or could not be resolved.
    Unresolved(Option<io::Error>),
    /// No address accepted the connection in time.
    ConnectTimeout,
    /// No address accepted the connection; the error is that of the last one.
    Unreachable(SocketAddr, io::Error),
}

/// A connection to the destination, or why there is none, and the verdict on the destination in either case.
pub(super) async fn open<N: Network>(
    network: &N,
    policy: &Policy,
    target: &Target,
    patience: Duration,
) -> (Verdict, Result<TcpStream, Failure>) {
    let judged = match policy.judge(target) {
        Ok(verdict) => verdict,
        Err(refusal) => return (Verdict::Refused, Err(Failure::Refused(refusal))),
    };
    let addresses = match target.host {
        Host::Address(address) => vec![address],
        Host::Name(ref name) => match timeout_at(Instant::now() + patience, network.resolve(name)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return (judged, Err(Failure::Unresolved(Some(error)))),
            Err(_) => return (judged, Err(Failure::ResolveTimeout)),
        },
    };
    let mut refused = None;
    let mut permitted = Vec::new();
    for address in addresses {
        match policy.judge_address(target, address) {
            Ok(verdict) => permitted.push((verdict, SocketAddr::new(address, target.port))),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    let Some(verdict) = permitted.iter().map(|&(verdict, _)| verdict).min() else {
        return match refused {
            Some(refusal) => (Verdict::Refused, Err(Failure::Refused(refusal))),
            None => (judged, Err(Failure::Unresolved(None))),
        };
    };
    // Where some addresses are allowed, audit goes to those alone, as enforce does.
    let best = permitted.into_iter().filter(|&(judged, _)| judged == verdict);
    let best: Vec<_> = best.map(|(_, address)| address).take(MAX_ADDRESSES).collect();
    (verdict, connect(network, &best, patience).await)
}

/// Connects to the first address that accepts. All have the same share of what is left of the time.
async fn connect<N: Network>(
    network: &N,
    addresses: &[SocketAddr],
    patience: Duration,
) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + patience;
    let mut failure = Failure::ConnectTimeout;
    for (at, &address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / others;
        match timeout_at(now + share, network.connect(address)).await {
            Ok(Ok(stream)) => {
                keep_alive(&stream);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = Failure::Unreachable(address, error),
            Err(_) => failure = Failure::ConnectTimeout,
        }
    }
    Err(failure)
}

/// Has the kernel probe a peer that is silent, so that a tunnel to one that is gone ends, and send small
/// pieces at once.
pub(super) fn keep_alive(stream: &TcpStream) {
    // These fail only for a connection that has ended already.
    let _ = set_tcp_nodelay(stream, true);
    let _ = set_socket_keepalive(stream, true);
    let _ = set_tcp_keepidle(stream, KEEP_ALIVE_IDLE);
    let _ = set_tcp_keepintvl(stream, KEEP_ALIVE_INTERVAL);
    let _ = set_tcp_keepcnt(stream, KEEP_ALIVE_PROBES);
}
