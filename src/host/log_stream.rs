//! The log of a container as it grows.

use bollard::{container::LogOutput, errors::Error, query_parameters::LogsOptionsBuilder};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::sync::watch;

use super::{Docker, HostError, call::Call, container::plain, log::Lines};
use crate::fleet::ContainerId;

/// A log that is followed from its beginning. It is opened with the first part that is read.
pub(super) struct LogStream {
    docker: Docker,
    id: ContainerId,
    frames: Option<BoxStream<'static, Result<LogOutput, Error>>>,
    lines: Lines,
    /// Changes when the streams of the engine turn out to be stale.
    streams: watch::Receiver<()>,
}

/// What was read of a log.
pub(super) enum Part {
    /// So many bytes.
    Bytes(usize),
    /// No more can be read, and why, if the container has not ended.
    End(HostError),
}

impl LogStream {
    pub(super) fn new(docker: &Docker, id: ContainerId) -> Self {
        let streams = docker.streams().subscribe();
        Self { docker: docker.clone(), id, frames: None, lines: Lines::default(), streams }
    }

    /// Waits for the next part, and passes on each line that it completes.
    pub(super) async fn read(&mut self, line: impl FnMut(&[u8])) -> Result<Part, HostError> {
        let frames = match &mut self.frames {
            Some(frames) => frames,
            none => none.insert(open(&self.docker, &self.id).await?),
        };
        let frame = tokio::select! {
            frame = frames.next() => frame,
            Ok(()) = self.streams.changed() => return Err(broken("the connection was lost")),
        };
        Ok(match frame {
            Some(Ok(frame)) => match self.lines.push(&frame, line) {
                Ok(()) => Part::Bytes(frame.as_ref().len()),
                Err(_) => Part::End(broken("the engine cannot read the rest of the log")),
            },
            Some(Err(error)) => Part::End(self.docker.engine().fault(Call::Logs, error, &[]).into()),
            None => {
                self.lines.finish(line);
                Part::End(broken("the log stream ended while the container is running"))
            }
        })
    }
}

async fn open(
    docker: &Docker,
    id: &ContainerId,
) -> Result<BoxStream<'static, Result<LogOutput, Error>>, HostError> {
    let id = plain(id)?;
    let client = docker.engine().client().await?;
    let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).tail("all").build();
    Ok(client.logs(&id, Some(options)).boxed())
}

fn broken(what: &str) -> HostError {
    HostError::Failed { detail: format!("{}: {what}", Call::Logs), source: None }
}
