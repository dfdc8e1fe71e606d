//! The calls of a [`Host`] on a Swarm.

use std::{collections::HashMap, time::Duration};

use bollard::models::{SecretSpec, Task};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, sleep};

use super::{
    log,
    shared::{Known, Swarm, failed},
    spec,
    state::{self, STOPPED, Seen},
};
use crate::{
    fleet::{ContainerId, Exit, FilesDigest, NodeId, Occupation, Pool, RunnerName, Template},
    host::{
        Host, HostError, Launch, Listed, Preparation, Prepared, TemplateFiles,
        attachments::labels,
        call::Call,
        container::{is_plain_name, plain},
        engine::{Fault, boxed},
        network_access::proxy_logins,
        registry::Reference,
    },
};

/// What the secret is to its runner.
const SECRET: &str = "jit-config";

/// How often it is checked whether a task has stopped.
const STOP_CHECK: Duration = Duration::from_millis(250);

impl Swarm {
    /// The task of a runner now; `None` when the Swarm has none.
    pub(super) async fn task_now(&self, runner: &RunnerName) -> Result<Option<Seen>, HostError> {
        let tasks = self.tasks_named(vec![format!("{runner}.")]).await?;
        Ok(state::task_of(&tasks))
    }

    /// The tasks of services whose names begin with one of these.
    pub(super) async fn tasks_named(&self, prefixes: Vec<String>) -> Result<Vec<Task>, HostError> {
        use bollard::query_parameters::ListTasksOptionsBuilder;
        let filters = HashMap::from([("name", prefixes)]);
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        let listed = self
            .engine()
            .request(Call::ListTasks, |docker| boxed(async move { docker.list_tasks(Some(options)).await }))
            .await?;
        Ok(listed)
    }

    async fn create_secret(&self, launch: &Launch<'_>) -> Result<String, HostError> {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(launch.jit.expose_secret());
        let spec = SecretSpec {
            name: Some(launch.runner.to_string()),
            labels: Some(labels::labels(launch.runner, SECRET)),
            data: Some(data),
            ..SecretSpec::default()
        };
        let created = self
            .engine()
            .request(Call::CreateSecret, |docker| boxed(async move { docker.create_secret(spec).await }))
            .await?;
        if is_plain_name(&created.id) {
            Ok(created.id)
        } else {
            Err(failed(Call::CreateSecret, "the response has no id"))
        }
    }

    async fn create_service(
        &self,
        launch: &Launch<'_>,
        secret: Option<&str>,
    ) -> Result<ContainerId, HostError> {
        Reference::read(launch.image)?;
        let mut form = *self.0.form.lock();
        form.limit_files &= self.manager().can_limit_files() != Some(false);
        let spec = Box::new(spec::service(launch, secret, form)?);
        let logins = proxy_logins(&launch.pool.template.proxy);
        let secrets: Vec<_> = [launch.jit].into_iter().chain(launch.files.secrets()).chain(&logins).collect();
        let credentials = self.credentials(launch.image).await?;
        let deadline = self.engine().deadlines.of(Call::CreateService);
        let created = self
            .engine()
            .request_within(deadline, &secrets, Call::CreateService, |docker| {
                boxed(async move { docker.create_service(*spec, credentials).await })
            })
            .await?;
        match created.id.filter(|id| is_plain_name(id)) {
            Some(id) => {
                let id = ContainerId(id.into());
                self.0.known.lock().insert(id.clone(), Known::new(launch.runner.clone()));
                Ok(id)
            }
            None => Err(failed(Call::CreateService, "the response has no id")),
        }
    }

    async fn remove_service(&self, id: &ContainerId) -> Result<(), HostError> {
        let id = plain(id)?;
        let removed = self
            .engine()
            .request(Call::RemoveService, |docker| async move { docker.delete_service(&id).await })
            .await;
        match removed {
            Err(fault) if fault.is(404) => Ok(()),
            other => Ok(other?),
        }
    }

    async fn remove_secret(&self, id: String) -> Result<(), Fault> {
        let removed = self
            .engine()
            .request(Call::RemoveSecret, |docker| async move { docker.delete_secret(&id).await })
            .await;
        match removed {
            Err(fault) if fault.is(404) => Ok(()),
            other => other,
        }
    }
}

