//! The tokens that the service of scale sets takes.

use std::collections::BTreeMap;

use dayfly_fleet::Timestamp;

/// The tokens that are good, each with its scope and, where it has one, its end.
#[derive(Default)]
pub(crate) struct RegistrationTokens {
    pub(super) registration: BTreeMap<String, String>,
    pub(super) admin: BTreeMap<String, (String, Timestamp)>,
}

impl RegistrationTokens {
    /// The scope of an admin token.
    pub(super) fn scope(&self, admin: &str, now: Timestamp) -> Option<&str> {
        self.admin.get(admin).filter(|(_, until)| now < *until).map(|(scope, _)| scope.as_str())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        self.registration.keys().chain(self.admin.keys())
    }

    pub(crate) fn expire_admin(&mut self) {
        self.admin.clear();
    }
}
