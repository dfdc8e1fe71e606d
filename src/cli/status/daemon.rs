//! Requests to the running daemon over HTTP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// The timeout of a request. The daemon answers from memory.
const DEADLINE: Duration = Duration::from_secs(5);

/// The largest response that is read; ten thousand runners take some 3 MB.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Where to reach a daemon that listens on `address`: one that listens on all addresses is reached at
/// loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Gets one page.
pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    match timeout(DEADLINE, exchange(address, path)).await {
        Ok(answer) => answer,
        Err(_) => {
            bail!("the program that listens on {address} did not answer within {} s", DEADLINE.as_secs())
        }
    }
}

async fn exchange(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => bail!(
            "no daemon answers at {address} (http.listen in the configuration): {error}; start it with \
             `dayfly run`"
        ),
    };
    let not_http = || format!("the program that listens on {address} is not a dayfly daemon");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(not_http)?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.with_context(not_http)?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed).with_context(not_http)?;
        Ok((head.status, body.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may end before the last of the response was read.
        _ = connection => answer.await,
    }
}

/// The instance of the daemon that listens on `address`; `None` for another program.
pub(crate) async fn instance(address: SocketAddr) -> Option<String> {
    let (status, body) = get(reachable(address), "/api/v1/status").await.ok()?;
    let document: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let is_ours = status == StatusCode::OK && document.get("pools").is_some();
    is_ours.then(|| document["instance"].as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_at_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:9745", "127.0.0.1:9745"),
            ("[::]:9745", "[::1]:9745"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("127.0.0.1:9745", "127.0.0.1:9745"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), asked);
        }
    }
}
