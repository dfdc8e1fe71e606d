//! The way from a plan to the edges and back: carries out an action, lists a scope or a host, and returns the result as
//! evidence.

use std::{collections::BTreeMap, iter, sync::Arc, time::Duration};

use crate::{
    fleet::{
        Action, ContainerId, Deregistered, Evidence, HostName, InstanceId, Instant, Launched, Minted,
        Occupation, Pool, PoolName, Registration, RegistrationId, Removed, RunnerName, Scope, Stopped,
        Trouble, TroubleKind,
    },
    github_error::GithubError,
    host::{Host, HostError, Launch, LaunchError, Listed, Preparation},
    runner_api::{Listing, Mint, RunnerApi},
    text::{chain, out_of_files},
};

/// How long a runner gets between the stop signal and the kill. The runner needs it to report a
/// cancelled job; the engine's own ten seconds are too short for that.
pub const STOP_GRACE: Duration = Duration::from_mins(1);

/// The edges by the names that plans use.
pub struct Edges<A, H, S = A> {
    /// This installation.
    pub instance: InstanceId,
    /// One per scope.
    pub scopes: BTreeMap<Scope, A>,
    /// One per pool whose runners are minted and removed by an API of their own.
    pub pool_apis: BTreeMap<PoolName, S>,
    /// One per host.
    pub hosts: BTreeMap<HostName, H>,
    /// The pools as configured.
    pub pools: BTreeMap<PoolName, Pool>,
}

impl<A: RunnerApi, H: Host, S: RunnerApi> Edges<A, H, S> {
    /// Carries one action out to its end and returns the result.
    pub async fn carry_out(&self, action: Action) -> Vec<Evidence> {
        match action {
            Action::Launch { runner, pool, host, image, devices, .. } => {
                let mut evidence = Vec::new();
                let outcome = match self.pools.get(&pool) {
                    Some(pool) => {
                        let (runner, image, devices) = (&runner, image.as_str(), &devices);
                        let preparation = Preparation { runner, pool, image, devices };
                        self.launch(&host, preparation, &mut evidence).await
                    }
                    None => Launched::Failed {
                        registration: Minted::No,
                        container: None,
                        trouble: unknown("pool", &pool),
                    },
                };
                evidence.push(Evidence::Launch { runner, outcome });
                evidence
            }
            Action::Deregister { runner, scope, registration, ask, .. } => {
                let outcome = self.deregister(&runner, &scope, registration, ask.as_ref()).await;
                vec![Evidence::Deregister { runner, outcome }]
            }
            Action::Stop { runner, host, container, ask, .. } => {
                self.stop(runner, &host, &container, ask).await
            }
            Action::Remove { runner, host, container, attached, promote, .. } => {
                if promote {
                    self.promote(&runner, &host).await;
                }
                let outcome = self.remove(&runner, &host, container.as_ref(), attached).await;
                vec![Evidence::Remove { runner, outcome }]
            }
            Action::DrainNode { host, node } => {
                let drained = match self.hosts.get(&host) {
                    Some(engine) => engine.drain_node(&node).await.map_err(Trouble::from),
                    None => Err(unknown("host", &host)),
                };
                vec![Evidence::NodeDrained { host, node, trouble: drained.err() }]
            }
        }
    }

    /// As [`list_registrations`](Self::list_registrations), for a task of its own.
    pub async fn list_registrations_of(self: Arc<Self>, scope: Scope, began: Instant) -> Evidence {
        self.list_registrations(&scope, began).await
    }

    /// Lists a scope's registrations; `began` is the time of the call.
    pub async fn list_registrations(&self, scope: &Scope, began: Instant) -> Evidence {
        let scope = scope.clone();
        let Some(api) = self.scopes.get(&scope) else {
            return Evidence::ScopeTrouble { trouble: unknown("scope", &scope), scope };
        };
        let Listing { mut registrations, unreadable } = match api.list().await {
            Ok(listing) => listing,
            Err(error) => return Evidence::ScopeTrouble { scope, trouble: error.into() },
        };
        let has_own_api = |pool: &&Pool| pool.scope == scope && self.pool_apis.contains_key(&pool.name);
        let pools: Vec<&PoolName> = self.pools.values().filter(has_own_api).map(|pool| &pool.name).collect();
        let mut unseen = self.pools_of(&scope, &unreadable);
        // Its list is the same for all such pools of the scope.
        if let Some(api) = pools.first().and_then(|pool| self.pool_apis.get(*pool)) {
            match api.list().await {
                Ok(own) => {
                    add_those_of_pools(&mut registrations, own.registrations, &pools);
                    unseen.extend(self.pools_of(&scope, &own.unreadable));
                }
                Err(error) => {
                    tracing::debug!(%scope, error = chain(&error), "failed to list the runners of pools with an API of their own");
                    // The scope's ids of these may differ from those by which they are removed.
                    registrations.retain(|runner| {
                        let name = RunnerName::parse(&runner.name);
                        name.is_none_or(|name| !pools.iter().any(|pool| pool.as_str() == name.pool()))
                    });
                    unseen.extend(pools.into_iter().cloned());
                }
            }
        }
        Evidence::Registrations { scope, began, registrations, unseen }
    }

