//! A scope seen with a credential: its addresses, and what all requests to it share.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use http::Uri;
use parking_lot::Mutex;

use super::{
    report::{Reporter, RequestReport},
    request::Response,
};
use crate::{
    fleet::Scope,
    github::{
        AppGrant, Credential, CredentialSource, GithubError, Identities, Rate,
        endpoint::Endpoint,
        lenient_json::{Row, name_in},
        limits::Limits,
        transport::{Origin, Transport},
    },
};

/// The REST API for one scope and credential. Cheap to clone; clones share everything.
///
/// Every exchange ends within the deadline. A request is one exchange, or two when the token was renewed.
/// With a GitHub App there is one more each hour for an installation token, and one at first to find the
/// installation. Nothing else is requested twice.
#[derive(Clone)]
pub(in crate::github) struct RestClient(Arc<Inner>);

struct Inner {
    scope: Scope,
    base: String,
    credential: Credential,
    /// Those of the last used token; an App's are known once its installation is.
    limits: Mutex<Arc<Limits>>,
    transport: Transport,
    reporter: Reporter,
    identities: Identities,
    /// Warnings that have been logged already.
    warned: Mutex<BTreeSet<&'static str>>,
}

impl RestClient {
    /// Fails for a scope whose API has no valid address, or one that the credential would be sent to without TLS.
    pub(in crate::github) fn new(
        scope: Scope,
        credential: &Credential,
        reporter: Reporter,
        deadline: Duration,
    ) -> Result<Self, GithubError> {
        let base = scope.api_base();
        let origin = base.parse().ok().as_ref().and_then(Origin::of);
        let origin =
            origin.ok_or_else(|| GithubError::Refused(format!("{scope} has no valid API address")))?;
        Ok(Self(Arc::new(Inner {
            credential: credential.clone(),
            limits: Mutex::new(credential.limits_at(&base)),
            transport: Transport::new(origin, deadline, credential.source().into())?,
            reporter,
            identities: Identities::default(),
            warned: Mutex::default(),
            scope,
            base,
        })))
    }

    pub(in crate::github) fn scope(&self) -> &Scope {
        &self.0.scope
    }

    pub(in crate::github) fn credential(&self) -> &Credential {
        &self.0.credential
    }

    pub(in crate::github) fn identities(&self) -> &Identities {
        &self.0.identities
    }

    /// What the account of this scope has granted to the GitHub App, once a token was minted for it; `None` for
    /// personal tokens.
    pub(in crate::github) fn app_grant(&self) -> Option<AppGrant> {
        self.0.credential.app()?.grant(&self.0.base, &self.0.scope)
    }

    /// Reports an exchange to the metrics.
    pub(in crate::github) fn report(
        &self,
        endpoint: &'static str,
        status: Option<u16>,
        took: Duration,
        rate: Option<Rate>,
    ) {
        let scope = self.0.scope.clone();
        (self.0.reporter)(&RequestReport { scope, endpoint, status, took, rate });
    }

    pub(in crate::github) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// Base address of the REST API, without a trailing slash.
    pub(in crate::github) fn base(&self) -> &str {
        &self.0.base
    }

    /// The URL of a path below the scope's.
    pub(in crate::github) fn address(&self, path: &str) -> Result<Uri, GithubError> {
        self.site_address(&format!("{}{path}", self.current_scope().api_path()))
    }

    /// The scope under its current URL on GitHub.
    pub(in crate::github) fn current_scope(&self) -> Scope {
        self.0.identities.current(&self.0.scope)
    }

    /// The address of a path below that of a repository on the same GitHub.
    pub(in crate::github) fn address_in(&self, repository: &Scope, path: &str) -> Result<Uri, GithubError> {
        if repository.site() != self.0.scope.site() {
            let scope = &self.0.scope;
            return Err(GithubError::Refused(format!("{repository} is on another GitHub than {scope}")));
        }
        self.site_address(&format!("{}{path}", self.0.identities.current(repository).api_path()))
    }

    /// The address of a path of the API.
    pub(in crate::github) fn site_address(&self, path: &str) -> Result<Uri, GithubError> {
        let text = format!("{}{path}", self.0.base);
        text.parse().map_err(|_| GithubError::Refused(format!("{} has no valid API address", self.0.scope)))
    }

    pub(in crate::github) fn refused(&self, endpoint: Endpoint, reply: &Response) -> GithubError {
        self.refused_at(endpoint, &self.0.scope, reply)
    }

    /// The error of a request for something within the scope, or seen with its credential.
    pub(in crate::github) fn refused_at(
        &self,
        endpoint: Endpoint,
        scope: &Scope,
        reply: &Response,
    ) -> GithubError {
        let grant = self.app_grant();
        reply.answer.refused(endpoint, scope, self.source(), grant.as_ref(), &reply.complaint)
    }

    pub(in crate::github) fn source(&self) -> &CredentialSource {
        self.0.credential.source()
    }

    /// Whether this is the first such warning.
    pub(in crate::github) fn first_time(&self, what: &'static str) -> bool {
        self.0.warned.lock().insert(what)
    }

    /// The limits of the token that was used last.
    pub(in crate::github) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.0.limits.lock())
    }

    pub(in crate::github) fn deadline(&self) -> Duration {
        self.0.transport.deadline()
    }

    /// Remembers the limits of the token that is used now.
    pub(super) fn use_limits(&self, limits: &Arc<Limits>) {
        *self.0.limits.lock() = Arc::clone(limits);
    }

    /// The rows of a list that can be read, and the others by name where they have one; that there are others is
    /// logged.
    pub(in crate::github) fn readable<T>(
        &self,
        rows: Vec<Row<T>>,
        what: &'static str,
        of: &Scope,
    ) -> (Vec<T>, Vec<Option<String>>) {
        let (mut read, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match row {
                Row::Read(row) => read.push(row),
                Row::Unreadable(raw) => unreadable.push(name_in(&raw)),
            }
        }
        self.report_unreadable(what, of, unreadable.len());
        (read, unreadable)
    }

    /// Logs that so many rows of a list cannot be read: once as a warning, since the same list comes again and
    /// again.
    pub(in crate::github) fn report_unreadable(&self, what: &'static str, of: &Scope, count: usize) {
        if count == 0 {
            return;
        }
        if self.first_time(what) {
            tracing::warn!(
                %of, what, count,
                "GitHub's list has entries that cannot be read; they are ignored"
            );
        } else {
            tracing::debug!(%of, what, count, "GitHub's list has entries that cannot be read");
        }
    }
}

impl fmt::Debug for RestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { scope, credential, transport, .. } = &*self.0;
        f.debug_struct("RestClient")
            .field("scope", scope)
            .field("credential", credential)
            .field("transport", transport)
            .finish_non_exhaustive()
    }
}
