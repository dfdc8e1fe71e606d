//! `dayfly purge`: takes from GitHub what stays there when the daemon stops, which are the runner scale sets.

use std::{
    io::{BufRead, IsTerminal, Write, stderr, stdin, stdout},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail, ensure};

use super::{
    Global, Purge, plain,
    run::{runtime, start_logs},
};
use crate::{
    config::{self, Config, Machine, PoolConfig, Tokens},
    daemon::InstanceLock,
    demand::scale_set::{self, Removal, ScaleSetPool, Waits},
    fleet::Demand,
    github::{Client, Credential, scale_set::ScaleSets},
    host::chain,
};

pub(super) fn run(global: &Global, purge: &Purge) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let path = config::find(global.config.as_deref(), config::environment())?;
    let config = config::load_for(&path, config::environment(), &Machine::here(), Tokens::Needed)?;
    let pools = chosen(purge, &config)?;
    // A daemon that serves a set would create it anew.
    let _lock = InstanceLock::acquire(&config.state_dir, &config.instance)
        .context("scale sets are removed only while the daemon is stopped")?;
    if !purge.yes && !confirmed(&pools)? {
        writeln!(stderr(), "nothing was removed")?;
        return Ok(ExitCode::FAILURE);
    }
    let removed = runtime()?.block_on(async {
        let mut all = true;
        for pool in pools {
            all &= remove(&config, pool).await?;
        }
        anyhow::Ok(all)
    })?;
    Ok(if removed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The pools whose sets are meant: those that were named, else all that are scale sets.
fn chosen<'c>(purge: &Purge, config: &'c Config) -> anyhow::Result<Vec<&'c PoolConfig>> {
    let is_set = |pool: &&PoolConfig| pool.pool.demand == Demand::ScaleSet;
    if purge.pools.is_empty() {
        let pools: Vec<_> = config.pools.iter().filter(is_set).collect();
        ensure!(!pools.is_empty(), "no pool has demand = [\"scale-set\"], so nothing of it stays at GitHub");
        return Ok(pools);
    }
    let pool = |name: &String| {
        let found = config.pools.iter().find(|pool| pool.pool.name.as_str() == name);
        let pool = found.with_context(|| format!("there is no pool {name:?}"))?;
        ensure!(is_set(&pool), "pool {name:?} is no scale set, so nothing of it stays at GitHub");
        Ok(pool)
    };
    purge.pools.iter().map(pool).collect()
}

fn confirmed(pools: &[&PoolConfig]) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        bail!("nothing was removed: this is not a terminal, so nobody can be asked; add --yes");
    }
    let mut err = stderr().lock();
    writeln!(err, "To be removed from GitHub, with the runners of each that are offline:")?;
    for PoolConfig { pool, .. } in pools {
        writeln!(err, "  scale set {} of {}", pool.name, pool.scope)?;
    }
    write!(err, "Jobs that wait for them go back to the queue. Remove? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Removes one, and says what came of it; `false` when it is still there.
async fn remove(config: &Config, PoolConfig { pool, credential }: &PoolConfig) -> anyhow::Result<bool> {
    let source = config.credentials.get(credential).context("its credential is not configured")?;
    let client = Client::new(pool.scope.clone(), &Credential::new(source.clone()), Arc::new(|_| {}))?;
    let what = format!("scale set {} of {}", pool.name, pool.scope);
    let set = ScaleSetPool {
        name: pool.name.to_string(),
        group: pool.group.clone(),
        labels: pool.labels.clone(),
        owner: scale_set::owner(&config.instance),
        remembered: Some(scale_set::note_of(&config.state_dir, &pool.name)),
        waits: Waits::default(),
    };
    match scale_set::remove(&ScaleSets::new(client), &set).await {
        Ok(Removal::Removed) => writeln!(stdout(), "{what}: removed")?,
        Ok(Removal::NoSuchSet) => writeln!(stdout(), "{what}: there is none")?,
        Ok(Removal::ServedElsewhere { owner, says }) => {
            let whose = owner.unwrap_or_else(|| "another installation".to_owned());
            let why = format!("{whose} serves it, so stop that one first ({says})");
            writeln!(stderr(), "{what}: not removed: {}", plain::printable(&why))?;
            return Ok(false);
        }
        Err(error) => {
            writeln!(stderr(), "{what}: not removed: {}", plain::printable(&chain(&error)))?;
            return Ok(false);
        }
    }
    Ok(true)
}
