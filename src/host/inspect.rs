//! Checks of one container: inspection, log and processes.

use bollard::{
    models::{ContainerInspectResponse, ContainerState as EngineState},
    query_parameters::TopOptionsBuilder,
};

use super::{
    Docker, HostError,
    call::Call,
    container::{self, Condition, plain},
    engine::{Fault, boxed},
    lenient,
    log::{Lines, Story},
    log_stream::LogOf,
};
use crate::fleet::{ContainerId, Exit, Timestamp};
use crate::text::one_line;

impl Docker {
    /// The inspection of the container; `None` when it does not exist.
    pub(super) async fn inspect(
        &self,
        id: &ContainerId,
    ) -> Result<Option<Box<ContainerInspectResponse>>, HostError> {
        let id = plain(id)?;
        let found = self
            .engine()
            .request(Call::Inspect, |docker| {
                boxed(async move { lenient::inspect_container(&docker, &id).await.map(Box::new) })
            })
            .await;
        match found {
            Ok(inspected) => Ok(Some(inspected)),
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// The state of the container; `None` when it does not exist.
    pub(super) async fn condition(&self, id: &ContainerId) -> Result<Option<Condition>, HostError> {
        let inspected = self.inspect(id).await?;
        Ok(inspected.map(|i| i.state.as_ref().map_or(Condition::Down, container::condition)))
    }

    /// How a container exited, after an inspection that shows it as exited; `None` when it has disappeared
    /// since.
    ///
    /// `OOMKilled` is false while the container runs, even after a kill in it, and true after the end
    /// if any of its processes was killed, even when the first one exited with 0 (tried, Engine 20.10).
    pub(super) async fn ended(
        &self,
        id: &ContainerId,
        state: &EngineState,
    ) -> Result<Option<Exit>, HostError> {
        let code = state.exit_code.unwrap_or_default();
        let started_at = state.started_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        let finished_at = state.finished_at.as_deref().and_then(|at| at.parse().ok());
        let mut story = match self.story(id).await {
            Ok(story) => story,
            Err(fault) if fault.is(404) => return Ok(None),
            // The engine has no log, and retrying would not help.
            Err(Fault::Said(_, message)) => Story::without_log(&message),
            // Once may be a coincidence. After the second time this log must not block all other containers.
            Err(fault) if self.memory().first_unread(id) => return Err(fault.into()),
            Err(fault) => Story::without_log(&HostError::from(fault).to_string()),
        };
        Ok(Some(Exit {
            at: finished_at.or(started_at).unwrap_or_default(),
            ran: started_at.zip(finished_at).map(|(from, to)| to.since(from)),
            code,
            out_of_memory: state.oom_killed.unwrap_or(false),
            version_deprecated: story.version_refused()
                || (code == Exit::VERSION_DEPRECATED && story.job.is_none()),
            log_tail: story.tail().into(),
            result: story.result.map(str::to_owned),
            job: story.job,
        }))
    }

    /// What the container's log shows.
    pub(super) async fn story(&self, id: &ContainerId) -> Result<Story, Fault> {
        Ok(LogOf::container(id).story(self.engine()).await?.0)
    }

    /// The last lines of a container's log.
    pub(super) async fn log_text(&self, id: &ContainerId, lines: usize) -> Result<String, Fault> {
        let mut story = Story::default();
        LogOf::container(id)
            .read(self.engine(), &lines.to_string(), Lines::default(), usize::MAX, &mut story)
            .await?;
        Ok(story.tail())
    }

    /// The last lines of a container's log, as one line of an error.
    pub(super) async fn log_end(&self, id: &ContainerId, lines: usize) -> String {
        match self.log_text(id, lines).await {
            Ok(text) => one_line(&text),
            Err(_) => "(it could not be read)".to_owned(),
        }
    }

    /// Whether a `Runner.Worker` runs in the container: the process that has the job.
    pub(super) async fn works(&self, id: &ContainerId) -> Result<bool, Fault> {
        let id = plain(id).map_err(Fault::Silent)?;
        // A form that procps and busybox both accept, where the engine requires a column PID; and Podman's own. With
        // the first, Podman runs `ps` in the container, and lists nothing if there is none.
        for columns in ["-eo pid,comm,args", "pid,comm,args"] {
            let (id, options) = (id.clone(), TopOptionsBuilder::new().ps_args(columns).build());
            let top = self
                .engine()
                .request(Call::Top, |docker| async move { docker.top_processes(&id, Some(options)).await })
                .await?;
            let processes = top.processes.unwrap_or_default();
            if !processes.is_empty() {
                return Ok(processes.iter().any(|process| is_worker(process)));
            }
        }
        // A running container has a process.
        Err(Fault::Said(500, format!("{}: the engine lists none", Call::Top)))
    }
}

/// Whether a line of `PID COMMAND COMMAND…` is the runner's worker, by the kernel's name or by its own.
fn is_worker(process: &[String]) -> bool {
    const WORKER: &str = "Runner.Worker";
    let Some([_, name, command @ ..]) = process.get(..) else { return false };
    let first = command.first().and_then(|command| command.split_whitespace().next()).unwrap_or_default();
    name == WORKER || first.rsplit('/').next() == Some(WORKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_recognized_by_its_name_or_its_command_line() {
        for (process, worker) in [
            (&["1", "Runner.Worker", "/x spawnclient 1 2"][..], true),
            (&["1", ".NET Main", "/home/runner/bin/Runner.Worker spawnclient 1 2"], true),
            (&["1", "Runner.Worker"], true),
            (&["1", "sh", "grep Runner.Worker"], false),
            (&["1", "Runner.Listener", "/home/runner/bin/Runner.Listener run"], false),
            (&["Runner.Worker"], false),
            (&[], false),
        ] {
            let process: Vec<String> = process.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(is_worker(&process), worker, "{process:?}");
        }
    }
}
