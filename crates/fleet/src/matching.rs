//! Decides which pool a job belongs to, or why none does.
//!
//! A pool serves a job when the job's repository is in its scope, every label of the job is among the pool's
//! (case-insensitive), and the pool's runner group allows the repository and the workflow, as far as that is
//! known. Of several pools the one with the fewest labels takes it, so that pools with more labels stay free
//! for jobs that ask for them. Then the one with the higher priority, then the one whose name comes first.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{
    job::{GroupPolicy, Job, Visibility},
    name::PoolName,
    pool::Pool,
    reasons::Unmatched,
    scope::{Scope, Target},
};

/// Whether a pool serves a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It serves the job.
    Serves,
    /// The job's repository is not in its scope.
    OtherScope,
    /// It does not, for this reason; `missing` has the labels that it lacks.
    Refuses {
        reason: Unmatched,
        /// The labels of the job that the pool does not have.
        missing: Vec<String>,
    },
}

/// The pool that a job belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matched {
    /// To this pool.
    Pool(PoolName),
    /// To none, although it seems to be meant for these pools.
    Unmatched(Unmatched),
    /// It is meant for other runners: GitHub's own, or another operator's.
    Foreign,
}

/// Whether a pool serves a job, with its group's policy where that is known.
pub fn verdict(job: &Job, pool: &Pool, group: Option<&GroupPolicy>) -> Verdict {
    if !covers(&pool.scope, job) {
        return Verdict::OtherScope;
    }
    let refuses = |reason| Verdict::Refuses { reason, missing: Vec::new() };
    if job.labels.is_empty() && !pool.match_unlabelled {
        return refuses(Unmatched::Unlabelled);
    }
    let missing: Vec<String> = job.labels.iter().filter(|label| !has(pool, label)).cloned().collect();
    if !missing.is_empty() {
        return Verdict::Refuses { reason: Unmatched::Labels, missing };
    }
    if let Target::Repository { .. } = pool.scope.target() {
        let unwanted = job.public == Some(true) && !pool.allow_public;
        return if unwanted { refuses(Unmatched::PublicRepository) } else { Verdict::Serves };
    }
    let Some(group) = group else { return Verdict::Serves };
    let public = job.public == Some(true);
    let visible = match &group.visibility {
        Visibility::All => true,
        Visibility::Private => !public,
        Visibility::Selected(repositories) => repositories.contains(&job.facts.repository),
    };
    if !visible {
        return refuses(Unmatched::Group);
    }
    if public && !group.allows_public {
        return refuses(Unmatched::PublicRepository);
    }
    if let Some(allowed) = &group.workflows
        && !job.workflows.is_empty()
        && !job
            .workflows
            .iter()
            .any(|workflow| allowed.iter().any(|allowed| same_workflow(workflow, allowed)))
    {
        return refuses(Unmatched::Workflow);
    }
    Verdict::Serves
}

/// Which of these pools a job belongs to, with their groups' policies.
pub fn match_pool<'p>(
    job: &Job,
    pools: impl Iterator<Item = (&'p Pool, Option<&'p GroupPolicy>)>,
) -> Matched {
    let (mut best, mut reason, mut ours) = (None, None, false);
    for (pool, group) in pools {
        match verdict(job, pool, group) {
            Verdict::Serves => {
                let rank = (distinct(pool), Reverse(pool.policy.priority), &pool.name);
                best = Some(best.map_or(rank, |before| rank.min(before)));
            }
            Verdict::Refuses { reason: refusal, missing } => {
                ours |=
                    job.labels.is_empty() || missing.len() < job.labels.len() || asks_for_self_hosted(job);
                // The pool that passed the most checks gives the reason.
                reason = reason.max(Some(refusal));
            }
            Verdict::OtherScope => {}
        }
    }
    match (best, reason) {
        (Some((.., name)), _) => Matched::Pool(name.clone()),
        (None, Some(reason)) if ours => Matched::Unmatched(reason),
        (None, _) => Matched::Foreign,
    }
}

/// The policy of the group that a pool names. "Default" is the group that GitHub marks as default, since it
/// can be renamed.
pub fn group_of<'g>(pool: &Pool, groups: &'g [GroupPolicy]) -> Option<&'g GroupPolicy> {
    let named = groups.iter().find(|group| group.name.eq_ignore_ascii_case(&pool.group));
    named.or_else(|| groups.iter().find(|group| group.default && pool.group.eq_ignore_ascii_case("default")))
}

