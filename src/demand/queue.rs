//! Looks at the queues of a scope's repositories, by the schedule, and publishes what they show.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet, time::sleep};
use tracing::{debug, warn};

use super::{
    schedule::{Reach, Schedule, Shortfall},
    streak::Streak,
};
use crate::{
    fleet::{Evidence, Instant, Pool, PoolName, Scope, Source, Target, Trouble, TroubleKind},
    github::{Client, GithubError, Look, PushedRepository, Queue, Repositories},
    text::chain,
};

/// Looks at once.
const AT_ONCE: usize = 4;

/// How often an organization's repositories are listed by when they were pushed to.
const FIND: Duration = Duration::from_mins(1);

/// How long after a failure they are listed again at most.
const LONGEST_RETRY: Duration = Duration::from_mins(15);

/// Repositories that were not pushed to for so long are not looked at.
const PUSHED: Duration = Duration::from_hours(24 * 60);

/// Hints that are remembered until the loop takes them.
const MAX_HINTS: usize = 1000;

/// Where others say that a repository's queue has changed.
#[derive(Clone, Default)]
pub struct QueueDoor(Arc<Door>);

#[derive(Default)]
struct Door {
    hints: Mutex<BTreeSet<Scope>>,
    shortfall: Mutex<Option<Shortfall>>,
    knocked: Notify,
}

impl QueueDoor {
    /// Has a repository looked at as soon as may be. One that is not looked at so far is from now on,
    /// if it is in the scope.
    pub fn look_soon(&self, repository: &Scope) {
        let mut hints = self.0.hints.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() < MAX_HINTS {
            hints.insert(repository.clone());
        }
        drop(hints);
        self.0.knocked.notify_one();
    }

    /// What GitHub's limits do not allow of the configured interval, at the moment.
    pub fn shortfall(&self) -> Option<Shortfall> {
        self.0.shortfall.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self) -> BTreeSet<Scope> {
        std::mem::take(&mut *self.0.hints.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The queues of one scope.
pub struct QueueWatch<P, C> {
    client: Client,
    pools: Vec<PoolName>,
    publish: P,
    clock: C,
    door: QueueDoor,
    schedule: Schedule,
    queues: BTreeMap<Scope, Queue>,
    /// What is pushed to is looked for, since a pool names no repositories.
    finds: bool,
    /// Failures of that.
    finding: Streak,
    /// What does not work, by repository; the scope itself stands for the list of repositories.
    troubles: BTreeMap<Scope, Trouble>,
    /// Whether anything was said of the source so far, and what last.
    told: bool,
    told_kind: Option<TroubleKind>,
}

/// What a piece of work has come to.
enum Done {
    Looked(Box<Queue>, Result<Look, GithubError>),
    Found(Box<Repositories>, Result<Vec<PushedRepository>, GithubError>),
}

impl<P: Fn(Evidence) + Send, C: Fn() -> Instant + Send> QueueWatch<P, C> {
    /// A watch over the queues that the pools of the client's scope learn of jobs from, each looked at
    /// every `interval` while it is active and the limits of the credential allow it, which `shared_by`
    /// scopes share.
    pub fn new(
        client: Client,
        pools: &[Pool],
        interval: Duration,
        shared_by: u32,
        publish: P,
        clock: C,
    ) -> Self {
        let mut schedule = Schedule::new(interval, shared_by);
        let scope = client.scope().clone();
        let own = matches!(scope.target(), Target::Repository { .. });
        if own {
            schedule.add(&scope, Reach::Own, clock());
        }
        let named = pools.iter().flat_map(|pool| &pool.repositories).filter(|_| !own);
        for repository in named {
            schedule.add(repository, Reach::Named, clock());
        }
        Self {
            finding: Streak::new(FIND, LONGEST_RETRY),
            finds: !own && pools.iter().any(|pool| pool.repositories.is_empty()),
            pools: pools.iter().map(|pool| pool.name.clone()).collect(),
            door: QueueDoor::default(),
            queues: BTreeMap::new(),
            troubles: BTreeMap::new(),
            told: false,
            told_kind: None,
            client,
            publish,
            clock,
            schedule,
        }
    }

    /// Where webhooks and others knock.
    pub fn door(&self) -> QueueDoor {
        self.door.clone()
    }

    /// Watches for ever. `news` says that a runner took a job or ended, so that where jobs waited fewer
    /// may.
    pub async fn run(mut self, news: Arc<Notify>) {
        let mut work: JoinSet<Done> = JoinSet::new();
        let mut finder = self.finds.then(|| Box::new(Repositories::new(self.client.clone())));
        let mut find_at = (self.clock)();
        loop {
            let now = (self.clock)();
            if now >= find_at
                && let Some(mut repositories) = finder.take()
            {
                find_at = now + FIND;
                work.spawn(async move {
                    let found = repositories.pushed_since(now - PUSHED).await;
                    Done::Found(repositories, found)
                });
            }
            let wake_at = self.begin(&mut work, now).min(if finder.is_some() { find_at } else { now + FIND });
            let door = self.door.clone();
            tokio::select! {
                Some(done) = work.join_next(), if !work.is_empty() => match done {
                    Ok(Done::Looked(queue, looked)) => self.looked(*queue, looked),
                    Ok(Done::Found(repositories, found)) => {
                        finder = Some(repositories);
                        if let Some(wait) = self.found(found) {
                            find_at = (self.clock)() + wait;
                        }
                    }
                    // A panic is the process's end; nothing is ever cancelled.
                    Err(error) => debug!(%error, "a poll was aborted"),
                },
                () = door.0.knocked.notified() => self.hear(),
                () = news.notified() => self.schedule.look_at_queued_soon(),
                () = sleep(wake_at.since(now)) => {}
            }
        }
    }

    /// Begins the looks that are due, and says when the next will be.
    fn begin(&mut self, work: &mut JoinSet<Done>, now: Instant) -> Instant {
        let rate = self.client.rate();
        self.tell_shortfall(self.schedule.shortfall(rate.as_ref(), now));
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
                Done::Looked(queue, looked)
            });
        }
        now + FIND
    }

