//! One place for what every request to an engine has in common: a connection, a deadline, a report
//! of how long it took, and the translation of what came back.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::errors::Error;
use secrecy::SecretString;
use tokio::{sync::Mutex, time::timeout};

use super::{
    HostError,
    connect::{Endpoint, explain},
};
use crate::{
    fleet::HostName,
    text::{conceal, one_line},
};

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

/// What an engine is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Connect,
    Version,
    Info,
    Events,
    List,
    Create,
    Start,
    Inspect,
    Logs,
    Top,
    Stop,
    Remove,
    InspectImage,
    Pull,
}

impl Call {
    /// The call as a metric's label.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Version => "version",
            Self::Info => "info",
            Self::Events => "events",
            Self::List => "list",
            Self::Create => "create",
            Self::Start => "start",
            Self::Inspect => "inspect",
            Self::Logs => "logs",
            Self::Top => "top",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::InspectImage => "inspect_image",
            Self::Pull => "pull",
        }
    }
}

impl fmt::Display for Call {
    /// The call in the words of Docker's API reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Version => "get version",
            Self::Info => "get system information",
            Self::Events => "monitor events",
            Self::List => "list containers",
            Self::Create => "create container",
            Self::Start => "start container",
            Self::Inspect => "inspect container",
            Self::Logs => "get container logs",
            Self::Top => "list processes",
            Self::Stop => "stop container",
            Self::Remove => "remove container",
            Self::InspectImage => "inspect image",
            Self::Pull => "pull image",
        })
    }
}

/// One request to an engine, as metrics count it.
#[derive(Clone, Debug)]
pub struct RequestReport {
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
    /// The engine answered with this status; the text names the call and the status.
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
            Fault::Said(400..=407 | 409..=428 | 430..=499, text) => Self::Refused(text),
            Fault::Said(_, detail) => Self::Failed { detail, source: None },
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
        call: Call,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        self.ask(call, self.deadlines.look, request).await
    }

    /// Asks for a change.
    pub(super) async fn change<T, F>(
        &self,
        call: Call,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        self.ask(call, self.deadlines.change, request).await
    }

    /// Connects if need be, asks, and waits until the deadline.
    pub(super) async fn ask<T, F>(
        &self,
        call: Call,
        deadline: Duration,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        self.ask_with(None, call, deadline, request).await
    }

    /// The same with a request that carries a secret, which no error repeats.
    pub(super) async fn ask_with<T, F>(
        &self,
        secret: Option<&SecretString>,
        call: Call,
        deadline: Duration,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let began = Instant::now();
        let asked = async {
            let client = self.connected(call).await?;
            request(client).await.map_err(|error| self.fault(call, error, secret))
        };
        let answer = timeout(deadline, asked).await.unwrap_or_else(|_| Err(self.unanswered(call, deadline)));
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
        let (host, operation) = (self.host.clone(), call.as_str());
        (self.reporter)(&RequestReport { host, operation, took: began.elapsed(), failed });
        answer
    }

    /// A client for streams, which outlive any deadline; the connection itself is checked within one.
    pub(super) async fn client(&self) -> Result<bollard::Docker, HostError> {
        self.look(Call::Connect, |client| async { Ok(client) }).await.map_err(HostError::from)
    }

    /// What an error of a request or a stream means.
    pub(super) fn fault(&self, call: Call, error: Error, secret: Option<&SecretString>) -> Fault {
        // First hidden, then cut: what is left of a cut secret could not be told from other text.
        let shown = |text: &str| match secret {
            Some(secret) => one_line(&conceal(text, secret)),
            None => one_line(text),
        };
        match error {
            Error::DockerResponseServerError { status_code: status, message } if message.is_empty() => {
                Fault::Said(status, format!("{call}: HTTP status {status}"))
            }
            Error::DockerResponseServerError { status_code: status, message } => {
                Fault::Said(status, format!("{call}: {} (HTTP status {status})", shown(&message)))
            }
            // A message inside a stream that began with 200: the engine says that it failed.
            Error::DockerStreamError { error } => Fault::Said(500, format!("{call}: {}", shown(&error))),
            error => Fault::Silent(match explain(&self.endpoint, error) {
                HostError::Failed { detail, source } => {
                    HostError::Failed { detail: format!("{call}: {}", shown(&detail)), source }
                }
                other => other,
            }),
        }
    }

    fn unanswered(&self, call: Call, deadline: Duration) -> Fault {
        let detail = format!("{call}: {} did not respond within {} s", self.endpoint, deadline.as_secs_f32());
        Fault::Silent(HostError::Failed { detail, source: None })
    }

    async fn connected(&self, call: Call) -> Result<bollard::Docker, Fault> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        // Others wait for this, whatever patience the request at hand has.
        let patience = self.deadlines.look;
        let made = timeout(patience, self.endpoint.connect()).await;
        let made = made.map_err(|_| self.unanswered(call, patience))?.map_err(Fault::Silent)?;
        *client = Some(made.clone());
        Ok(made)
    }
}

/// Keeps bollard's models, which have kilobytes of fields, out of the futures that wait for them.
pub(super) fn boxed<F: Future>(request: F) -> Pin<Box<F>> {
    Box::pin(request)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::text::{chain, out_of_files};

    fn engine() -> Engine {
        let endpoint = "tcp://ci1:2375".parse().unwrap();
        Engine::new("local".parse().unwrap(), endpoint, Arc::new(|_| {}), Deadlines::default())
    }

    fn answered(status_code: u16, message: &str) -> HostError {
        let error = Error::DockerResponseServerError { status_code, message: message.to_owned() };
        engine().fault(Call::InspectImage, error, None).into()
    }

    #[test]
    fn statuses_become_refusals_or_failures_that_name_the_call() {
        for status in [400, 403, 404, 409] {
            let text = format!("inspect image: no (HTTP status {status})");
            assert!(matches!(answered(status, "no"), HostError::Refused(said) if said == text));
        }
        for status in [408, 429, 500, 503, 302] {
            let text = format!("inspect image: no (HTTP status {status})");
            assert!(matches!(answered(status, "no"), HostError::Failed { detail, .. } if detail == text));
        }
        assert!(
            matches!(answered(404, ""), HostError::Refused(said) if said == "inspect image: HTTP status 404")
        );
    }

    #[test]
    fn a_secret_is_hidden_before_the_text_is_cut() {
        let jit: String = (0..3000_u32).map(|n| char::from(b'a' + (n * n % 26).to_le_bytes()[0])).collect();
        let secret = SecretString::from(jit.clone());
        let message = format!("refused: {} {jit}", "x ".repeat(200));
        for error in [
            Error::DockerResponseServerError { status_code: 403, message: message.clone() },
            Error::DockerStreamError { error: message.clone() },
            Error::JsonDataError { message, column: 1 },
        ] {
            let text = chain(&HostError::from(engine().fault(Call::Create, error, Some(&secret))));
            assert!(text.contains("create container: ") && text.contains("[hidden]"), "{text}");
            assert!(!text.contains(&jit[..16]), "{text}");
        }
    }

    #[test]
    fn want_of_files_is_named_as_our_own() {
        for code in [23, 24] {
            let error = Error::IOError { err: io::Error::from_raw_os_error(code) };
            let error = HostError::from(engine().fault(Call::List, error, None));
            assert!(out_of_files(&error), "{error:?}");
            let text = chain(&error);
            assert!(text.contains("open files") && text.contains("LimitNOFILE"), "{text}");
        }
        let error = HostError::from(engine().fault(Call::List, Error::RequestTimeoutError, None));
        assert!(!out_of_files(&error));
    }
}
