//! The daemon's shell in small: looks, tasks, passes, and its sudden death. The core and the
//! carrying-out of its plans are the real ones; only runtime and timers are the world's.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use dayfly::{
    daemon::Edges,
    fleet::{
        Action, Event, Evidence, Fleet, HostName, Launched, PoolName, RunnerName, Scope, Status, Timestamp,
        TroubleKind, Why,
    },
};

use crate::{
    calls::{Api, Engine},
    cases::Cases,
    lives::Nature,
    random::Random,
    rules::Sight,
    setting::{MINUTE, SECOND, Setting},
    world::{Asking, Fate, Happening, Shared, World, note},
};

/// How often scopes and hosts are looked at.
const INTERVAL: u64 = 10 * SECOND;

/// How many actions run at once on a host.
const LANES: usize = 8;

/// How long after the last fault everything is in order again: a refused version is tried every
/// ten minutes, and GitHub lets go of a lost runner's registration after fifteen, which the daemon
/// finds out by asking ever more seldom.
const SETTLED_WITHIN: u64 = 60 * MINUTE;

/// How long it must then stay so.
const STAYS_SETTLED: u64 = 4 * MINUTE;

/// How long a job may wait where nothing fails.
const WAIT_APART: u64 = 3 * MINUTE;

struct Task {
    future: Pin<Box<dyn Future<Output = Vec<Evidence>> + Send>>,
    asking: Asking,
    /// The host whose lane it takes, if it carries out an action.
    lane: Option<usize>,
}

/// The actions of a host: so many at once, the others after them.
#[derive(Default)]
struct Lane {
    running: usize,
    waiting: VecDeque<Action>,
}

/// How a pool's launches go.
pub(crate) struct Pace {
    pub(crate) launches: VecDeque<u64>,
    /// The first launch after the last good runner.
    pub(crate) bad_since: Option<u64>,
}

/// What a day was made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) days: u64,
    pub(crate) simulated: u64,
    pub(crate) passes: u64,
    pub(crate) actions: u64,
    pub(crate) launches: u64,
    pub(crate) lifetimes: u64,
    pub(crate) served: u64,
    pub(crate) lost: u64,
    pub(crate) kills: u64,
    pub(crate) longest_settling: u64,
    pub(crate) longest_wait_apart: u64,
}

/// One day: a world, and a daemon in it.
pub(crate) struct Day {
    shared: Shared,
    random: Random,
    fleet: Option<Fleet>,
    edges: Arc<Edges<Api, Engine>>,
    tasks: Vec<Option<Task>>,
    next_serial: u64,
    lanes: Vec<Lane>,
    looking_at_host: Vec<bool>,
    look_host_at: Vec<u64>,
    /// Launches that were planned and have not ended, with pool and host.
    pub(crate) in_flight: BTreeMap<RunnerName, (usize, usize)>,
    /// Runners that came up in this life and were not told to go.
    pub(crate) launched: BTreeSet<RunnerName>,
    /// Runners of which the daemon was told in this life that they have a job (rule 1: the latch).
    pub(crate) told_busy: BTreeSet<RunnerName>,
    /// Runners that GitHub did not know when they were to be deregistered (rule 3).
    pub(crate) told_unknown: BTreeSet<RunnerName>,
    /// Runners whose end was told in this life.
    ended: BTreeSet<RunnerName>,
    pub(crate) paces: Vec<Pace>,
    /// A drain ended, and what it began may still go on.
    pub(crate) just_drained: bool,
    wake_at: Option<u64>,
    /// Kill the daemon when so many more things have happened.
    kill_in: Option<u64>,
    kills_left: u64,
    last_action_at: u64,
    calm_at: u64,
    settled_since: Option<u64>,
    pub(crate) cases: Cases,
    pub(crate) figures: Figures,
}

