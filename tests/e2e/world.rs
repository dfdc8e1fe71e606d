//! The environment of each test: a simulated GitHub, an engine, a daemon with its own instance, and the
//! removal of everything with the instance's label, also when the test fails.

use std::{
    fmt::Write as _,
    fs,
    hash::{BuildHasher, RandomState},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::PathBuf,
    process::{Command, ExitStatus},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bollard::Docker;
use dayfly::simulator::{Endpoint, Hook, Job, Settings, Simulator, Snapshot};
use tempfile::TempDir;

use crate::{
    daemon::{self, Daemon, Log, Status},
    engine::{self, Container},
    engines::TestEngine,
    openapi,
};

/// How long a condition may take to come true on a machine that is busy with other things.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// How often a condition is checked.
const LOOK: Duration = Duration::from_millis(50);

/// How many lines of the daemon's log a failing test shows: of its problems, and of its end.
const SHOWN: usize = 80;

/// A pool as it is written into the configuration.
#[derive(Clone)]
pub(crate) struct Pool {
    name: String,
    /// Its label beside `self-hosted`.
    label: String,
    scope: String,
    policy: String,
    image: Option<String>,
    command: String,
    container: String,
    network: String,
}

/// A pool in a scope such as `acme`, that keeps one runner idle and has four at most. Its labels
/// are `self-hosted` and its name, unless it gets another.
pub(crate) fn pool(name: &str, scope: &str) -> Pool {
    let (name, scope) = (name.to_owned(), scope.to_owned());
    Pool {
        label: name.clone(),
        name,
        scope,
        policy: String::new(),
        image: None,
        command: "\"/dayfly\", \"simulated-runner\"".to_owned(),
        container: String::new(),
        network: "host".to_owned(),
    }
    .sized(1, 4)
}

impl Pool {
    pub(crate) fn sized(mut self, min_idle: usize, max: usize) -> Self {
        self.policy.clear();
        self.policy(&format!("min_idle = {min_idle}")).policy(&format!("max = {max}"))
    }

    pub(crate) fn labelled(self, label: &str) -> Self {
        Self { label: label.to_owned(), ..self }
    }

    /// One more line of `[[pool]]`.
    pub(crate) fn policy(mut self, line: &str) -> Self {
        writeln!(self.policy, "{line}").unwrap();
        self
    }

    /// One more line of `[pool.container]`.
    pub(crate) fn container(mut self, line: &str) -> Self {
        writeln!(self.container, "{line}").unwrap();
        self
    }

    /// Another network than the host's.
    pub(crate) fn network(self, network: &str) -> Self {
        Self { network: network.to_owned(), ..self }
    }

    /// What its runners do wrong.
    pub(crate) fn that(self, oddity: &str) -> Self {
        self.container(&format!("env = {{ DAYFLY_SIMULATED = \"{oddity}\" }}"))
    }

    pub(crate) fn image(self, image: String) -> Self {
        Self { image: Some(image), ..self }
    }

    /// The one word that starts its runners.
    pub(crate) fn command(self, command: &str) -> Self {
        Self { command: format!("{command:?}"), ..self }
    }

    /// A job that this pool serves.
    pub(crate) fn job(&self) -> Job {
        Job::new(&self.scope, &["self-hosted", &self.label])
    }
}

pub(crate) struct World {
    pub(crate) github: Simulator,
    /// Where the engine is.
    pub(crate) at: TestEngine,
    pub(crate) engine: Docker,
    pub(crate) instance: String,
    pub(crate) image: String,
    pub(crate) token: String,
    pub(crate) log: Log,
    /// Lines of the configuration's top, after its own.
    pub(crate) extra: String,
    dir: TempDir,
    daemon: Option<Daemon>,
}

/// What takes long at GitHub takes seconds here.
pub(crate) fn quick() -> Settings {
    Settings {
        busy_lag: Duration::from_millis(500),
        offline_after: Duration::from_secs(5),
        lease: Duration::from_secs(30),
        pickup_timeout: Duration::from_secs(10),
        poll_cycle: Duration::from_millis(500),
        rate_limit: Some(100_000),
        ..Settings::default()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(quick()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::on(TestEngine::usual(), settings).await
    }

    /// An environment with another engine than most tests have.
    pub(crate) async fn on(at: TestEngine, settings: Settings) -> Self {
        let random = RandomState::new().hash_one("instance");
        let instance = format!("e{:08x}", random >> 32);
        let token = format!("canary-token-{random:016x}");
        let engine = engine::connect(&at).await;
        let dir = tempfile::tempdir().unwrap();
        let file =
            fs::File::options().create_new(true).write(true).mode(0o600).open(dir.path().join("token"));
        file.unwrap().write_all(token.as_bytes()).unwrap();
        let settings = at.reached_by(Settings { tokens: vec![token.clone()], ..settings });
        let github = Simulator::start(settings).await.unwrap();
        let log = Log::default();
        let mut world = Self {
            github,
            at,
            engine,
            image: String::new(),
            token,
            instance,
            log,
            extra: "http.listen = \"127.0.0.1:0\"".to_owned(),
            dir,
            daemon: None,
        };
        world.image = engine::image(&world.engine, &world.instance).await;
        world
    }

    /// Has the daemon take webhooks in at an address that stays the same over restarts, and GitHub send
    /// them there for an organization.
    pub(crate) fn hook(&mut self, organization: &str) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let secret = self.path("webhook-secret");
        fs::write(&secret, "hush").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        self.extra = format!("http.listen = \"{free}\"\nhttp.webhook_secret_file = \"webhook-secret\"");
        self.github.add_hook(Hook::new(organization, format!("http://{free}/webhook"), "hush"));
    }

    /// Writes the configuration, with the engine where it is.
    pub(crate) fn configure(&self, pools: &[&Pool]) {
        self.configure_at(&self.at.socket, pools);
    }

    /// Writes the configuration, with the engine at a socket.
    pub(crate) fn configure_at(&self, socket: &str, pools: &[&Pool]) {
        self.configure_by(&format!("unix://{socket}"), pools);
    }

    /// Writes the configuration, with the engine at an endpoint.
    pub(crate) fn configure_by(&self, endpoint: &str, pools: &[&Pool]) {
        let mut text = format!(
            r#"
            instance = "{}"
            state_dir = "{}"
            credentials.default.token_file = "token"
            hosts.local.endpoint = "{endpoint}"
            poll.interval = "500ms"
            {}
            "#,
            self.instance,
            self.state_dir().display(),
            self.extra,
        );
        for Pool { name, label, scope, policy, image, command, container, network } in pools {
            let (url, image) = (self.github.scope_url(scope), image.as_ref().unwrap_or(&self.image));
            let usual = |line: &'static str, key: &str| if container.contains(key) { "" } else { line };
            let pull = usual("pull = \"never\"", "pull = ");
            let network = format!("network = \"{network}\"");
            let network = if container.contains("docker = \"dind\"") { "" } else { &network };
            let written = write!(
                text,
                r#"
                [[pool]]
                name = "{name}"
                url = "{url}"
                labels = ["self-hosted", "{label}"]
                {policy}
                [pool.container]
                image = "{image}"
                command = [{command}]
                {pull}
                {network}
                {container}
                "#
            );
            written.unwrap();
        }
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("dayfly.toml")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A path in a directory that goes with the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the daemon with what was configured last.
    pub(crate) async fn start(&mut self) {
        self.daemon = Some(Daemon::start(&self.config(), &self.log).await);
    }

    /// Starts the daemon with a command that a closure may change.
    pub(crate) async fn start_as(&mut self, edit: impl FnOnce(&mut Command)) {
        let mut command = daemon::command(&self.config());
        edit(&mut command);
        self.daemon = Some(Daemon::start_as(command, &self.log).await);
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("the daemon runs")
    }

    /// Kills the daemon if it runs.
    pub(crate) fn halt(&mut self) {
        self.daemon = None;
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.daemon.take().expect("the daemon runs").kill();
    }

    /// Sends SIGTERM; returns how it exited and how long that took.
    pub(crate) async fn terminate(&mut self) -> (ExitStatus, Duration) {
        self.daemon.take().expect("the daemon runs").terminate().await
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.daemon().signal(signal);
    }

    /// What the daemon answers to a GET.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.daemon().get(path).await.expect("the daemon answers")
    }

    pub(crate) async fn status(&self) -> Status {
        serde_json::from_str(&self.get("/api/v1/status").await).unwrap()
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        until(what, async || Some(self.status().await).filter(&condition)).await
    }

    /// Waits until GitHub is as wanted.
    pub(crate) async fn github_until(&self, what: &str, condition: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let reached = self.github.until(DEADLINE, condition).await;
        reached.unwrap_or_else(|end| panic!("waited in vain: {what}; at last GitHub said {end:#?}"))
    }

    /// The value of a series that must be there, and be a count.
    pub(crate) async fn metric(&self, series: &str) -> usize {
        let metrics = self.get("/metrics").await;
        let of = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        metrics.lines().find_map(of).unwrap_or_else(|| panic!("there is no {series}"))
    }

    /// How many runners of a pool have ended for a reason.
    pub(crate) async fn exits(&self, pool: &str, reason: &str) -> usize {
        let series = format!("dayfly_runner_exits_total{{pool=\"{pool}\",reason=\"{reason}\"}}");
        self.metric(&series).await
    }

    /// Waits until so many runners of a pool have ended for a reason.
    pub(crate) async fn until_exits(&self, pool: &str, reason: &str, count: usize) {
        let what = format!("{count} runners of pool {pool} have ended: {reason}");
        until(&what, async || (self.exits(pool, reason).await >= count).then_some(())).await;
    }

    /// Waits until so many runners of a pool are idle by what the daemon says and in truth, and
    /// returns their containers.
    pub(crate) async fn idle(&self, pool: &str, count: usize) -> Vec<Container> {
        let what = format!("{count} runners of pool {pool} are idle");
        until(&what, async || {
            let (status, now) = (self.status().await, self.github.snapshot());
            let said = |name: &str| status.runners.iter().any(|r| r.name == name && r.phase == "idle");
            let free = |name: &str| now.runner(name).is_some_and(|r| r.online && r.job.is_none());
            let mut idle = self.running().await;
            idle.retain(|c| c.pool == pool && said(&c.runner) && free(&c.runner));
            (status.count(pool, "idle") == count && idle.len() == count).then_some(idle)
        })
        .await
    }

    /// The daemon's containers, in any state.
    pub(crate) async fn containers(&self) -> Vec<Container> {
        engine::containers(&self.engine, &self.instance).await
    }

    /// The daemon's containers that run.
    pub(crate) async fn running(&self) -> Vec<Container> {
        let mut containers = self.containers().await;
        containers.retain(|container| container.state == "running");
        containers
    }

    /// Kills a container as an operator would.
    pub(crate) async fn docker_kill(&self, container: &Container) {
        self.engine.kill_container(&container.id, None).await.unwrap();
    }

    /// How many requests for an endpoint of GitHub concerned a scope.
    pub(crate) fn asked(&self, endpoint: Endpoint, scope: &str) -> usize {
        let at = [format!("/orgs/{scope}/"), format!("/repos/{scope}/")];
        let requests = self.github.requests();
        let concerns = |path: &str| at.iter().any(|at| path.starts_with(at.as_str()));
        requests.iter().filter(|r| r.endpoint == endpoint && concerns(&r.path)).count()
    }

    /// Waits until so many lines hold all of some words, and returns all that do by then. The log comes after what it
    /// tells of: its writer has a thread of its own.
    pub(crate) async fn until_logged(&self, count: usize, words: &[&str]) -> Vec<String> {
        let what = format!("{count} lines are logged with {words:?}");
        until(&what, async || Some(self.logged(words)).filter(|lines| lines.len() >= count)).await
    }

    /// The lines logged so far that hold all of some words: for what must not be there, and counts that only grow.
    pub(crate) fn logged(&self, words: &[&str]) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| words.iter().all(|word| line.contains(word))).cloned().collect()
    }
}

