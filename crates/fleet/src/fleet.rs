//! The whole state: pools, hosts, scopes and runners. `observe` changes it, `plan` makes decisions from it,
//! `status` shows it.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    backoff::Backoffs,
    cluster::{Need, NodeId, OnNodes},
    demand::DemandState,
    devices::{DeviceClass, Devices},
    event::Event,
    evidence::{ImageState, PullProgress, Trouble, TroubleKind},
    host::Host,
    job::GroupPolicy,
    known_jobs::KnownJobs,
    matching::group_of,
    mints::Mints,
    name::{HostName, InstanceId, Names, PoolName, RunnerName},
    placement::Fullness,
    pool::Pool,
    reasons::{Held, Phase, Source},
    report::{
        Census, FailureReport, HostReport, PoolReport, PullReport, RunnerReport, ScopeReport, Status,
        TroubleReport,
    },
    runner::Runner,
    scope::Scope,
    template::{Resources, Template, TemplateDigest},
    time::{ClockReading, Instant, Timestamp},
};

/// The whole state of an installation, rebuilt at every start from what the edges observe.
#[derive(Debug)]
pub struct Fleet {
    pub(super) names: Names,
    pub(super) pools: BTreeMap<PoolName, PoolState>,
    /// The names of the pools in the order of the configuration, in which they are shown and served.
    pub(super) order: Vec<PoolName>,
    pub(super) hosts: BTreeMap<HostName, HostState>,
    pub(super) scopes: BTreeMap<Scope, ScopeState>,
    pub(super) runners: BTreeMap<RunnerName, Runner>,
    pub(super) jobs: KnownJobs,
    pub(super) mints: Mints,
    pub(super) draining: bool,
    /// Runners of this instance that are online and run on none of its hosts.
    pub(super) elsewhere: u32,
    /// The newest reading of the wall clock.
    pub(super) clock: ClockReading,
    /// The reading at the last pass.
    pub(super) planned: Option<ClockReading>,
    pub(super) events: Vec<Event>,
    /// The most recent failures, newest last.
    pub(super) failures: VecDeque<Arc<FailureReport>>,
}

/// A pool and its state.
#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) pool: Pool,
    /// That of its template; `None` until the files that the template names have been read.
    pub(super) digest: Option<TemplateDigest>,
    pub(super) demand: DemandState,
    /// The failing job sources, since when, and why.
    pub(super) sources: BTreeMap<Source, (Instant, Trouble)>,
    /// The number of queued jobs at the last pass.
    pub(super) queued: u32,
    /// Runners to keep idle, as of the last pass.
    pub(super) min_idle: u32,
    /// When the schedule was last evaluated, and when its number changes next (`None`: never), by the wall
    /// clock.
    pub(super) min_idle_at: Timestamp,
    pub(super) min_idle_until: Option<Timestamp>,
    pub(super) backoffs: Backoffs,
    pub(super) desired: u32,
    pub(super) held: Option<Held>,
    pub(super) held_since: Instant,
    pub(super) held_detail: String,
    /// Whether the last event about it, other than at the start, reported paused launches.
    pub(super) held_reported: bool,
    /// The clusters that have found a node for the last runner which they were given.
    pub(super) placed_on: BTreeSet<HostName>,
    /// Since when its queued jobs have waited for room, while no runner was launched for any.
    pub(super) waits_since: Option<Instant>,
}

impl PoolState {
    /// Why the number of its queued jobs is not known now, if it is not.
    pub(super) fn unknown_demand(&self) -> Option<Held> {
        let is_taken = |(_, trouble): &(Instant, Trouble)| trouble.kind == TroubleKind::SessionTaken;
        if self.sources.values().any(is_taken) {
            return Some(Held::SessionTaken);
        }
        (!self.demand.is_known()).then_some(Held::NoSession)
    }
}

