//! The world outside the daemon, as it truly is: registrations, containers, jobs, and the one
//! queue of everything that will happen. Nothing in here knows what the daemon believes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::{Arc, Mutex},
};

use dayfly_fleet::{
    ClockReading, ContainerId, Devices, Evidence, Exit, Instant, Resources, RunnerName, TemplateDigest, Why,
};

use crate::{
    attached::Attached,
    calls::Call,
    clocks::Clocks,
    jobs::Job,
    lives::{Line, Nature},
    random::Random,
    rules::Sight,
    sets::Set,
    setting::{MORNING, Setting},
    sources::Sources,
    spells::{Spell, Spells},
    swarm::{NodeNews, SwarmNode, Task},
};

/// The world, shared between the day and the calls that wait in it.
pub(crate) type Shared = Arc<Mutex<World>>;

/// Everything that can happen, by index of what it happens to. The daemon's events have the number of the
/// daemon's life, so that those for a killed one are dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    Deed(u64),
    Reply(u64),
    Connect(usize),
    Deliver(usize),
    ShowBusy(usize),
    HideBusy(usize),
    JobDone(usize),
    Exit(usize, i64, bool),
    Vanish(usize),
    /// A sidecar stops, and whether somebody removed it.
    SidecarEnds(usize, bool),
    OutOfMemory(usize),
    /// The manager of a Swarm places a runner's task, or tries to; and the node starts it.
    Place(usize),
    StartTask(usize),
    /// What happens to a node of a host.
    Node(usize, usize, NodeNews),
    /// GitHub gives up the job of a runner that has been cut off since then.
    GiveUp(usize, u64),
    Offline(usize),
    Online(usize),
    Disappear(usize),
    Release(usize),
    Assign(usize),
    Burst(usize),
    /// An approval is given.
    Approve(usize),
    Cancel(usize),
    /// A runner of another installation takes a job.
    Stranger(usize),
    /// GitHub ends a job of itself.
    JobEnds(usize),
    /// A webhook about a job, with the state's rank.
    Hint(usize, u8),
    LookQueue(usize, u64),
    QueueAnswer(usize, u64),
    Repair(u64),
    LookedUp(usize, u64),
    OpenSession(usize, u64),
    SetNews(usize, u64),
    SetSilence(usize, u64),
    LoseSession(usize, u64),
    TellGroups(usize, u64),
    Say(usize, Line, u64),
    TellDeath(usize, u64),
    TellExit(usize, u64),
    TellImage(usize, u64),
    SpellBegins(usize),
    SpellEnds(usize),
    Start,
    LookScope(usize, u64),
    LookHost(usize, u64),
    Wake(u64),
    SetClock,
    Suspend,
    Awake,
    Calm,
    Check,
}

/// GitHub's record of a runner.
pub(crate) struct Registration {
    pub(crate) name: String,
    /// The pool that it was minted for; `None` for another installation's.
    pub(crate) pool: Option<usize>,
    pub(crate) scope: usize,
    /// When lists begin to show it.
    pub(crate) shown_from: u64,
    pub(crate) gone_at: Option<u64>,
    /// Until when lists still show it after it is gone.
    pub(crate) shown_until: u64,
    pub(crate) online: bool,
    /// Connected by GitHub's word, and yet deaf.
    pub(crate) deaf: bool,
    /// What lists say.
    pub(crate) busy: bool,
    pub(crate) container: Option<usize>,
}

/// What a container truly does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Created,
    Up(u64),
    Down(Exit),
}

/// A container of ours, and the runner in it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) host: usize,
    pub(crate) pool: usize,
    pub(crate) runner: RunnerName,
    pub(crate) registration: usize,
    pub(crate) template: TemplateDigest,
    pub(crate) resources: Resources,
    pub(crate) devices: Devices,
    /// Created after the death of the daemon that requested it, so that it is never started.
    pub(crate) belated: bool,
    pub(crate) state: State,
    pub(crate) removed: bool,
    pub(crate) nature: Nature,
    pub(crate) connected_at: Option<u64>,
    /// The job that GitHub gave it, from the instant it did.
    pub(crate) job: Option<usize>,
    /// When GitHub did.
    pub(crate) assigned_at: Option<u64>,
    /// When the runner itself got the job.
    pub(crate) job_at: Option<u64>,
    pub(crate) job_done: bool,
    pub(crate) stop_sent: bool,
    /// The last time it said that it is idle: to which task, and when.
    pub(crate) said_idle: Option<(u64, u64)>,
    pub(crate) out_of_memory: bool,
    /// What a Swarm has of it.
    pub(crate) task: Option<Task>,
}

