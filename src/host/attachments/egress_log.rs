//! Follows the log of a runner's proxy, which has one line for each destination.

use std::collections::VecDeque;

use bollard::{container::LogOutput, errors::Error, query_parameters::LogsOptionsBuilder};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::sync::watch;

use super::{Docker, HostError};
use crate::{
    egress::{Report, Verdict},
    fleet::{ContainerId, Destination, EgressVerdict, RunnerName},
    host::{
        call::Call,
        container::{Condition, plain},
        log::Lines,
    },
};

impl Docker {
    /// The destinations of a runner's proxy with the number of requests so far, from the beginning of its log. Ends
    /// when the proxy does or does not exist. If the stream ends while it is running, the last item is an error.
    pub fn destinations(
        &self,
        runner: &RunnerName,
    ) -> BoxStream<'static, Result<(Destination, u64), HostError>> {
        let follower = Follower {
            docker: self.clone(),
            // Engines accept the name of a container for its id.
            proxy: ContainerId(proxy_name(runner).into()),
            frames: None,
            lines: Lines::default(),
            found: VecDeque::new(),
            over: false,
            streams: self.streams().subscribe(),
        };
        stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(found)) => Some((Ok(found), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

/// The name of a runner's proxy.
pub(super) fn proxy_name(runner: &RunnerName) -> String {
    format!("{runner}-proxy")
}

struct Follower {
    docker: Docker,
    proxy: ContainerId,
    frames: Option<BoxStream<'static, Result<LogOutput, Error>>>,
    lines: Lines,
    found: VecDeque<(Destination, u64)>,
    over: bool,
    streams: watch::Receiver<()>,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<(Destination, u64)>, HostError> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            if self.over {
                return Ok(None);
            }
            if self.frames.is_none() {
                self.frames = Some(self.open().await?);
            }
            let Some(frames) = &mut self.frames else { return Ok(None) };
            let frame = tokio::select! {
                frame = frames.next() => frame,
                Ok(()) = self.streams.changed() => return Err(broken("the connection was lost")),
            };
            let found = &mut self.found;
            let read = |line: &[u8]| found.extend(destination(line));
            let error = match frame {
                Some(Ok(frame)) => match self.lines.push(&frame, read) {
                    Ok(()) => continue,
                    Err(_) => broken("the engine cannot read the rest of the log"),
                },
                Some(Err(error)) => match self.docker.engine().fault(Call::Logs, error, &[]) {
                    fault if fault.is(404) => return Ok(None),
                    fault => fault.into(),
                },
                None => {
                    self.lines.finish(read);
                    broken("the log stream ended while the proxy is running")
                }
            };
            if self.docker.condition(&self.proxy).await? == Some(Condition::Up) {
                return Err(error);
            }
            self.over = true;
        }
    }

    async fn open(&mut self) -> Result<BoxStream<'static, Result<LogOutput, Error>>, HostError> {
        let id = plain(&self.proxy)?;
        let client = self.docker.engine().client().await?;
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).tail("all").build();
        Ok(client.logs(&id, Some(options)).boxed())
    }
}

fn destination(line: &[u8]) -> Option<(Destination, u64)> {
    let Ok(Report::Destination(line)) = serde_json::from_slice(line) else { return None };
    let verdict = match line.verdict {
        Verdict::Allowed => EgressVerdict::Allowed,
        Verdict::Audited => EgressVerdict::Audited,
        Verdict::Refused => EgressVerdict::Refused,
    };
    Some((Destination { host: line.host.into(), port: line.port, verdict }, line.count))
}

fn broken(what: &str) -> HostError {
    HostError::Failed { detail: format!("{}: {what}", Call::Logs), source: None }
}
