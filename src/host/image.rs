//! Images: checking whether an engine has one, inspecting it, and removing one that a pull has replaced. The daemon
//! decides when.

use std::collections::BTreeMap;

use bollard::query_parameters::RemoveImageOptionsBuilder;

use super::{Docker, HostError, call::Call, registry::Reference};

/// Facts about an image. Without `Debug`: environments of images may contain secrets.
#[derive(Clone, Default)]
pub struct ImageFacts {
    /// Its id; it changes when the image does.
    pub id: String,
    /// All its tags on the engine.
    pub references: Vec<String>,
    /// The digests under which it was pulled, with their repositories.
    pub digests: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// The environment of its containers, `NAME=value` each.
    pub env: Vec<String>,
    /// The user that its containers run as, and optionally the group; empty is root.
    pub user: String,
}

impl Docker {
    /// The id of the image that the engine has under this reference; it changes when the image does.
    pub async fn image(&self, reference: &str) -> Result<Option<String>, HostError> {
        Ok(self.image_facts(reference).await?.map(|facts| facts.id).filter(|id| !id.is_empty()))
    }

    /// Facts about the image with this reference; `None` when the engine does not have it.
    pub async fn image_facts(&self, reference: &str) -> Result<Option<ImageFacts>, HostError> {
        Reference::read(reference)?;
        let reference = reference.to_owned();
        let found = self
            .engine()
            .request(Call::InspectImage, |docker| async move { docker.inspect_image(&reference).await })
            .await;
        match found {
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                Ok(Some(ImageFacts {
                    id: image.id.unwrap_or_default(),
                    references: image.repo_tags.unwrap_or_default(),
                    digests: image.repo_digests.unwrap_or_default(),
                    labels: config.labels.unwrap_or_default().into_iter().collect(),
                    env: config.env.unwrap_or_default(),
                    user: config.user.unwrap_or_default(),
                }))
            }
            Err(fault) if fault.is(404) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Removes what is left of an image that a pull has replaced, if nothing uses it: no container, and no other
    /// name. Returns whether it is gone or not to be removed; `false` asks for another attempt.
    pub async fn remove_replaced(&self, reference: &str, id: &str) -> Result<bool, HostError> {
        let Some(facts) = self.image_facts(id).await? else { return Ok(true) };
        let name = Reference::read(reference)?.name;
        let of_pull = |digest: &String| repository(digest).is_some_and(|found| is_same(found, name));
        // Somebody has given it a name of their own, or pulled it under another one.
        if !facts.references.is_empty() || !facts.digests.iter().all(of_pull) {
            return Ok(false);
        }
        // By its digests, so that a name that is given to it meanwhile stays, and the image with it.
        let mut left = if facts.digests.is_empty() { vec![facts.id] } else { facts.digests };
        left.retain(|name| Reference::read(name).is_ok());
        for name in left {
            let options = RemoveImageOptionsBuilder::new().force(false).noprune(true).build();
            let removed = self
                .engine()
                .request(Call::RemoveImage, |docker| async move {
                    docker.remove_image(&name, Some(options), None).await
                })
                .await;
            match removed {
                Ok(_) => {}
                Err(fault) if fault.is(404) => {}
                // A container or another image uses it.
                Err(fault) if fault.is(409) => return Ok(false),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(self.image_facts(id).await?.is_none())
    }
}

/// The repository in `repository@digest`.
fn repository(digest: &str) -> Option<&str> {
    digest.split_once('@').map(|(name, _)| name)
}

/// Whether two names are the same repository; engines complete the names of Docker Hub in different ways.
fn is_same(a: &str, b: &str) -> bool {
    fn short(name: &str) -> &str {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name)
    }
    short(a) == short(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_same_however_docker_hub_is_written() {
        assert_eq!(repository("ghcr.io/a/b@sha256:00"), Some("ghcr.io/a/b"));
        assert_eq!(repository("<none>"), None);
        for (a, b, same) in [
            ("ubuntu", "docker.io/library/ubuntu", true),
            ("acme/runner", "docker.io/acme/runner", true),
            ("ghcr.io/acme/runner", "acme/runner", false),
            ("r.example:5000/a", "r.example:5000/a", true),
        ] {
            assert_eq!(is_same(a, b), same, "{a} {b}");
        }
    }
}
