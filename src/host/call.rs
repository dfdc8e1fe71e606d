//! One place for what every request to an engine has in common: a connection, a deadline, a report
//! of how long it took, and the translation of what came back.

use std::{
    error::Error as StdError,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::errors::Error;
use tokio::{sync::Mutex, time::timeout};

use super::{
    HostError,
    connect::{Endpoint, explain},
};
use crate::fleet::HostName;

/// How long an engine may take, by what it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To tell something: a list, an inspection, a log, processes.
    pub look: Duration,
    /// To change something: create, start, remove; and to stop, on top of the grace.
    pub change: Duration,
    /// Between two messages of a pull.
    pub pull_silence: Duration,
    /// For a whole pull.
    pub pull: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(30),
            change: Duration::from_mins(2),
            pull_silence: Duration::from_mins(5),
            pull: Duration::from_hours(2),
        }
    }
}

/// One request to an engine, as metrics count it.
#[derive(Clone, Debug)]
pub struct RequestReport {
    /// The engine.
    pub host: HostName,
    /// What was asked: one of a small fixed set of words.
    pub operation: &'static str,
    /// From the request to the end of the answer.
    pub took: Duration,
    /// Whether there was no usable answer. A refusal, such as "no such container", is an answer.
    pub failed: bool,
}

/// Who is told of every request.
pub type Reporter = Arc<dyn Fn(&RequestReport) + Send + Sync>;

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The engine answered with this status and message.
    Said(u16, String),
    /// There was no usable answer.
    Silent(HostError),
}

impl Fault {
    pub(super) fn is(&self, status: u16) -> bool {
        matches!(self, Self::Said(said, _) if *said == status)
    }
}

impl From<Fault> for HostError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Silent(error) => error,
            Fault::Said(status @ (400..=407 | 409..=428 | 430..=499), message) if message.is_empty() => {
                Self::Refused(format!("HTTP status {status}"))
            }
            Fault::Said(400..=407 | 409..=428 | 430..=499, message) => Self::Refused(message),
            Fault::Said(status, message) => {
                Self::Failed { detail: format!("HTTP status {status}: {message}"), source: None }
            }
        }
    }
}

/// An engine that can be asked.
pub(super) struct Engine {
    pub(super) host: HostName,
    pub(super) endpoint: Endpoint,
    pub(super) deadlines: Deadlines,
    pub(super) reporter: Reporter,
    /// Made with the first request, and anew after a failure: the engine may have become another
    /// version meanwhile.
    client: Mutex<Option<bollard::Docker>>,
}

impl Engine {
    pub(super) fn new(host: HostName, endpoint: Endpoint, reporter: Reporter, deadlines: Deadlines) -> Self {
        Self { host, endpoint, deadlines, reporter, client: Mutex::new(None) }
    }

    /// Asks something that only tells.
    pub(super) async fn look<T, F>(
        &self,
        operation: &'static str,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        self.ask(operation, self.deadlines.look, request).await
    }

    /// Asks for a change.
    pub(super) async fn change<T, F>(
        &self,
        operation: &'static str,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        self.ask(operation, self.deadlines.change, request).await
    }

    /// Connects if need be, asks, and waits until the deadline.
    pub(super) async fn ask<T, F>(
        &self,
        operation: &'static str,
        deadline: Duration,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let began = Instant::now();
        let asked = async {
            let client = self.connected().await?;
            request(client).await.map_err(|error| self.fault(error))
        };
        let answer = timeout(deadline, asked).await.unwrap_or_else(|_| {
            let detail =
                format!("{} did not answer within {} s ({operation})", self.endpoint, deadline.as_secs_f32());
            Err(Fault::Silent(HostError::Failed { detail, source: None }))
        });
        let failed = match &answer {
            Ok(_) => false,
            Err(Fault::Said(status, _)) => *status >= 500,
            Err(Fault::Silent(_)) => true,
        };
        if matches!(answer, Err(Fault::Silent(_)))
            && let Ok(mut client) = self.client.try_lock()
        {
            *client = None;
        }
        (self.reporter)(&RequestReport { host: self.host.clone(), operation, took: began.elapsed(), failed });
        answer
    }

    /// A client for streams, which outlive any deadline; the connection itself is checked within one.
    pub(super) async fn client(&self) -> Result<bollard::Docker, HostError> {
        self.look("connect", |client| async { Ok(client) }).await.map_err(HostError::from)
    }

    /// What an error of a request or a stream means.
    pub(super) fn fault(&self, error: Error) -> Fault {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Fault::Said(status_code, one_line(&message))
            }
            // A message inside a stream that began with 200: the engine says that it failed.
            Error::DockerStreamError { error } => Fault::Said(500, one_line(&error)),
            error => Fault::Silent(explain(&self.endpoint, error)),
        }
    }

    async fn connected(&self) -> Result<bollard::Docker, Fault> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = self.endpoint.connect().await.map_err(Fault::Silent)?;
        *client = Some(made.clone());
        Ok(made)
    }
}

/// Keeps bollard's models, which have kilobytes of fields, out of the futures that wait for them.
pub(super) fn boxed<F: Future>(request: F) -> Pin<Box<F>> {
    Box::pin(request)
}

/// An engine's message as it fits into one log line.
fn one_line(message: &str) -> String {
    const MAX: usize = 600;
    let words: Vec<&str> = message.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// An error with its whole chain of causes, on one line.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        // Several layers below repeat their source in their own text.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_refusals_or_failures() {
        for status in [400, 403, 404, 409] {
            assert!(matches!(Fault::Said(status, "no".into()).into(), HostError::Refused(m) if m == "no"));
        }
        for status in [408, 429, 500, 503, 302] {
            assert!(matches!(Fault::Said(status, "no".into()).into(), HostError::Failed { .. }));
        }
        assert!(matches!(Fault::Said(404, String::new()).into(), HostError::Refused(m) if m.contains("404")));
    }

    #[test]
    fn messages_fit_into_one_line() {
        assert_eq!(one_line("a\n  b\r\n"), "a b");
        assert_eq!(one_line(&"ä".repeat(9000)).chars().count(), 601);
    }
}
