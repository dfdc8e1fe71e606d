//! GitHub's own numbers of what the configuration names by its address. They stay when it is renamed or transferred,
//! so that what comes under a new address is known for what it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::{Client, Endpoint, GithubError, client::Ask};
use crate::fleet::{Job, JobFacts, Scope, Target};

/// What is remembered of addresses that are not those of the configuration, at most.
const MAX_SEEN: usize = 1000;

/// The numbers that come with the name of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The repository's.
    pub repository: Option<u64>,
    /// That of the account that owns it.
    pub owner: Option<u64>,
}

/// The numbers of what is configured at one GitHub. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Identities(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By the number: repositories, and organizations.
    repositories: BTreeMap<u64, Scope>,
    organizations: BTreeMap<u64, Scope>,
    /// What makes the next look at an address conditional.
    marks: BTreeMap<Scope, (HeaderValue, u64)>,
    /// Where what has moved is now.
    moved: BTreeMap<Scope, Scope>,
    /// What was warned of.
    warned: BTreeSet<(Scope, Scope)>,
}

impl Identities {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where GitHub has what the configuration names by this address.
    pub fn current(&self, configured: &Scope) -> Scope {
        let known = self.known();
        if let Some(now) = known.moved.get(configured) {
            return now.clone();
        }
        let mut organizations = known.moved.iter().filter(|(before, _)| is_owner(before, configured));
        organizations
            .next()
            .and_then(|(_, now)| within(now, configured))
            .unwrap_or_else(|| configured.clone())
    }

    /// Takes in the number of what is configured, and its address at GitHub.
    pub fn learn(&self, configured: &Scope, id: u64, now: &Scope) {
        let mut known = self.known();
        let by_number = match configured.target() {
            Target::Repository { .. } => &mut known.repositories,
            Target::Organization { .. } => &mut known.organizations,
            Target::Enterprise { .. } => return,
        };
        let before = by_number.iter().find(|(_, scope)| *scope == configured).map(|(id, _)| *id);
        match before {
            Some(before) if before != id => {
                // Whoever took over a name that became free is somebody else.
                if known.warned.insert((configured.clone(), configured.clone())) {
                    tracing::warn!(
                        %configured, before, now = id,
                        "another account or repository has this address now; GitHub knew the one that was meant by \
                         another number"
                    );
                }
            }
            _ => {
                by_number.insert(id, configured.clone());
                known.note(configured, now);
            }
        }
    }

    /// The configuration's address of a repository that GitHub names so; its own where it is not configured.
    pub fn configured(&self, named: &Scope, numbers: Numbers) -> Scope {
        let mut known = self.known();
        let of_repository = numbers.repository.and_then(|id| known.repositories.get(&id)).cloned();
        if let Some(configured) = of_repository.filter(|configured| configured.site() == named.site()) {
            known.note(&configured, named);
            return configured;
        }
        let organization = numbers.owner.and_then(|id| known.organizations.get(&id)).cloned();
        let Some(organization) = organization.filter(|organization| organization.site() == named.site())
        else {
            return named.clone();
        };
        match (named.target(), within(&organization, named)) {
            (Target::Repository { owner, .. }, Some(configured)) if configured != *named => {
                if let Ok(now) = format!("{}/{owner}", named.site()).parse() {
                    known.note(&organization, &now);
                }
                configured
            }
            _ => named.clone(),
        }
    }

    /// Gives a job the configuration's address of its repository.
    pub fn place(&self, job: &mut Job, numbers: Numbers) {
        let configured = self.configured(&job.facts.repository, numbers);
        if configured != job.facts.repository {
            job.facts = Arc::new(JobFacts { repository: configured, ..JobFacts::clone(&job.facts) });
        }
    }
}