impl Container {
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_)) && !self.removed
    }

    /// Whether stopping it would kill a job.
    pub(crate) fn has_job(&self) -> bool {
        self.job.is_some() && !self.job_done
    }
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Waiting,
    Assigned,
    Served,
    /// Its container was killed by the world, or it took longer than `max_job_age` allows.
    Lost,
    /// Cancelled, or another installation's.
    Withdrawn,
}

/// The daemon's step that asks something of the world just now.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asking {
    /// Where to answer.
    pub(crate) task: usize,
    /// Unlike that of any other task of the day.
    pub(crate) serial: u64,
    /// Why, if it carries out an action.
    pub(crate) why: Option<Why>,
}

struct Entry {
    at: u64,
    order: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// All there is.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) clocks: Clocks,
    /// What the daemon's status is written by.
    pub(crate) clock_of_pass: ClockReading,
    pub(crate) setting: Setting,
    /// Faults have stopped, and no job comes any more.
    pub(crate) calm: bool,
    /// The number of the daemon's life, which is unique even while it is dead.
    pub(crate) life: u64,
    pub(crate) alive: bool,
    /// How the last listing of each scope and host in this life went.
    pub(crate) scope_sight: Vec<Sight>,
    pub(crate) host_sight: Vec<Sight>,
    /// Whether the logs of a host's runners are followed: from its first list on, until a listing fails.
    pub(crate) following: Vec<bool>,
    pub(crate) registrations: Vec<Registration>,
    /// Per scope, the registrations that lists may show.
    pub(crate) listed: Vec<Vec<usize>>,
    pub(crate) containers: Vec<Container>,
    /// All runners that ever had a registration, with their container once there is one.
    pub(crate) runners: BTreeMap<RunnerName, Option<usize>>,
    /// When each runner's launch was planned.
    pub(crate) planned_at: BTreeMap<RunnerName, u64>,
    /// Per host, the containers that are not removed.
    pub(crate) present: Vec<Vec<usize>>,
    /// Per host, its nodes if it is a Swarm.
    pub(crate) swarms: Vec<Vec<SwarmNode>>,
    /// Per host, whether a Swarm places nothing now.
    pub(crate) is_stuck: Vec<bool>,
    /// What was made beside containers, also for others' runners; and per host what is not removed.
    pub(crate) attached: Vec<Attached>,
    pub(crate) beside: Vec<Vec<usize>>,
    /// Runners whose sidecar stopped or was removed while they may have needed it.
    pub(crate) lost_sidecars: BTreeSet<RunnerName>,
    /// What launches were planned with, where that is anything.
    pub(crate) promised: BTreeMap<RunnerName, Devices>,
    pub(crate) jobs: Vec<Job>,
    /// Per pool, the jobs that wait.
    pub(crate) waiting: Vec<VecDeque<usize>>,
    /// Per repository, the jobs that are not long over.
    pub(crate) open: Vec<Vec<usize>>,
    pub(crate) sources: Sources,
    /// Per pool, what GitHub has of it as a scale set.
    pub(crate) sets: Vec<Set>,
    /// What has been met of the ways in which jobs and news of them go.
    pub(crate) met: BTreeSet<&'static str>,
    pub(crate) spells: Vec<Spell>,
    pub(crate) under: Spells,
    pub(crate) calls: BTreeMap<u64, Call>,
    pub(crate) next_call: u64,
    pub(crate) asking: Asking,
    /// What is reported to the daemon without a request.
    pub(crate) reported: Vec<Evidence>,
    /// Container listings that should come soon, by host.
    pub(crate) look_soon: Vec<usize>,
    /// The longest that a job waited on a pool that has nothing to do with what fails (rule 9).
    pub(crate) longest_wait_apart: u64,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Option<VecDeque<String>>,
    queue: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

/// Writes a line into the trace of a day that is replayed.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        if $world.trace.is_some() {
            let line = format!($($text)*);
            $world.write(&line);
        }
    };
}
pub(crate) use note;