/// A host and its state.
#[derive(Debug)]
pub(super) struct HostState {
    pub(super) host: Host,
    pub(super) sight: Sight,
    pub(super) images: BTreeMap<String, ImageState>,
    /// The pulls in progress, by image.
    pub(super) pulls: BTreeMap<String, PullProgress>,
    pub(super) disk_low: bool,
    /// Whether its budget is what its machine or machines have, which is not known yet.
    pub(super) has_unknown_size: bool,
    /// The nodes whose drain was requested from the cluster; with when that is retried, where it failed.
    pub(super) draining_nodes: BTreeMap<NodeId, Option<Instant>>,
}

impl HostState {
    /// The id of an image, when the host has it.
    pub(super) fn present(&self, image: &str) -> Option<&str> {
        match self.images.get(image) {
            Some(ImageState::Present(id)) => Some(id),
            _ => None,
        }
    }
}

/// A scope and its state.
#[derive(Debug, Default)]
pub(super) struct ScopeState {
    pub(super) sight: Sight,
    /// Its runner groups, where they have been listed.
    pub(super) groups: Vec<GroupPolicy>,
}

/// Whether a scope or host can be listed.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// When the last complete list began.
    pub(super) listed_at: Option<Instant>,
    /// When the listing after it failed, and why.
    pub(super) trouble: Option<(Instant, Trouble)>,
    /// When the first listing after the last complete one failed.
    failing_since: Instant,
}

impl Sight {
    /// Whether the last listing was complete.
    pub(super) fn is_clear(&self) -> bool {
        self.listed_at.is_some() && self.trouble.is_none()
    }

    /// Records a complete list; returns false when it began before what is already known.
    pub(super) fn listed(&mut self, began: Instant) -> bool {
        let failed_at = self.trouble.as_ref().map(|(at, _)| *at);
        if self.listed_at.max(failed_at).is_some_and(|at| began < at) {
            return false;
        }
        self.listed_at = Some(began);
        true
    }

    /// Records a failed listing; returns true when the reason differs from the one before.
    pub(super) fn failed(&mut self, trouble: &Trouble, now: Instant) -> bool {
        if self.trouble.is_none() {
            self.failing_since = now;
        }
        let before = self.trouble.replace((now, trouble.clone()));
        before.is_none_or(|(_, before)| before.kind != trouble.kind)
    }

    /// Why it cannot be listed, if it cannot.
    fn trouble_report(&self, clock: ClockReading) -> Option<TroubleReport> {
        let since = clock.timestamp(self.failing_since);
        self.trouble.as_ref().map(|(_, trouble)| TroubleReport::new(since, trouble))
    }
}

/// The resources that runners use on a host.
#[derive(Clone, Debug, Default)]
pub(super) struct Committed {
    pub(super) runners: u32,
    pub(super) resources: Resources,
    pub(super) devices: Devices,
    /// Of a cluster, by its nodes.
    nodes: OnNodes,
}

impl Committed {
    /// Adds one more runner that is created from `template`.
    pub(super) fn add(&mut self, host: &Host, template: &Template, devices: &Devices) {
        self.runners += 1;
        self.resources.add(template.total_resources());
        self.devices.add(devices);
        if host.nodes.is_some() {
            self.nodes.add(None, Need::of(template));
        }
    }

    /// Takes an idle runner out.
    pub(super) fn remove(&mut self, runner: &Runner) {
        self.runners = self.runners.saturating_sub(1);
        self.resources.remove(runner.committed_resources());
        self.devices.remove(&runner.devices);
        self.nodes.remove(runner.node(), runner.resources);
    }

    /// Puts it back.
    pub(super) fn put_back(&mut self, runner: &Runner) {
        self.runners += 1;
        self.resources.add(runner.committed_resources());
        self.devices.add(&runner.devices);
        if let Some(node) = runner.node() {
            self.nodes.add(Some(node), Need::anywhere(runner.resources));
        }
    }

    /// How full a host would be with one more runner.
    pub(super) fn fullness_with(&self, host: &Host, more: Resources) -> Fullness {
        let share = |taken: u64, of| taken.saturating_mul(1_000_000).checked_div(of).unwrap_or_default();
        let runners = self.runners + 1;
        let shares = [
            share(u64::from(runners), u64::from(host.max_runners.unwrap_or_default())),
            share(self.resources.memory + more.memory, host.budget.memory),
            share(self.resources.cpu_millis + more.cpu_millis, host.budget.cpu_millis),
        ];
        (shares.into_iter().max().unwrap_or_default(), runners)
    }

