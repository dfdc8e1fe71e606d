//! `dayfly purge`: removes from GitHub what stays there when the daemon stops: the runner scale sets.

use std::{
    io::{BufRead, IsTerminal, Write, stderr, stdin, stdout},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail, ensure};

use super::{
    Global, Purge,
    run::{runtime, start_logs},
    terminal,
};
use crate::{
    config::{self, Config, Machine, PoolConfig, Tokens},
    daemon::InstanceLock,
    demand::scale_set::{self, Removal, ScaleSetPool},
    fleet::Demand,
    github::{Client, Credential, scale_set::ScaleSets},
    text::chain,
};

pub(super) fn run(global: &Global, purge: &Purge) -> anyhow::Result<ExitCode> {
    start_logs(global, Some("error"))?;
    let path = config::find(global.config.as_deref(), config::environment())?;
    let config = config::load_for(&path, config::environment(), &Machine::here(), Tokens::Needed)?;
    let pools = chosen(purge, &config)?;
    if pools.is_empty() {
        writeln!(stdout(), "nothing to remove: no pool has demand = [\"scale-set\"]")?;
        return Ok(ExitCode::SUCCESS);
    }
    // A running daemon would create its scale set again.
    let _lock = InstanceLock::acquire(&config.state_dir, &config.instance)
        .context("scale sets can be removed only while the daemon is stopped")?;
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

/// The pools whose scale sets are to be removed: those named, else all that have one.
fn chosen<'c>(purge: &Purge, config: &'c Config) -> anyhow::Result<Vec<&'c PoolConfig>> {
    let is_set = |pool: &&PoolConfig| pool.pool.demand == Demand::ScaleSet;
    if purge.pools.is_empty() {
        return Ok(config.pools.iter().filter(is_set).collect());
    }
    let pool = |name: &String| {
        let found = config.pools.iter().find(|pool| pool.pool.name.as_str() == name);
        let pool = found.with_context(|| format!("there is no pool {name:?}"))?;
        ensure!(is_set(&pool), "pool {name:?} has no scale set, so there is nothing to remove from GitHub");
        Ok(pool)
    };
    purge.pools.iter().map(pool).collect()
}

fn confirmed(pools: &[&PoolConfig]) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        bail!("nothing was removed: cannot ask for confirmation, because this is not a terminal; add --yes");
    }
    let mut err = stderr().lock();
    writeln!(err, "To be removed from GitHub, with their offline runners:")?;
    for PoolConfig { pool, .. } in pools {
        writeln!(err, "  scale set {} of {}", pool.name, pool.scope)?;
    }
    write!(err, "Jobs that wait for them go back to the queue. Remove? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Removes one scale set and prints the result; `false` when it is still there.
async fn remove(config: &Config, PoolConfig { pool, credential, .. }: &PoolConfig) -> anyhow::Result<bool> {
    let source = config.credentials.get(credential).context("its credential is not configured")?;
    let client = Client::new(pool.scope.clone(), &Credential::new(source.clone()), Arc::new(|_| {}))?;
    let what = format!("scale set {} of {}", pool.name, pool.scope);
    let set = ScaleSetPool::of(pool, &config.instance, &config.state_dir);
    match scale_set::remove(&ScaleSets::new(client), &set).await {
        Ok(Removal::Removed) => writeln!(stdout(), "{what}: removed")?,
        Ok(Removal::NoSuchSet) => writeln!(stdout(), "{what}: does not exist")?,
        Ok(Removal::ServedElsewhere { owner, says }) => {
            let whose = owner.unwrap_or_else(|| "another installation".to_owned());
            let why = format!("{whose} is using it, so stop that first ({says})");
            writeln!(stderr(), "{what}: not removed: {}", terminal::printable(&why))?;
            return Ok(false);
        }
        Err(error) => {
            writeln!(stderr(), "{what}: not removed: {}", terminal::printable(&chain(&error)))?;
            return Ok(false);
        }
    }
    Ok(true)
}
