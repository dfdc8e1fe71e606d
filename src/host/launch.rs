//! Creates a runner's container and starts it, with limits that this engine can set.

use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::{
    Docker, HostError, Launch, LaunchError,
    call::Call,
    container::{self, Condition, is_plain_name, plain},
    engine::{Fault, boxed, conceal_all},
    network_access::proxy_logins,
    registry::Reference,
};
use crate::{fleet::ContainerId, text::conceal};

impl Docker {
    /// Creates a container and starts it. An engine that has not shown whether it can set the usual limit of open
    /// files, and cannot start the container, gets a second one to start without it: an engine without privileges
    /// cannot exceed its own limit, and reports that only at the start.
    pub(super) async fn launch_runner(&self, launch: &Launch<'_>) -> Result<ContainerId, LaunchError> {
        let possible = self.can_limit_files();
        let limited = possible != Some(false) && !container::sets_nofile(&launch.pool.template);
        let (id, fault) = match self.launch_once(launch, limited).await? {
            (id, None) => {
                if limited {
                    self.learn_limit_of_files(true);
                }
                return Ok(id);
            }
            (id, Some(fault)) => (id, fault),
        };
        // Without an answer it may be running.
        let retried = limited && possible.is_none() && matches!(fault, Fault::Said(..));
        if !retried || self.remove_once(&id, false).await.is_err() {
            return Err(LaunchError { container: Some(id), error: fault.into() });
        }
        match self.launch_once(launch, false).await? {
            (id, None) => {
                self.learn_limit_of_files(false);
                tracing::info!(
                    host = %self.engine().host,
                    "the engine cannot set the usual limit of open files, so containers get the engine's own"
                );
                Ok(id)
            }
            (id, Some(fault)) => Err(LaunchError { container: Some(id), error: fault.into() }),
        }
    }

    /// Creates a container, and returns it with why it could not be started.
    async fn launch_once(
        &self,
        launch: &Launch<'_>,
        limited: bool,
    ) -> Result<(ContainerId, Option<Fault>), LaunchError> {
        let created = self.create_container(launch, limited).await;
        let id = created.map_err(|error| LaunchError { container: None, error })?;
        let fault = self.start_container(&id).await.err();
        Ok((id, fault))
    }

    /// Creates a container without starting it; `limited` is whether it gets the usual limit of open files.
    pub(super) async fn create_container(
        &self,
        launch: &Launch<'_>,
        limited: bool,
    ) -> Result<ContainerId, HostError> {
        let image = launch.image;
        Reference::read(image)?;
        let logins = proxy_logins(&launch.pool.template.proxy);
        let secrets: Vec<_> = [launch.jit].into_iter().chain(launch.files.secrets()).chain(&logins).collect();
        let body = Box::new(container::create_body(launch, limited)?);
        self.mark_job(launch).await?;
        let options = CreateContainerOptionsBuilder::new().name(launch.runner.as_str()).build();
        let deadline = self.engine().deadlines.of(Call::Create);
        let created = self
            .engine()
            .request_within(deadline, &secrets, Call::Create, |docker| {
                boxed(async move { docker.create_container(Some(options), *body).await })
            })
            .await;
        match created {
            Ok(created) => {
                for warning in created.warnings {
                    let warning = conceal_all(&warning, &secrets);
                    tracing::debug!(runner = %launch.runner, warning, "the engine returned a warning about the container");
                }
                // Anything but an id may be any text, even the request.
                let is_id = created.id.len() == 64 && created.id.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !is_plain_name(&created.id) || !is_id && conceal(&created.id, launch.jit) != created.id {
                    let detail = format!("{}: the response has no container id", Call::Create);
                    return Err(HostError::Failed { detail, source: None });
                }
                let id = ContainerId(created.id.into());
                self.memory().created(id.clone(), launch.pool.template.resources);
                Ok(id)
            }
            // 404 is also returned for other things that the template refers to.
            Err(fault) if fault.is(404) && self.image(image).await?.is_none() => {
                let reference = &launch.pool.template.image;
                let shown =
                    if reference == image { image.to_owned() } else { format!("{reference} ({image})") };
                Err(HostError::ImageMissing(shown))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Starts a container that was never started.
    pub(super) async fn start_container(&self, id: &ContainerId) -> Result<(), Fault> {
        // The engine would start a container that has ended once more, and its JIT config is used up.
        if !self.memory().starts(id) {
            match self.condition(id).await.map_err(Fault::Silent)? {
                None => {
                    return Err(Fault::Silent(HostError::Refused(format!("container {id} does not exist"))));
                }
                Some(Condition::Up | Condition::Down) => return Ok(()),
                Some(Condition::Created) => {}
            }
        }
        let id = plain(id).map_err(Fault::Silent)?;
        self.engine()
            .request(Call::Start, |docker| async move { docker.start_container(&id, None).await })
            .await
    }
}
