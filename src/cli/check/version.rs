//! Checks the version of the runner software in the pools' images: GitHub assigns no jobs to a version that
//! it no longer supports, and reports that nowhere (P12).

use std::sync::Arc;

use super::{
    report::{Line, Verdict},
    wording::refusal,
};
use crate::{
    clock,
    config::Config,
    fleet::{InstanceId, Pool, RunnerName, Timestamp},
    github::{Client, Deprecation, RunnerRecord, RunnerVersion, newest_version},
    host::{Docker, ImageFacts},
};

/// Where runner images have their version.
const VARIABLES: [&str; 3] = ["RUNNER_VERSION", "GH_RUNNER_VERSION", "ACTIONS_RUNNER_VERSION"];

/// The same, as a label (OCI image specification, annotations). Images on Ubuntu inherit Ubuntu's own, such
/// as `22.04`, which is not a version of the runner.
const LABEL: &str = "org.opencontainers.image.version";

/// A version that a pool runs, and the source of that.
struct Running {
    version: RunnerVersion,
    known_by: String,
}

/// Compares the pools' versions with the newest one and with GitHub's announced deprecations.
pub(super) async fn inspect(
    config: &Config,
    pools: &[&Pool],
    client: &Client,
    runners: &[RunnerRecord],
) -> Vec<Line> {
    let scope = client.scope();
    let downloads = match client.downloads().await {
        Ok(downloads) => downloads,
        // Runners do not depend on it.
        Err(error) => {
            let line = refusal(&format!("scope {scope}"), scope, &error);
            return vec![Line { verdict: Verdict::Warn, ..line }];
        }
    };
    let linux: Vec<_> = downloads.into_iter().filter(|download| download.os == "linux").collect();
    let Some(newest) = newest_version(&linux) else { return Vec::new() };
    let mut lines = Vec::new();
    for pool in pools.iter().copied() {
        let running = match seen(pool, &config.instance, runners) {
            Some(running) => Some(running),
            None => in_image(config, pool, newest).await,
        };
        let subject = format!("pool {:?}", pool.name.as_str());
        let Some(running) = running else {
            lines.push(Line::ok(
                subject,
                format_args!(
                    "the image does not show its runner version; the first runner will (newest: {newest})"
                ),
            ));
            continue;
        };
        // Where the server or the token gives no dates, the comparison remains.
        let planned = client.deprecation(running.version).await.ok().flatten();
        lines.push(judge(&subject, pool, &running, newest, planned, clock::wall().shown));
    }
    lines
}

/// The version that the pool's latest runner reported to GitHub.
fn seen(pool: &Pool, instance: &InstanceId, runners: &[RunnerRecord]) -> Option<Running> {
    let reported = runners.iter().filter_map(|runner| {
        let name = RunnerName::parse(&runner.name)?;
        let is_ours = name.instance() == instance.as_str() && name.pool() == pool.name.as_str();
        let version: RunnerVersion = runner.version.as_deref()?.parse().ok()?;
        is_ours.then(|| (name.minted_at(), version))
    });
    let (_, version) = reported.max()?;
    Some(Running { version, known_by: "reported by its latest runner".to_owned() })
}

async fn in_image(config: &Config, pool: &Pool, newest: RunnerVersion) -> Option<Running> {
    // Its hosts pull the same image, so one of them tells for all.
    let host = config.hosts.iter().find(|host| pool.hosts.contains(&host.host.name))?;
    let docker =
        Docker::new(host.host.name.clone(), host.endpoint.clone(), config.instance.clone(), Arc::new(|_| {}));
    let image = &pool.template.image;
    // Whether the engine is reachable and has the image is reported elsewhere.
    let facts = docker.image_facts(image).await.ok().flatten().unwrap_or_default();
    told_by(image, &facts, newest)
}

/// The version in an image's tag, environment or label.
fn told_by(image: &str, facts: &ImageFacts, newest: RunnerVersion) -> Option<Running> {
    let is_runners = |version: &RunnerVersion| version.major == newest.major;
    let read = |text: &str| text.split('-').find_map(|part| part.parse().ok()).filter(is_runners);
    let mut tags = std::iter::once(image).chain(facts.references.iter().map(String::as_str)).filter_map(tag);
    if let Some((version, tag)) = tags.find_map(|tag| Some((read(tag)?, tag))) {
        return Some(Running { version, known_by: format!("from the image tag {tag:?}") });
    }
    let variables = facts.env.iter().filter_map(|variable| variable.split_once('='));
    let variable = variables
        .filter(|(name, _)| VARIABLES.contains(name))
        .find_map(|(name, value)| Some((read(value)?, name)));
    if let Some((version, name)) = variable {
        return Some(Running { version, known_by: format!("from {name} in the image") });
    }
    let version = read(facts.labels.get(LABEL)?)?;
    Some(Running { version, known_by: format!("from the image label {LABEL}") })
}

/// The tag of an image reference.
fn tag(reference: &str) -> Option<&str> {
    let name = reference.split('@').next()?;
    let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
    Some(tag)
}

