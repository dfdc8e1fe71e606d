//! Polls the queues of a scope's repositories by the schedule, and publishes what they show.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet, time::sleep};
use tracing::{debug, warn};

use super::schedule::{FIND_INTERVAL, Reach, Schedule, Shortfall};
use crate::{
    backoff::Backoff,
    clock,
    demand::Publisher,
    fleet::{Evidence, Instant, Pool, PoolName, Scope, Source, Target, Trouble, TroubleKind},
    github::{Client, GithubError, Look, PushedRepository, Queue, Repositories},
    text::chain,
};

/// Polls at once.
const AT_ONCE: usize = 4;

/// How long after a failure they are listed again at most.
const LONGEST_RETRY: Duration = Duration::from_mins(15);

/// Repositories that were not pushed to for so long are not polled.
const PUSHED: Duration = Duration::from_hours(24 * 60);

/// Hints that are remembered until the loop takes them.
const MAX_HINTS: usize = 1000;

/// Makes the watch poll a repository sooner.
#[derive(Clone, Default)]
pub struct QueueHandle(Arc<HandleState>);

#[derive(Default)]
struct HandleState {
    hints: Mutex<BTreeSet<Scope>>,
    shortfall: Mutex<Option<Shortfall>>,
    notify: Notify,
}

impl QueueHandle {
    /// Has a repository polled as soon as possible. One that is not polled so far is from now on, if it is in
    /// the scope.
    pub fn poll_soon(&self, repository: &Scope) {
        let mut hints = self.0.hints.lock();
        if hints.len() < MAX_HINTS {
            hints.insert(repository.clone());
        }
        drop(hints);
        self.0.notify.notify_one();
    }

    /// What GitHub's limits do not allow of the configured interval, at the moment.
    pub fn shortfall(&self) -> Option<Shortfall> {
        self.0.shortfall.lock().clone()
    }

    fn take(&self) -> BTreeSet<Scope> {
        std::mem::take(&mut *self.0.hints.lock())
    }
}

/// The queues of one scope.
pub struct QueueWatch {
    client: Client,
    pools: Vec<PoolName>,
    publisher: Publisher,
    handle: QueueHandle,
    schedule: Schedule,
    queues: BTreeMap<Scope, Queue>,
    /// Recently pushed repositories are searched for, since a pool names none.
    finds: bool,
    /// Failures of that.
    finding: Backoff,
    /// What does not work, by repository; the scope itself stands for the list of repositories.
    troubles: BTreeMap<Scope, Trouble>,
    /// Whether the state of the source was published so far, and what last.
    is_published: bool,
    published_kind: Option<TroubleKind>,
}

/// What a piece of work has come to.
enum Done {
    Polled(Box<Queue>, Result<Look, GithubError>),
    Found(Box<Repositories>, Result<Vec<PushedRepository>, GithubError>),
}

impl QueueWatch {
    /// A watch over the queues that the pools of the client's scope get jobs from, each polled
    /// every `interval` while it is active and the limits of the credential allow it, which `shared_by`
    /// scopes share.
    pub fn new(
        client: Client,
        pools: &[Pool],
        interval: Duration,
        shared_by: u32,
        publisher: Publisher,
    ) -> Self {
        let mut schedule = Schedule::new(interval, shared_by);
        let scope = client.scope().clone();
        let own = matches!(scope.target(), Target::Repository { .. });
        if own {
            schedule.add(&scope, Reach::Own, clock::now());
        }
        let named = pools.iter().flat_map(|pool| &pool.repositories).filter(|_| !own);
        for repository in named {
            schedule.add(repository, Reach::Named, clock::now());
        }
        Self {
            finding: Backoff::new(FIND_INTERVAL, LONGEST_RETRY),
            finds: !own && pools.iter().any(|pool| pool.repositories.is_empty()),
            pools: pools.iter().map(|pool| pool.name.clone()).collect(),
            handle: QueueHandle::default(),
            queues: BTreeMap::new(),
            troubles: BTreeMap::new(),
            is_published: false,
            published_kind: None,
            client,
            publisher,
            schedule,
        }
    }

    /// What makes it poll a repository sooner.
    pub fn handle(&self) -> QueueHandle {
        self.handle.clone()
    }

    /// Watches forever. `runners_changed` reports that a runner took a job or ended, so that where jobs waited fewer
    /// may.
    pub async fn run(mut self, runners_changed: Arc<Notify>) {
        let mut work: JoinSet<Done> = JoinSet::new();
        let mut finder = self.finds.then(|| Box::new(Repositories::new(self.client.clone())));
        let mut find_at = clock::now();
        loop {
            let now = clock::now();
            if now >= find_at
                && let Some(mut repositories) = finder.take()
            {
                find_at = now + FIND_INTERVAL;
                work.spawn(async move {
                    let found = repositories.pushed_since(now - PUSHED).await;
                    Done::Found(repositories, found)
                });
            }
            let wake_at =
                self.begin(&mut work, now).min(if finder.is_some() { find_at } else { now + FIND_INTERVAL });
            let handle = self.handle.clone();
            tokio::select! {
                Some(done) = work.join_next(), if !work.is_empty() => match done {
                    Ok(Done::Polled(queue, looked)) => self.polled(*queue, looked),
                    Ok(Done::Found(repositories, found)) => {
                        finder = Some(repositories);
                        if let Some(wait) = self.found(found) {
                            find_at = clock::now() + wait;
                        }
                    }
                    // A panic is the process's end; nothing is ever cancelled.
                    Err(error) => debug!(%error, "a poll was aborted"),
                },
                () = handle.0.notify.notified() => self.take_hints(),
                () = runners_changed.notified() => self.schedule.poll_queued_soon(),
                () = sleep(wake_at.since(now)) => {}
            }
        }
    }

