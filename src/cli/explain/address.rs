//! The addresses of a job: of its page, and in the API.

use anyhow::{Context, bail};

use crate::fleet::{JobId, Scope, Target};

const FORM: &str = "it is not the address of a job; open the job on GitHub and copy the page's address, \
    https://HOST/OWNER/REPOSITORY/actions/runs/RUN/job/JOB";

/// A job, from its address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) repository: Scope,
    pub(super) job: JobId,
}

impl Address {
    /// Parses an address from a browser or from a response of the API.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let plain = text.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let (scheme, rest) = plain.split_once("://").context(FORM)?;
        let mut parts: Vec<&str> = rest.split('/').collect();
        let host = parts.remove(0);
        // The API's own addresses: api.github.com, api.NAME.ghe.com, HOST/api/v3.
        let site = match (host.strip_prefix("api."), &parts[..]) {
            (Some(site), ["repos", ..]) => {
                parts.remove(0);
                site
            }
            (_, ["api", "v3", "repos", ..]) => {
                parts.drain(..3);
                host
            }
            _ => host,
        };
        let (owner, repository, job) = match parts[..] {
            [owner, repository, "actions", "runs", _, "job" | "jobs", job]
            | [owner, repository, "actions", "runs", _, "attempts", _, "job" | "jobs", job]
            | [owner, repository, "actions", "jobs", job]
            // A check run's page; the check run of a job has the job's id.
            | [owner, repository, "runs", job] => (owner, repository, job),
            [_, _, "actions", "runs", ..] => {
                bail!("it is the address of a run, which has several jobs; open one of them and copy the \
                    page's address")
            }
            _ => bail!(FORM),
        };
        let scope: Scope = format!("{scheme}://{site}/{owner}/{repository}").parse()?;
        if !matches!(scope.target(), Target::Repository { .. }) {
            bail!(FORM);
        }
        Ok(Self { repository: scope, job: JobId(job.parse().ok().context(FORM)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_found_by_each_of_its_addresses() {
        for (address, repository) in [
            ("https://github.com/Acme/Widgets/actions/runs/7/job/42", "https://github.com/acme/widgets"),
            (
                "https://github.com/acme/widgets/actions/runs/7/job/42?pr=3#step:4:1",
                "https://github.com/acme/widgets",
            ),
            (
                "https://github.com/acme/widgets/actions/runs/7/attempts/2/job/42/",
                "https://github.com/acme/widgets",
            ),
            ("https://github.com/acme/widgets/runs/42", "https://github.com/acme/widgets"),
            ("https://api.github.com/repos/acme/widgets/actions/jobs/42", "https://github.com/acme/widgets"),
            (
                "https://api.big.ghe.com/repos/acme/widgets/actions/jobs/42",
                "https://big.ghe.com/acme/widgets",
            ),
            (
                "http://127.0.0.1:8080/api/v3/repos/acme/widgets/actions/jobs/42",
                "http://127.0.0.1:8080/acme/widgets",
            ),
            (
                "http://127.0.0.1:8080/acme/widgets/actions/runs/7/jobs/42",
                "http://127.0.0.1:8080/acme/widgets",
            ),
        ] {
            let expected = Address { repository: repository.parse().unwrap(), job: JobId(42) };
            assert_eq!(Address::parse(address).unwrap(), expected, "{address}");
        }
    }

    #[test]
    fn what_is_no_job_is_refused_with_what_is_wanted() {
        for (address, part) in [
            ("https://github.com/acme/widgets/actions/runs/7", "the address of a run"),
            ("https://github.com/acme/widgets", "copy the page's address"),
            ("https://github.com/acme/widgets/actions/runs/7/job/x", "copy the page's address"),
            ("42", "copy the page's address"),
            ("https://", "copy the page's address"),
            ("https://me:pw@github.com/acme/widgets/actions/jobs/4", "user name or password"),
        ] {
            let error = format!("{:#}", Address::parse(address).unwrap_err());
            assert!(error.contains(part), "{address}: {error}");
        }
    }
}
