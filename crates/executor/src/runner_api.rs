//! The calls that passes make, which the REST API or a scale set serves.

use std::future::Future;

use secrecy::SecretString;

use crate::{
    fleet::{Registration, RegistrationId, RunnerName},
    github_error::GithubError,
};

/// A request for a single-use runner.
#[derive(Clone, Debug)]
pub struct Mint<'a> {
    /// A fresh name.
    pub name: &'a RunnerName,
    /// The runner group's name.
    pub group: &'a str,
    /// All labels of the runner.
    pub labels: &'a [String],
}

/// A minted runner.
pub struct MintedRunner {
    /// Its registration, which exists from now on.
    pub id: RegistrationId,
    /// The JIT config: the secret that lets it connect, once.
    pub jit: SecretString,
}

/// A scope's registrations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Those of all installations.
    pub registrations: Vec<Registration>,
    /// The names of listed runners that cannot be read, where the name can be.
    pub unreadable: Vec<Option<String>>,
}

/// The calls that a pass needs, for one scope. Every call ends within the edge's deadline.
pub trait RunnerApi: Send + Sync {
    /// All registrations of the scope, of any installation. An incomplete list is an error.
    fn list(&self) -> impl Future<Output = Result<Listing, GithubError>> + Send;

    /// Mints a runner.
    fn mint(&self, mint: Mint<'_>) -> impl Future<Output = Result<MintedRunner, GithubError>> + Send;

    /// Removes a registration.
    fn delete(&self, id: RegistrationId) -> impl Future<Output = Result<(), GithubError>> + Send;
}
