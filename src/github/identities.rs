//! GitHub's ids of what the configuration names by URL. They stay the same after a rename or transfer, so
//! that what appears under a new URL is recognized.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::fleet::{Job, JobFacts, Scope, Target};

/// The maximum number of remembered URLs that are not in the configuration.
const MAX_SEEN: usize = 1000;

/// The ids in a description of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The repository's.
    pub repository: Option<u64>,
    /// That of the account that owns it.
    pub owner: Option<u64>,
}

/// The ids of what is configured on one GitHub. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Identities(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By the number: repositories, and organizations.
    repositories: BTreeMap<u64, Scope>,
    organizations: BTreeMap<u64, Scope>,
    /// Where what has moved is now.
    moved: BTreeMap<Scope, Scope>,
    /// What was warned of.
    warned: BTreeSet<(Scope, Scope)>,
    /// Notified when something appears under a URL other than the last known one.
    doubt: Arc<Notify>,
}

/// What the numbers that come with a repository's name say about it. The least of several is the surest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placed {
    /// It is the configured repository of this address.
    Repository(Scope),
    /// It only has the name of something that is configured, and is another one.
    Foreign,
    /// It belongs to a configured organization, and has this address there.
    Organization(Scope),
    /// Nothing is known of it.
    Unknown,
}

impl Identities {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }

    /// Where GitHub has what the configuration names by this address.
    pub fn current(&self, configured: &Scope) -> Scope {
        self.known().current(configured)
    }

    /// Takes in the number of what is configured, and its address at GitHub, from the response to a lookup.
    pub fn learn(&self, configured: &Scope, id: u64, now: &Scope) {
        let mut known = self.known();
        let by_number = match configured.target() {
            Target::Repository { .. } => &mut known.repositories,
            Target::Organization { .. } => &mut known.organizations,
            Target::Enterprise { .. } => return,
        };
        match number_in(by_number, configured) {
            Some(before) if before != id => {
                // Something that took over a free name is another object.
                let elsewhere = known.moved.contains_key(configured);
                if !elsewhere && known.warned.insert((configured.clone(), configured.clone())) {
                    tracing::warn!(
                        %configured, before, now = id,
                        "another account or repository has this URL now: its id on GitHub has changed. Its \
                         jobs are ignored, but runners are still registered there; correct the URL in the \
                         configuration, or restart dayfly if the new one is meant"
                    );
                }
            }
            _ => {
                by_number.insert(id, configured.clone());
                known.note(configured, now);
            }
        }
    }

    /// What is known of a repository that GitHub names so. A payload may be old, so it changes nothing that is known:
    /// a name that is new only makes [`Self::doubted`] return.
    pub fn configured(&self, named: &Scope, numbers: Numbers) -> Placed {
        let known = self.known();
        let placed = known.placed(named, numbers);
        if let Placed::Repository(configured) | Placed::Organization(configured) = &placed
            && known.current(configured) != *named
        {
            known.doubt.notify_one();
        }
        placed
    }

    /// Returns once something came under an address that is not the last known one.
    pub async fn doubted(&self) {
        let doubt = Arc::clone(&self.known().doubt);
        doubt.notified().await;
    }

    /// Gives a job the configured URL of its repository, if any of these know it. `false` if the repository
    /// only has the name of one that is configured.
    pub fn place<'i>(all: impl IntoIterator<Item = &'i Self>, job: &mut Job, numbers: Numbers) -> bool {
        let named = &job.facts.repository;
        match all.into_iter().map(|identities| identities.configured(named, numbers)).min() {
            Some(Placed::Foreign) => {
                tracing::debug!(
                    repository = %named, ?numbers,
                    "ignored a job of a repository that has the name, but not the id, of a configured one"
                );
                return false;
            }
            Some(Placed::Repository(configured) | Placed::Organization(configured))
                if configured != *named =>
            {
                job.facts = Arc::new(JobFacts { repository: configured, ..JobFacts::clone(&job.facts) });
            }
            _ => {}
        }
        true
    }

    /// The number of what is configured.
    pub(super) fn number(&self, configured: &Scope) -> Option<u64> {
        let known = self.known();
        number_in(&known.repositories, configured).or_else(|| number_in(&known.organizations, configured))
    }
}

