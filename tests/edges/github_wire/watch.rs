//! The watch over queues and groups, against the simulated GitHub.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use dayfly::{
    demand::{
        Publisher,
        eligibility::watch_groups,
        queue::{QueueHandle, QueueWatch},
    },
    fleet::{Demand, Evidence, JobId, JobState, Policy, Pool, Scope, Source, Template, Visibility},
    github::{Numbers, Placed},
    simulator::{Endpoint, Fault, FaultKind, GroupPolicy, Job, Settings, Simulator},
};
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::timeout,
};

use super::{
    queue::{HOUR, client, repository},
    world::{World, answer, complains, says},
};
use crate::captured_log::CapturedLog;

const SOON: Duration = Duration::from_secs(10);

fn pool(scope: &Scope, repositories: Vec<Scope>) -> Pool {
    Pool {
        name: "linux".parse().unwrap(),
        scope: scope.clone(),
        credential: "default".into(),
        hosts: vec!["local".parse().unwrap()],
        placement: dayfly::fleet::Placement::default(),
        group: "gpu".to_owned(),
        labels: vec!["linux".to_owned()],
        demand: Demand::Jobs { queue: true, webhook: false },
        repositories,
        allow_public: false,
        match_unlabelled: false,
        policy: Policy::default(),
        template: Template::default(),
    }
}

/// A watch under way, and what it publishes.
struct Watched {
    evidence: mpsc::UnboundedReceiver<Evidence>,
    handle: QueueHandle,
    runners_changed: Arc<Notify>,
    task: AbortHandle,
}

impl Watched {
    fn new(simulator: &Simulator, scope: &str, named: &[&str], interval: Duration) -> Self {
        let client = client(simulator, scope);
        let named = named.iter().map(|path| repository(simulator, path)).collect();
        let pool = pool(client.scope(), named);
        let (publisher, evidence) = Publisher::channel();
        let watch = QueueWatch::new(client, &[pool], interval, 1, publisher);
        let (handle, runners_changed) = (watch.handle(), Arc::new(Notify::new()));
        let task = tokio::spawn(watch.run(runners_changed.clone())).abort_handle();
        Self { evidence, handle, runners_changed, task }
    }

    /// Waits for a fact.
    async fn until<T>(&mut self, wanted: impl Fn(&Evidence) -> Option<T>) -> T {
        let found = async {
            loop {
                let fact = self.evidence.recv().await.expect("the watch goes on");
                if let Some(found) = wanted(&fact) {
                    return found;
                }
            }
        };
        timeout(SOON, found).await.expect("it is published in time")
    }

