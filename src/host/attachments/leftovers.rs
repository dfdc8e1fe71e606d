//! What a job left on the engine whose socket it had: containers and networks that are recognizably its own. The rest
//! stays, since it may be anybody's.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, Network, Volume};

use super::{Docker, job_label::LABEL_JOB};
use crate::{
    fleet::{ContainerId, RunnerName},
    host::{
        attachments::LABEL_ATTACHMENT,
        call::Call,
        container::LABEL_INSTANCE,
        engine::{Fault, boxed},
        lenient,
    },
};

/// Docker Compose records in which folder a project was started.
const COMPOSE_FOLDER: &str = "com.docker.compose.project.working_dir";

/// How the containers of a job are recognized.
struct Traces<'a> {
    /// The volume that had the runner, and its path on the host.
    home: Option<&'a Volume>,
    /// The label that the runner gave them.
    label: Option<&'a str>,
    /// The ids and names of the networks that are the runner's or its job's.
    networks: Vec<String>,
}

impl Docker {
    /// Removes what the job of a runner left; `volumes` are those of the runner. Its container must be gone.
    pub(super) async fn remove_leftovers(
        &self,
        runner: &RunnerName,
        volumes: &[Volume],
    ) -> Result<(), Fault> {
        let of = |what: &str| {
            volumes.iter().find(|volume| volume.labels.get(LABEL_ATTACHMENT).is_some_and(|is| is == what))
        };
        let home = of("home");
        let label = of("job").and_then(|volume| volume.labels.get(LABEL_JOB)).map(String::as_str);
        if home.is_none() && label.is_none() {
            return Ok(());
        }
        let networks = match label {
            Some(label) => self.networks_of_job(label).await?,
            None => Vec::new(),
        };
        let named = networks.iter().flat_map(|network| [&network.id, &network.name]).flatten().cloned();
        let traces = Traces { home, label, networks: named.chain([runner.to_string()]).collect() };
        let everything = HashMap::new();
        let listed = self
            .engine()
            .request(Call::List, |docker| {
                boxed(async move { lenient::list_containers(&docker, &everything).await })
            })
            .await?;
        let left: Vec<_> = listed
            .into_iter()
            .filter(|container| traces.show(container))
            .filter_map(|container| container.id)
            .collect();
        if left.is_empty() && networks.is_empty() {
            return Ok(());
        }
        let mut all = Ok(());
        for id in &left {
            let id = ContainerId(id.as_str().into());
            all = all.and(self.remove_as(Call::RemoveLeftover, &id, true).await);
        }
        for network in &networks {
            all = all.and(self.remove_network(Call::RemoveLeftover, network).await);
        }
        if all.is_ok() {
            tracing::info!(
                host = %self.engine().host, %runner, containers = left.len(), networks = networks.len(),
                "removed what the job left on the host"
            );
        }
        all
    }

    /// The networks that the runner made for its job.
    async fn networks_of_job(&self, label: &str) -> Result<Vec<Network>, Fault> {
        let mut networks = self.networks(vec![label.to_owned()]).await?;
        networks.retain(|network| has_label(network.labels.as_ref(), label));
        Ok(networks)
    }
}

impl Traces<'_> {
    /// Whether a container is one of the job.
    fn show(&self, container: &ContainerSummary) -> bool {
        let labels = container.labels.as_ref();
        // Containers of Dayfly are never a job's, whatever they mount.
        if labels.is_some_and(|labels| labels.contains_key(LABEL_INSTANCE)) {
            return false;
        }
        let labelled = self.label.is_some_and(|label| has_label(labels, label));
        let folder = labels.and_then(|labels| labels.get(COMPOSE_FOLDER));
        let started_there = folder.is_some_and(|folder| self.is_at_home(folder));
        let mut mounts = container.mounts.iter().flatten();
        let mounted = mounts.any(|mount| {
            mount.source.as_deref().is_some_and(|source| self.is_at_home(source))
                || mount.name.as_deref().is_some_and(|name| self.home.is_some_and(|home| home.name == name))
        });
        let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        let connected = networks.into_iter().flatten().any(|(name, endpoint)| {
            self.networks.contains(name)
                || endpoint.network_id.as_ref().is_some_and(|id| self.networks.contains(id))
        });
        labelled || started_there || mounted || connected
    }

    /// Whether a path on the host is in the runner's volume.
    fn is_at_home(&self, path: &str) -> bool {
        let Some(home) = self.home.map(|home| home.mountpoint.as_str()).filter(|home| home.len() > 1) else {
            return false;
        };
        path.strip_prefix(home).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }
}

