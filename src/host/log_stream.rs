//! The log of a container, or of a task of a Swarm: as it grows, and as it is.

use bollard::{
    container::LogOutput,
    errors::Error,
    query_parameters::{LogsOptions, LogsOptionsBuilder},
};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::sync::watch;

use super::{
    Docker, HostError,
    call::Call,
    container::is_plain_name,
    engine::{Engine, Fault},
    log::{Lines, Story},
};
use crate::fleet::ContainerId;

/// How much of a log's beginning is read for `Running job:`. The line comes soon after the start unless the
/// runner was idle for days; then the result near the end has the job's name.
const LOG_HEAD: usize = 256 * 1024;

/// How many of a log's last entries are read when it is longer. An entry is a line, or 16 KiB of a longer
/// one.
const LOG_TAIL_ENTRIES: &str = "400";

/// What a log is of, by its id.
#[derive(Clone, Debug)]
pub(super) enum LogOf {
    Container(String),
    Task(String),
}

type Frames = BoxStream<'static, Result<LogOutput, Error>>;

impl LogOf {
    /// That of a container.
    pub(super) fn container(id: &ContainerId) -> Self {
        Self::Container(id.0.to_string())
    }

    /// Refuses an id that would make another request.
    fn check(&self) -> Result<(), HostError> {
        let (id, what) = match self {
            Self::Container(id) => (id, "container"),
            Self::Task(id) => (id, "task"),
        };
        if is_plain_name(id) { Ok(()) } else { Err(HostError::Refused(format!("{id:?} is not a {what} id"))) }
    }

    fn open(&self, client: &bollard::Docker, options: LogsOptions) -> Frames {
        match self {
            Self::Container(id) => client.logs(id, Some(options)).boxed(),
            Self::Task(id) => client.task_logs(id, Some(options)).boxed(),
        }
    }

    /// Reads the beginning of the log, and its end when it is longer: at most [`LOG_HEAD`] and
    /// [`LOG_TAIL_ENTRIES`], however much a job has printed. Also returns whether that was all of it.
    pub(super) async fn story(&self, engine: &Engine) -> Result<(Story, bool), Fault> {
        let mut story = Story::default();
        let is_whole = self.read(engine, "all", Lines::default(), LOG_HEAD, &mut story).await?;
        if !is_whole {
            story.forget_tail();
            let lines = Lines::from_the_middle();
            self.read(engine, LOG_TAIL_ENTRIES, lines, usize::MAX, &mut story).await?;
        }
        Ok((story, is_whole))
    }

    /// Reads until the end or the limit; returns whether it was the end.
    pub(super) async fn read(
        &self,
        engine: &Engine,
        tail: &str,
        mut lines: Lines,
        limit: usize,
        story: &mut Story,
    ) -> Result<bool, Fault> {
        self.check().map_err(Fault::Silent)?;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(tail).build();
        let read = engine
            .request(Call::Logs, |docker| async move {
                let mut log = self.open(&docker, options);
                let mut room = limit;
                while let Some(frame) = log.next().await.transpose()? {
                    let bytes = frame.as_ref();
                    story.keep(bytes);
                    if lines.push(&frame, |line| story.line(line)).is_err() {
                        return Ok(None);
                    }
                    room = room.saturating_sub(bytes.len());
                    if room == 0 {
                        return Ok(Some(false));
                    }
                }
                lines.finish(|line| story.line(line));
                Ok(Some(true))
            })
            .await?;
        read.ok_or_else(|| Fault::Said(500, format!("{}: the engine cannot read the whole log", Call::Logs)))
    }
}

/// A log that is followed from its beginning. It is opened with the first part that is read.
pub(super) struct LogStream {
    docker: Docker,
    of: LogOf,
    frames: Option<Frames>,
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
    pub(super) fn new(docker: &Docker, of: LogOf) -> Self {
        let streams = docker.streams().subscribe();
        Self { docker: docker.clone(), of, frames: None, lines: Lines::default(), streams }
    }

    /// Waits for the next part, and passes on each line that it completes.
    pub(super) async fn read(&mut self, line: impl FnMut(&[u8])) -> Result<Part, HostError> {
        let frames = match &mut self.frames {
            Some(frames) => frames,
            none => none.insert(follow(&self.docker, &self.of).await?),
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

async fn follow(docker: &Docker, of: &LogOf) -> Result<Frames, HostError> {
    of.check()?;
    let client = docker.engine().client().await?;
    let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).tail("all").build();
    Ok(of.open(&client, options))
}

fn broken(what: &str) -> HostError {
    HostError::Failed { detail: format!("{}: {what}", Call::Logs), source: None }
}
