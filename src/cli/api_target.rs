//! Chooses the scope and the credential of a command that calls GitHub's runner API.

use std::sync::Arc;

use anyhow::{Context, bail};

use super::{Global, Which, terminal};
use crate::{
    config::{self, Config, Machine, PoolConfig, Tokens},
    files,
    fleet::{InstanceId, RegistrationId, Scope},
    github::{Client, Credential, CredentialSource, GithubError, RunnerRecord, TokenSource},
    text::chain,
};

/// The variable that GitHub tools read a token from.
const OF_GITHUB: &str = "GITHUB_TOKEN";

/// The variable that GitHub's own `gh` reads a token for other servers from.
const OF_SERVERS: &str = "GH_ENTERPRISE_TOKEN";

/// GitHub's names are shorter; longer ones are cut.
pub(super) const MOST: usize = 80;

/// A scope with a credential for it.
pub(super) struct ApiTarget {
    pub(super) client: Client,
    /// This installation; `None` without a configuration.
    pub(super) instance: Option<InstanceId>,
}

impl ApiTarget {
    /// The scope that the options name, else the only configured one.
    pub(super) fn of(which: &Which, global: &Global) -> anyhow::Result<Self> {
        let (scope, source, instance) = match &which.url {
            None => {
                let config =
                    config_if_any(global)?.context("there is no configuration; name a scope with --url")?;
                let (scope, source) = configured(which, &config)?;
                (scope, source, Some(config.instance))
            }
            Some(url) => {
                let scope: Scope = url.parse().with_context(|| format!("invalid --url {url:?}"))?;
                let config = config_if_any(global)?;
                let source = source_for(&scope, which.credentials.as_deref(), config.as_ref())?;
                let instance = config.map(|config| config.instance).or_else(|| Machine::here().instance());
                (scope, source, instance)
            }
        };
        let client = Client::new(scope, &Credential::new(source), Arc::new(|_| {}))?;
        Ok(Self { client, instance })
    }

    /// The runner of this id, else of this name.
    pub(super) async fn find(&self, runner: &str) -> Result<Option<RunnerRecord>, GithubError> {
        if let Ok(id) = runner.parse() {
            match self.client.get(RegistrationId(id)).await {
                Err(GithubError::NotFound) => {}
                found => return found.map(Some),
            }
        }
        let records = self.client.records().await?;
        Ok(records.into_iter().find(|record| record.name == runner))
    }

    /// The same, where it must exist.
    pub(super) async fn runner(&self, runner: &str) -> anyhow::Result<RunnerRecord> {
        let found = self.find(runner).await.map_err(|error| self.failed("list the runners of", &error))?;
        found.with_context(|| {
            format!("{} has no runner {:?}", self.client.scope(), terminal::cell(runner, MOST))
        })
    }

    /// The error for a request to this scope: "failed to `what` SCOPE".
    pub(super) fn failed(&self, what: &str, error: &GithubError) -> anyhow::Error {
        anyhow::anyhow!("{}", terminal::printable(&chain(error)))
            .context(format!("failed to {what} {}", self.client.scope()))
    }
}

/// The configuration, where there is one. One that the options name must be valid; one at a default path that
/// this user cannot read is ignored. Tokens that are not used may be missing.
fn config_if_any(global: &Global) -> anyhow::Result<Option<Config>> {
    let named = global.config.is_some() || std::env::var_os("DAYFLY_CONFIG").is_some_and(|it| !it.is_empty());
    match config::find(global.config.as_deref(), config::environment()) {
        Ok(path) if named || files::open(&path, files::MAX_TEXT).is_ok() => {
            let machine = Machine::here();
            Ok(Some(config::load_for(&path, config::environment(), &machine, Tokens::Unneeded)?))
        }
        Ok(_) | Err(_) => Ok(None),
    }
}

/// The scope and credential that the configuration gives.
fn configured(which: &Which, config: &Config) -> anyhow::Result<(Scope, CredentialSource)> {
    let pool = pool(which, config)?;
    let name = which.credentials.as_ref().unwrap_or(&pool.credential);
    Ok((pool.pool.scope.clone(), named(name, config)?))
}