/// Whether a job's repository is in a scope. A repository's address does not show its enterprise, so the job
/// has to have it.
fn covers(scope: &Scope, job: &Job) -> bool {
    let repository = &job.facts.repository;
    let Target::Repository { owner, .. } = repository.target() else { return false };
    match scope.target() {
        Target::Repository { .. } => scope == repository,
        Target::Organization { organization } => organization == owner && scope.site() == repository.site(),
        Target::Enterprise { enterprise } => {
            job.enterprise.as_ref() == Some(enterprise) && scope.site() == repository.site()
        }
    }
}

fn has(pool: &Pool, label: &str) -> bool {
    pool.labels.iter().any(|own| own.eq_ignore_ascii_case(label))
}

fn distinct(pool: &Pool) -> usize {
    pool.labels.iter().map(|label| label.to_ascii_lowercase()).collect::<BTreeSet<_>>().len()
}

fn asks_for_self_hosted(job: &Job) -> bool {
    job.labels.iter().any(|label| label.eq_ignore_ascii_case("self-hosted"))
}

/// A run has the ref in another form than a group's list, so only file and repository are compared.
fn same_workflow(of_job: &str, allowed: &str) -> bool {
    let file = |workflow: &str| workflow.split('@').next().unwrap_or_default().to_ascii_lowercase();
    file(of_job) == file(allowed)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Demand, Instant, JobFacts, JobId, Policy, Template, Timestamp};

    fn pool(name: &str, url: &str, labels: &[&str]) -> Pool {
        Pool {
            name: name.parse().unwrap(),
            scope: url.parse().unwrap(),
            credential: "default".into(),
            hosts: vec!["local".parse().unwrap()],
            placement: crate::Placement::default(),
            group: "Default".to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            demand: Demand::Jobs { queue: true, webhook: false },
            repositories: Vec::new(),
            allow_public: false,
            match_unlabelled: false,
            policy: Policy::default(),
            template: Template::default(),
        }
    }

    fn job(repository: &str, labels: &[&str]) -> Job {
        Job {
            id: JobId(1),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            enterprise: None,
            public: None,
            workflows: Vec::new(),
            queued_at: Instant::default(),
            facts: Arc::new(JobFacts {
                name: "build".to_owned(),
                repository: repository.parse().unwrap(),
                run_id: 1,
                url: String::new(),
                queued_at: Timestamp::default(),
            }),
        }
    }

    fn group(visibility: Visibility) -> GroupPolicy {
        let name = "default".to_owned();
        GroupPolicy { name, default: true, visibility, allows_public: false, workflows: None }
    }

    const ORG: &str = "https://github.com/acme";
    const REPO: &str = "https://github.com/acme/widgets";

    #[test]
    fn every_label_of_the_job_must_be_among_the_pools() {
        let linux = pool("linux", ORG, &["self-hosted", "Linux", "x64"]);
        for (labels, expected) in [
            (&["LINUX"][..], Verdict::Serves),
            (&["self-hosted", "x64"], Verdict::Serves),
            (&["linux", "linux"], Verdict::Serves),
            (
                &["linux", "gpu"],
                Verdict::Refuses { reason: Unmatched::Labels, missing: vec!["gpu".to_owned()] },
            ),
            (&[], Verdict::Refuses { reason: Unmatched::Unlabelled, missing: Vec::new() }),
        ] {
            assert_eq!(verdict(&job(REPO, labels), &linux, None), expected, "{labels:?}");
        }
        let open = Pool { match_unlabelled: true, ..linux };
        assert_eq!(verdict(&job(REPO, &[]), &open, None), Verdict::Serves);
    }

    #[test]
    fn a_scope_covers_its_own_repositories() {
        let at = |url: &str| pool("p", url, &["a"]);
        let seen = |pool: &Pool, job: &Job| verdict(job, pool, None) == Verdict::Serves;
        let of_acme = job(REPO, &["a"]);
        assert!(seen(&at(ORG), &of_acme) && seen(&at(REPO), &of_acme));
        assert!(!seen(&at("https://github.com/acme/other"), &of_acme));
        assert!(!seen(&at("https://github.com/other"), &of_acme));
        assert!(!seen(&at("https://git.acme.example/acme"), &of_acme));
        let enterprise = at("https://github.com/enterprises/big");
        assert!(!seen(&enterprise, &of_acme));
        assert!(seen(&enterprise, &Job { enterprise: Some("big".into()), ..of_acme }));
    }

    #[test]
    fn the_groups_policy_is_part_of_it() {
        let pool = pool("p", ORG, &["a"]);
        let public = Job { public: Some(true), ..job(REPO, &["a"]) };
        let reason = |job: &Job, group: &GroupPolicy| match verdict(job, &pool, Some(group)) {
            Verdict::Refuses { reason, .. } => Some(reason),
            _ => None,
        };
        let all = group(Visibility::All);
        assert_eq!(reason(&public, &all), Some(Unmatched::PublicRepository));
        assert_eq!(reason(&public, &GroupPolicy { allows_public: true, ..all.clone() }), None);
        assert_eq!(reason(&job(REPO, &["a"]), &all), None);
        assert_eq!(reason(&public, &group(Visibility::Private)), Some(Unmatched::Group));
        let selected = |url: &str| group(Visibility::Selected(vec![url.parse().unwrap()]));
        assert_eq!(reason(&job(REPO, &["a"]), &selected(REPO)), None);
        assert_eq!(
            reason(&job(REPO, &["a"]), &selected("https://github.com/acme/b")),
            Some(Unmatched::Group)
        );
        let allowed = vec!["acme/widgets/.github/workflows/deploy.yml@refs/heads/main".to_owned()];
        let restricted = GroupPolicy { workflows: Some(allowed), ..all };
        let from = |file: &str| Job { workflows: vec![file.to_owned()], ..job(REPO, &["a"]) };
        assert_eq!(reason(&from("acme/widgets/.github/workflows/deploy.yml@main"), &restricted), None);
        let other = from("acme/widgets/.github/workflows/test.yml@main");
        assert_eq!(reason(&other, &restricted), Some(Unmatched::Workflow));
        assert_eq!(reason(&job(REPO, &["a"]), &restricted), None, "not known is not refused");
    }

    #[test]
    fn a_public_repository_is_served_by_its_own_pool_only_when_that_says_so() {
        let own = pool("p", REPO, &["a"]);
        let public = Job { public: Some(true), ..job(REPO, &["a"]) };
        let refused = Verdict::Refuses { reason: Unmatched::PublicRepository, missing: Vec::new() };
        assert_eq!(verdict(&public, &own, None), refused);
        assert_eq!(verdict(&public, &Pool { allow_public: true, ..own }, None), Verdict::Serves);
    }

    #[test]
    fn of_several_pools_the_plainest_takes_it_then_priority_then_name() {
        let mut pools = vec![
            pool("gpu", ORG, &["linux", "x64", "gpu"]),
            pool("b", ORG, &["linux", "x64"]),
            pool("a", ORG, &["linux", "x64", "X64"]),
        ];
        let matched =
            |pools: &[Pool]| match_pool(&job(REPO, &["linux"]), pools.iter().map(|pool| (pool, None)));
        assert_eq!(matched(&pools), Matched::Pool("a".parse().unwrap()));
        pools[1].policy.priority = 1;
        assert_eq!(matched(&pools), Matched::Pool("b".parse().unwrap()));
        pools.push(pool("c", ORG, &["linux"]));
        assert_eq!(matched(&pools), Matched::Pool("c".parse().unwrap()));
    }

    #[test]
    fn what_no_one_serves_is_reported_only_when_it_looks_like_ours() {
        let pools = [pool("p", ORG, &["linux", "x64"])];
        let matched = |labels: &[&str]| match_pool(&job(REPO, labels), pools.iter().map(|pool| (pool, None)));
        assert_eq!(matched(&["ubuntu-latest"]), Matched::Foreign);
        assert_eq!(matched(&["linux", "arm64"]), Matched::Unmatched(Unmatched::Labels));
        assert_eq!(matched(&["self-hosted"]), Matched::Unmatched(Unmatched::Labels));
        assert_eq!(matched(&[]), Matched::Unmatched(Unmatched::Unlabelled));
    }
}
