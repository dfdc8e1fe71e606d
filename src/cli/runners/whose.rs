//! Which scope is meant, and whose a runner there is.

use std::{fmt, sync::Arc};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::{
    cli::Which,
    config::{Config, PoolConfig},
    fleet::{InstanceId, RunnerName, Scope},
    github::{Client, Credential},
};

/// A scope with a credential for it, as seen by this instance.
pub(super) struct Place {
    pub(super) client: Client,
    pub(super) instance: InstanceId,
}

impl Place {
    /// The scope that the options choose, else the only one that there is.
    pub(super) fn of(which: &Which, config: &Config) -> anyhow::Result<Self> {
        let (scope, credential) = choose(which, config)?;
        let source = config
            .credentials
            .get(&credential)
            .with_context(|| format!("there is no credential {credential:?} for {scope}"))?;
        let client = Client::new(scope, &Credential::new(source.clone()), Arc::new(|_| {}))?;
        Ok(Self { client, instance: config.instance.clone() })
    }
}

fn choose(which: &Which, config: &Config) -> anyhow::Result<(Scope, String)> {
    let of = |pool: &PoolConfig| (pool.pool.scope.clone(), pool.credential.clone());
    if let Some(name) = &which.pool {
        let pool = config.pools.iter().find(|pool| pool.pool.name.as_str() == name);
        let names: Vec<_> = config.pools.iter().map(|pool| pool.pool.name.as_str()).collect();
        return pool
            .map(of)
            .with_context(|| format!("there is no pool {name:?}; there are: {}", names.join(", ")));
    }
    if let Some(url) = &which.url {
        let scope: Scope = url.parse().with_context(|| format!("{url:?} is refused"))?;
        let pool = config.pools.iter().find(|pool| pool.pool.scope == scope);
        return Ok(pool.map_or_else(|| (scope, "default".to_owned()), of));
    }
    let mut scopes: Vec<&Scope> = config.pools.iter().map(|pool| &pool.pool.scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    if let (Some(pool), [_]) = (config.pools.first(), &scopes[..]) {
        return Ok(of(pool));
    }
    let shown = |pool: &PoolConfig| format!("{} ({})", pool.pool.name, pool.pool.scope);
    let pools: Vec<_> = config.pools.iter().map(shown).collect();
    bail!("say which with --pool or --url; the pools are: {}", pools.join(", "))
}

/// Whose a runner is, by its name.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Whose {
    /// Whether it is this instance's.
    pub(super) ours: bool,
    /// The Dayfly instance that minted it; `None` for somebody else's.
    instance: Option<String>,
    /// Its pool there.
    pool: Option<String>,
}

impl Whose {
    pub(super) fn of(name: &str, us: &InstanceId) -> Self {
        let name = RunnerName::parse(name);
        Self {
            ours: name.as_ref().is_some_and(|name| name.instance() == us.as_str()),
            instance: name.as_ref().map(|name| name.instance().to_owned()),
            pool: name.as_ref().map(|name| name.pool().to_owned()),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.instance, &self.pool) {
            (Some(_), Some(pool)) if self.ours => write!(f, "ours, pool {pool}"),
            (Some(instance), _) => write!(f, "dayfly instance {instance}"),
            (None, _) => f.write_str("somebody else's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{PoolName, Timestamp};

    #[test]
    fn a_runner_is_ours_another_instances_or_somebody_elses() {
        let pool: PoolName = "linux".parse().unwrap();
        let [us, them]: [InstanceId; 2] = ["ci1", "ci2"].map(|name| name.parse().unwrap());
        let name = |instance| RunnerName::new(&pool, instance, Timestamp::from_millis(1), 7);
        let whose = |name: &str| Whose::of(name, &us).to_string();
        assert_eq!(whose(name(&us).as_str()), "ours, pool linux");
        assert_eq!(whose(name(&them).as_str()), "dayfly instance ci2");
        assert_eq!(whose("dayfly-like"), "somebody else's");
        assert!(Whose::of(name(&us).as_str(), &us).ours && !Whose::of(name(&them).as_str(), &us).ours);
    }
}
