//! The logs of tasks, through the manager: what a runner reports while it runs, whether it has a job, and how it ended.

use std::{collections::VecDeque, future::ready, time::Duration};

use bollard::{
    models::{EventMessage, EventMessageTypeEnum},
    query_parameters::EventsOptionsBuilder,
};
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    shared::{Swarm, failed},
    state::{End, STOPPED, Seen, State},
};
use crate::{
    fleet::{ContainerId, Exit, NodeId, Occupation, RunnerName, Said, Timestamp},
    host::{
        Happened, HostError,
        call::Call,
        log::{Story, said},
        log_stream::{LogOf, LogStream, Part},
        watch::{Follow, NAME_BYTES, given_up, until_job},
    },
};

/// How long the log of a task that has ended may take, which other runners' states wait for.
const END_LOG: Duration = Duration::from_secs(5);

/// The exit code of a task that never ran, as Docker's command returns it.
const NEVER_RAN: i64 = 125;

/// What runc reports where a node cannot set the usual limit of open files.
const CANNOT_LIMIT: &str = "error setting rlimit";

/// How long a stream of events is used before it is replaced: a connection can be dead without notice.
const EVENTS_LIFE: Duration = Duration::from_mins(5);

impl Swarm {
    /// Changes of services and nodes from now on. The last item is an error; a list is needed after each connection.
    pub fn events(&self) -> BoxStream<'static, Result<Happened, HostError>> {
        let swarm = self.clone();
        let all = async move {
            let client = match swarm.engine().client().await {
                Ok(client) => client,
                Err(error) => return stream::iter([Err(error)]).left_stream(),
            };
            let filters = [("type", vec!["service".to_owned(), "node".to_owned()])].into();
            let options = EventsOptionsBuilder::new().filters(&filters).build();
            let closed = stream::iter([Err(failed(Call::Events, "the engine closed the stream"))]);
            client
                .events(Some(options))
                .filter_map(move |event| {
                    ready(match event {
                        Ok(event) => swarm.is_of_interest(&event).then_some(Ok(Happened::Changed)),
                        Err(error) => Some(Err(swarm.engine().fault(Call::Events, error, &[]).into())),
                    })
                })
                .take_until(sleep_until(Instant::now() + EVENTS_LIFE))
                .chain(closed)
                .right_stream()
        };
        all.flatten_stream().boxed()
    }

    /// Whether something happened to a node or to a runner of this instance.
    fn is_of_interest(&self, event: &EventMessage) -> bool {
        let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
        let name = attributes.and_then(|attributes| attributes.get("name"));
        let runner = name.and_then(|name| RunnerName::parse(name));
        event.typ == Some(EventMessageTypeEnum::NODE)
            || runner.is_some_and(|runner| runner.instance() == self.manager().instance().as_str())
    }

    /// The recognized lines of a runner's log, from its start until it has a job or its task has ended; as
    /// [`Docker::follow`](crate::host::Docker::follow).
    pub fn follow(
        &self,
        id: &ContainerId,
        busy: watch::Receiver<bool>,
    ) -> BoxStream<'static, Result<Said, HostError>> {
        let follower = Follower {
            listed: self.0.listed.subscribe(),
            swarm: self.clone(),
            id: id.clone(),
            log: None,
            heard: VecDeque::new(),
            busy,
            give_up_at: None,
            room: NAME_BYTES,
        };
        until_job(follower)
    }

    /// Whether a runner has a job, by its log alone: the processes of another node cannot be listed.
    pub(super) async fn is_occupied(&self, id: &ContainerId) -> Result<Occupation, HostError> {
        let runner = self.runner_of(id)?;
        let Some(seen) = self.task_now(&runner).await? else { return Ok(Occupation::Down) };
        match &seen.state {
            State::Over(_) => return Ok(Occupation::Down),
            State::Before(_) => return Ok(Occupation::Idle),
            State::Running => {}
        }
        if !self.reaches(seen.node.as_ref()).await? {
            return Err(failed(Call::Logs, "the node of its task cannot be reached"));
        }
        let (story, is_whole) = LogOf::Task(seen.id).story(self.engine()).await?;
        match story.job {
            Some(job) => Ok(Occupation::Busy(Some(job))),
            None if is_whole => Ok(Occupation::Idle),
            // An idle runner writes little.
            None => Err(failed(Call::Logs, "its log is too long to show whether it has a job")),
        }
    }

    /// Whether a task's node can be reached now.
    pub(super) async fn reaches(&self, node: Option<&NodeId>) -> Result<bool, HostError> {
        let Some(node) = node else { return Ok(true) };
        let listed = self.listed_nodes().await?;
        let is_it = |id: &Option<String>| id.as_deref() == Some(&node.0);
        let found = listed.into_iter().find(|listed| is_it(&listed.id));
        Ok(found.and_then(|node| node.status?.state) == Some(bollard::models::NodeState::READY))
    }

    /// How a task ended, or will have ended: with what its log shows, if that is to be read.
    pub(super) async fn exit_of(&self, seen: &Seen, with_log: bool) -> Result<Exit, HostError> {
        let end = match &seen.state {
            State::Over(end) => end.clone(),
            State::Before(_) | State::Running => End::default(),
        };
        let never_ran = end.code.is_none() && !end.why.is_empty();
        let mut story = if never_ran {
            Story::without_log(&end.why)
        } else if with_log {
            let log = LogOf::Task(seen.id.clone());
            match timeout(END_LOG, log.story(self.engine())).await {
                Ok(Ok((story, _))) => story,
                Ok(Err(fault)) => return Err(fault.into()),
                Err(_) => return Err(failed(Call::Logs, "the log of an ended task did not arrive in time")),
            }
        } else {
            Story::without_log("its node or its log cannot be reached")
        };
        if end.why.contains(CANNOT_LIMIT) {
            self.manager().learn_limit_of_files(false);
        }
        // It could not be started.
        if story.tail().is_empty() && !end.why.is_empty() {
            story.keep(end.why.as_bytes());
        }
        let code = end.code.unwrap_or(if never_ran { NEVER_RAN } else { STOPPED });
        Ok(Exit {
            at: end.at.parse::<Timestamp>().unwrap_or_default(),
            ran: None,
            code,
            // It is only in the container's inspection on its own node, which the manager does not return.
            out_of_memory: false,
            version_deprecated: story.version_refused()
                || (code == Exit::VERSION_DEPRECATED && story.job.is_none()),
            log_tail: story.tail().into(),
            result: story.result.map(str::to_owned),
            job: story.job,
        })
    }
}