    /// The pools that listed runners are of, or may be of, that cannot be read: none of their runners is missing.
    fn pools_of(&self, scope: &Scope, unreadable: &[Option<String>]) -> Vec<PoolName> {
        let may_be_of = |pool: &&Pool| {
            pool.scope == *scope
                && unreadable.iter().any(|name| match name.as_deref().map(RunnerName::parse) {
                    None => true,
                    Some(name) => name.is_some_and(|name| {
                        name.instance() == self.instance.as_str() && name.pool() == pool.name.as_str()
                    }),
                })
        };
        self.pools.values().filter(may_be_of).map(|pool| pool.name.clone()).collect()
    }

    /// Lists a host's containers, and the machines of a cluster; `began` is when.
    pub async fn list_containers(&self, host: &HostName, began: Instant) -> Vec<Evidence> {
        let host = host.clone();
        let Some(engine) = self.hosts.get(&host) else {
            return vec![Evidence::HostTrouble { trouble: unknown("host", &host), host }];
        };
        match engine.list().await {
            Ok(Listed { containers, attachments, cluster }) => {
                let nodes = cluster.map(|cluster| Evidence::Cluster { host: host.clone(), cluster });
                let listed = Evidence::Containers { host, began, containers, attachments };
                iter::once(listed).chain(nodes).collect()
            }
            Err(error) => vec![Evidence::HostTrouble { host, trouble: error.into() }],
        }
    }

    async fn launch(
        &self,
        host: &HostName,
        preparation: Preparation<'_>,
        evidence: &mut Vec<Evidence>,
    ) -> Launched {
        let failed = |registration, container, trouble| Launched::Failed { registration, container, trouble };
        let Preparation { runner, pool, image, devices } = preparation;
        let (Some(api), Some(host)) = (self.scopes.get(&pool.scope), self.hosts.get(host)) else {
            return failed(Minted::No, None, unknown("scope or host of pool", &pool.name));
        };
        // Before the mint: nothing is minted for what cannot be made.
        let files = match host.read_files(&pool.template).await {
            Ok(files) => files,
            Err(error) => return failed(Minted::No, None, error.into()),
        };
        if pool.template.has_files() {
            evidence.push(Evidence::TemplateFiles { pool: pool.name.clone(), files: H::digest(&files) });
        }
        let files = &files;
        let prepared = match host.prepare(preparation).await {
            Ok(prepared) => prepared,
            Err(error) => return failed(Minted::No, None, error.into()),
        };
        let prepared = &prepared;
        let mint = Mint { name: runner, group: &pool.group, labels: &pool.labels };
        let minted = match self.pool_apis.get(&pool.name) {
            Some(own) => own.mint(mint).await,
            None => api.mint(mint).await,
        };
        let minted = match minted {
            Ok(minted) => minted,
            Err(error) => return failed(error.minted(), None, error.into()),
        };
        let registration = Minted::Yes(minted.id);
        let (registration_id, jit) = (minted.id, &minted.jit);
        let launch = Launch {
            instance: &self.instance,
            runner,
            registration: registration_id,
            pool,
            files,
            image,
            jit,
            devices,
            prepared,
        };
        match host.launch(launch).await {
            Ok(container) => Launched::Up { registration: minted.id, container },
            Err(LaunchError { container, error }) => failed(registration, container, error.into()),
        }
    }

    async fn deregister(
        &self,
        runner: &RunnerName,
        scope: &Scope,
        registration: RegistrationId,
        ask: Option<&(HostName, ContainerId)>,
    ) -> Deregistered {
        let Some(api) = self.scopes.get(scope) else {
            return Deregistered::Failed(unknown("scope", scope));
        };
        if let Some((host, container)) = ask {
            let Some(engine) = self.hosts.get(host) else {
                return Deregistered::Failed(unknown("host", host));
            };
            match engine.occupation(container).await {
                Ok(Occupation::Busy(job)) => return Deregistered::Vetoed(job),
                Ok(Occupation::Idle | Occupation::Down) => {}
                Err(error) => return Deregistered::Failed(error.into()),
            }
        }
        let deleted = match self.pool_apis.get(runner.pool()) {
            Some(own) => own.delete(registration).await,
            None => api.delete(registration).await,
        };
        match deleted {
            Ok(()) => Deregistered::Removed,
            Err(GithubError::NotFound) => Deregistered::NotFound,
            Err(GithubError::Busy) => Deregistered::Busy,
            Err(error) => Deregistered::Failed(error.into()),
        }
    }

