//! Follows the log of a runner's proxy, which has one line for each destination.

use std::collections::VecDeque;

use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::{Docker, HostError};
use crate::{
    egress::{Report, Verdict},
    fleet::{ContainerId, Destination, EgressVerdict, RunnerName},
    host::{
        container::Condition,
        log_stream::{LogOf, LogStream, Part},
    },
};

impl Docker {
    /// The destinations of a runner's proxy with the number of requests so far, from the beginning of its log. Ends
    /// when the proxy does or does not exist. If the stream ends while it is running, the last item is an error.
    pub fn destinations(
        &self,
        runner: &RunnerName,
    ) -> BoxStream<'static, Result<(Destination, u64), HostError>> {
        // Engines accept the name of a container for its id.
        let proxy = ContainerId(proxy_name(runner).into());
        let log = LogStream::new(self, LogOf::container(&proxy));
        let follower = Follower { docker: self.clone(), proxy, log, found: VecDeque::new(), over: false };
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
    log: LogStream,
    found: VecDeque<(Destination, u64)>,
    over: bool,
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
            let found = &mut self.found;
            match self.log.read(|line| found.extend(destination(line))).await? {
                Part::Bytes(_) => {}
                Part::End(error) if self.docker.condition(&self.proxy).await? == Some(Condition::Up) => {
                    return Err(error);
                }
                Part::End(_) => self.over = true,
            }
        }
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
