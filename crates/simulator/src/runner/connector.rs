//! Connects to the server, through the proxy that `http_proxy` names if there is one, as the real runner does.

use std::{
    env, io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower::Service;

type Tcp = TokioIo<TcpStream>;

#[derive(Clone)]
pub(super) struct Connector {
    http: HttpConnector,
    proxy: Option<Uri>,
}

impl Connector {
    pub(super) fn of_environment() -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        let proxy = env::var("http_proxy").ok().and_then(|address| address.parse().ok());
        Self { http, proxy }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let by_proxy = self.proxy.is_some();
        let connecting = self.http.call(self.proxy.clone().unwrap_or(server));
        Box::pin(async move { Ok(Stream { tcp: connecting.await?, by_proxy }) })
    }
}

pub(super) struct Stream {
    tcp: Tcp,
    by_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.tcp.connected().proxy(self.by_proxy)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