impl World {
    pub(crate) fn new(setting: Setting, random: Random, traced: bool) -> Self {
        let (scopes, hosts, pools) = (setting.scopes.len(), setting.hosts.len(), setting.pools.len());
        let mut world = Self {
            now: MORNING,
            // Of its own, so that the rest of a day goes as it would without.
            clocks: Clocks::draw(Random::new(random.clone().next()), hosts),
            clock_of_pass: ClockReading::default(),
            random,
            calm: false,
            life: 0,
            alive: false,
            scope_sight: vec![Sight::Unseen; scopes],
            host_sight: vec![Sight::Unseen; hosts],
            following: vec![false; hosts],
            registrations: Vec::new(),
            listed: vec![Vec::new(); scopes],
            containers: Vec::new(),
            runners: BTreeMap::new(),
            planned_at: BTreeMap::new(),
            present: vec![Vec::new(); hosts],
            swarms: Vec::new(),
            is_stuck: Vec::new(),
            attached: Vec::new(),
            beside: vec![Vec::new(); hosts],
            lost_sidecars: BTreeSet::new(),
            promised: BTreeMap::new(),
            jobs: Vec::new(),
            waiting: vec![VecDeque::new(); pools],
            open: vec![Vec::new(); setting.repositories.len()],
            sources: Sources::of(setting.repositories.len()),
            sets: (0..pools).map(|_| Set::default()).collect(),
            met: BTreeSet::new(),
            spells: Vec::new(),
            under: Spells::none(scopes, hosts, pools),
            calls: BTreeMap::new(),
            next_call: 0,
            asking: Asking::default(),
            reported: Vec::new(),
            look_soon: Vec::new(),
            longest_wait_apart: 0,
            violation: None,
            trace: traced.then(VecDeque::new),
            queue: BinaryHeap::new(),
            order: 0,
            setting,
        };
        world.settle_strangers();
        world.settle_strangers_beside();
        world.draw_spells();
        world.build_swarms();
        world.draw_clocks();
        for pool in 0..pools {
            world.after(world.setting.pools[pool].burst_gap / 2, Happening::Burst(pool));
        }
        world.after(0, Happening::Start);
        world.after(world.setting.busy_for, Happening::Calm);
        world
    }

    /// Other people's runners, some with names as like ours as can be.
    fn settle_strangers(&mut self) {
        let ulid = "01jd0000000000000000000000";
        for scope in 0..self.listed.len() {
            for name in [
                format!("dayfly-linux-ci1x-{ulid}"),
                format!("dayfly-linux-ci-{ulid}"),
                format!("dayfly-linux-ci1-zz-{ulid}"),
                format!("dayfly-ci1-other-{ulid}"),
                format!("dayfly-linux-CI1-{ulid}"),
                format!("dayfly-gpu-ci1-{}", &ulid[1..]),
                format!("notdayfly-gpu-ci1-{ulid}"),
                "my-runner-7".to_owned(),
            ] {
                let online = self.random.chance(300);
                self.registrations.push(Registration {
                    name,
                    pool: None,
                    scope,
                    shown_from: 0,
                    gone_at: None,
                    shown_until: 0,
                    online,
                    deaf: false,
                    busy: online && self.random.chance(300),
                    container: None,
                });
                self.listed[scope].push(self.registrations.len() - 1);
            }
        }
    }

    /// A runner's container, removed or not.
    pub(crate) fn container_of(&self, runner: &RunnerName) -> Option<&Container> {
        self.runners.get(runner).copied().flatten().map(|index| &self.containers[index])
    }

    /// The next thing that happens; the clock is moved to it.
    pub(crate) fn next(&mut self) -> Option<Happening> {
        let Reverse(entry) = self.queue.pop()?;
        self.now = entry.at;
        Some(entry.happening)
    }

    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), order: self.order, happening }));
    }

    pub(crate) fn after(&mut self, delay: u64, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    /// A draw of a fault, which there is none of once the world is calm.
    pub(crate) fn fails(&mut self, permille: u64) -> bool {
        !self.calm && self.random.chance(permille)
    }

    /// Delivers evidence to the daemon, if one runs.
    pub(crate) fn tell(&mut self, evidence: Evidence) {
        if self.alive {
            self.reported.push(evidence);
        }
    }

    /// Notes that a rule was broken; the first breach counts.
    pub(crate) fn breach(&mut self, rule: u8, what: &str) {
        note!(self, "BREACH of rule {rule}: {what}");
        if self.violation.is_none() {
            self.violation = Some(format!("rule {rule}: {what}"));
        }
    }

    pub(crate) fn write(&mut self, line: &str) {
        let seconds = self.now - MORNING;
        let line = format!("{:>6}.{:03} {line}", seconds / 1000, seconds % 1000);
        if let Some(trace) = &mut self.trace {
            if trace.len() == 100_000 {
                trace.pop_front();
            }
            trace.push_back(line);
        }
    }
}