/// Whether something has the label as the runner gives it: without a value.
fn has_label(labels: Option<&HashMap<String, String>>, label: &str) -> bool {
    labels.is_some_and(|labels| labels.get(label).is_some_and(String::is_empty))
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerSummaryNetworkSettings, EndpointSettings, MountPoint};

    use super::*;

    const HOME: &str = "/var/lib/docker/volumes/r-home/_data";

    fn labelled(key: &str, value: &str) -> ContainerSummary {
        let labels = HashMap::from([(key.to_owned(), value.to_owned())]);
        ContainerSummary { labels: Some(labels), ..ContainerSummary::default() }
    }

    fn mounting(name: Option<&str>, source: &str) -> ContainerSummary {
        let mount = MountPoint {
            name: name.map(str::to_owned),
            source: Some(source.to_owned()),
            ..MountPoint::default()
        };
        ContainerSummary { mounts: Some(vec![mount]), ..ContainerSummary::default() }
    }

    fn connected(name: &str, id: &str) -> ContainerSummary {
        let endpoint = EndpointSettings { network_id: Some(id.to_owned()), ..EndpointSettings::default() };
        let networks = Some(HashMap::from([(name.to_owned(), endpoint)]));
        let settings = ContainerSummaryNetworkSettings { networks };
        ContainerSummary { network_settings: Some(settings), ..ContainerSummary::default() }
    }

    #[test]
    fn containers_of_the_job_are_recognized_and_nobody_elses() {
        let home = Volume { name: "r-home".to_owned(), mountpoint: HOME.to_owned(), ..Volume::default() };
        let networks = vec!["n1".to_owned(), "github_network_1".to_owned(), "r".to_owned()];
        let traces = Traces { home: Some(&home), label: Some("12ab34"), networks };
        for (mine, container) in [
            (true, labelled("12ab34", "")),
            (false, labelled("12ab34", "build")),
            (false, labelled("12ab35", "")),
            (false, labelled("build", "12ab34")),
            (true, labelled(COMPOSE_FOLDER, &format!("{HOME}/_work/app/app"))),
            (false, labelled(COMPOSE_FOLDER, "/srv/app")),
            (true, mounting(None, HOME)),
            (true, mounting(None, &format!("{HOME}/_work/app/app"))),
            (true, mounting(Some("r-home"), "")),
            (false, mounting(None, &format!("{HOME}2/_work"))),
            (false, mounting(None, "/var/lib/docker/volumes")),
            (false, mounting(None, "/")),
            (false, mounting(Some("r-home2"), "/var/lib/docker/volumes/r-home2/_data")),
            (false, mounting(Some("cache"), "/var/lib/docker/volumes/cache/_data")),
            (true, connected("github_network_1", "n1")),
            (true, connected("renamed", "n1")),
            (true, connected("r", "n2")),
            (false, connected("bridge", "n3")),
            (false, ContainerSummary::default()),
        ] {
            assert_eq!(traces.show(&container), mine, "{container:?}");
        }
        let mut own = mounting(Some("r-home"), HOME);
        own.labels = labelled(LABEL_INSTANCE, "other").labels;
        assert!(!traces.show(&own), "a container of Dayfly");
    }

    #[test]
    fn without_a_path_or_a_label_nothing_is_recognized() {
        let traces = Traces { home: Some(&Volume::default()), label: None, networks: Vec::new() };
        for container in [mounting(None, "/srv"), mounting(None, ""), labelled("", ""), connected("x", "y")] {
            assert!(!traces.show(&container), "{container:?}");
        }
    }
}
