//! The streams of an engine: events of this instance's containers, and their logs.
//!
//! Neither stream has a deadline, and both end with an error when they end early, so that the caller connects
//! again and lists everything. A connection can be dead without notice (for example behind a NAT that dropped
//! it): that is detected by an exit that a list shows but no event reported.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    sync::atomic::Ordering,
    time::Duration,
};

use bollard::{errors::Error, models::EventMessage, query_parameters::EventsOptionsBuilder};
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Docker, HostError,
    attachments::labels::{LABEL_ATTACHMENT, is_setup},
    call::Call,
    container::{Condition, LABEL_INSTANCE, LABEL_RUNNER, is_plain_name, runner_of},
    engine::Fault,
    log::said,
    log_stream::{LogOf, LogStream, Part},
};
use crate::fleet::{ContainerId, RunnerName, Said};

/// How long after a list an event of the same exit may arrive.
const EVENT_LAG: Duration = Duration::from_secs(2);

/// How long a stream of events is used before it is replaced.
const EVENTS_LIFE: Duration = Duration::from_mins(5);

/// How long, and how many bytes, the log of a runner with a job is read to find the job's name. The line
/// comes before the job's output, unless it was rotated away; the output can have any size.
const NAME_TIME: Duration = Duration::from_secs(30);
pub(super) const NAME_BYTES: usize = 1024 * 1024;

/// Something that happened to a container of this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was started.
    Started { runner: RunnerName, id: ContainerId },
    /// Its first process exited.
    Died {
        runner: RunnerName,
        id: ContainerId,
        /// The exit code of the process, where the engine reports it.
        code: Option<i64>,
    },
    /// The kernel killed one of its processes because memory ran out; it may still be running.
    Oom { runner: RunnerName, id: ContainerId },
    /// A runner's sidecar stopped or was removed.
    Sidecar { runner: RunnerName },
    /// It was removed.
    Destroyed { runner: RunnerName, id: ContainerId },
    /// A service or a node of a Swarm changed.
    Changed,
}

impl Docker {
    /// Events of this instance's containers from now on; a later call also returns the events since the last
    /// one, some of them possibly twice. The engine keeps only the latest events and none from before its own
    /// start, so a list is needed after each connection.
    ///
    /// The stream never ends silently: its last item is an error. It also ends after some minutes, and when
    /// it turns out to be dead, so that the caller opens another.
    pub fn events(&self) -> BoxStream<'static, Result<Happened, HostError>> {
        let docker = self.clone();
        let all = async move {
            match docker.listen().await {
                Ok(listener) => stream::unfold(Some(listener), |listener| async move {
                    let mut listener = listener?;
                    let item = listener.next().await;
                    // An error is the last item.
                    let rest = item.is_ok().then_some(listener);
                    Some((item, rest))
                })
                .left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            }
        };
        all.flatten_stream().boxed()
    }

    async fn listen(&self) -> Result<Listener, HostError> {
        let client = self.engine().client().await?;
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("label", vec![format!("{LABEL_INSTANCE}={}", self.instance())]),
            ("event", ["start", "die", "oom", "destroy", "remove"].map(str::to_owned).to_vec()),
        ]);
        let mut options = EventsOptionsBuilder::new().filters(&filters);
        let last = self.last_event().load(Ordering::Relaxed);
        if last > 0 {
            let next = last + 1;
            options = options.since(&format!("{}.{:09}", next / 1_000_000_000, next % 1_000_000_000));
        }
        // Events that were missed until now are returned now.
        self.memory().missed_ends();
        Ok(Listener {
            docker: self.clone(),
            events: client.events(Some(options.build())).boxed(),
            ends_at: Instant::now() + EVENTS_LIFE,
            check_at: None,
        })
    }

    fn happened(&self, event: &EventMessage) -> Option<Happened> {
        if let Some(at) = event.time_nano {
            // Not the latest time: the engine's clock may be set back.
            self.last_event().store(at, Ordering::Relaxed);
        }
        let actor = event.actor.as_ref()?;
        let id = ContainerId(actor.id.as_deref().filter(|id| is_plain_name(id))?.into());
        let attribute = |key| Some(actor.attributes.as_ref()?.get(key)?.as_str());
        if attribute(LABEL_INSTANCE) != Some(self.instance().as_str()) {
            return None;
        }
        // A list shows what became of a sidecar.
        if attribute(LABEL_ATTACHMENT).is_some() {
            let runner = runner_of(attribute(LABEL_RUNNER), self.instance()).ok()?;
            if is_setup(attribute(LABEL_ATTACHMENT)) {
                return None;
            }
            return matches!(event.action.as_deref(), Some("die" | "destroy" | "remove"))
                .then_some(Happened::Sidecar { runner });
        }
        // The list warns of containers without one.
        let runner = runner_of(attribute(LABEL_RUNNER), self.instance()).ok()?;
        match event.action.as_deref()? {
            "start" => Some(Happened::Started { runner, id }),
            "die" => {
                self.memory().died(&id);
                // The second name is Podman's.
                let code = attribute("exitCode").or_else(|| attribute("containerExitCode"));
                Some(Happened::Died { runner, id, code: code.and_then(|code| code.parse().ok()) })
            }
            "oom" => Some(Happened::Oom { runner, id }),
            // The second name is Podman's.
            "destroy" | "remove" => Some(Happened::Destroyed { runner, id }),
            _ => None,
        }
    }

    /// The recognized lines of a started runner's log, from its start until it has a job or its container
    /// exits or disappears. If the log stream ends while the container is running, the last item is an error.
    /// If only the job's name is of interest, because the runner is known to be busy, the log is not read for
    /// long.
    pub fn follow(
        &self,
        id: &ContainerId,
        busy: watch::Receiver<bool>,
    ) -> BoxStream<'static, Result<Said, HostError>> {
        let follower = Follower {
            docker: self.clone(),
            id: id.clone(),
            log: LogStream::new(self, LogOf::container(id)),
            heard: VecDeque::new(),
            reported: 0,
            over: false,
            busy,
            give_up_at: None,
            room: NAME_BYTES,
        };
        until_job(follower)
    }
}

