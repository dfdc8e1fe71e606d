//! Which call a request is.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use super::{apps::AppCall, exchange::Asked, manual::Change};
use crate::{endpoint::Endpoint, scope_path::is_enterprise, world::World};

/// A request that something answers; scopes are paths of scopes that exist.
pub(super) enum Call {
    ListRunners(String),
    GetRunner(String, u64),
    DeleteRunner(String, u64),
    Mint(String),
    ListGroups(String),
    ListLabels(String, u64),
    ChangeLabels(String, u64, Change),
    RunnerToken(String),
    Downloads(String),
    Deprecation(String, String),
    ListGroupRepositories(String, u64),
    App(AppCall),
    ListRepositories(String),
    InstallationRepositories,
    ListRuns(String),
    GetRun(String, u64),
    ListJobs(String, u64),
    GetJob(String, u64),
    ListHooks(String),
    GetHook(String, u64),
    ListDeliveries(String, u64),
    GetDelivery(String, u64, u64),
    Redeliver(String, u64, u64),
    GetOrganization(String),
    GetRepository(String),
    RateLimit,
}

impl Call {
    /// Distinguishes calls; `None` is a 404. A trailing slash is one too, as at GitHub.
    pub(super) fn of(world: &World, asked: &Asked) -> Option<Self> {
        let path = asked.path.strip_prefix('/')?;
        let parts: Vec<&str> = path.split('/').collect();
        if asked.method == Method::GET && parts == ["rate_limit"] {
            return Some(Self::RateLimit);
        }
        if asked.method == Method::GET && parts == ["installation", "repositories"] {
            return Some(Self::InstallationRepositories);
        }
        if let Some(call) = AppCall::of(&asked.method, &parts) {
            return Some(Self::App(call));
        }
        // Links to further pages name a scope by its number.
        let (scope, rest) = match parts.as_slice() {
            ["orgs", organization, rest @ ..] => ((*organization).to_owned(), rest),
            ["repos", owner, repository, rest @ ..] => (format!("{owner}/{repository}"), rest),
            ["enterprises", enterprise, rest @ ..] => (format!("enterprises/{enterprise}"), rest),
            ["organizations" | "repositories", number, rest @ ..] => {
                (world.scope_path(number.parse().ok()?)?, rest)
            }
            _ => return None,
        };
        let scope = world.scope_path(world.scope_number(&scope)?)?;
        let is_enterprise = is_enterprise(&scope);
        let is_organization = !scope.contains('/');
        let right = match parts.first() {
            Some(&("orgs" | "organizations")) => is_organization,
            Some(&"enterprises") => is_enterprise,
            _ => !is_organization && !is_enterprise,
        };
        if !right {
            return None;
        }
        let is_repository = !is_organization && !is_enterprise;
        match (asked.method.as_str(), rest) {
            ("GET", []) if is_organization => Some(Self::GetOrganization(scope)),
            // A token that may manage an enterprise's runners may not read the enterprise.
            ("GET", []) if is_enterprise => None,
            ("GET", []) => Some(Self::GetRepository(scope)),
            ("GET", ["actions", "runner-groups"]) if is_organization || is_enterprise => {
                Some(Self::ListGroups(scope))
            }
            ("GET", ["actions", "runner-groups", id, "repositories"]) if is_organization => {
                Some(Self::ListGroupRepositories(scope, id.parse().ok()?))
            }
            ("GET", ["repos"]) if is_organization => Some(Self::ListRepositories(scope)),
            ("GET", ["actions", "runs"]) if is_repository => Some(Self::ListRuns(scope)),
            ("GET", ["actions", "runs", id]) if is_repository => Some(Self::GetRun(scope, id.parse().ok()?)),
            ("GET", ["actions", "runs", id, "jobs"]) if is_repository => {
                Some(Self::ListJobs(scope, id.parse().ok()?))
            }
            ("GET", ["actions", "jobs", id]) if is_repository => Some(Self::GetJob(scope, id.parse().ok()?)),
            ("GET", ["hooks"]) if !is_enterprise => Some(Self::ListHooks(scope)),
            ("GET", ["hooks", id]) => Some(Self::GetHook(scope, id.parse().ok()?)),
            ("GET", ["hooks", hook, "deliveries"]) => Some(Self::ListDeliveries(scope, hook.parse().ok()?)),
            ("GET", ["hooks", hook, "deliveries", id]) => {
                Some(Self::GetDelivery(scope, hook.parse().ok()?, id.parse().ok()?))
            }
            ("POST", ["hooks", hook, "deliveries", id, "attempts"]) => {
                Some(Self::Redeliver(scope, hook.parse().ok()?, id.parse().ok()?))
            }
            ("GET", ["actions", "runners"]) => Some(Self::ListRunners(scope)),
            ("POST", ["actions", "runners", "generate-jitconfig"]) => Some(Self::Mint(scope)),
            (method, ["actions", "runners", rest @ ..]) => Self::runner_call(method, scope, rest),
            _ => None,
        }
    }

