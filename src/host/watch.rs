//! What an engine tells by itself: events of our containers, and their logs as they are written.
//!
//! Neither stream has a deadline, and both end with an error when they end early, so that whoever
//! listens connects again and looks at everything.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::Ordering,
    time::Duration,
};

use bollard::{
    container::LogOutput,
    errors::Error,
    models::EventMessage,
    query_parameters::{EventsOptionsBuilder, LogsOptionsBuilder},
};
use futures_util::{
    FutureExt, Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::sleep;

use super::{
    Docker, HostError,
    call::Fault,
    container::{Condition, LABEL_INSTANCE, LABEL_RUNNER, is_plain_name, runner_of},
    log::{Lines, said},
};
use crate::fleet::{ContainerId, RunnerName, Said};

/// Something that happened to a container of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was started.
    Started {
        /// The runner.
        runner: RunnerName,
        /// Its container.
        id: ContainerId,
    },
    /// Its first process ended.
    Died {
        /// The runner.
        runner: RunnerName,
        /// Its container.
        id: ContainerId,
    },
    /// The kernel killed one of its processes for want of memory; it may live on.
    Oom {
        /// The runner.
        runner: RunnerName,
        /// Its container.
        id: ContainerId,
    },
    /// It was removed.
    Destroyed {
        /// The runner.
        runner: RunnerName,
        /// Its container.
        id: ContainerId,
    },
}

type Frames = BoxStream<'static, Result<LogOutput, Error>>;

impl Docker {
    /// What happens to our containers from now on; with a later call, also what happened since the
    /// last event seen, which may be told twice. The engine remembers only the latest events and none
    /// from before its own start, so a list is due after each connection.
    ///
    /// The stream never ends by itself in silence: its last item is an error.
    pub fn events(&self) -> BoxStream<'static, Result<Happened, HostError>> {
        let docker = self.clone();
        let all = async move {
            match docker.open_events().await {
                Ok(events) => events.left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            }
        };
        // After an error there is nothing more to come.
        let mut over = false;
        all.flatten_stream()
            .take_while(move |item| {
                let wanted = !over;
                over = item.is_err();
                std::future::ready(wanted)
            })
            .boxed()
    }

    async fn open_events(
        &self,
    ) -> Result<impl Stream<Item = Result<Happened, HostError>> + Send + use<>, HostError> {
        let client = self.engine().client().await?;
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("label", vec![format!("{LABEL_INSTANCE}={}", self.instance())]),
            ("event", ["start", "die", "oom", "destroy"].map(str::to_owned).to_vec()),
        ]);
        let mut options = EventsOptionsBuilder::new().filters(&filters);
        let last = self.last_event().load(Ordering::Relaxed);
        if last > 0 {
            options = options.since(&format!("{}.{:09}", last / 1_000_000_000, last % 1_000_000_000));
        }
        let docker = self.clone();
        let events = client.events(Some(options.build())).filter_map(move |event| {
            let happened = match event {
                Ok(event) => docker.happened(&event).map(Ok),
                Err(error) => Some(Err(docker.engine().fault(error).into())),
            };
            std::future::ready(happened)
        });
        let end = HostError::Failed { detail: "the engine ended its stream of events".into(), source: None };
        Ok(events.chain(stream::iter([Err(end)])))
    }

    fn happened(&self, event: &EventMessage) -> Option<Happened> {
        if let Some(at) = event.time_nano {
            self.last_event().fetch_max(at, Ordering::Relaxed);
        }
        let actor = event.actor.as_ref()?;
        let id = ContainerId(actor.id.as_deref().filter(|id| is_plain_name(id))?.into());
        let attribute = |key| Some(actor.attributes.as_ref()?.get(key)?.as_str());
        if attribute(LABEL_INSTANCE) != Some(self.instance().as_str()) {
            return None;
        }
        // The list warns of those without one.
        let runner = runner_of(attribute(LABEL_RUNNER), self.instance()).ok()?;
        match event.action.as_deref()? {
            "start" => Some(Happened::Started { runner, id }),
            "die" => Some(Happened::Died { runner, id }),
            "oom" => Some(Happened::Oom { runner, id }),
            "destroy" => Some(Happened::Destroyed { runner, id }),
            _ => None,
        }
    }

    /// What a started runner says in its log, from its start on, until it has a job or its container
    /// ends or vanishes. When the log breaks off while the container runs, the last item is an error.
    pub fn follow(&self, id: &ContainerId) -> BoxStream<'static, Result<Said, HostError>> {
        let follower = Follower {
            docker: self.clone(),
            id: id.clone(),
            frames: None,
            lines: Lines::default(),
            heard: VecDeque::new(),
            told: 0,
            over: false,
        };
        stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(said @ Said::RunningJob(_))) => Some((Ok(said), None)),
                Ok(Some(said)) => Some((Ok(said), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

struct Follower {
    docker: Docker,
    id: ContainerId,
    frames: Option<Frames>,
    lines: Lines,
    heard: VecDeque<Said>,
    told: usize,
    over: bool,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Said>, HostError> {
        loop {
            if let Some(said) = self.heard.pop_front() {
                self.told += 1;
                return Ok(Some(said));
            }
            if self.over {
                return Ok(None);
            }
            let frames = match &mut self.frames {
                Some(frames) => frames,
                None => match self.open().await? {
                    Some(frames) => self.frames.insert(frames),
                    None => return Ok(None),
                },
            };
            let heard = &mut self.heard;
            let listen = |line: &[u8]| heard.extend(said(line));
            let broken = match frames.next().await {
                Some(Ok(frame)) => match self.lines.push(&frame, listen) {
                    Ok(()) => continue,
                    Err(_) => HostError::Failed {
                        detail: "the engine cannot read the log any further".to_owned(),
                        source: None,
                    },
                },
                Some(Err(error)) => self.docker.engine().fault(error).into(),
                None => {
                    self.lines.finish(listen);
                    HostError::Failed {
                        detail: "the log broke off while the container runs".to_owned(),
                        source: None,
                    }
                }
            };
            if !self.has_ended().await? {
                return Err(broken);
            }
            self.catch_up().await?;
            self.over = true;
        }
    }

    /// A followed log loses its last lines when the container ends at once (seen on Engine 20.10);
    /// the log itself has them.
    async fn catch_up(&mut self) -> Result<(), HostError> {
        match self.docker.story(&self.id).await {
            Ok(story) => self.heard = story.heard.into_iter().skip(self.told).collect(),
            Err(Fault::Said(..)) => {}
            Err(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    /// The log ends shortly before the engine says that the container has.
    async fn has_ended(&mut self) -> Result<bool, HostError> {
        for pause in [0, 100, 1000] {
            sleep(Duration::from_millis(pause)).await;
            if self.docker.condition(&self.id).await? != Some(Condition::Up) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks first, within a deadline: the stream itself has none.
    async fn open(&mut self) -> Result<Option<Frames>, HostError> {
        if self.docker.condition(&self.id).await?.is_none() {
            return Ok(None);
        }
        let client = self.docker.engine().client().await?;
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).tail("all").build();
        Ok(Some(client.logs(&self.id.0, Some(options)).boxed()))
    }
}