impl Known {
    fn current(&self, configured: &Scope) -> Scope {
        if let Some(now) = self.moved.get(configured) {
            return now.clone();
        }
        let mut organizations = self.moved.iter().filter(|(before, _)| is_owner(before, configured));
        organizations
            .next()
            .and_then(|(_, now)| within(now, configured))
            .unwrap_or_else(|| configured.clone())
    }

    fn placed(&self, named: &Scope, numbers: Numbers) -> Placed {
        let on_site = |scope: &&Scope| scope.site() == named.site();
        let of = |known: &BTreeMap<u64, Scope>, id: Option<u64>| {
            id.and_then(|id| known.get(&id)).filter(on_site).cloned()
        };
        if let Some(configured) = of(&self.repositories, numbers.repository) {
            return Placed::Repository(configured);
        }
        if numbers.repository.is_some() && number_in(&self.repositories, named).is_some() {
            return Placed::Foreign;
        }
        let organization = of(&self.organizations, numbers.owner);
        if let Some(configured) = organization.and_then(|organization| within(&organization, named)) {
            return Placed::Organization(configured);
        }
        let has_name = self.organizations.values().any(|organization| is_owner(organization, named));
        if numbers.owner.is_some() && has_name { Placed::Foreign } else { Placed::Unknown }
    }

    /// Records the current URL of something, and warns once when that differs from the configuration.
    fn note(&mut self, configured: &Scope, now: &Scope) {
        if configured == now {
            self.moved.remove(configured);
            return;
        }
        self.moved.insert(configured.clone(), now.clone());
        if self.warned.len() < MAX_SEEN && self.warned.insert((configured.clone(), now.clone())) {
            tracing::warn!(
                %configured, %now,
                "was renamed or transferred on GitHub; it is still served under its new URL, which should \
                 replace the old one in the configuration"
            );
        }
    }
}

fn number_in(known: &BTreeMap<u64, Scope>, configured: &Scope) -> Option<u64> {
    known.iter().find(|(_, scope)| *scope == configured).map(|(id, _)| *id)
}

fn is_owner(organization: &Scope, of: &Scope) -> bool {
    match (organization.target(), of.target()) {
        (Target::Organization { organization: name }, Target::Repository { owner, .. }) => {
            name == owner && organization.site() == of.site()
        }
        _ => false,
    }
}