/// The exit of a service whose task the Swarm does not list any more.
pub(super) fn without_task() -> Exit {
    Exit {
        at: Timestamp::default(),
        ran: None,
        code: STOPPED,
        out_of_memory: false,
        job: None,
        result: None,
        version_deprecated: false,
        log_tail: "".into(),
    }
}

struct Follower {
    swarm: Swarm,
    id: ContainerId,
    listed: watch::Receiver<()>,
    /// Of the task that runs.
    log: Option<LogStream>,
    heard: VecDeque<Said>,
    busy: watch::Receiver<bool>,
    /// Set once the runner is known to be busy.
    give_up_at: Option<Instant>,
    room: usize,
}

impl Follow for Follower {
    async fn next(&mut self) -> Result<Option<Said>, HostError> {
        loop {
            if let Some(said) = self.heard.pop_front() {
                return Ok(Some(said));
            }
            if self.room == 0 {
                return Ok(None);
            }
            let known = self.swarm.recall(&self.id);
            let task = match known.as_ref().map(|known| &known.task) {
                None | Some(Some(Seen { state: State::Over(_), .. })) => return Ok(None),
                Some(Some(seen)) if seen.is_running() => seen.id.clone(),
                Some(_) => {
                    _ = self.listed.changed().await;
                    continue;
                }
            };
            let log = self.log.get_or_insert_with(|| LogStream::new(self.swarm.manager(), LogOf::Task(task)));
            let heard = &mut self.heard;
            let part = tokio::select! {
                part = log.read(|line| heard.extend(said(line))) => part?,
                // The stream of a task does not end with it.
                _ = self.listed.changed() => continue,
                () = given_up(&mut self.busy, &mut self.give_up_at) => return Ok(None),
            };
            match part {
                Part::Bytes(count) if *self.busy.borrow() => self.room = self.room.saturating_sub(count),
                Part::Bytes(_) => {}
                Part::End(error) => return Err(error),
            }
        }
    }
}
