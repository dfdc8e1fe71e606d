//! What all requests to an engine have in common: a connection, a deadline, a report of the duration, and the
//! conversion of errors.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bollard::errors::Error;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::Mutex, time::timeout};

use super::{
    HostError,
    call::Call,
    connect::{Endpoint, explain},
    ssh::{Forward, Relogin},
};
use crate::{
    fleet::HostName,
    text::{conceal, one_line},
};

/// The deadlines of requests to an engine.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For reading: a list, an inspection, a log, processes.
    pub read: Duration,
    /// For changes: create, start, remove; and for a stop, on top of the grace period.
    pub change: Duration,
    /// Between two messages of a pull.
    pub pull_silence: Duration,
    /// For a whole pull.
    pub pull: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(30),
            change: Duration::from_mins(2),
            pull_silence: Duration::from_mins(5),
            pull: Duration::from_hours(2),
        }
    }
}

impl Deadlines {
    /// The deadline of a kind of request. A stop takes its grace period longer.
    pub(super) const fn of(&self, call: Call) -> Duration {
        match call {
            Call::Create
            | Call::Start
            | Call::Stop
            | Call::Remove
            | Call::RemoveImage
            | Call::CreateNetwork
            | Call::ConnectNetwork
            | Call::RemoveNetwork
            | Call::CreateVolume
            | Call::RemoveVolume
            | Call::Upload
            | Call::Exec
            | Call::Wait
            | Call::Attach
            | Call::RemoveLeftover
            | Call::CreateService
            | Call::RemoveService
            | Call::UpdateNode
            | Call::CreateSecret
            | Call::RemoveSecret => self.change,
            Call::Pull | Call::Import => self.pull,
            Call::Connect
            | Call::Ping
            | Call::Version
            | Call::Info
            | Call::Events
            | Call::List
            | Call::Inspect
            | Call::Logs
            | Call::Top
            | Call::InspectImage
            | Call::ListNetworks
            | Call::InspectNetwork
            | Call::ListVolumes
            | Call::ListServices
            | Call::ListTasks
            | Call::ListNodes
            | Call::InspectNode
            | Call::ListSecrets
            | Call::InspectRegistry => self.read,
        }
    }
}

/// A request to an engine, for metrics.
#[derive(Clone, Debug)]
pub struct RequestReport {
    pub host: HostName,
    /// The kind of request: one of a small fixed set.
    pub operation: &'static str,
    /// From the request to the end of the response.
    pub took: Duration,
    /// Whether there was no usable response. A refusal, such as "no such container", is a response.
    pub failed: bool,
}

/// Receives a report of every request.
pub type Reporter = Arc<dyn Fn(&RequestReport) + Send + Sync>;

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The engine responded with this status; the text has the call and the status.
    Said(u16, String),
    /// There was no usable response.
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

/// What requests go through.
#[derive(Default)]
struct Connection {
    client: Option<bollard::Docker>,
    /// The socket that leads to an engine on another machine.
    forward: Option<Forward>,
    relogin: Relogin,
}

/// A connection to an engine.
pub(super) struct Engine {
    pub(super) host: HostName,
    pub(super) endpoint: Endpoint,
    pub(super) deadlines: Deadlines,
    pub(super) reporter: Reporter,
    /// Created with the first request, and again after a failure: the engine may have been upgraded.
    connection: Mutex<Connection>,
    /// The image of egress proxies, once it was made; locked while it is.
    pub(super) egress_image: Mutex<Option<String>>,
}

impl Engine {
    pub(super) fn new(host: HostName, endpoint: Endpoint, reporter: Reporter, deadlines: Deadlines) -> Self {
        Self {
            host,
            endpoint,
            deadlines,
            reporter,
            connection: Mutex::default(),
            egress_image: Mutex::default(),
        }
    }

    /// Connects if necessary, sends the request, and waits until the deadline of this kind of request.
    pub(super) async fn request<T, F>(
        &self,
        call: Call,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        self.request_within(self.deadlines.of(call), &[], call, request).await
    }

