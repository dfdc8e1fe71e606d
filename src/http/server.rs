//! Connections, their number and their timeouts. The responses are in `pages`.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{self, Instant, Sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::pages::{App, pages};

/// The timeouts of clients.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To send the head of a request; also the timeout of idle connections.
    pub head: Duration,
    /// To read any more of a response.
    pub answer: Duration,
    /// To use one connection. A client that reads a byte now and then keeps it no longer than this plus
    /// `answer`.
    pub connection: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            connection: Duration::from_mins(2),
        }
    }
}

/// How long requests in flight may take once the daemon is stopping.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a connection could not be accepted, mostly for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of connections. For one more, the connection that has been idle the longest is closed.
const CONNECTIONS: usize = 256;

/// How long a connection must have been idle to be closed in favour of another.
const EXPENDABLE: Duration = Duration::from_millis(500);

/// Serves requests until `shutdown` completes, and then for at most two more seconds.
///
/// Not `axum::serve`: that waits forever for a client that does not finish the head of its request or does
/// not read the response, and for requests in flight at shutdown.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    serve_with(Patience::default(), listener, app, shutdown).await;
}

/// The same with other timeouts.
pub async fn serve_with(
    patience: Patience,
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(pages(app));
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(patience.head);
    let connections = Connections::new();
    let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
    let mut shutdown = pin!(shutdown);
    let mut failing = false;
    loop {
        let accepted = async {
            let accepted = listener.accept().await;
            (accepted, connections.room().await)
        };
        let (accepted, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => {
                failing = false;
                stream
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = %error, "the web server failed to accept a connection, will retry");
                }
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let activity = connections.enter();
        let connection = http1.serve_connection(
            TokioIo::new(Watched::new(stream, patience.answer, activity.clone())),
            service.clone(),
        );
        let stopping = stopping.clone();
        tasks.spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => Some(ended),
                () = activity.close.cancelled() => {
                    tracing::debug!("closed an idle connection to make room for another");
                    None
                }
                () = async {
                    tokio::select! {
                        () = stopping.cancelled() => {}
                        () = time::sleep(patience.connection) => {}
                    }
                } => {
                    connection.as_mut().graceful_shutdown();
                    time::timeout(patience.answer, &mut connection).await.ok()
                }
            };
            if let Some(Err(error)) = ended {
                tracing::debug!(error = %error, "a client's connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    stopping.cancel();
    tasks.close();
    if time::timeout(SHUTDOWN_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::debug!("aborted the requests in flight");
    }
}

/// The open connections, and the room for more.
struct Connections {
    permits: Arc<Semaphore>,
    started: Instant,
    open: Mutex<Vec<Arc<Activity>>>,
}

/// When a connection last made progress, and a handle to close it.
struct Activity {
    started: Instant,
    /// In milliseconds after `started`.
    last: AtomicU64,
    close: CancellationToken,
}

impl Connections {
    fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            started: Instant::now(),
            open: Mutex::default(),
        }
    }

    /// Waits for room for one more connection, closing an idle one as soon as there is one.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if self.permits.available_permits() == 0 {
                self.close_the_most_idle();
            }
            let permit = Arc::clone(&self.permits).acquire_owned();
            if let Ok(permit) = time::timeout(EXPENDABLE, permit).await {
                return permit.ok();
            }
        }
    }

    /// Adds a connection.
    fn enter(&self) -> Arc<Activity> {
        let activity = Arc::new(Activity {
            started: self.started,
            last: AtomicU64::new(0),
            close: CancellationToken::new(),
        });
        activity.note();
        let mut open = self.open.lock();
        // The task of each open connection has the other clone.
        open.retain(|activity| Arc::strong_count(activity) > 1);
        open.push(activity.clone());
        activity
    }

    fn close_the_most_idle(&self) {
        let open = self.open.lock();
        let candidates = open
            .iter()
            .filter(|activity| Arc::strong_count(activity) > 1 && !activity.close.is_cancelled())
            .filter(|activity| activity.idle() >= EXPENDABLE);
        if let Some(activity) = candidates.min_by_key(|activity| activity.last.load(Ordering::Relaxed)) {
            activity.close.cancel();
        }
    }
}

impl Activity {
    fn note(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// A client's stream. Writes fail once the client has read nothing for the timeout.
struct Watched {
    stream: TcpStream,
    patience: Duration,
    activity: Arc<Activity>,
    /// Set while the client is not reading.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn new(stream: TcpStream, patience: Duration, activity: Arc<Activity>) -> Self {
        Self { stream, patience, activity, deadline: None }
    }

    /// Returns the result of a write, or an error once the client has stalled it for too long.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.activity.note();
            self.deadline = None;
            return outcome;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(time::sleep(self.patience)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read the response")))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.activity.note();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
