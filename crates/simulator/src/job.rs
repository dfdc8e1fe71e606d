//! What the simulator's jobs are.

use std::time::Duration;

/// A workflow job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The organization or repository that it is for. Runners of its repository and of that one's
    /// owner may serve it.
    pub scope: String,
    /// The repository (`owner/name`) that it belongs to; `None` is the scope itself, and for an
    /// organization its repository `jobs`. It comes to be with its first job, private.
    pub repository: Option<String>,
    /// Jobs of one repository that have the same word here are of one run; `None` is a run of its own.
    /// One that is added after the first has begun counts as released late, as by `needs`.
    pub run: Option<String>,
    /// Name of its workflow, whose file is `.github/workflows/{workflow}.yml`.
    pub workflow: String,
    /// The reusable workflows that the run calls, `owner/repository/path@ref`.
    pub calls: Vec<String>,
    /// The event that started its run.
    pub event: String,
    /// The branch of its run.
    pub branch: String,
    /// The repository of that branch, where it is another: a fork.
    pub fork: Option<String>,
    /// Display name.
    pub name: String,
    /// What `runs-on` says.
    pub labels: Vec<String>,
    /// What keeps it from being queued.
    pub held: Option<Hold>,
    /// Whether GitHub's own runners take it, at once.
    pub hosted: bool,
    /// How long it works.
    pub duration: Duration,
    /// What it does to its runner.
    pub behaviour: Behaviour,
}

/// What keeps a job from being queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A deployment protection rule: GitHub says `waiting`.
    Approval,
    /// A concurrency limit: GitHub says `pending`.
    Concurrency,
}

/// What a job does to its runner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Works for its duration and succeeds.
    #[default]
    Succeeds,
    /// Works for its duration and fails.
    Fails,
    /// Takes this many bytes of memory before it begins to work, or dies of it.
    Allocates(u64),
    /// Runs this shell script in the work folder of its repository, and ends as that does.
    Runs(String),
    /// Its worker crashes at once; the runner lives and reports a failed job.
    CrashesWorker,
    /// The runner itself crashes as soon as it has the job, and reports nothing.
    CrashesRunner,
}

impl Job {
    /// A job that succeeds after a second.
    pub fn new(scope: &str, labels: &[&str]) -> Self {
        Self {
            scope: scope.to_owned(),
            repository: None,
            run: None,
            workflow: "ci".to_owned(),
            calls: Vec::new(),
            event: "push".to_owned(),
            branch: "main".to_owned(),
            fork: None,
            name: "build".to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            held: None,
            hosted: false,
            duration: Duration::from_secs(1),
            behaviour: Behaviour::Succeeds,
        }
    }

    /// The same with another display name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// The same with another duration.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// The same with another behaviour.
    #[must_use]
    pub fn that(self, behaviour: Behaviour) -> Self {
        Self { behaviour, ..self }
    }

    /// The same in a repository, `owner/name`.
    #[must_use]
    pub fn of(self, repository: &str) -> Self {
        Self { repository: Some(repository.to_owned()), ..self }
    }

    /// The same as one of several jobs of a run.
    #[must_use]
    pub fn in_run(self, run: &str) -> Self {
        Self { run: Some(run.to_owned()), ..self }
    }

    /// The same, but not queued before [`Simulator::release`](super::Simulator::release).
    #[must_use]
    pub fn held(self, by: Hold) -> Self {
        Self { held: Some(by), ..self }
    }

    /// The same, started by another event, for another branch.
    #[must_use]
    pub fn started_by(self, event: &str, branch: &str) -> Self {
        Self { event: event.to_owned(), branch: branch.to_owned(), ..self }
    }

    /// The same for a branch of another repository, `owner/name`.
    #[must_use]
    pub fn from_fork(self, repository: &str) -> Self {
        Self { fork: Some(repository.to_owned()), ..self }
    }

    /// The same for GitHub's own runners.
    #[must_use]
    pub fn hosted(self) -> Self {
        Self { hosted: true, ..self }
    }
}