    async fn stop(
        &self,
        runner: RunnerName,
        host: &HostName,
        container: &ContainerId,
        ask: bool,
    ) -> Vec<Evidence> {
        let Some(engine) = self.hosts.get(host) else {
            return vec![Evidence::Stop { runner, outcome: Stopped::Failed(unknown("host", host)) }];
        };
        if ask {
            match engine.occupation(container).await {
                Ok(Occupation::Busy(job)) => {
                    return vec![Evidence::Stop { runner, outcome: Stopped::Vetoed(job) }];
                }
                Ok(Occupation::Idle | Occupation::Down) => {}
                Err(error) => {
                    return vec![Evidence::Stop { runner, outcome: Stopped::Failed(error.into()) }];
                }
            }
        }
        if let Err(error) = engine.stop(container, STOP_GRACE).await {
            return vec![Evidence::Stop { runner, outcome: Stopped::Failed(error.into()) }];
        }
        let stopped = Evidence::Stop { runner: runner.clone(), outcome: Stopped::Down };
        match engine.exit(container).await {
            Ok(Some(exit)) => vec![Evidence::Exited { runner, exit }, stopped],
            // The host's own list will show how it ended.
            Ok(None) | Err(_) => vec![stopped],
        }
    }

    /// A promotion that fails leaves the base as it was, and keeps nothing from being removed.
    async fn promote(&self, runner: &RunnerName, host: &HostName) {
        let (Some(engine), Some(pool)) = (self.hosts.get(host), self.pools.get(runner.pool())) else {
            return;
        };
        match engine.promote(runner, pool).await {
            Ok(()) => tracing::info!(%runner, pool = runner.pool(), "promoted the caches of a trusted job"),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    %runner, pool = runner.pool(), error,
                    "failed to promote the caches of a trusted job, so the next ones start from the same base as it did"
                );
            }
        }
    }

    async fn remove(
        &self,
        runner: &RunnerName,
        host: &HostName,
        container: Option<&ContainerId>,
        attached: bool,
    ) -> Removed {
        let Some(engine) = self.hosts.get(host) else {
            return Removed::Failed(unknown("host", host));
        };
        let removed = async {
            if let Some(container) = container {
                engine.remove(container).await?;
            }
            if attached { engine.detach(runner).await } else { Ok(()) }
        };
        match removed.await {
            Ok(()) => Removed::Gone,
            Err(error) => Removed::Failed(error.into()),
        }
    }
}

/// Completes a scope's list with that of the API that some of its pools have of their own. Their runners are in both,
/// but for the ids by which they are removed that API is authoritative, and whether they are connected only the scope's
/// list reports reliably. What it reports of the runners of other pools does not matter.
fn add_those_of_pools(registrations: &mut Vec<Registration>, own: Vec<Registration>, pools: &[&PoolName]) {
    let known: BTreeMap<String, usize> =
        registrations.iter().enumerate().map(|(at, runner)| (runner.name.clone(), at)).collect();
    for runner in own {
        let Some(name) = RunnerName::parse(&runner.name) else { continue };
        if !pools.iter().any(|pool| pool.as_str() == name.pool()) {
            continue;
        }
        match known.get(&runner.name).map(|&at| &mut registrations[at]) {
            Some(listed) => (listed.id, listed.busy) = (runner.id, listed.busy || runner.busy),
            None => registrations.push(runner),
        }
    }
}

fn unknown(what: &str, name: &dyn std::fmt::Display) -> Trouble {
    Trouble {
        kind: TroubleKind::Refused,
        retry_after: None,
        detail: format!("{what} {name} is not in the configuration"),
    }
}

impl GithubError {
    /// What a mint that ended with this error left behind.
    fn minted(&self) -> Minted {
        match self {
            Self::NoJitConfig { id } => Minted::Yes(*id),
            Self::Failed { .. } => Minted::Perhaps,
            _ => Minted::No,
        }
    }
}

impl From<GithubError> for Trouble {
    fn from(error: GithubError) -> Self {
        let detail = chain(&error);
        let (kind, retry_after) = match error {
            _ if out_of_files(&error) => (TroubleKind::OutOfFiles, None),
            GithubError::NameTaken => (TroubleKind::NameTaken, None),
            GithubError::RegistrationLimit(_) => (TroubleKind::RegistrationLimit, None),
            GithubError::Refused(_) | GithubError::Busy | GithubError::NotFound => {
                (TroubleKind::Refused, None)
            }
            GithubError::RateLimited { wait } => (TroubleKind::RateLimited, Some(wait)),
            GithubError::Unreachable(_) | GithubError::Failed { .. } | GithubError::NoJitConfig { .. } => {
                (TroubleKind::GithubFailed, None)
            }
        };
        Self { kind, retry_after, detail }
    }
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Self {
        let detail = chain(&error);
        let kind = match error {
            _ if out_of_files(&error) => TroubleKind::OutOfFiles,
            HostError::ImageMissing(_) => TroubleKind::ImageMissing,
            HostError::Refused(_) => TroubleKind::EngineRefused,
            HostError::DindNotReady(_) => TroubleKind::DindNotReady,
            HostError::EgressNotReady(_) => TroubleKind::EgressNotReady,
            HostError::NetworksExhausted(_) => TroubleKind::NetworksExhausted,
            HostError::TemplateFile(_) => TroubleKind::TemplateFile,
            HostError::Failed { .. } => TroubleKind::EngineFailed,
        };
        Self { kind, retry_after: None, detail }
    }
}