    /// The same with another deadline, and for a request that contains secrets, which are removed from errors.
    pub(super) async fn request_within<T, F>(
        &self,
        deadline: Duration,
        secrets: &[&SecretString],
        call: Call,
        request: impl FnOnce(bollard::Docker) -> F + Send,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let began = Instant::now();
        let response = async {
            let client = self.connected(call).await?;
            request(client).await.map_err(|error| self.fault(call, error, secrets))
        };
        let answer =
            timeout(deadline, response).await.unwrap_or_else(|_| Err(self.unanswered(call, deadline)));
        let failed = match &answer {
            Ok(_) => false,
            Err(Fault::Said(status, _)) => *status >= 500,
            Err(Fault::Silent(_)) => true,
        };
        if matches!(answer, Err(Fault::Silent(_)))
            && let Ok(mut connection) = self.connection.try_lock()
        {
            connection.client = None;
        }
        let (host, operation) = (self.host.clone(), call.as_str());
        (self.reporter)(&RequestReport { host, operation, took: began.elapsed(), failed });
        answer
    }

    /// A client for streams, which outlive any deadline; the connection itself is checked within one.
    pub(super) async fn client(&self) -> Result<bollard::Docker, HostError> {
        self.request(Call::Connect, |client| async { Ok(client) }).await.map_err(HostError::from)
    }

    /// Converts an error of a request or a stream.
    pub(super) fn fault(&self, call: Call, error: Error, secrets: &[&SecretString]) -> Fault {
        // First hidden, then cut: the rest of a cut secret could not be recognized.
        let shown = |text: &str| one_line(&conceal_all(text, secrets));
        match error {
            Error::DockerResponseServerError { status_code: status, message } if message.is_empty() => {
                Fault::Said(status, format!("{call}: HTTP status {status}"))
            }
            Error::DockerResponseServerError { status_code: status, message } => {
                Fault::Said(status, format!("{call}: {} (HTTP status {status})", shown(&message)))
            }
            // A message inside a stream that began with status 200: the engine reports a failure.
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
        let mut connection = self.connection.lock().await;
        if let Some(client) = &connection.client {
            return Ok(client.clone());
        }
        if let Some(why) = connection.relogin.refusal(Instant::now()) {
            return Err(Fault::Silent(HostError::Failed { detail: why.to_owned(), source: None }));
        }
        // Other requests wait for this, so the deadline of this one does not apply.
        let patience = self.deadlines.of(Call::Connect);
        let made = timeout(patience, self.endpoint.connect_through(&mut connection.forward)).await;
        let made = made.unwrap_or_else(|_| Err(self.unanswered(call, patience).into()));
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                // It may be open and lead nowhere.
                connection.forward = None;
                if let Endpoint::Ssh(_) = self.endpoint {
                    connection.relogin.failed(error.plain_text(), Instant::now());
                }
                return Err(Fault::Silent(error));
            }
        };
        connection.relogin.succeeded();
        connection.client = Some(made.clone());
        Ok(made)
    }
}

/// Shorter values cannot be secrets, and may be parts of other words.
const SHORTEST_SECRET: usize = 6;

/// The text without any piece of these secrets.
pub(super) fn conceal_all(text: &str, secrets: &[&SecretString]) -> String {
    let long = secrets.iter().filter(|secret| secret.expose_secret().len() >= SHORTEST_SECRET);
    long.fold(text.to_owned(), |text, secret| conceal(&text, secret))
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
        engine().fault(Call::InspectImage, error, &[]).into()
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
            let text = chain(&HostError::from(engine().fault(Call::Create, error, &[&secret])));
            assert!(text.contains("create container: ") && text.contains("[hidden]"), "{text}");
            assert!(!text.contains(&jit[..16]), "{text}");
        }
    }

    #[test]
    fn want_of_files_is_named_as_our_own() {
        for code in [23, 24] {
            let error = Error::IOError { err: io::Error::from_raw_os_error(code) };
            let error = HostError::from(engine().fault(Call::List, error, &[]));
            assert!(out_of_files(&error), "{error:?}");
            let text = chain(&error);
            assert!(text.contains("open files") && text.contains("LimitNOFILE"), "{text}");
        }
        let error = HostError::from(engine().fault(Call::List, Error::RequestTimeoutError, &[]));
        assert!(!out_of_files(&error));
    }
}