    /// One runner, or what only commands request.
    fn runner_call(method: &str, scope: String, rest: &[&str]) -> Option<Self> {
        let id = |id: &str| id.parse::<u64>().ok();
        match (method, rest) {
            ("GET", ["downloads"]) => Some(Self::Downloads(scope)),
            ("GET", ["deprecations", version]) => Some(Self::Deprecation(scope, (*version).to_owned())),
            ("POST", ["registration-token" | "remove-token"]) => Some(Self::RunnerToken(scope)),
            ("GET", [runner, "labels"]) => Some(Self::ListLabels(scope, id(runner)?)),
            ("POST", [runner, "labels"]) => Some(Self::ChangeLabels(scope, id(runner)?, Change::Add)),
            ("PUT", [runner, "labels"]) => Some(Self::ChangeLabels(scope, id(runner)?, Change::Set)),
            ("DELETE", [runner, "labels"]) => Some(Self::ChangeLabels(scope, id(runner)?, Change::RemoveAll)),
            ("DELETE", [runner, "labels", name]) => {
                let name = percent_decode_str(name).decode_utf8().ok()?.into_owned();
                Some(Self::ChangeLabels(scope, id(runner)?, Change::Remove(name)))
            }
            ("GET", [id]) => Some(Self::GetRunner(scope, id.parse().ok()?)),
            ("DELETE", [id]) => Some(Self::DeleteRunner(scope, id.parse().ok()?)),
            _ => None,
        }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        match self {
            Self::ListRunners(_) => Endpoint::ListRunners,
            Self::GetRunner(..) => Endpoint::GetRunner,
            Self::DeleteRunner(..) => Endpoint::DeleteRunner,
            Self::Mint(_) => Endpoint::Mint,
            Self::ListGroups(_) => Endpoint::ListGroups,
            Self::ListLabels(..) => Endpoint::ListLabels,
            Self::ChangeLabels(..) => Endpoint::ChangeLabels,
            Self::RunnerToken(_) => Endpoint::RunnerToken,
            Self::Downloads(_) => Endpoint::Downloads,
            Self::Deprecation(..) => Endpoint::Deprecation,
            Self::ListGroupRepositories(..) => Endpoint::ListGroupRepositories,
            Self::App(call) => call.endpoint(),
            Self::ListRepositories(_) => Endpoint::ListRepositories,
            Self::InstallationRepositories => Endpoint::InstallationRepositories,
            Self::ListRuns(_) => Endpoint::ListRuns,
            Self::GetRun(..) => Endpoint::GetRun,
            Self::ListJobs(..) => Endpoint::ListJobs,
            Self::GetJob(..) => Endpoint::GetJob,
            Self::ListHooks(_) => Endpoint::ListHooks,
            Self::GetHook(..) => Endpoint::GetHook,
            Self::ListDeliveries(..) => Endpoint::ListDeliveries,
            Self::GetDelivery(..) => Endpoint::GetDelivery,
            Self::Redeliver(..) => Endpoint::Redeliver,
            Self::GetOrganization(_) => Endpoint::GetOrganization,
            Self::GetRepository(_) => Endpoint::GetRepository,
            Self::RateLimit => Endpoint::RateLimit,
        }
    }

    pub(super) fn scope(&self) -> Option<&str> {
        match self {
            Self::ListRunners(scope)
            | Self::GetRunner(scope, _)
            | Self::DeleteRunner(scope, _)
            | Self::Mint(scope)
            | Self::ListGroups(scope)
            | Self::ListLabels(scope, _)
            | Self::ChangeLabels(scope, ..)
            | Self::RunnerToken(scope)
            | Self::Downloads(scope)
            | Self::Deprecation(scope, _)
            | Self::ListGroupRepositories(scope, _)
            | Self::App(AppCall::Find(scope))
            | Self::ListRepositories(scope)
            | Self::ListRuns(scope)
            | Self::GetRun(scope, _)
            | Self::ListJobs(scope, _)
            | Self::GetJob(scope, _)
            | Self::ListHooks(scope)
            | Self::GetHook(scope, _)
            | Self::ListDeliveries(scope, _)
            | Self::GetDelivery(scope, ..)
            | Self::Redeliver(scope, ..)
            | Self::GetOrganization(scope)
            | Self::GetRepository(scope) => Some(scope),
            Self::App(_) | Self::RateLimit | Self::InstallationRepositories => None,
        }
    }
}