impl Known {
    /// Remembers where something is now, and warns once when that is not where the configuration has it.
    fn note(&mut self, configured: &Scope, now: &Scope) {
        if configured == now {
            self.moved.remove(configured);
            return;
        }
        self.moved.insert(configured.clone(), now.clone());
        if self.warned.len() < MAX_SEEN && self.warned.insert((configured.clone(), now.clone())) {
            tracing::warn!(
                %configured, %now,
                "was renamed or transferred at GitHub; it is served on under its new address, which should replace \
                 the old one in the configuration"
            );
        }
    }
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

impl Client {
    /// Looks up the number and the address of the scope or one of its repositories, at no cost when nothing has
    /// changed. There is nothing to look up for an enterprise.
    pub async fn identify(&self, configured: &Scope) -> Result<(), GithubError> {
        if let Target::Enterprise { .. } = configured.target() {
            return Ok(());
        }
        let mark = self.identities().known().marks.get(configured).cloned();
        // By the address of the configuration, whatever is known of it: GitHub redirects from there.
        let address = self.site_address(&configured.api_path())?;
        let known = mark.as_ref().map(|(etag, generation)| (etag, *generation));
        let reply = self.ask(Ask { known, ..Ask::get(Endpoint::Scope, address) }).await?;
        match reply.answer.status {
            StatusCode::NOT_MODIFIED if known.is_some() => Ok(()),
            StatusCode::OK => {
                let body: Value = reply.answer.json()?;
                if let (Some(id), Some(now)) = (body["id"].as_u64(), address_of(&body, configured)) {
                    self.identities().learn(configured, id, &now);
                }
                if let Some(etag) = reply.answer.headers.get(header::ETAG) {
                    let mark = (etag.clone(), reply.generation);
                    self.identities().known().marks.insert(configured.clone(), mark);
                }
                Ok(())
            }
            _ => Err(self.refused_at(Endpoint::Scope, configured, &reply)),
        }
    }
}

/// Where GitHub has what it describes, on the same GitHub as `configured`.
pub(super) fn address_of(body: &Value, configured: &Scope) -> Option<Scope> {
    match configured.target() {
        Target::Repository { .. } => configured.repository(body["full_name"].as_str()?),
        Target::Organization { .. } => {
            let scope: Scope = format!("{}/{}", configured.site(), body["login"].as_str()?).parse().ok()?;
            matches!(scope.target(), Target::Organization { .. }).then_some(scope)
        }
        Target::Enterprise { .. } => None,
    }
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
        for (named, of, configured) in [
            ("acme/widgets", numbers(20, 1), "acme/widgets"),
            ("acme/gadgets", numbers(20, 1), "acme/widgets"),
            ("other/widgets", numbers(20, 9), "acme/widgets"),
            ("newacme/tools", numbers(21, 1), "acme/tools"),
            ("other/tools", numbers(22, 9), "other/tools"),
            ("acme/widgets", Numbers::default(), "acme/widgets"),
            ("other/widgets", Numbers::default(), "other/widgets"),
        ] {
            assert_eq!(identities.configured(&scope(named), of), scope(configured), "{named}");
        }
        let elsewhere: Scope = "https://git.acme.example/other/widgets".parse().unwrap();
        assert_eq!(identities.configured(&elsewhere, numbers(20, 1)), elsewhere, "another GitHub's numbers");
        assert_eq!(identities.current(&scope("acme")), scope("newacme"));
        assert_eq!(identities.current(&scope("acme/tools")), scope("newacme/tools"));
        assert_eq!(identities.current(&scope("acme/widgets")), scope("other/widgets"));
        assert_eq!(identities.current(&scope("other/x")), scope("other/x"));
    }

    #[test]
    fn who_takes_over_a_name_is_not_who_had_it() {
        let identities = Identities::default();
        identities.learn(&scope("acme"), 1, &scope("acme"));
        identities.learn(&scope("acme"), 99, &scope("acme"));
        assert_eq!(identities.configured(&scope("new/x"), numbers(5, 1)), scope("acme/x"));
        assert_eq!(identities.configured(&scope("new/x"), numbers(5, 99)), scope("new/x"));
        assert_eq!(identities.current(&scope("acme")), scope("new"));
    }
}