/// Removes everything of an instance, also while a test fails.
pub(crate) fn clear(at: &TestEngine, instance: &str) {
    let (at, instance) = (at.clone(), instance.to_owned());
    // The test's own runtime may be on its way out.
    let cleared = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(engine::clear(&at, &instance));
    });
    if cleared.join().is_err() {
        assert!(thread::panicking(), "the test's containers could not be removed");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It must be dead before its containers are listed.
        self.daemon = None;
        if thread::panicking() {
            self.show_log();
        }
        clear(&self.at, &self.instance);
        if !thread::panicking() {
            // `None` where the descriptions are not; it says so itself.
            let _ = openapi::hold_requests(&self.github.requests());
        }
    }
}

impl World {
    /// The problems first: what comes last may be cut off by those who keep the output.
    fn show_log(&self) {
        let log = Arc::clone(&self.log);
        let Ok(log) = log.lock() else { return };
        let of = |levels: &[&str]| -> Vec<&String> {
            let of =
                |line: &&String| levels.iter().any(|level| line.contains(&format!("\"level\":\"{level}\"")));
            log.iter().filter(of).collect()
        };
        let (problems, reported) = (of(&["WARN", "ERROR"]), of(&["INFO", "WARN", "ERROR"]));
        let first = &problems[..problems.len().min(SHOWN)];
        for line in first.iter().chain(&reported[reported.len().saturating_sub(SHOWN)..]) {
            // There is no one to read it when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Asks again and again until there is an answer, and fails after a deadline.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    within(DEADLINE, what, ask).await
}

/// As [`until`], for what takes longer by design.
pub(crate) async fn within<T>(deadline: Duration, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < deadline {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("waited in vain: {what}");
}