impl Day {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let setting = Setting::draw(&mut random);
        let (hosts, pools) = (setting.hosts.len(), setting.pools.len());
        let kills_left = random.within(0, setting.faults.kills);
        let shared = Arc::new(Mutex::new(World::new(setting, random.clone(), traced)));
        let edges = edges(&shared);
        Self {
            shared,
            random: Random::new(seed ^ 0xdae0),
            fleet: None,
            edges,
            tasks: Vec::new(),
            next_serial: 1,
            lanes: (0..hosts).map(|_| Lane::default()).collect(),
            looking_at_host: vec![false; hosts],
            look_host_at: vec![0; hosts],
            in_flight: BTreeMap::new(),
            launched: BTreeSet::new(),
            told_busy: BTreeSet::new(),
            told_unknown: BTreeSet::new(),
            ended: BTreeSet::new(),
            paces: (0..pools).map(|_| Pace { launches: VecDeque::new(), bad_since: None }).collect(),
            just_drained: false,
            wake_at: None,
            kill_in: None,
            kills_left,
            last_action_at: 0,
            calm_at: u64::MAX,
            settled_since: None,
            cases: Cases::default(),
            figures: Figures { days: 1, ..Figures::default() },
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.shared.try_lock().expect("the world is free")
    }

    pub(crate) fn breach(&self, rule: u8, what: &str) {
        self.world().breach(rule, what);
    }

    pub(crate) fn scope_index(&self, scope: &Scope) -> Option<usize> {
        self.world().setting.scopes.iter().position(|other| other == scope)
    }

    pub(crate) fn host_index(&self, host: &HostName) -> Option<usize> {
        self.world().setting.hosts.iter().position(|other| &other.name == host)
    }

    pub(crate) fn pool_index(&self, pool: &PoolName) -> Option<usize> {
        self.world().setting.pools.iter().position(|other| &other.pool.name == pool && !other.gone)
    }

    pub(crate) fn host_sight_of(&self, host: &HostName) -> Option<Sight> {
        self.host_index(host).map(|index| self.world().host_sight[index])
    }

