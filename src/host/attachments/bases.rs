//! The bases of caches, from which runners' copies are made, and their replacement by what a runner leaves.
//!
//! A base is a volume; an empty volume, the pointer, has its name in a label. A promotion first completes a new base
//! and then creates a pointer to it, which is one request: at any moment the newest pointer names a complete base.
//! What no pointer names is removed by a later promotion, if no container uses it.

use bollard::models::Volume;

use super::{
    Docker, HostError, LABEL_INSTANCE, LABEL_RUNNER,
    cache_volume::{BASE, COPY, COPY_BASE, CURRENT, LABEL_CACHE, LABEL_CACHE_KIND, from_to},
    labels::LABEL_ATTACHMENT,
    setup::Setup,
};
use crate::{
    fleet::{Pool, RunnerName},
    host::{
        container::{LABEL_SCOPE, is_plain_name},
        engine::Fault,
    },
};

/// Label of a pointer: the base that it names.
const LABEL_BASE: &str = "dev.dayfly.cache.base";
/// Label of a pointer: its number; the one with the highest is the newest.
const LABEL_GENERATION: &str = "dev.dayfly.cache.generation";

/// The bases of one cache and the pointers to them.
pub(super) struct CacheBases {
    bases: Vec<String>,
    /// By number: the pointer's name, and the base that it names.
    pointers: Vec<(u64, String, String)>,
}

impl CacheBases {
    /// The current base.
    pub(super) fn current(&self) -> Option<&str> {
        let newest = self.pointers.iter().max()?;
        self.bases.iter().find(|base| **base == newest.2).map(String::as_str)
    }

    fn read(volumes: Vec<Volume>) -> Self {
        let mut read = Self { bases: Vec::new(), pointers: Vec::new() };
        for Volume { name, mut labels, .. } in volumes {
            match labels.get(LABEL_CACHE_KIND).map(String::as_str) {
                _ if !is_plain_name(&name) => {}
                Some(BASE) => read.bases.push(name),
                Some(CURRENT) => {
                    let number = labels.get(LABEL_GENERATION).and_then(|number| number.parse().ok());
                    if let (Some(number), Some(base)) = (number, labels.remove(LABEL_BASE)) {
                        read.pointers.push((number, name, base));
                    }
                }
                _ => {}
            }
        }
        read
    }
}

impl Docker {
    /// The bases of a cache for the jobs of one repository.
    pub(super) async fn cache_bases(&self, source: &str, repository: &str) -> Result<CacheBases, HostError> {
        let labels = [(LABEL_CACHE, source), (LABEL_SCOPE, repository)];
        Ok(CacheBases::read(self.volumes_with(&labels).await?))
    }

    /// This instance's volumes with these labels.
    async fn volumes_with(&self, labels: &[(&str, &str)]) -> Result<Vec<Volume>, HostError> {
        let own = (LABEL_INSTANCE, self.instance().as_str());
        let all = std::iter::once(&own).chain(labels).map(|(key, value)| format!("{key}={value}"));
        Ok(self.volumes(all.collect()).await?)
    }

    /// Makes the copies that a runner leaves the current bases.
    pub(in crate::host) async fn promote_copies(
        &self,
        runner: &RunnerName,
        pool: &Pool,
    ) -> Result<(), HostError> {
        let _one = self.caches().promotion.lock().await;
        let own = [(LABEL_RUNNER, runner.as_str()), (LABEL_ATTACHMENT, "cache"), (LABEL_CACHE_KIND, COPY)];
        for copy in self.volumes_with(&own).await? {
            let (Some(source), Some(repository)) =
                (copy.labels.get(LABEL_CACHE), copy.labels.get(LABEL_SCOPE))
            else {
                continue;
            };
            // The pool may have another configuration since.
            if repository != pool.scope.as_str() || !is_plain_name(&copy.name) || !is_plain_name(source) {
                continue;
            }
            self.promote_copy(runner, pool, &copy.name, source).await?;
        }
        Ok(())
    }

    async fn promote_copy(
        &self,
        runner: &RunnerName,
        pool: &Pool,
        copy: &str,
        source: &str,
    ) -> Result<(), HostError> {
        let (prefix, repository) =
            (format!("dayfly-{}-cache-{source}", self.instance()), pool.scope.as_str());
        let of_repository = (LABEL_SCOPE, repository);
        let name = format!("{prefix}-base-{}", unique());
        let base = self.make_cache_volume(name, source, BASE, &[of_repository]).await?;
        let (image, mounts) = (pool.template.image.as_str(), from_to(copy, &base));
        let setup = Setup { image, script: COPY_BASE, arguments: Vec::new(), mounts };
        self.run_setup(runner, setup, &format!("make {copy} a base of the cache {source}")).await?;
        let before = self.cache_bases(source, repository).await?;
        let number = before.pointers.iter().map(|(number, ..)| *number).max().unwrap_or_default() + 1;
        let number = number.to_string();
        let more = [of_repository, (LABEL_BASE, base.as_str()), (LABEL_GENERATION, number.as_str())];
        // From this request on, the new base is the current one.
        self.make_cache_volume(format!("{prefix}-current-{}", unique()), source, CURRENT, &more).await?;
        // While one is being copied, old ones are left to the next promotion: a wait here would delay all copies.
        let Ok(_unread) = self.caches().bases.try_write() else { return Ok(()) };
        for (_, pointer, _) in &before.pointers {
            self.remove_unused(pointer).await?;
        }
        for old in before.bases.iter().filter(|old| **old != base) {
            self.remove_unused(old).await?;
        }
        Ok(())
    }

    /// Removes a volume that no container uses.
    async fn remove_unused(&self, name: &str) -> Result<(), HostError> {
        match self.remove_volume(name).await {
            Err(fault @ Fault::Said(..)) => {
                if !fault.is(409) {
                    // The new base is in place; what is left is removed by the next promotion.
                    tracing::debug!(error = %HostError::from(fault), "failed to remove an old base of a cache");
                }
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

/// A part of a name that no other volume has.
fn unique() -> String {
    format!("{:016x}", fastrand::u64(..))
}