fn judge(
    subject: &str,
    pool: &Pool,
    running: &Running,
    newest: RunnerVersion,
    planned: Option<Deprecation>,
    now: Timestamp,
) -> Line {
    let Running { version, known_by } = running;
    let runs = format!("runs version {version} of the runner ({known_by})");
    let image = &pool.template.image;
    let hint = format!("rebuild or pull {image} with version {newest}");
    let ends = [
        (planned.and_then(|planned| planned.jobs_end_at), "gets no jobs"),
        (planned.and_then(|planned| planned.registration_ends_at), "cannot register"),
    ];
    let ends = ends.iter().filter_map(|&(at, what)| Some((at?, what)));
    match ends.min() {
        Some((at, what)) if at <= now => {
            Line::fail(subject, format_args!("{runs}, which {what} since {at}"), hint)
        }
        Some((at, what)) => Line::warn(subject, format_args!("{runs}, which {what} from {at} on"), hint),
        None if (version.major, version.minor) < (newest.major, newest.minor) => Line::warn(
            subject,
            format_args!("{runs}; the newest is {newest}"),
            format_args!(
                "{hint}; github.com assigns no jobs to a version 30 days after the next one was released"
            ),
        ),
        None => Line::ok(subject, format_args!("{runs}, the newest is {newest}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::{Policy, Template};

    const NOW: Timestamp = Timestamp::from_millis(1_795_348_800_000);

    fn version(text: &str) -> RunnerVersion {
        text.parse().unwrap()
    }

    fn facts(tags: &[&str], env: &[&str], label: Option<&str>) -> ImageFacts {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        ImageFacts {
            id: "sha256:1".to_owned(),
            references: texts(tags),
            digests: Vec::new(),
            labels: label.map(|label| (LABEL.to_owned(), label.to_owned())).into_iter().collect(),
            env: texts(env),
            user: String::new(),
        }
    }

    fn pool() -> Pool {
        Pool {
            name: "linux".parse().unwrap(),
            scope: "https://github.com/acme".parse().unwrap(),
            credential: "default".into(),
            hosts: vec!["local".parse().unwrap()],
            placement: crate::fleet::Placement::default(),
            group: "Default".to_owned(),
            labels: vec!["linux".to_owned()],
            demand: crate::fleet::Demand::IDLE,
            repositories: Vec::new(),
            allow_public: false,
            match_unlabelled: false,
            policy: Policy::default(),
            template: Template::default(),
        }
    }

    #[test]
    fn an_images_version_is_in_its_tag_environment_or_label_and_not_its_base_images() {
        let none = || facts(&[], &[], None);
        for (image, facts, expected) in [
            ("ghcr.io/actions/actions-runner:2.330.0", none(), Some("2.330.0")),
            ("registry:5000/runner:v2.330.1-ubuntu-22.04@sha256:12", none(), Some("2.330.1")),
            ("registry:5000/runner", none(), None),
            ("runner:latest", facts(&["runner:latest", "runner:2.331.0"], &[], None), Some("2.331.0")),
            (
                "runner:latest",
                facts(&[], &["PATH=/bin", "RUNNER_VERSION=2.332.0"], Some("22.04")),
                Some("2.332.0"),
            ),
            ("runner:latest", facts(&[], &[], Some("2.333.0")), Some("2.333.0")),
            ("runner:latest", facts(&[], &[], Some("22.04")), None),
            ("runner:latest", facts(&[], &[], Some("24.04.1")), None),
            ("runner:1.0.3", none(), None),
        ] {
            let read = told_by(image, &facts, version("2.336.0")).map(|running| running.version);
            assert_eq!(read, expected.map(version), "{image}");
        }
    }

    #[test]
    fn an_old_version_is_a_warning_and_one_that_was_given_up_a_failure() {
        let (before, after) = (Some(NOW - Duration::from_hours(24)), Some(NOW + Duration::from_hours(24)));
        let planned =
            |registration_ends_at, jobs_end_at| Some(Deprecation { registration_ends_at, jobs_end_at });
        for (runs, plan, verdict, words) in [
            ("2.336.0", None, Verdict::Ok, "the newest is 2.336.1"),
            ("2.337.0", None, Verdict::Ok, "the newest"),
            ("2.335.9", None, Verdict::Warn, "; the newest is 2.336.1"),
            ("2.335.9", planned(None, None), Verdict::Warn, "; the newest is 2.336.1"),
            ("2.335.0", planned(None, after), Verdict::Warn, "gets no jobs from 2026-11-23"),
            ("2.335.0", planned(before, after), Verdict::Fail, "cannot register since 2026-11-21"),
            ("2.336.1", planned(None, before), Verdict::Fail, "gets no jobs since 2026-11-21"),
        ] {
            let running = Running { version: version(runs), known_by: "from its tag".to_owned() };
            let line = judge("pool", &pool(), &running, version("2.336.1"), plan, NOW);
            assert!(line.verdict == verdict && line.text.contains(words), "{runs}: {line:?}");
            assert_eq!(line.hint.is_empty(), verdict == Verdict::Ok);
        }
    }
}
