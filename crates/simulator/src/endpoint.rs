//! The calls of the REST API by name.

use serde::Serialize;

/// The calls, for counting and for faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `GET …/actions/runners`
    ListRunners,
    /// `GET …/actions/runners/{id}`
    GetRunner,
    /// `DELETE …/actions/runners/{id}`
    DeleteRunner,
    /// `POST …/actions/runners/generate-jitconfig`
    Mint,
    /// `GET …/actions/runners/{id}/labels`
    ListLabels,
    /// `POST`, `PUT` and `DELETE …/actions/runners/{id}/labels`, and `DELETE …/labels/{name}`
    ChangeLabels,
    /// `POST …/actions/runners/registration-token` and `…/remove-token`
    RunnerToken,
    /// `GET …/actions/runners/downloads`
    Downloads,
    /// `GET …/actions/runners/deprecations/{version}`
    Deprecation,
    /// `GET …/actions/runner-groups` of an organization or enterprise.
    ListGroups,
    /// `GET /orgs/{org}/actions/runner-groups/{id}/repositories`
    ListGroupRepositories,
    /// `GET /orgs/{org}/repos`
    ListRepositories,
    /// `GET /installation/repositories`
    InstallationRepositories,
    /// `GET /repos/{owner}/{repo}/actions/runs`
    ListRuns,
    /// `GET /repos/{owner}/{repo}/actions/runs/{id}`
    GetRun,
    /// `GET /repos/{owner}/{repo}/actions/runs/{id}/jobs`
    ListJobs,
    /// `GET /repos/{owner}/{repo}/actions/jobs/{id}`
    GetJob,
    /// `GET …/hooks`
    ListHooks,
    /// `GET …/hooks/{id}`
    GetHook,
    /// `GET …/hooks/{id}/deliveries`
    ListDeliveries,
    /// `GET …/hooks/{id}/deliveries/{id}`
    GetDelivery,
    /// `POST …/hooks/{id}/deliveries/{id}/attempts`
    Redeliver,
    /// `GET /orgs/{org}`
    GetOrganization,
    /// `GET /repos/{owner}/{repo}`
    GetRepository,
    /// `GET /rate_limit`
    RateLimit,
    /// `GET /app`
    GetApp,
    /// `GET /app/installations/{id}`, `GET /orgs/{org}/installation` and that of repositories.
    GetInstallation,
    /// `POST /app/installations/{id}/access_tokens`
    MintInstallationToken,
    /// Anything else, which is answered with 404.
    Other,
}
