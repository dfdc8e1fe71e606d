//! The caches that a runner sees: volumes of this instance, which outlive it, and its own copies of bases.

use std::collections::HashMap;

use super::{
    Docker, HostError, LABEL_INSTANCE, Preparation, Prepared,
    cache_volume::{COPY, COPY_BASE, LABEL_CACHE, LABEL_CACHE_KIND, from_to},
    labels::labels,
    mounts::{bind, read_only, volume},
    setup::Setup,
};
use crate::{
    fleet::{Cache, CacheStore, DeviceClass, RunnerName},
    host::container::{LABEL_SCOPE, is_plain_name},
};

/// Label: the number of a slot.
const LABEL_CACHE_SLOT: &str = "dev.dayfly.cache.slot";

/// Gives an empty volume to the runner's user. The engine has filled it with what the image has at that path.
const OWN: &str = r#"chown "$1" "$2""#;

impl Docker {
    /// Makes what is missing of the caches that a runner sees, and mounts them.
    pub(super) async fn add_caches(
        &self,
        of: &Preparation<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), HostError> {
        for cache in &of.pool.template.caches {
            let mount = match &cache.store {
                CacheStore::ReadOnly(path) if path.starts_with('/') => read_only(bind(path, &cache.target)),
                CacheStore::ReadOnly(source) => {
                    let name = self.shared(source).await?;
                    read_only(volume(&name, &cache.target))
                }
                CacheStore::Shared(source) => {
                    let name = self.shared(source).await?;
                    self.own_once(of, &name, cache).await?;
                    volume(&name, &cache.target)
                }
                CacheStore::Slot(source) => {
                    let name = self.slot(of, source).await?;
                    self.own_once(of, &name, cache).await?;
                    volume(&name, &cache.target)
                }
                CacheStore::Promoted(source) => {
                    volume(&self.copy_base(of, source, cache).await?, &cache.target)
                }
            };
            prepared.mounts.push(mount);
        }
        Ok(())
    }

    async fn shared(&self, source: &str) -> Result<String, HostError> {
        let name = format!("dayfly-{}-cache-{source}", self.instance());
        self.make_cache_volume(name, source, "shared", &[]).await
    }

    async fn slot(&self, of: &Preparation<'_>, source: &str) -> Result<String, HostError> {
        let class = DeviceClass::Slot(source.to_owned());
        let slot = of.devices.of(&class).next().filter(|slot| is_plain_name(slot)).ok_or_else(|| {
            HostError::Refused(format!("the runner has no slot of the cache {source}: this is a bug"))
        })?;
        let name = format!("dayfly-{}-cache-{source}-{slot}", self.instance());
        self.make_cache_volume(name, source, "slot", &[(LABEL_CACHE_SLOT, slot)]).await
    }

    /// The runner's copy of the current base, empty if there is none.
    async fn copy_base(
        &self,
        of: &Preparation<'_>,
        source: &str,
        cache: &Cache,
    ) -> Result<String, HostError> {
        let mut own = labels(of.runner, "cache");
        own.insert(LABEL_CACHE.to_owned(), source.to_owned());
        own.insert(LABEL_CACHE_KIND.to_owned(), COPY.to_owned());
        own.insert(LABEL_SCOPE.to_owned(), of.pool.scope.to_string());
        let name = self.make_labelled(format!("{}-cache-{source}", of.runner), own).await?;
        // No base is removed while one is being copied.
        let _unchanged = self.caches().bases.read().await;
        match self.cache_bases(source, of.pool.scope.as_str()).await?.current() {
            Some(base) => {
                let (image, mounts) = (of.image, from_to(base, &name));
                let setup = Setup { image, script: COPY_BASE, arguments: Vec::new(), mounts };
                self.run_setup(of.runner, setup, &format!("copy the base of the cache {source}")).await?;
            }
            None => self.own(of, &name, cache).await?,
        }
        Ok(name)
    }

    /// As [`own`](Self::own), once for each volume and user while this process runs: a process that ended in between
    /// may have made the volume and no more.
    async fn own_once(&self, of: &Preparation<'_>, volume: &str, cache: &Cache) -> Result<(), HostError> {
        let key = (volume.to_owned(), of.pool.template.user.clone());
        if self.caches().owned.lock().contains(&key) {
            return Ok(());
        }
        self.own(of, volume, cache).await?;
        self.caches().owned.lock().insert(key);
        Ok(())
    }

    /// Gives the folder of a volume to the runner's user: where the image has no such folder, it would be root's.
    async fn own(&self, of: &Preparation<'_>, name: &str, cache: &Cache) -> Result<(), HostError> {
        let (image, target) = (of.image, &cache.target);
        let owner = if let Some(user) = &of.pool.template.user {
            user.clone()
        } else {
            let facts = self.image_facts(image).await?;
            facts.ok_or_else(|| HostError::ImageMissing(image.to_owned()))?.user
        };
        if matches!(owner.split(':').next(), None | Some("" | "0" | "root")) {
            return Ok(());
        }
        let purpose = format!("give the cache at {target} to user {owner}");
        let setup = Setup {
            image,
            script: OWN,
            arguments: vec![owner, target.clone()],
            mounts: vec![volume(name, target)],
        };
        self.run_setup(of.runner, setup, &purpose).await
    }

    /// Runs a script for a runner; errors name its purpose.
    pub(super) async fn run_setup(
        &self,
        runner: &RunnerName,
        setup: Setup<'_>,
        purpose: &str,
    ) -> Result<(), HostError> {
        match self.set_up(runner, setup).await {
            Ok(_) => Ok(()),
            Err(HostError::Refused(why)) => {
                Err(HostError::Refused(format!("failed to {purpose}, as root, in its image: {why}")))
            }
            Err(other) => Err(other),
        }
    }

    /// Makes a volume of this instance's caches if it does not exist.
    pub(super) async fn make_cache_volume(
        &self,
        name: String,
        source: &str,
        kind: &str,
        more: &[(&str, &str)],
    ) -> Result<String, HostError> {
        let labels =
            [(LABEL_INSTANCE, self.instance().as_str()), (LABEL_CACHE, source), (LABEL_CACHE_KIND, kind)];
        let labels = labels.iter().chain(more).map(|&(key, value)| (key.to_owned(), value.to_owned()));
        self.make_labelled(name, labels.collect()).await
    }

    /// Makes a volume if it does not exist. One of this name with other labels is not this instance's, or not for this.
    async fn make_labelled(
        &self,
        name: String,
        labels: HashMap<String, String>,
    ) -> Result<String, HostError> {
        let made = self.create_volume(name.clone(), labels.clone()).await?;
        if labels.iter().any(|(key, value)| made.labels.get(key) != Some(value)) {
            return Err(HostError::Refused(format!(
                "the volume {name} exists and was not made for this (its labels differ); remove it, or use another \
                 source for the cache"
            )));
        }
        Ok(name)
    }
}
