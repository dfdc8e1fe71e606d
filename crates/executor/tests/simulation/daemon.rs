//! A small model of the daemon's shell: listings, tasks, passes, and its sudden death. The core and
//! the execution of its plans are the real ones; only runtime and timers are the world's.

mod beliefs;
mod brief;
mod evening;
mod passes;
mod tasks;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use dayfly_executor::Edges;
use dayfly_fleet::{Action, Evidence, Fleet, HostName, PoolName, RunnerName, Scope};

use beliefs::Beliefs;

use crate::{
    calls::Api,
    cases::Cases,
    engine::Engine,
    figures::Figures,
    nodes::Shown,
    random::Random,
    rules::Sight,
    setting::{MINUTE, SECOND, Setting, Source},
    world::{Asking, Fate, Happening, Shared, World, note},
};

/// How often scopes and hosts are listed.
const INTERVAL: u64 = 10 * SECOND;

/// How many actions run at once on a host.
const LANES: usize = 8;

/// How long after the last fault everything is in order again: a refused version is tried every
/// ten minutes, and GitHub releases a lost runner's registration after fifteen, which the daemon
/// finds out by retries that back off.
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
    /// The first failure after the last good runner.
    pub(crate) bad_since: Option<u64>,
}

/// One day: a world, and a daemon in it.
pub(crate) struct Day {
    pub(crate) shared: Shared,
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
    /// Runners that came online in this life and have not been removed.
    pub(crate) launched: BTreeSet<RunnerName>,
    /// Runners that were reported to the daemon in this life to have a job (rule 1: the latch).
    pub(crate) told_busy: BTreeSet<RunnerName>,
    /// Those whose exit was reported to the daemon.
    pub(crate) told_end: BTreeSet<RunnerName>,
    /// Runners that GitHub did not know when they were to be deregistered (rule 3).
    pub(crate) told_unknown: BTreeSet<RunnerName>,
    /// Runners whose exit was reported in this life.
    ended: BTreeSet<RunnerName>,
    /// What was reported to the daemon about jobs in this life.
    pub(crate) beliefs: Beliefs,
    pub(crate) paces: Vec<Pace>,
    /// What was reported to the daemon about nodes in this life.
    pub(crate) shown: Shown,
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
        Self::of(seed, setting, random, traced)
    }

    /// The day of the same seed, in which GitHub sends no webhooks and the daemon polls instead.
    pub(crate) fn without_hints(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut setting = Setting::draw(&mut random);
        setting.without_hints();
        Self::of(seed, setting, random, false)
    }

    fn of(seed: u64, setting: Setting, mut random: Random, traced: bool) -> Self {
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
            told_end: BTreeSet::new(),
            told_unknown: BTreeSet::new(),
            ended: BTreeSet::new(),
            beliefs: Beliefs::default(),
            paces: (0..pools).map(|_| Pace { launches: VecDeque::new(), bad_since: None }).collect(),
            shown: Shown::default(),
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
        let news = world.met.clone();
        let lost = world.jobs.iter().filter(|job| job.fate == Fate::Lost).count();
        let served = world.jobs.iter().filter(|job| job.fate == Fate::Served).count();
        let mut figures = self.figures;
        figures.simulated = world.now - began;
        figures.lifetimes = world.containers.iter().filter(|c| !c.is_up()).count() as u64;
        (figures.served, figures.lost) = (served as u64, lost as u64);
        figures.longest_wait_apart = world.longest_wait_apart;
        let faults = &world.setting.faults;
        let failing = faults.runners + faults.spells + faults.kills + faults.github + faults.engine;
        if failing == 0 && world.setting.alone.is_none() {
            let source_of = |pool: usize| world.setting.pools[pool].source as usize;
            for pool in world.jobs.iter().filter_map(|job| job.pool) {
                figures.jobs_by[source_of(pool)] += 1;
            }
            for container in &world.containers {
                figures.launched_by[source_of(container.pool)] += 1;
            }
        } else {
            figures.surplus_by = [0; Source::COUNT];
        }
        drop(world);
        self.figures = figures;
        self.cases.news = news;
        Ok(())
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        let world = match self.shared.lock() {
            Ok(world) => world,
            Err(poisoned) => poisoned.into_inner(),
        };
        world.trace.iter().flatten().cloned().collect()
    }

    /// Looks up the jobs without a recent report.
    fn repair(&mut self) {
        let jobs = self.status().jobs;
        let mut world = self.world();
        let (now, clock) = (world.now, world.clock_of_pass);
        for job in jobs {
            if clock.instant(job.seen_at).as_millis() + 2 * MINUTE <= now {
                world.look_up(usize::try_from(job.id.0).expect("ours"));
            }
        }
        let life = world.life;
        world.after(30 * SECOND, Happening::Repair(life));
    }

    /// One thing happens; false when the day is over.
    fn step(&mut self, happening: Happening) -> bool {
        let life = self.world().life;
        if self.sleeps_through(happening) {
            return true;
        }
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
            Happening::Repair(of) if of == life => self.repair(),
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

    /// Whether it is an affair of the daemon's while its machine is suspended: then it comes when that wakes.
    fn sleeps_through(&mut self, happening: Happening) -> bool {
        let mut world = self.world();
        let waits = world.asleep()
            && matches!(
                happening,
                Happening::Start
                    | Happening::LookScope(..)
                    | Happening::LookHost(..)
                    | Happening::Wake(_)
                    | Happening::Repair(_)
                    | Happening::Reply(_)
                    | Happening::LookQueue(..)
                    | Happening::QueueAnswer(..)
                    | Happening::LookedUp(..)
                    | Happening::OpenSession(..)
                    | Happening::SetNews(..)
                    | Happening::SetSilence(..)
                    | Happening::TellGroups(..)
                    | Happening::TellImage(..)
            );
        if waits {
            let awake = world.clocks.asleep_until;
            world.at(awake, happening);
        }
        waits
    }

    /// Handles what the world reports by itself.
    fn listen(&mut self) {
        let (reported, soon) = {
            let mut world = self.world();
            if world.asleep() || world.reported.is_empty() && world.look_soon.is_empty() {
                return;
            }
            (std::mem::take(&mut world.reported), std::mem::take(&mut world.look_soon))
        };
        for evidence in reported {
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
        if life > 1 && world.random.chance(700) {
            world.reconfigure();
        }
        let pools = world.setting.configured().map(|p| p.pool.clone()).collect();
        let hosts = world.setting.hosts.clone();
        let fleet = Fleet::new(world.setting.instance.clone(), seed, pools, hosts);
        for scope in 0..world.listed.len() {
            world.after(0, Happening::LookScope(scope, life));
        }
        for host in 0..world.present.len() {
            world.after(0, Happening::LookHost(host, life));
            let delay = world.random.within(10, 3000);
            world.after(delay, Happening::TellImage(host, life));
            world.tell_disk(host);
        }
        world.begin_sources();
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
                _ => self.random.within(1, 6000),
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
        self.told_end.clear();
        self.told_unknown.clear();
        self.ended.clear();
        self.beliefs = Beliefs::default();
        self.forget_nodes();
        let mut world = self.world();
        note!(world, "daemon: killed");
        world.alive = false;
        // What was meant for it is lost.
        world.life += 1;
        world.scope_sight.fill(Sight::Unseen);
        world.host_sight.fill(Sight::Unseen);
        world.following.fill(false);
        world.reported.clear();
        world.look_soon.clear();
        world.abandon_calls();
        let delay = match world.random.index(4) {
            0 => world.random.within(0, 8 * MINUTE),
            _ => world.random.within(50, 5 * SECOND),
        };
        world.after(delay, Happening::Start);
    }
}

fn edges(shared: &Shared) -> Arc<Edges<Api, Engine>> {
    let world = shared.lock().expect("the world is whole");
    let setting = &world.setting;
    let api = |scope| Api { world: Arc::clone(shared), scope };
    let engine = |host| Engine { world: Arc::clone(shared), host };
    Arc::new(Edges {
        instance: setting.instance.clone(),
        pool_apis: BTreeMap::new(),
        scopes: setting.scopes.iter().enumerate().map(|(i, scope)| (scope.clone(), api(i))).collect(),
        hosts: setting.hosts.iter().enumerate().map(|(i, host)| (host.name.clone(), engine(i))).collect(),
        pools: setting.configured().map(|p| (p.pool.name.clone(), p.pool.clone())).collect(),
    })
}