impl Host for Swarm {
    type Files = TemplateFiles;
    type Prepared = Prepared;

    async fn list(&self) -> Result<Listed, HostError> {
        self.list_all().await
    }

    async fn read_files(&self, template: &Template) -> Result<TemplateFiles, HostError> {
        self.manager().read_files(template).await
    }

    fn digest(files: &TemplateFiles) -> FilesDigest {
        files.digest()
    }

    /// Nothing: what needs preparation is not possible on a Swarm, and refused in the configuration.
    async fn prepare(&self, _: Preparation<'_>) -> Result<Prepared, HostError> {
        Ok(Prepared::default())
    }

    /// The Swarm starts a service as soon as it exists.
    async fn create(&self, launch: Launch<'_>) -> Result<ContainerId, HostError> {
        if launch.pool.template.jit_in_environment {
            return self.create_service(&launch, None).await;
        }
        let secret = self.create_secret(&launch).await?;
        let created = self.create_service(&launch, Some(&secret)).await;
        // Without a response there may be a service that uses it; a list shows what is left.
        if matches!(created, Err(HostError::Refused(_))) {
            _ = self.remove_secret(secret).await;
        }
        created
    }

    async fn start(&self, _: &ContainerId) -> Result<(), HostError> {
        Ok(())
    }

    async fn occupation(&self, id: &ContainerId) -> Result<Occupation, HostError> {
        self.is_occupied(id).await
    }

    /// Removes the service, since nothing else stops its task for good; what is left of its log is read before. Its grace
    /// period is set when it is created.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), HostError> {
        let runner = self.runner_of(id)?;
        let mut exit = match self.task_now(&runner).await? {
            Some(seen) if seen.is_running() && !self.reaches(seen.node.as_ref()).await? => {
                return Err(failed(Call::RemoveService, "the node of its task cannot be reached"));
            }
            Some(seen) => {
                let has_log = !matches!(seen.state, state::State::Before(_));
                // A log that cannot be read keeps nothing from being stopped.
                match self.exit_of(&seen, has_log).await {
                    Ok(exit) => exit,
                    Err(_) => self.exit_of(&seen, false).await?,
                }
            }
            None => log::without_task(),
        };
        self.remove_service(id).await?;
        let deadline = Instant::now() + grace + self.engine().deadlines.of(Call::Stop);
        while let Some(seen) = self.task_now(&runner).await? {
            if let state::State::Over(end) = seen.state {
                exit.code = end.code.unwrap_or(STOPPED);
                break;
            }
            if !self.reaches(seen.node.as_ref()).await? || Instant::now() > deadline {
                return Err(failed(Call::RemoveService, "its task has not stopped"));
            }
            sleep(STOP_CHECK).await;
        }
        if let Some(known) = self.0.known.lock().get_mut(id) {
            (known.exit, known.since) = (Some(exit), Instant::now());
        }
        Ok(())
    }

    async fn exit(&self, id: &ContainerId) -> Result<Option<Exit>, HostError> {
        Ok(self.recall(id).and_then(|known| known.exit))
    }

    /// Refused while its task runs on a node that can be reached. On a lost node it may run, and GitHub has given it up.
    async fn remove(&self, id: &ContainerId) -> Result<(), HostError> {
        if let Some(known) = self.recall(id)
            && let Some(seen) = self.task_now(&known.runner).await?
            && seen.is_running()
            && self.reaches(seen.node.as_ref()).await?
        {
            return Err(HostError::Refused(format!("{}: its task is running", Call::RemoveService)));
        }
        self.remove_service(id).await
    }

    async fn promote(&self, _: &RunnerName, _: &Pool) -> Result<(), HostError> {
        Ok(())
    }

    async fn detach(&self, runner: &RunnerName) -> Result<(), HostError> {
        for secret in self.secrets().await? {
            if secret.runner == *runner {
                self.remove_secret(secret.id).await?;
            }
        }
        Ok(())
    }

    async fn drain_node(&self, node: &NodeId) -> Result<(), HostError> {
        self.drain(node).await
    }
}