    /// The devices for a runner that is created from `template`, or the budget of the host that has no room for it.
    pub(super) fn admit(&self, host: &Host, template: &Template) -> Result<Devices, Held> {
        match self.refuses(host, template.total_resources()) {
            Some(held) => Err(held),
            None if host
                .nodes
                .as_ref()
                .is_some_and(|nodes| !self.nodes.has_room(nodes, &Need::of(template))) =>
            {
                Err(Held::NoNode)
            }
            None => self.devices.choose(&host.devices, &template.devices).map_err(|class| match class {
                DeviceClass::Gpu => Held::HostGpus,
                DeviceClass::Exclusive(_) | DeviceClass::Slot(_) => Held::HostDevices,
            }),
        }
    }

    fn refuses(&self, host: &Host, more: Resources) -> Option<Held> {
        let Resources { memory, cpu_millis } = host.budget;
        if host.max_runners.is_some_and(|max| self.runners >= max) {
            Some(Held::HostFull)
        } else if memory > 0 && self.resources.memory + more.memory > memory {
            Some(Held::HostMemory)
        } else if cpu_millis > 0 && self.resources.cpu_millis + more.cpu_millis > cpu_millis {
            Some(Held::HostCpus)
        } else {
            None
        }
    }
}

impl Fleet {
    /// An installation of which nothing has been seen yet. `seed` makes runner names differ from
    /// those of any other run; the shell draws it from the operating system.
    pub fn new(instance: InstanceId, seed: u64, pools: Vec<Pool>, hosts: Vec<Host>) -> Self {
        let order = pools.iter().map(|pool| pool.name.clone()).collect();
        let scopes = pools.iter().map(|pool| (pool.scope.clone(), ScopeState::default())).collect();
        let mints = Mints::of(pools.iter());
        let shared: BTreeSet<HostName> =
            pools.iter().filter(|pool| pool.hosts.len() > 1).flat_map(|pool| pool.hosts.clone()).collect();
        let pools = pools.into_iter().map(|pool| {
            let (template, name) = (&pool.template, pool.name.clone());
            let digest = (!template.has_files()).then(|| template.digest());
            let demand = DemandState::of(pool.demand);
            let state = PoolState {
                pool,
                digest,
                demand,
                sources: BTreeMap::new(),
                queued: 0,
                min_idle: 0,
                min_idle_at: Timestamp::default(),
                min_idle_until: Some(Timestamp::default()),
                backoffs: Backoffs::default(),
                desired: 0,
                held: None,
                held_since: Instant::default(),
                held_detail: String::new(),
                held_reported: false,
                placed_on: BTreeSet::new(),
                waits_since: None,
            };
            (name, state)
        });
        let hosts = hosts.into_iter().map(|host| {
            let name = host.name.clone();
            let has_no_limit = host.max_runners.is_none() && host.budget == Resources::default();
            let has_unknown_size = host.nodes.is_some() || shared.contains(&name) && has_no_limit;
            (
                name,
                HostState {
                    host,
                    sight: Sight::default(),
                    images: BTreeMap::new(),
                    pulls: BTreeMap::new(),
                    disk_low: false,
                    has_unknown_size,
                    draining_nodes: BTreeMap::new(),
                },
            )
        });
        Self {
            names: Names::new(instance, seed),
            pools: pools.collect(),
            order,
            hosts: hosts.collect(),
            scopes,
            runners: BTreeMap::new(),
            jobs: KnownJobs::default(),
            mints,
            draining: false,
            elsewhere: 0,
            clock: ClockReading::default(),
            planned: None,
            events: Vec::new(),
            failures: VecDeque::new(),
        }
    }