/// An open stream of events.
struct Listener {
    docker: Docker,
    events: BoxStream<'static, Result<EventMessage, Error>>,
    ends_at: Instant,
    /// When an exit that a list shows must have been reported.
    check_at: Option<Instant>,
}

impl Listener {
    async fn next(&mut self) -> Result<Happened, HostError> {
        let failed = |detail: &str| {
            let detail = format!("{}: {detail}", Call::Events);
            Err(HostError::Failed { detail, source: None })
        };
        loop {
            let check_at = self.check_at;
            let check = async {
                match check_at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                event = self.events.next() => match event {
                    Some(Ok(event)) => {
                        if let Some(happened) = self.docker.happened(&event) {
                            return Ok(happened);
                        }
                    }
                    Some(Err(error)) => return Err(self.docker.engine().fault(Call::Events, error, &[]).into()),
                    None => return failed("the engine closed the stream"),
                },
                () = self.docker.unreported_end(), if check_at.is_none() => {
                    self.check_at = Some(Instant::now() + EVENT_LAG);
                }
                () = check => {
                    self.check_at = None;
                    if self.docker.memory().missed_ends() {
                        // Events that one connection lost may be lost for the others of the same age too.
                        self.docker.streams().send_replace(());
                        return failed("the stream is stale: a container exited without an event");
                    }
                }
                () = sleep_until(self.ends_at) => return failed("the stream was replaced by another"),
            }
        }
    }
}

/// Reads the recognized lines of a runner's log.
pub(super) trait Follow: Send + 'static {
    /// The next one; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Said>, HostError>> + Send;
}

/// The lines until the runner has a job. An error is the last item.
pub(super) fn until_job(follower: impl Follow) -> BoxStream<'static, Result<Said, HostError>> {
    stream::unfold(Some(follower), |follower| async move {
        let mut follower = follower?;
        match follower.next().await {
            Ok(Some(said @ Said::RunningJob { .. })) => Some((Ok(said), None)),
            Ok(Some(said)) => Some((Ok(said), Some(follower))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Follower {
    docker: Docker,
    id: ContainerId,
    log: LogStream,
    heard: VecDeque<Said>,
    reported: usize,
    over: bool,
    busy: watch::Receiver<bool>,
    /// Set once the runner is known to be busy.
    give_up_at: Option<Instant>,
    room: usize,
}

impl Follow for Follower {
    async fn next(&mut self) -> Result<Option<Said>, HostError> {
        loop {
            if let Some(said) = self.heard.pop_front() {
                self.reported += 1;
                return Ok(Some(said));
            }
            if self.over {
                return Ok(None);
            }
            let heard = &mut self.heard;
            let part = tokio::select! {
                part = self.log.read(|line| heard.extend(said(line))) => part?,
                () = given_up(&mut self.busy, &mut self.give_up_at) => return Ok(None),
            };
            let error = match part {
                Part::Bytes(count) => {
                    if *self.busy.borrow() {
                        self.room = self.room.saturating_sub(count);
                        self.over = self.room == 0;
                    }
                    continue;
                }
                Part::End(error) => error,
            };
            if !self.has_ended().await? {
                return Err(error);
            }
            self.catch_up().await?;
            self.over = true;
        }
    }
}

impl Follower {
    /// A followed log loses its last lines when the container exits at once (observed on Engine 20.10); the
    /// log itself has them.
    async fn catch_up(&mut self) -> Result<(), HostError> {
        // The code that reads how it exited reads its log as well.
        if self.docker.memory().has_died(&self.id) {
            return Ok(());
        }
        match self.docker.story(&self.id).await {
            Ok(story) => self.heard = story.heard.into_iter().skip(self.reported).collect(),
            Err(Fault::Said(..)) => {}
            Err(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    /// The log ends shortly before the engine reports the container as exited.
    async fn has_ended(&mut self) -> Result<bool, HostError> {
        for pause in [0, 100, 1000] {
            sleep(Duration::from_millis(pause)).await;
            if self.docker.memory().has_died(&self.id) {
                return Ok(true);
            }
            match self.docker.condition(&self.id).await? {
                None | Some(Condition::Down) => return Ok(true),
                // For one that has not been started yet the engine returns only what exists.
                Some(Condition::Created) => return Ok(false),
                Some(Condition::Up) => {}
            }
        }
        Ok(false)
    }
}

/// Waits until the runner is known to be busy, and then for as long as its job's name may take.
pub(super) async fn given_up(busy: &mut watch::Receiver<bool>, at: &mut Option<Instant>) {
    if busy.wait_for(|busy| *busy).await.is_err() {
        return pending().await;
    }
    let at = *at.get_or_insert_with(|| Instant::now() + NAME_TIME);
    sleep_until(at).await;
}