fn pool<'a>(which: &Which, config: &'a Config) -> anyhow::Result<&'a PoolConfig> {
    if let Some(name) = &which.pool {
        let pool = config.pools.iter().find(|pool| pool.pool.name.as_str() == name);
        let names: Vec<_> = config.pools.iter().map(|pool| pool.pool.name.as_str()).collect();
        return pool.with_context(|| format!("there is no pool {name:?}; there are: {}", names.join(", ")));
    }
    let mut scopes: Vec<&Scope> = config.pools.iter().map(|pool| &pool.pool.scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    if let (Some(pool), [_]) = (config.pools.first(), &scopes[..]) {
        return Ok(pool);
    }
    let shown = |pool: &PoolConfig| format!("{} ({})", pool.pool.name, pool.pool.scope);
    let pools: Vec<_> = config.pools.iter().map(shown).collect();
    bail!("choose one with --pool or --url; the pools are: {}", pools.join(", "))
}

fn named(name: &str, config: &Config) -> anyhow::Result<CredentialSource> {
    let names = || config.credentials.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let source = config.credentials.get(name).cloned();
    source.with_context(|| format!("there is no credential {name:?}; there are: {}", names()))
}

/// The credential for an address. A token is sent to a GitHub for which it is not configured only when the
/// options name it.
fn source_for(
    scope: &Scope,
    asked: Option<&str>,
    config: Option<&Config>,
) -> anyhow::Result<CredentialSource> {
    let variable = variable_for(scope);
    let from = |variable: &str| CredentialSource::from(TokenSource::Env(variable.to_owned()));
    let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|token| !token.is_empty());
    let Some(config) = config else {
        return match asked {
            Some(name) => bail!("there is no configuration, and so no credential {name:?}"),
            None => Ok(from(variable)),
        };
    };
    if let Some(name) = asked {
        return named(name, config);
    }
    if let Some(pool) = config.pools.iter().find(|pool| pool.pool.scope == *scope) {
        return named(&pool.credential, config);
    }
    let there = config.pools.iter().filter(|pool| pool.pool.scope.site() == scope.site());
    let mut names: Vec<&str> = there.map(|pool| pool.credential.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names[..] {
        [name] => named(name, config),
        _ if names.contains(&"default") => named("default", config),
        _ if is_set(variable) => Ok(from(variable)),
        [] => bail!(
            "no pool is at {}, so none of the tokens is meant for it; name one with --credentials ({}), or \
             set {variable}",
            scope.site(),
            config.credentials.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        ),
        // With pools at this GitHub, the variable's token is used only for their scopes.
        _ if is_set(OF_GITHUB) => Ok(from(OF_GITHUB)),
        _ => bail!(
            "the pools at {} have several credentials ({}), and none of them is for {scope}; name one with \
             --credentials, or set {variable}",
            scope.site(),
            names.join(", ")
        ),
    }
}

/// The variable whose token is sent to an address by default. An address can be anyone's server, so the token
/// for GitHub is sent to github.com and GHE.com only.
fn variable_for(scope: &Scope) -> &'static str {
    let host = scope.site().split_once("://").map_or("", |(_, host)| host);
    if matches!(host, "github.com" | "www.github.com") || host.ends_with(".ghe.com") {
        OF_GITHUB
    } else {
        OF_SERVERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_for_github_goes_to_github_alone() {
        for (url, variable) in [
            ("https://github.com/acme", OF_GITHUB),
            ("https://WWW.github.com/acme/widgets", OF_GITHUB),
            ("https://acme.ghe.com/ci", OF_GITHUB),
            ("https://git.example.org/acme", OF_SERVERS),
            ("https://github.com.example.org/acme", OF_SERVERS),
            ("https://notgithub.com/acme", OF_SERVERS),
            ("https://ghe.com.example.org/acme", OF_SERVERS),
            ("https://evilghe.com/acme", OF_SERVERS),
            ("https://github.com:8443/acme", OF_SERVERS),
            ("http://127.0.0.1:9/acme", OF_SERVERS),
        ] {
            assert_eq!(variable_for(&url.parse().unwrap()), variable, "{url}");
        }
    }
}
