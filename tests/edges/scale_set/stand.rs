//! A simulator, a client for its scale sets, and a pool that is served.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use dayfly::{
    demand::scale_set::{ScaleSetPool, Waits, serve},
    fleet::{Evidence, RunnerName, TroubleKind},
    github::{
        Client, Credential, GithubError, Mint, MintedRunner, RunnerApi as _, TokenSource,
        scale_set::{ScaleSetError, ScaleSetRunners, ScaleSets, Waits as ClientWaits},
    },
    simulator::{Settings, Simulator},
};
use tokio::{process::Child, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) fn quick() -> Settings {
    let mut settings = Settings { busy_lag: Duration::ZERO, ..Settings::default() };
    settings.scale_sets.poll_hold = Duration::from_millis(100);
    settings
}

/// Very short pauses.
pub(crate) fn waits() -> ClientWaits {
    let short = Duration::from_millis(1);
    ClientWaits { registration: short, first: short, longest: short }
}

/// A client for the scale sets of a scope at an address.
pub(crate) fn sets(address: &str, token: &str) -> (tempfile::TempDir, ScaleSets) {
    let (directory, client) = client(address, token);
    (directory, ScaleSets::with_waits(client, waits()))
}

/// A client for a scope at an address.
pub(crate) fn client(address: &str, token: &str) -> (tempfile::TempDir, Client) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, token).unwrap();
    let credential = Credential::new(TokenSource::File(file));
    let client = Client::new(address.parse().unwrap(), &credential, Arc::new(|_| {})).unwrap();
    (directory, client)
}

pub(crate) fn pool(name: &str, labels: &[&str]) -> ScaleSetPool {
    ScaleSetPool {
        name: name.parse().unwrap(),
        group: "Default".to_owned(),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        owner: "dayfly/ci1@here".to_owned(),
        session_file: None,
        waits: Waits {
            conflict: Duration::from_millis(50),
            first: Duration::from_millis(5),
            longest: Duration::from_millis(50),
            shutdown: Duration::from_secs(5),
        },
    }
}

/// A pool that is being served, and what was reported of it.
pub(crate) struct Served {
    pub(crate) runners: ScaleSetRunners,
    pub(crate) capacity: watch::Sender<u32>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    reported: Arc<Mutex<Vec<Evidence>>>,
}

impl Served {
    pub(crate) fn begin(sets: &ScaleSets, pool: ScaleSetPool) -> Self {
        Self::begin_with(sets, pool, |_, _| {})
    }

    /// With something that is done at each fact.
    pub(crate) fn begin_with(
        sets: &ScaleSets,
        pool: ScaleSetPool,
        at_each: impl Fn(&Evidence, &CancellationToken) + Send + Sync + 'static,
    ) -> Self {
        let (capacity, most) = watch::channel(100);
        let stop = CancellationToken::new();
        let reported: Arc<Mutex<Vec<Evidence>>> = Arc::default();
        let runners = ScaleSetRunners::new(sets.clone());
        let task = tokio::spawn({
            let (stop, reported, runners) = (stop.clone(), Arc::clone(&reported), runners.clone());
            async move {
                let publish = |evidence: Evidence| {
                    at_each(&evidence, &stop);
                    reported.lock().unwrap().push(evidence);
                };
                serve(&runners, &pool, most, stop.clone(), publish).await;
            }
        });
        Self { runners, capacity, stop, task, reported }
    }

    /// Passes everything that was published so far to a closure.
    pub(crate) fn reported<T>(&self, look: impl FnOnce(&[Evidence]) -> T) -> T {
        look(&self.reported.lock().unwrap())
    }

    /// How many pieces of news are such.
    pub(crate) fn count(&self, such: impl Fn(&Evidence) -> bool) -> usize {
        self.reported(|news| news.iter().filter(|news| such(news)).count())
    }

    /// Waits until this many were published.
    pub(crate) async fn heard(&self, what: &str, times: usize, such: impl Fn(&Evidence) -> bool) {
        let met = eventually(|| self.count(&such) >= times).await;
        assert!(met, "{what} was not told: {}", self.reported(|news| format!("{news:#?}")));
    }

    /// Waits until this many jobs are reported as assigned.
    pub(crate) async fn assigned(&self, jobs: u32) {
        let last = || {
            self.reported(|news| {
                news.iter().rev().find_map(|news| match news {
                    Evidence::Assigned { jobs, .. } => *jobs,
                    _ => None,
                })
            })
        };
        let met = eventually(|| last() == Some(jobs)).await;
        assert!(met, "{jobs} assigned jobs were not told: {}", self.reported(|news| format!("{news:#?}")));
    }

    /// Stops it and waits for its end.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it ends").unwrap();
    }

    pub(crate) async fn mint(&self, name: &str) -> Result<MintedRunner, GithubError> {
        mint(&self.runners, name).await
    }
}

pub(crate) async fn mint(runners: &ScaleSetRunners, name: &str) -> Result<MintedRunner, GithubError> {
    let name = RunnerName::parse(&format!("dayfly-{name}-ci1-01hzzzzzzzzzzzzzzzzzzzzzzz")).unwrap();
    runners.mint(Mint { name: &name, group: "Default", labels: &[] }).await
}

pub(crate) const fn is_up(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Assigned { jobs: Some(_), .. })
}

pub(crate) fn is_trouble(evidence: &Evidence) -> bool {
    fails_with(evidence, "")
}

/// Whether the source does not work, for a reason with this text.
pub(crate) fn fails_with(evidence: &Evidence, text: &str) -> bool {
    matches!(evidence, Evidence::Source { trouble: Some(trouble), .. }
        if trouble.kind != TroubleKind::SessionTaken && trouble.detail.contains(text))
}

/// Whether another session is in the way.
pub(crate) fn is_waiting(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Source { trouble: Some(trouble), .. } if trouble.kind == TroubleKind::SessionTaken)
}

/// Whether a condition comes to hold in time.
pub(crate) async fn eventually(condition: impl Fn() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !condition() {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    assert!(eventually(condition).await, "not in time: {what}");
}

/// Deletes a set of the default group, even while it is served; returns whether there was one.
pub(crate) async fn delete(sets: &ScaleSets, name: &str) -> Result<bool, ScaleSetError> {
    match sets.find("Default", name).await? {
        Some(set) => sets.delete(&set).await,
        None => Ok(false),
    }
}

/// Starts a simulated runner, which ends with the handle.
pub(crate) fn runner(jit: &str) -> Child {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .arg("simulated-runner")
        .env("ACTIONS_RUNNER_INPUT_JITCONFIG", jit)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A simulator, and a client for the sets of its organization.
pub(crate) async fn stand(settings: Settings) -> (Simulator, tempfile::TempDir, ScaleSets) {
    let simulator = Simulator::start(settings).await.unwrap();
    let (directory, sets) = sets(&simulator.scope_url("acme"), "simulated-token");
    (simulator, directory, sets)
}
