//! What is remembered of a GitHub App in use: which installation serves a scope, and that installation's token.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::{AppSource, bearer::Bearer};
use crate::{
    clock,
    fleet::{Instant, Scope},
    github::{limits::Limits, single_flight::SingleFlight, transport::Token},
};

/// The permissions of an App on an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppGrant {
    /// The installation.
    pub installation_id: u64,
    /// The permissions that the account has approved: name, and `read`, `write` or `admin`.
    pub permissions: BTreeMap<String, String>,
}

/// An App on every GitHub that it is used on.
pub(in crate::github) struct App {
    pub(in crate::github) source: AppSource,
    /// By the API's base address.
    sites: Mutex<BTreeMap<String, Arc<Site>>>,
}

/// An App on one GitHub. The ids of installations are that GitHub's.
#[derive(Default)]
pub(in crate::github) struct Site {
    pub(in crate::github) found: Mutex<BTreeMap<Scope, u64>>,
    pub(in crate::github) finding: Mutex<BTreeMap<Scope, Arc<SingleFlight>>>,
    installations: Mutex<BTreeMap<u64, Arc<Installation>>>,
}

/// An App on one account.
#[derive(Default)]
pub(in crate::github) struct Installation {
    pub(in crate::github) limits: Arc<Limits>,
    pub(in crate::github) held: Mutex<Option<InstallationToken>>,
    pub(in crate::github) minting: SingleFlight,
}

#[derive(Clone)]
pub(in crate::github) struct InstallationToken {
    pub(in crate::github) token: Token,
    pub(in crate::github) expires_at: Instant,
    pub(in crate::github) renew_at: Instant,
    pub(in crate::github) permissions: BTreeMap<String, String>,
}

impl App {
    pub(in crate::github) fn new(source: AppSource) -> Self {
        Self { source, sites: Mutex::default() }
    }

    pub(in crate::github) fn site(&self, api_base: &str) -> Arc<Site> {
        Arc::clone(self.sites.lock().entry(api_base.to_owned()).or_default())
    }

    /// The permissions of the App for a scope, once a token was created for it.
    pub(in crate::github) fn grant(&self, api_base: &str, scope: &Scope) -> Option<AppGrant> {
        let site = self.site(api_base);
        let installation_id =
            self.source.installation_id.or_else(|| site.found.lock().get(scope).copied())?;
        let held = site.installation(installation_id).held()?;
        Some(AppGrant { installation_id, permissions: held.permissions })
    }
}

impl Site {
    pub(in crate::github) fn installation(&self, id: u64) -> Arc<Installation> {
        Arc::clone(self.installations.lock().entry(id).or_default())
    }
}

impl Installation {
    pub(in crate::github) fn held(&self) -> Option<InstallationToken> {
        self.held.lock().clone()
    }

    /// The current value, unless it is the one that was rejected, or `due` marks it as too old.
    pub(in crate::github) fn usable(
        &self,
        refused: Option<u64>,
        due: impl Fn(&InstallationToken) -> Instant,
    ) -> Option<Bearer> {
        let held = self.held().filter(|held| Some(held.token.generation) != refused)?;
        (clock::now() < due(&held)).then(|| Bearer {
            token: held.token,
            limits: Arc::clone(&self.limits),
            // All tokens of an installation share the same limits.
            holder: 0,
        })
    }
}