    /// Begins the polls that are due, and returns when the next one is.
    fn begin(&mut self, work: &mut JoinSet<Done>, now: Instant) -> Instant {
        let rate = self.client.rate();
        self.report_shortfall(self.schedule.shortfall(rate.as_ref(), now));
        while work.len() < AT_ONCE
            && let Some((repository, at)) = self.schedule.next(rate.as_ref(), now)
        {
            if at > now {
                return at;
            }
            self.schedule.began(&repository, now);
            let queue = self.queues.remove(&repository);
            let queue = queue.unwrap_or_else(|| Queue::new(self.client.clone(), repository));
            let mut queue = Box::new(queue);
            work.spawn(async move {
                let looked = queue.look(now).await;
                Done::Polled(queue, looked)
            });
        }
        now + FIND_INTERVAL
    }

    fn polled(&mut self, queue: Queue, looked: Result<Look, GithubError>) {
        let (now, repository) = (clock::now(), queue.repository().clone());
        self.queues.insert(repository.clone(), queue);
        match looked {
            Ok(look) => {
                self.schedule.polled(&repository, &look, now);
                let Look { began, jobs, missing, .. } = look;
                match missing {
                    None => {
                        self.publisher.publish(Evidence::Queue {
                            repository: repository.clone(),
                            began,
                            jobs,
                        });
                        self.troubles.remove(&repository);
                    }
                    Some(missing) => {
                        // What was shown is true; nothing is known of the rest.
                        for (job, state) in jobs {
                            self.publisher.publish(Evidence::Job { job, state, at: began, asked: true });
                        }
                        let detail =
                            format!("the queue of {repository} could be read only in part: {missing}");
                        let kind = TroubleKind::GithubFailed;
                        self.troubles.insert(repository, Trouble { kind, retry_after: None, detail });
                    }
                }
            }
            Err(error) => {
                let trouble = self.trouble(&repository, error);
                self.schedule.failed(&repository, trouble.retry_after.map(|wait| now + wait), now);
                self.troubles.insert(repository, trouble);
            }
        }
        self.publish_source();
    }

    /// Takes in what was pushed to; or how long to wait, when that cannot be listed.
    fn found(&mut self, found: Result<Vec<PushedRepository>, GithubError>) -> Option<Duration> {
        let (now, scope, mut wait) = (clock::now(), self.client.scope().clone(), None);
        match found {
            Ok(found) => {
                for PushedRepository { repository, pushed_at } in &found {
                    self.schedule.add(repository, Reach::Found, *pushed_at);
                }
                let found: BTreeSet<Scope> = found.into_iter().map(|found| found.repository).collect();
                for gone in self.schedule.forget_found(|known| found.contains(known), now) {
                    self.queues.remove(&gone);
                    self.troubles.remove(&gone);
                    // What is no longer polled is no pool's demand.
                    self.publisher.publish(Evidence::Queue {
                        repository: gone,
                        began: now,
                        jobs: Vec::new(),
                    });
                }
                self.troubles.remove(&scope);
                self.finding.reset();
            }
            Err(error) => {
                let trouble = self.trouble(&scope, error);
                self.troubles.insert(scope, trouble);
                wait = Some(self.finding.fail());
            }
        }
        self.publish_source();
        wait
    }

    /// Takes the hints that were given since the last time.
    fn take_hints(&mut self) {
        for repository in self.handle.take() {
            if self.schedule.poll_soon(&repository) {
                continue;
            }
            if self.finds && is_of(&repository, self.client.scope()) {
                self.schedule.add(&repository, Reach::Found, clock::now());
            }
        }
    }

    fn trouble(&self, of: &Scope, error: GithubError) -> Trouble {
        debug!(scope = %self.client.scope(), %of, error = chain(&error), "failed to poll a queue");
        error.into()
    }

    /// Publishes whether the source works, once for each change.
    fn publish_source(&mut self) {
        let trouble = self.troubles.values().next();
        let kind = trouble.map(|trouble| trouble.kind);
        if self.is_published && self.published_kind == kind {
            return;
        }
        (self.is_published, self.published_kind) = (true, kind);
        for pool in &self.pools {
            let (pool, trouble) = (pool.clone(), trouble.cloned());
            self.publisher.publish(Evidence::Source { pool, source: Source::Queue, trouble });
        }
    }

    /// Logs, once for each streak, that the limits do not allow what is configured.
    fn report_shortfall(&self, shortfall: Option<Shortfall>) {
        let mut reported = self.handle.0.shortfall.lock();
        if let (None, Some(Shortfall { repositories, wanted, allowed, interval })) = (&*reported, &shortfall)
        {
            let (scope, interval) = (self.client.scope(), interval.as_secs());
            warn!(
                %scope, repositories, wanted, allowed, interval,
                "GitHub's rate limit does not allow to poll all queues as often as configured ({wanted} \
                 requests an hour, {allowed} are left), so the active ones are polled every {interval} s; \
                 list fewer repositories in the pools, or use webhooks"
            );
        }
        *reported = shortfall;
    }
}

/// Whether a repository is one of an organization.
fn is_of(repository: &Scope, scope: &Scope) -> bool {
    match (repository.target(), scope.target()) {
        (Target::Repository { owner, .. }, Target::Organization { organization }) => {
            owner == organization && repository.site() == scope.site()
        }
        _ => false,
    }
}
