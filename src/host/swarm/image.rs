//! The image of a pool, pinned by its digest: every task pulls first, and one with a digest that the node has need not ask
//! the registry. A tag is resolved once and not with each launch, so that a registry which is down stops no runner.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use tokio::time::Instant;

use super::shared::{Pinned, Swarm};
use crate::{
    fleet::PullPolicy,
    host::{
        HostError, ImageFacts,
        call::Call,
        engine::Fault,
        registry::{self, Reference, RegistryLogin},
    },
};

/// How long credentials are used before they are read again.
const CREDENTIALS_KEPT: Duration = Duration::from_mins(10);

impl Swarm {
    /// What tasks are created from for this reference, if that is known: with a digest, unless none could be found. With
    /// [`PullPolicy::Never`] no registry is asked.
    pub async fn image(&self, reference: &str, pull: PullPolicy) -> Result<Option<String>, HostError> {
        let name = Reference::read(reference)?.name;
        let pinned = self.0.images.lock().get(reference).map(|pinned| pinned.reference.clone());
        if pinned.is_some() || pull != PullPolicy::Never {
            return Ok(pinned);
        }
        // Each node must have it, the manager included or not.
        let facts = self.manager().image_facts(reference).await?;
        Ok(Some(facts.and_then(|facts| digest_of(facts, name)).unwrap_or_else(|| reference.to_owned())))
    }

    /// Finds the digest of an image: that of its registry, else that of the manager's own copy. An image that only the
    /// nodes have is used by its name.
    pub async fn resolve(&self, reference: &str, own: Option<&RegistryLogin>) -> Result<String, HostError> {
        let parts = Reference::read(reference)?;
        let login = registry::login(&parts, own).await?;
        let (name, credentials) = (reference.to_owned(), login.credentials.clone());
        let found = self
            .engine()
            .request(Call::InspectRegistry, |docker| async move {
                docker.inspect_registry_image(&name, credentials).await
            })
            .await;
        let found = match found {
            Ok(found) => found.descriptor.digest.map(|digest| format!("{}@{digest}", parts.name)),
            Err(fault @ Fault::Said(401 | 403, _)) => return Err(fault.into()),
            // It is pinned already.
            Err(_) if reference.contains('@') => None,
            Err(fault) => {
                let why = HostError::from(fault).plain_text();
                self.own_copy(reference, parts.name, &why).await?
            }
        };
        let pinned = found.filter(|pinned| Reference::read(pinned).is_ok());
        let pinned = pinned.unwrap_or_else(|| reference.to_owned());
        let entry = Pinned {
            reference: pinned.clone(),
            login: own.cloned(),
            credentials: login.credentials,
            read_at: Instant::now(),
        };
        self.0.images.lock().insert(reference.to_owned(), entry);
        Ok(pinned)
    }

    /// The digest of the manager's own copy; `None` for one that was not pulled, which the nodes must have as well.
    async fn own_copy(&self, reference: &str, name: &str, why: &str) -> Result<Option<String>, HostError> {
        let Some(facts) = self.manager().image_facts(reference).await? else {
            return Err(HostError::ImageMissing(format!(
                "{reference}, and its registry did not return it: {why}"
            )));
        };
        let own = digest_of(facts, name);
        if own.is_none() {
            tracing::warn!(
                host = %self.engine().host, image = reference, why,
                "the image has no digest, so its tasks name it by its tag, and each node must have it or be able to pull it"
            );
        }
        Ok(own)
    }

    /// The credentials with which nodes pull what tasks are created from. Some expire within hours, so they are read again now
    /// and then.
    pub(super) async fn credentials(&self, pinned: &str) -> Result<Option<DockerCredentials>, HostError> {
        let found = {
            let images = self.0.images.lock();
            let found = images.iter().find(|(_, image)| image.reference == pinned);
            found.map(|(reference, image)| (reference.clone(), image.clone()))
        };
        let Some((reference, image)) = found else { return Ok(None) };
        if image.read_at.elapsed() < CREDENTIALS_KEPT {
            return Ok(image.credentials);
        }
        let login = registry::login(&Reference::read(&reference)?, image.login.as_ref()).await?;
        if let Some(image) = self.0.images.lock().get_mut(&reference) {
            (image.credentials, image.read_at) = (login.credentials.clone(), Instant::now());
        }
        Ok(login.credentials)
    }
}

/// The digest with which an image was pulled from a repository.
fn digest_of(facts: ImageFacts, name: &str) -> Option<String> {
    let is_of = |digest: &String| digest.split_once('@').is_some_and(|(of, _)| of == name);
    facts.digests.into_iter().find(is_of)
}