    /// Lives the day to its end: what broke, if anything did.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        let began = self.world().now;
        loop {
            let Some(happening) = self.world().next() else { break };
            if !self.step(happening) {
                break;
            }
            if let Some(violation) = &self.world().violation {
                return Err(violation.clone());
            }
        }
        if let Some(violation) = self.world().violation.clone() {
            return Err(violation);
        }
        let world = self.world();
        let lost = world.jobs.iter().filter(|job| job.fate == Fate::Lost).count();
        let served = world.jobs.iter().filter(|job| job.fate == Fate::Served).count();
        let mut figures = self.figures;
        figures.simulated = world.now - began;
        figures.lifetimes = world.containers.iter().filter(|c| !c.is_up()).count() as u64;
        (figures.served, figures.lost) = (served as u64, lost as u64);
        figures.longest_wait_apart = world.longest_wait_apart;
        drop(world);
        self.figures = figures;
        Ok(())
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        let world = match self.shared.lock() {
            Ok(world) => world,
            Err(poisoned) => poisoned.into_inner(),
        };
        world.trace.iter().flatten().cloned().collect()
    }

    /// One thing happens; false when the day is over.
    fn step(&mut self, happening: Happening) -> bool {
        let life = self.world().life;
        match happening {
            Happening::Start => self.start(),
            Happening::LookScope(scope, of) if of == life => self.look_at_scope(scope),
            Happening::LookHost(host, of) if of == life => self.look_at_host(host),
            Happening::Wake(of) if of == life => {
                let now = self.world().now;
                if self.wake_at.is_some_and(|at| at <= now) {
                    self.wake_at = None;
                    self.pass();
                }
            }
            Happening::LookScope(..) | Happening::LookHost(..) | Happening::Wake(_) => {}
            Happening::Reply(call) => {
                let task = self.world().reply(call);
                if let Some(task) = task {
                    self.poll(task);
                }
            }
            Happening::Calm => {
                self.world().calms();
                let now = self.world().now;
                self.calm_at = now;
                self.kill_in = None;
                self.world().after(INTERVAL, Happening::Check);
            }
            Happening::Check => return self.check(),
            other => self.world().happens(other),
        }
        self.listen();
        if let Some(left) = &mut self.kill_in {
            *left -= 1;
            if *left == 0 {
                self.kill();
            }
        }
        true
    }

    /// Takes in what the world tells of its own accord.
    fn listen(&mut self) {
        let (told, soon) = {
            let mut world = self.world();
            if world.told.is_empty() && world.look_soon.is_empty() {
                return;
            }
            (std::mem::take(&mut world.told), std::mem::take(&mut world.look_soon))
        };
        for evidence in told {
            self.observe(evidence);
        }
        self.pass();
        for host in soon {
            let World { now, life, .. } = *self.world();
            if self.fleet.is_some() && self.look_host_at[host] > now + 500 {
                self.look_host_at[host] = now + 500;
                self.world().after(500, Happening::LookHost(host, life));
            }
        }
    }

    /// A daemon starts, and knows nothing.
    fn start(&mut self) {
        let seed = self.random.next();
        let mut world = self.world();
        world.life += 1;
        world.alive = true;
        let (life, now) = (world.life, world.now);
        note!(world, "daemon: starts its life {life}");
        if life > 1 && world.random.chance(500) {
            world.reconfigure();
        }
        let pools = world.setting.configured().map(|p| p.pool.clone()).collect();
        let hosts = world.setting.hosts.clone();
        let fleet = Fleet::new(world.setting.instance.clone(), seed, pools, hosts);
        for set in &mut world.told_queue {
            set.clear();
        }
        for scope in 0..world.listed.len() {
            world.after(0, Happening::LookScope(scope, life));
        }
        for host in 0..world.present.len() {
            world.after(0, Happening::LookHost(host, life));
            let delay = world.random.within(10, 3000);
            world.after(delay, Happening::TellImage(host, life));
            world.tell_disk(host);
        }
        for pool in 0..world.waiting.len() {
            if world.setting.pools[pool].demand && !world.setting.pools[pool].gone {
                let delay = world.random.within(0, 2 * SECOND);
                world.after(delay, Happening::TellQueue(pool, life));
            }
        }
        if world.under.draining[0] > 0 {
            world.tell(Evidence::Drain(true));
        }
        let calm = world.calm;
        drop(world);
        self.edges = edges(&self.shared);
        self.fleet = Some(fleet);
        self.look_host_at.fill(now);
        for pace in &mut self.paces {
            (pace.bad_since, pace.launches) = (None, VecDeque::new());
        }
        if self.kills_left > 0 && !calm {
            self.kills_left -= 1;
            self.kill_in = Some(match self.random.index(3) {
                0 => self.random.within(1, 200),
                _ => self.random.within(1, 10_000),
            });
        }
        self.pass();
    }

    /// The daemon is killed where it stands, and started again sooner or later.
    fn kill(&mut self) {
        self.figures.kills += 1;
        self.fleet = None;
        self.kill_in = None;
        self.wake_at = None;
        self.tasks.clear();
        self.lanes.iter_mut().for_each(|lane| *lane = Lane::default());
        self.looking_at_host.fill(false);
        self.in_flight.clear();
        self.launched.clear();
        self.told_busy.clear();
        self.told_unknown.clear();
        self.ended.clear();
        let mut world = self.world();
        note!(world, "daemon: killed");
        world.alive = false;
        // What was meant for it finds nobody.
        world.life += 1;
        world.scope_sight.fill(Sight::Unseen);
        world.host_sight.fill(Sight::Unseen);
        world.following.fill(false);
        world.told.clear();
        world.look_soon.clear();
        world.abandon_calls();
        let delay = match world.random.index(4) {
            0 => world.random.within(0, 8 * MINUTE),
            _ => world.random.within(50, 5 * SECOND),
        };
        world.after(delay, Happening::Start);
    }

    fn look_at_scope(&mut self, scope: usize) {
        let (edges, began) = (Arc::clone(&self.edges), self.world().timestamp());
        let url = self.world().setting.scopes[scope].clone();
        let look = async move { vec![edges.list_registrations(&url, began).await] };
        self.spawn(Box::pin(look), None, None);
    }

    fn look_at_host(&mut self, host: usize) {
        let now = self.world().now;
        if self.looking_at_host[host] || now < self.look_host_at[host] {
            return;
        }
        self.looking_at_host[host] = true;
        let (edges, began) = (Arc::clone(&self.edges), Timestamp::from_millis(now));
        let name = self.world().setting.hosts[host].name.clone();
        let look = async move { vec![edges.list_containers(&name, began).await] };
        self.spawn(Box::pin(look), None, None);
    }

    fn spawn(
        &mut self,
        future: Pin<Box<dyn Future<Output = Vec<Evidence>> + Send>>,
        lane: Option<usize>,
        why: Option<Why>,
    ) {
        let task = self.tasks.iter().position(Option::is_none).unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        self.next_serial += 1;
        let asking = Asking { task, serial: self.next_serial, why };
        self.tasks[task] = Some(Task { future, asking, lane });
        self.poll(task);
    }

    fn poll(&mut self, index: usize) {
        let Some(task) = self.tasks.get_mut(index).and_then(Option::as_mut) else { return };
        self.shared.try_lock().expect("the world is free").asking = task.asking;
        let polled = task.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(found) = polled else { return };
        let lane = task.lane;
        self.tasks[index] = None;
        if let Some(host) = lane {
            self.lanes[host].running -= 1;
        }
        for evidence in found {
            self.observe(evidence);
        }
        self.pass();
        if let Some(host) = lane {
            self.fill(host);
        }
    }

    fn observe(&mut self, evidence: Evidence) {
        let now = self.world().timestamp();
        note!(self.world(), "evidence: {}", brief(&evidence));
        self.cases.evidence(&evidence);
        self.learn(&evidence);
        match &evidence {
            Evidence::Registrations { scope, .. } | Evidence::ScopeTrouble { scope, .. } => {
                self.saw_scope(scope);
            }
            Evidence::Containers { host, .. } | Evidence::HostTrouble { host, .. } => self.saw_host(host),
            Evidence::Launch { runner, outcome } => {
                let began = self.in_flight.remove(runner);
                // GitHub says itself when to try again.
                if let (Some((pool, _)), Launched::Failed { trouble, .. }) = (began, outcome)
                    && trouble.kind == TroubleKind::RateLimited
                {
                    self.paces[pool].launches.pop_back();
                }
                if matches!(outcome, Launched::Up { .. }) {
                    self.launched.insert(runner.clone());
                }
            }
            Evidence::Drain(on) => self.just_drained = !on,
            _ => {}
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.observe(evidence, now);
        }
    }

    fn saw_scope(&mut self, scope: &Scope) {
        let Some(index) = self.scope_index(scope) else { return };
        let mut world = self.world();
        let life = world.life;
        world.after(INTERVAL, Happening::LookScope(index, life));
    }

    fn saw_host(&mut self, host: &HostName) {
        let Some(index) = self.host_index(host) else { return };
        self.looking_at_host[index] = false;
        let mut world = self.world();
        let (life, at) = (world.life, world.now + INTERVAL);
        world.at(at, Happening::LookHost(index, life));
        // Streams that broke are read again from their beginning.
        let seen = world.host_sight[index] == Sight::Clear;
        if seen && !world.following[index] {
            world.repeat_logs(index);
        }
        world.following[index] = seen;
        drop(world);
        self.look_host_at[index] = at;
    }

    /// Plans, and holds the plan against the rules.
    fn pass(&mut self) {
        let now = self.world().timestamp();
        let Some(fleet) = &mut self.fleet else { return };
        let plan = fleet.plan(now);
        self.figures.passes += 1;
        self.cases.plan(&plan);
        if self.random.chance(250) {
            self.plan_again(now);
        }
        for event in &plan.events {
            note!(self.world(), "event: {event:?}");
            match event {
                Event::Ready { .. } | Event::JobStarted { .. } => self.mend_pace(event),
                Event::Exited { runner, .. } if !self.ended.insert(runner.clone()) => {
                    self.breach(7, &format!("the end of {runner} is told twice"));
                }
                _ => {}
            }
        }
        if let Some(at) = plan.wake_at {
            let at = at.as_millis();
            if at <= now.as_millis() {
                self.breach(7, "the next pass is asked for at once");
            }
            if self.wake_at.is_none_or(|before| at < before) {
                self.wake_at = Some(at);
                let mut world = self.world();
                let life = world.life;
                world.at(at, Happening::Wake(life));
            }
        }
        if !plan.actions.is_empty() {
            self.last_action_at = now.as_millis();
        }
        for action in plan.actions {
            self.begin(action);
        }
    }

    /// Rules 7 and 10: with nothing new, and with old demand told again, nothing is to be done.
    fn plan_again(&mut self, now: Timestamp) {
        let stirred = (self.random.index(3) == 0).then(|| {
            let pool = self.random.index(self.paces.len());
            let world = self.world();
            world.setting.pools[pool].demand.then(|| world.queued(pool, true))
        });
        let Some(fleet) = &mut self.fleet else { return };
        let rule = if let Some(Some(evidence)) = stirred {
            fleet.observe(evidence, now);
            10
        } else {
            7
        };
        let again = fleet.plan(now);
        if !again.actions.is_empty() || !again.events.is_empty() {
            self.breach(rule, &format!("planned again: {:?} {:?}", again.actions, again.events));
        }
    }

    /// A pool whose runner is truly good is not failing.
    fn mend_pace(&mut self, event: &Event) {
        let (Event::Ready { runner, .. } | Event::JobStarted { runner, .. }) = event else { return };
        let world = self.world();
        let good = world.container_of(runner).filter(|c| c.nature != Nature::Deprecated).map(|c| c.pool);
        drop(world);
        if let Some(pool) = good {
            self.paces[pool].bad_since = None;
        }
    }

    fn begin(&mut self, action: Action) {
        note!(self.world(), "action: {}", brief_action(&action));
        self.figures.actions += 1;
        self.check_action(&action);
        let host = match &action {
            Action::Launch { host, .. } | Action::Stop { host, .. } | Action::Remove { host, .. } => {
                Some(host)
            }
            Action::Deregister { ask, runner, .. } => {
                self.launched.remove(runner);
                ask.as_ref().map(|(host, _)| host)
            }
        };
        if let Action::Launch { .. } = action {
            self.figures.launches += 1;
        }
        let host = host.and_then(|host| self.host_index(host)).unwrap_or(0);
        self.lanes[host].waiting.push_back(action);
        self.fill(host);
    }

    /// Begins what there is room for.
    fn fill(&mut self, host: usize) {
        while self.lanes[host].running < LANES {
            let Some(action) = self.lanes[host].waiting.pop_front() else { return };
            self.lanes[host].running += 1;
            let why = match &action {
                Action::Launch { why, .. }
                | Action::Deregister { why, .. }
                | Action::Stop { why, .. }
                | Action::Remove { why, .. } => *why,
            };
            let edges = Arc::clone(&self.edges);
            self.spawn(Box::pin(async move { edges.carry_out(action).await }), Some(host), Some(why));
        }
    }

    /// Whether all is in order, once all is calm; false when that has been so for long enough.
    fn check(&mut self) -> bool {
        let now = self.world().now;
        match self.unsettled() {
            Some(why) if self.settled_since.is_some() => {
                self.breach(7, &format!("it was settled, and no more: {why}"));
            }
            Some(why) if now > self.calm_at + SETTLED_WITHIN => {
                self.breach(4, &format!("not settled long after the last fault: {why}"));
            }
            Some(_) => {}
            None if self.tasks.iter().flatten().any(|task| task.lane.is_some()) => {}
            None => {
                let since = *self.settled_since.get_or_insert(now);
                if self.last_action_at > since {
                    self.breach(7, "it was settled, and acted again");
                }
                if now > since + STAYS_SETTLED {
                    self.figures.longest_settling = since - self.calm_at;
                    self.final_check();
                    return false;
                }
            }
        }
        self.world().after(INTERVAL, Happening::Check);
        true
    }

    pub(crate) fn status(&self) -> Status {
        self.fleet.as_ref().map(Fleet::status).unwrap_or_default()
    }

    /// What must be true of the whole day.
    fn final_check(&mut self) {
        let status = self.status();
        for pool in &status.pools {
            let idle = pool.phases.of(dayfly::fleet::Phase::Idle);
            if idle != pool.min_idle.min(pool.max) {
                self.breach(6, &format!("{} says it has {idle} idle runners", pool.name));
            }
            if pool.held.is_some() {
                self.breach(9, &format!("{} says it is held: {:?}", pool.name, pool.held));
            }
        }
        if !status.scopes.iter().all(|scope| scope.up) || !status.hosts.iter().all(|host| host.up) {
            self.breach(9, "a scope or host is said to be down and is not");
        }
        let mut world = self.world();
        let unserved =
            world.jobs.iter().filter(|job| matches!(job.fate, Fate::Waiting | Fate::Assigned)).count();
        if unserved > 0 {
            world.breach(1, &format!("{unserved} jobs were not served"));
        }
        let waited = world.longest_wait_apart;
        if waited > WAIT_APART {
            world.breach(9, &format!("a job waited {waited} ms where nothing failed"));
        }
    }
}