    fn looked(&mut self, queue: Queue, looked: Result<Look, GithubError>) {
        let (now, repository) = ((self.clock)(), queue.repository().clone());
        self.queues.insert(repository.clone(), queue);
        match looked {
            Ok(look) => {
                self.schedule.looked(&repository, &look, now);
                let Look { began, jobs, missing, .. } = look;
                match missing {
                    None => {
                        (self.publish)(Evidence::Queue { repository: repository.clone(), began, jobs });
                        self.troubles.remove(&repository);
                    }
                    Some(missing) => {
                        // What was seen is so; only of what was not seen nothing can be said.
                        for (job, state) in jobs {
                            (self.publish)(Evidence::Job { job, state, at: began, asked: true });
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
        self.tell_sources();
    }

    /// Takes in what was pushed to; or how long to wait, when that cannot be listed.
    fn found(&mut self, found: Result<Vec<PushedRepository>, GithubError>) -> Option<Duration> {
        let (now, scope, mut wait) = ((self.clock)(), self.client.scope().clone(), None);
        match found {
            Ok(found) => {
                for PushedRepository { repository, pushed_at } in &found {
                    self.schedule.add(repository, Reach::Found, *pushed_at);
                }
                let found: BTreeSet<Scope> = found.into_iter().map(|found| found.repository).collect();
                for gone in self.schedule.forget_found(|known| found.contains(known), now) {
                    self.queues.remove(&gone);
                    self.troubles.remove(&gone);
                    // What nobody looks at any more is nobody's demand.
                    (self.publish)(Evidence::Queue { repository: gone, began: now, jobs: Vec::new() });
                }
                self.troubles.remove(&scope);
                self.finding.end();
            }
            Err(error) => {
                let trouble = self.trouble(&scope, error);
                self.troubles.insert(scope, trouble);
                wait = Some(self.finding.fail().1);
            }
        }
        self.tell_sources();
        wait
    }

    /// Takes the hints that were left at the door.
    fn hear(&mut self) {
        for repository in self.door.take() {
            if self.schedule.look_soon(&repository) {
                continue;
            }
            if self.finds && is_of(&repository, self.client.scope()) {
                self.schedule.add(&repository, Reach::Found, (self.clock)());
            }
        }
    }

    fn trouble(&self, of: &Scope, error: GithubError) -> Trouble {
        debug!(scope = %self.client.scope(), %of, error = chain(&error), "failed to poll a queue");
        error.into()
    }

    /// Says whether the source works, once for each change.
    fn tell_sources(&mut self) {
        let trouble = self.troubles.values().next();
        let kind = trouble.map(|trouble| trouble.kind);
        if self.told && self.told_kind == kind {
            return;
        }
        (self.told, self.told_kind) = (true, kind);
        for pool in &self.pools {
            let (pool, trouble) = (pool.clone(), trouble.cloned());
            (self.publish)(Evidence::Source { pool, source: Source::Queue, trouble });
        }
    }

    /// Says aloud, once for each streak, that the limits do not allow what is configured.
    fn tell_shortfall(&self, shortfall: Option<Shortfall>) {
        let mut told = self.door.0.shortfall.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(Shortfall { repositories, wanted, allowed, interval })) = (&*told, &shortfall) {
            let (scope, interval) = (self.client.scope(), interval.as_secs());
            warn!(
                %scope, repositories, wanted, allowed, interval,
                "GitHub's rate limit does not allow to poll all queues as often as configured ({wanted} \
                 requests an hour, {allowed} are left), so the active ones are polled every {interval} s; \
                 list fewer repositories in the pools, or use webhooks"
            );
        }
        *told = shortfall;
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