    /// What a person may want to see, as the last pass left it.
    pub fn status(&self) -> Status {
        let shown = |at| self.clock.timestamp(at);
        let mut phases: BTreeMap<&str, (Census, Option<Instant>)> = BTreeMap::new();
        let present = || self.runners.values().filter(|runner| !runner.is_over());
        for runner in present() {
            let (census, oldest) = phases.entry(runner.name.pool()).or_default();
            census.add(runner.phase);
            if runner.phase == Phase::Starting {
                *oldest = Some(oldest.map_or(runner.known_since, |at| at.min(runner.known_since)));
            }
        }
        let pools = self.order.iter().map(|name| {
            let state = &self.pools[name];
            let PoolState { pool, demand, desired, held, .. } = state;
            let (phases, oldest_starting_at) = phases.get(name.as_str()).copied().unwrap_or_default();
            PoolReport {
                name: name.clone(),
                url: pool.scope.clone(),
                hosts: pool.hosts.clone(),
                placement: pool.placement,
                desired: *desired,
                min_idle: state.min_idle,
                max: pool.policy.max,
                queued: state.queued,
                oldest_queued_at: demand.oldest_queued_at().map(shown),
                phases,
                oldest_starting_at: oldest_starting_at.map(shown),
                held: *held,
                held_since: held.map(|_| shown(state.held_since)),
                held_detail: self.held_detail(state),
                sources_down: Self::sources_down(state),
                source_troubles: self.source_troubles(state),
            }
        });
        let runners = present().map(|runner| RunnerReport {
            name: runner.name.clone(),
            pool: runner.name.pool().to_owned(),
            phase: runner.phase,
            registration_id: runner.registered.id(),
            container_id: runner.container().map(|(_, id)| id.clone()),
            host: runner.host.clone(),
            node: self.node_name(runner),
            since: shown(runner.phase_since),
            removal_reason: runner.take_down.map(|take_down| take_down.why),
            ending: runner.ending.filter(|_| !runner.takes_room()),
            job: runner.latch.as_ref().and_then(|latch| latch.job.clone()),
            facts: runner.latch.as_ref().and_then(|latch| latch.facts.clone()),
            destinations: Arc::clone(&runner.destinations),
        });
        let scopes = self.scopes.iter().map(|(scope, state)| ScopeReport {
            url: scope.clone(),
            up: state.sight.is_clear(),
            last_listed_at: state.sight.listed_at.map(shown),
            trouble: state.sight.trouble_report(self.clock),
        });
        let committed = self.committed();
        let pull = |(image, progress): (&String, &PullProgress)| PullReport {
            image: image.clone(),
            since: shown(progress.since),
            progress: *progress,
        };
        let hosts = self.hosts.iter().map(|(name, state)| {
            let committed = committed.get(name).cloned().unwrap_or_default();
            HostReport {
                name: name.clone(),
                up: state.sight.is_clear(),
                last_listed_at: state.sight.listed_at.map(shown),
                trouble: state.sight.trouble_report(self.clock),
                runners: committed.runners,
                committed: committed.resources,
                nodes: self.node_reports(name, state),
                pulls: state.pulls.iter().map(pull).collect(),
                blocked: self.blocked(name, state, &committed),
            }
        });
        Status {
            planned: self.planned,
            draining: self.draining,
            pools: pools.collect(),
            runners: runners.collect(),
            scopes: scopes.collect(),
            hosts: hosts.collect(),
            jobs: self.job_reports(),
            failures: self.failures.iter().rev().cloned().collect(),
        }
    }

    /// What is taken on each host by runners that are up or on their way.
    pub(super) fn committed(&self) -> BTreeMap<HostName, Committed> {
        self.committed_by(|_| true)
    }

    /// The same, of some of the runners.
    pub(super) fn committed_by(&self, counts: impl Fn(&Runner) -> bool) -> BTreeMap<HostName, Committed> {
        let mut hosts: BTreeMap<HostName, Committed> = BTreeMap::new();
        for runner in self.runners.values().filter(|runner| counts(runner)) {
            let Some(host) = runner.host.as_ref().filter(|_| runner.takes_of_host()) else { continue };
            let committed = match hosts.get_mut(host) {
                Some(committed) => committed,
                None => hosts.entry(host.clone()).or_default(),
            };
            if runner.takes_room() {
                committed.runners += 1;
                self.add_to_nodes(host, runner, &mut committed.nodes);
            }
            committed.resources.add(runner.committed_resources());
            committed.devices.add(&runner.devices);
        }
        hosts
    }