    /// Waits for a poll of a repository that shows this many queued jobs.
    async fn until_queued(&mut self, of: &Scope, count: usize) {
        self.until(|fact| match fact {
            Evidence::Queue { repository, jobs, .. } if repository == of => {
                let queued = jobs.iter().filter(|(_, state)| *state == JobState::Queued).count();
                (queued == count).then_some(())
            }
            _ => None,
        })
        .await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn github() -> Simulator {
    let groups = ["Default", "gpu", "other"].map(str::to_owned).to_vec();
    let policy = GroupPolicy {
        visibility: "selected",
        repositories: vec!["acme/widgets".to_owned()],
        allows_public_repositories: true,
        ..GroupPolicy::default()
    };
    let group_policies = [("gpu".to_owned(), policy)].into();
    Simulator::start(Settings { groups, group_policies, ..Settings::default() }).await.unwrap()
}

fn job(repository: &str) -> Job {
    Job::new("acme", &["linux"]).of(repository).lasting(HOUR)
}

#[tokio::test]
async fn a_queued_job_is_published_and_its_end_too() {
    let simulator = github().await;
    let widgets = repository(&simulator, "acme/widgets");
    let mut watched = Watched::new(&simulator, "acme/widgets", &[], Duration::from_secs(1));
    watched.until_queued(&widgets, 0).await;
    let id = simulator.enqueue(job("acme/widgets"));
    watched.until_queued(&widgets, 1).await;
    simulator.cancel(id);
    watched.until_queued(&widgets, 0).await;
}

#[tokio::test]
async fn an_organizations_repositories_are_found_and_a_hint_adds_another_at_once() {
    let simulator = github().await;
    simulator.enqueue(job("acme/tools"));
    let mut watched = Watched::new(&simulator, "acme", &[], HOUR);
    watched.until_queued(&repository(&simulator, "acme/tools"), 1).await;
    simulator.enqueue(job("acme/fresh"));
    watched.handle.poll_soon(&repository(&simulator, "acme/fresh"));
    watched.until_queued(&repository(&simulator, "acme/fresh"), 1).await;
    // Where jobs wait, a change of runners causes another poll.
    simulator.enqueue(job("acme/tools"));
    watched.runners_changed.notify_one();
    watched.until_queued(&repository(&simulator, "acme/tools"), 2).await;
    let asked = |path: &str| simulator.requests().iter().any(|request| request.path.contains(path));
    assert!(!asked("acme/widgets"), "it was pushed to long ago");
}

#[tokio::test]
async fn only_the_named_repositories_are_polled_where_some_are_named() {
    let simulator = github().await;
    simulator.enqueue(job("acme/tools"));
    let mut watched = Watched::new(&simulator, "acme", &["acme/widgets"], HOUR);
    watched.until_queued(&repository(&simulator, "acme/widgets"), 0).await;
    assert_eq!(simulator.count(Endpoint::ListRepositories), 0);
    assert!(simulator.requests().iter().all(|request| !request.path.contains("tools")));
}

#[tokio::test]
async fn trouble_and_its_end_are_reported_once_each() {
    let simulator = github().await;
    simulator.fault(Fault::new(FaultKind::Status(500)).on(Endpoint::ListRuns).times(1));
    let mut watched = Watched::new(&simulator, "acme/widgets", &[], Duration::from_secs(1));
    let reported = |fact: &Evidence| match fact {
        Evidence::Source { source: Source::Queue, trouble, .. } => Some(trouble.is_some()),
        Evidence::Queue { .. } => {
            panic!("a look that failed shows nothing, and one that did not says so first")
        }
        _ => None,
    };
    assert!(watched.until(reported).await);
    let reported = |fact: &Evidence| match fact {
        Evidence::Source { trouble, .. } => Some(trouble.is_some()),
        _ => None,
    };
    assert!(!watched.until(reported).await);
}

#[tokio::test]
async fn the_groups_that_pools_use_are_read_with_their_repositories() {
    let simulator = github().await;
    let client = client(&simulator, "acme");
    let pools = vec![pool(client.scope(), Vec::new())];
    let (publisher, mut evidence) = Publisher::channel();
    let watch = tokio::spawn(watch_groups(client, pools, publisher));
    let read = timeout(SOON, evidence.recv()).await.unwrap();
    watch.abort();
    let Some(Evidence::Groups { groups, .. }) = read else { panic!("no groups: {read:?}") };
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["Default", "gpu"]);
    assert_eq!(groups[1].visibility, Visibility::Selected(vec![repository(&simulator, "acme/widgets")]));
    assert!(groups[1].allows_public && !groups[0].allows_public);
}

/// A GitHub whose repository was renamed: its old address leads to its number.
async fn renamed() -> World {
    World::new("acme", |request| {
        let moved = ("location", "/api/v3/repositories/20");
        let repository = json!({"id": 20, "full_name": "acme/gadgets", "private": true});
        match request.uri.path() {
            "/api/v3/repos/acme/widgets" => answer(301, &[moved], ""),
            "/api/v3/repositories/20" if request.header("if-none-match") == Some("\"e\"") => {
                answer(304, &[], "")
            }
            "/api/v3/repositories/20" => answer(200, &[("etag", "\"e\"")], repository.to_string()),
            "/api/v3/orgs/acme/actions/runner-groups" => {
                let group = json!({"id": 3, "name": "gpu", "default": false, "visibility": "selected"});
                says(200, &json!({"total_count": 1, "runner_groups": [group]}))
            }
            "/api/v3/orgs/acme/actions/runner-groups/3/repositories" => {
                says(200, &json!({"total_count": 1, "repositories": [repository]}))
            }
            "/api/v3/repos/acme/gadgets/actions/jobs/7" => says(200, &json!({"id": 7, "status": "queued"})),
            _ => complains(404, "Not Found"),
        }
    })
    .await
}

#[tokio::test]
async fn a_renamed_repository_is_the_one_that_is_configured_and_it_is_said_once() {
    let log = CapturedLog::default();
    let _guard = log.listen();
    let world = renamed().await;
    let (client, site) = (&world.client, world.client.scope().site().to_owned());
    let repository = |name: &str| format!("{site}/acme/{name}").parse::<Scope>().unwrap();
    let (widgets, gadgets) = (repository("widgets"), repository("gadgets"));
    for _ in 0..2 {
        client.identify(&widgets).await.unwrap();
    }
    assert_eq!(world.statuses(), [Some(301), Some(200), Some(301), Some(304)]);

    let groups = client.group_policies().await.unwrap();
    let Visibility::Selected(served) = &groups[0].visibility else { panic!("{groups:?}") };
    assert_eq!(served[..], [gadgets.clone(), widgets.clone()]);
    let numbers = Numbers { repository: Some(20), owner: None };
    assert_eq!(client.identities().configured(&gadgets, numbers), Placed::Repository(widgets.clone()));
    let found = client.job(&widgets, JobId(7)).await.unwrap();
    assert!(found.is_some_and(|(job, _)| job.facts.repository == widgets), "asked for at its new address");
    assert_eq!(log.text().matches("was renamed or transferred").count(), 1, "{}", log.text());
}

#[tokio::test]
async fn an_organization_that_no_redirect_leads_to_is_found_by_its_number() {
    let log = CapturedLog::default();
    let _guard = log.listen();
    // Who has the name `acme`, and what number 1 is called.
    let names = Arc::new(Mutex::new((Some(1), "acme")));
    let reported = Arc::clone(&names);
    let world = World::new("acme", move |request| {
        let (id, name) = *reported.lock().unwrap();
        match request.uri.path() {
            "/api/v3/orgs/acme" if id.is_some() && request.header("if-none-match").is_some() => {
                answer(304, &[], "")
            }
            "/api/v3/orgs/acme" if id.is_some() => {
                answer(200, &[("etag", "\"e\"")], json!({"id": id, "login": "acme"}).to_string())
            }
            "/api/v3/organizations/1" => says(200, &json!({"id": 1, "login": name})),
            "/api/v3/orgs/newacme/actions/runners/23" => answer(204, &[], ""),
            _ => complains(404, "Not Found"),
        }
    })
    .await;
    let (client, acme) = (&world.client, world.client.scope());
    let newacme: Scope = format!("{}/newacme", acme.site()).parse().unwrap();
    client.identify(acme).await.unwrap();
    // Renamed; then another one takes the name, then it is renamed back.
    for (now, current) in
        [((None, "newacme"), &newacme), ((Some(99), "newacme"), &newacme), ((Some(1), "acme"), acme)]
    {
        *names.lock().unwrap() = now;
        client.identify(acme).await.unwrap();
        assert_eq!(client.identities().current(acme), *current, "{now:?}");
        if current == &newacme {
            world.delete().await.unwrap();
        }
    }
    assert!(!log.text().contains("another account"), "{}", log.text());
}