fn edges(shared: &Shared) -> Arc<Edges<Api, Engine>> {
    let world = shared.lock().expect("the world is whole");
    let setting = &world.setting;
    let api = |scope| Api { world: Arc::clone(shared), scope };
    let engine = |host| Engine { world: Arc::clone(shared), host };
    Arc::new(Edges {
        instance: setting.instance.clone(),
        scopes: setting.scopes.iter().enumerate().map(|(i, scope)| (scope.clone(), api(i))).collect(),
        hosts: setting.hosts.iter().enumerate().map(|(i, host)| (host.name.clone(), engine(i))).collect(),
        pools: setting.configured().map(|p| (p.pool.name.clone(), p.pool.clone())).collect(),
    })
}

fn brief(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Registrations { scope, began, registrations } => {
            let ours = registrations.iter().filter(|r| RunnerName::parse(&r.name).is_some()).map(|r| {
                let busy = if r.busy { " busy" } else { "" };
                format!("{}:{}{} {:?}{busy}", r.id, "…", &r.name[r.name.len() - 4..], r.status)
            });
            format!(
                "list of {scope} begun {}: {}",
                began.as_millis() % 100_000_000,
                ours.collect::<Vec<_>>().join(", ")
            )
        }
        Evidence::Containers { host, began, containers } => {
            let all = containers.iter().map(|c| {
                let (state, name) = (format!("{:?}", c.state), c.runner.as_str());
                format!("{} …{} {:.7}", c.id, &name[name.len() - 4..], state)
            });
            format!(
                "list of {host} begun {}: {}",
                began.as_millis() % 100_000_000,
                all.collect::<Vec<_>>().join(", ")
            )
        }
        other => format!("{other:?}"),
    }
}

fn brief_action(action: &Action) -> String {
    match action {
        Action::Launch { runner, why, .. } => format!("launch {runner} for {}", why.as_str()),
        Action::Deregister { runner, registration, ask, why, .. } => {
            format!("deregister {runner} ({registration}) for {}, asking {}", why.as_str(), ask.is_some())
        }
        Action::Stop { runner, why, ask, .. } => format!("stop {runner} for {}, asking {ask}", why.as_str()),
        Action::Remove { runner, why, .. } => format!("remove {runner} for {}", why.as_str()),
    }
}