    /// Adds a runner to those of a cluster's nodes.
    fn add_to_nodes(&self, host: &HostName, runner: &Runner, nodes: &mut OnNodes) {
        if self.hosts.get(host).is_none_or(|host| host.host.nodes.is_none()) {
            return;
        }
        let mut need = Need::anywhere(runner.resources);
        if runner.node().is_none()
            && let Some(state) = self.pools.get(runner.name.pool())
        {
            need.constraints.clone_from(&state.pool.template.constraints);
        }
        nodes.add(runner.node(), need);
    }

    /// Which part of a host's budget has no room for the smallest of its pools.
    fn blocked(&self, name: &HostName, state: &HostState, committed: &Committed) -> Option<Held> {
        if state.disk_low {
            return Some(Held::HostDisk);
        }
        let mut refusals = self
            .pools
            .values()
            .filter(|pool| pool.pool.hosts.contains(name))
            .map(|pool| committed.admit(&state.host, &pool.pool.template).err())
            .peekable();
        refusals.peek()?;
        refusals.min().flatten()
    }

    /// The policy of a pool's runner group, where it has been listed.
    pub(super) fn group_of(&self, pool: &Pool) -> Option<&GroupPolicy> {
        group_of(pool, &self.scopes.get(&pool.scope)?.groups)
    }

    /// Whether a runner's host can be seen, and its node if that is one of a cluster.
    pub(super) fn host_is_up(&self, runner: &Runner) -> bool {
        self.nearby().host_is_up(runner)
    }

    /// Whether a runner's host can be listed.
    pub(super) fn host_is_listed(&self, runner: &Runner) -> bool {
        let host = runner.host.as_ref().and_then(|host| self.hosts.get(host));
        host.is_some_and(|host| host.sight.is_clear())
    }

    /// Whether a runner's scope can be seen.
    pub(super) fn scope_is_up(&self, runner: &Runner) -> bool {
        self.nearby().scope_is_up(runner)
    }

    /// For a walk over the runners in their order.
    pub(super) fn nearby(&self) -> Nearby<'_> {
        Nearby { pools: Last::of(&self.pools), hosts: Last::of(&self.hosts), scopes: Last::of(&self.scopes) }
    }
}

/// What belongs to a runner. The order of their names puts runners of one pool side by side, so what
/// belonged to the one before is checked first: with thousands of them the lookups in the maps
/// would be most of a pass.
pub(super) struct Nearby<'a> {
    pools: Last<'a, PoolName, PoolState>,
    hosts: Last<'a, HostName, HostState>,
    scopes: Last<'a, Scope, ScopeState>,
}

impl<'a> Nearby<'a> {
    /// A runner's pool, if it is configured.
    pub(super) fn pool(&mut self, runner: &Runner) -> Option<&'a PoolState> {
        self.pools.get(runner.name.pool())
    }

    /// Whether a runner's host can be seen, and its node if that is one of a cluster.
    pub(super) fn host_is_up(&mut self, runner: &Runner) -> bool {
        let host = runner.host.as_ref().and_then(|host| self.hosts.get(host));
        host.is_some_and(|host| host.sight.is_clear()) && !runner.has_lost_node()
    }

    /// Whether a runner's scope can be seen.
    pub(super) fn scope_is_up(&mut self, runner: &Runner) -> bool {
        let scope = runner.scope.as_ref().and_then(|scope| self.scopes.get(scope));
        scope.is_some_and(|scope| scope.sight.is_clear())
    }
}

/// A map, and what was found in it last.
struct Last<'a, K, V> {
    map: &'a BTreeMap<K, V>,
    found: Option<(&'a K, &'a V)>,
}

impl<'a, K: Ord, V> Last<'a, K, V> {
    fn of(map: &'a BTreeMap<K, V>) -> Self {
        Self { map, found: None }
    }

    fn get<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&'a V>
    where
        K: Borrow<Q>,
    {
        if self.found.is_none_or(|(last, _)| last.borrow() != key) {
            self.found = self.map.get_key_value(key);
        }
        self.found.map(|(_, value)| value)
    }
}
