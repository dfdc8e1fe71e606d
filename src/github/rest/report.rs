//! What metrics record of each request.

use std::{sync::Arc, time::Duration};

use crate::{fleet::Scope, github::Rate};

/// One exchange with GitHub, for metrics.
#[derive(Clone, Debug)]
pub struct RequestReport {
    /// Where.
    pub scope: Scope,
    /// What was requested: `list`, `get`, `mint`, `delete`, `groups`, `group_repositories` or `scope`; for
    /// waiting jobs `runs`, `jobs`, `job`, `repositories` or `hooks`; for a GitHub App, its `installation`
    /// there or an installation `token`; with scale sets also `registration`, `scale_set`, `session`, `poll`,
    /// `acknowledge` and `acquire`; or what only commands request.
    pub endpoint: &'static str,
    /// The answer's status (304 is an unchanged list, at no cost); `None` when none came in time.
    pub status: Option<u16>,
    /// From sending to the end of the answer's body.
    pub took: Duration,
    /// The rate limit in the response, unless it is the App's own instead of an account's.
    pub rate: Option<Rate>,
}

/// Called once for every exchange with GitHub. Must not block.
pub type Reporter = Arc<dyn Fn(&RequestReport) + Send + Sync>;