/// The same repository as one of an organization.
pub(super) fn within(organization: &Scope, named: &Scope) -> Option<Scope> {
    let Target::Repository { repository, .. } = named.target() else { return None };
    let Target::Organization { organization: owner } = organization.target() else { return None };
    organization.repository(&format!("{owner}/{repository}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(path: &str) -> Scope {
        format!("https://github.com/{path}").parse().unwrap()
    }

    fn numbers(repository: u64, owner: u64) -> Numbers {
        Numbers { repository: Some(repository), owner: Some(owner) }
    }

    #[test]
    fn what_was_renamed_or_transferred_is_known_by_its_number() {
        let identities = Identities::default();
        identities.learn(&scope("acme"), 1, &scope("acme"));
        identities.learn(&scope("acme/widgets"), 20, &scope("acme/widgets"));
        let (repository, organization) =
            (|path: &str| Placed::Repository(scope(path)), |path: &str| Placed::Organization(scope(path)));
        for (named, of, placed) in [
            ("acme/widgets", numbers(20, 1), repository("acme/widgets")),
            ("acme/gadgets", numbers(20, 1), repository("acme/widgets")),
            ("other/widgets", numbers(20, 9), repository("acme/widgets")),
            ("newacme/tools", numbers(21, 1), organization("acme/tools")),
            ("acme/tools", numbers(21, 1), organization("acme/tools")),
            ("other/tools", numbers(22, 9), Placed::Unknown),
            ("acme/widgets", Numbers::default(), Placed::Unknown),
            ("other/widgets", Numbers::default(), Placed::Unknown),
            ("acme/widgets", numbers(99, 1), Placed::Foreign),
            ("acme/tools", numbers(98, 97), Placed::Foreign),
        ] {
            assert_eq!(identities.configured(&scope(named), of), placed, "{named}");
        }
        let elsewhere: Scope = "https://git.acme.example/other/widgets".parse().unwrap();
        assert_eq!(
            identities.configured(&elsewhere, numbers(20, 1)),
            Placed::Unknown,
            "another GitHub's ids"
        );
    }

    #[test]
    fn only_githubs_response_to_a_look_up_shows_where_something_is() {
        let identities = Identities::default();
        identities.learn(&scope("acme"), 1, &scope("newacme"));
        identities.learn(&scope("acme/widgets"), 20, &scope("other/gadgets"));
        for (named, of) in [
            ("acme/widgets", numbers(20, 1)),
            ("third/widgets", numbers(20, 9)),
            ("acme/tools", numbers(21, 1)),
            ("third/tools", numbers(21, 1)),
        ] {
            identities.configured(&scope(named), of);
            assert_eq!(identities.current(&scope("acme")), scope("newacme"), "{named}");
            assert_eq!(identities.current(&scope("acme/tools")), scope("newacme/tools"), "{named}");
            assert_eq!(identities.current(&scope("acme/widgets")), scope("other/gadgets"), "{named}");
        }
        assert_eq!(identities.current(&scope("other/x")), scope("other/x"));
        identities.learn(&scope("acme/widgets"), 20, &scope("acme/widgets"));
        assert_eq!(identities.current(&scope("acme/widgets")), scope("newacme/widgets"));
    }

    #[tokio::test]
    async fn an_unknown_address_causes_a_look_up() {
        let identities = Identities::default();
        identities.learn(&scope("acme/widgets"), 20, &scope("acme/gadgets"));
        let doubted = |named: &str, numbers| {
            identities.configured(&scope(named), numbers);
            futures_util::FutureExt::now_or_never(identities.doubted()).is_some()
        };
        assert!(!doubted("acme/gadgets", numbers(20, 1)));
        assert!(!doubted("other/gadgets", numbers(21, 9)));
        assert!(doubted("acme/widgets", numbers(20, 1)));
    }

    #[test]
    fn who_takes_over_a_name_is_not_who_had_it() {
        let identities = Identities::default();
        identities.learn(&scope("acme"), 1, &scope("new"));
        identities.learn(&scope("acme"), 99, &scope("acme"));
        assert_eq!(
            identities.configured(&scope("new/x"), numbers(5, 1)),
            Placed::Organization(scope("acme/x"))
        );
        assert_eq!(identities.configured(&scope("new/x"), numbers(5, 99)), Placed::Unknown);
        assert_eq!(identities.configured(&scope("acme/x"), numbers(5, 99)), Placed::Foreign);
        assert_eq!(identities.current(&scope("acme")), scope("new"));
    }

    #[test]
    fn a_repository_is_placed_by_whoever_knows_it_best() {
        let (organization, repository, other) =
            (Identities::default(), Identities::default(), Identities::default());
        organization.learn(&scope("acme"), 1, &scope("newacme"));
        repository.learn(&scope("acme/widgets"), 20, &scope("newacme/gadgets"));
        other.learn(&scope("newacme/gadgets"), 30, &scope("newacme/gadgets"));
        let placed = |named: &str, of| {
            let all = [&other, &organization, &repository];
            all.into_iter().map(|identities| identities.configured(&scope(named), of)).min().unwrap()
        };
        assert_eq!(placed("newacme/gadgets", numbers(20, 1)), Placed::Repository(scope("acme/widgets")));
        assert_eq!(placed("newacme/widgets", numbers(20, 1)), Placed::Repository(scope("acme/widgets")));
        assert_eq!(placed("acme/widgets", numbers(99, 1)), Placed::Foreign);
        assert_eq!(placed("newacme/tools", numbers(21, 1)), Placed::Organization(scope("acme/tools")));
        assert_eq!(repository.current(&scope("acme/widgets")), scope("newacme/gadgets"));
    }
}
