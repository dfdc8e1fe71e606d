//! Hosts that are clusters: what is launched there, runners that no node is suitable for, and nodes that are paused,
//! drained or lost.

use super::{site::*, *};

/// A pool on the cluster, with runners of this many gibibytes.
fn on_cluster(gibibytes: u64, policy: Policy) -> Pool {
    of_size(gibibytes, on("p", &["c"], policy))
}

fn site_of(pool: Pool, nodes: Vec<Node>) -> Site {
    Site::new(vec![pool], vec![cluster("c")]).with_nodes("c", nodes)
}

impl Site {
    fn node(&mut self, name: &str) -> &mut Node {
        let mut nodes = self.nodes.values_mut().flatten();
        nodes.find(|node| node.name == name).unwrap()
    }

    /// The only runner that there is.
    fn only(&self) -> RunnerName {
        assert_eq!(self.running.len(), 1);
        self.running.keys().next().unwrap().clone()
    }

    fn phase_of(&self, runner: &RunnerName) -> Phase {
        let status = self.fleet.status();
        status.runners.iter().find(|report| report.name == *runner).unwrap().phase
    }

    fn pending(&self) -> usize {
        let is_pending = |name: &&RunnerName| matches!(self.placed.get(name), Some(Placed::Nowhere(Some(_))));
        self.running.keys().filter(is_pending).count()
    }

    fn goes_on_until_a_step(&mut self) -> Vec<String> {
        for _ in 0..100 {
            self.wait(Duration::from_secs(10));
            self.plan();
            let steps = self.steps();
            if !steps.is_empty() {
                return steps;
            }
        }
        panic!("nothing is done");
    }

    /// The node of the only runner is lost from now on.
    fn loses(&mut self, node: &str) {
        self.node(node).reachable = false;
        self.wait(Duration::from_secs(10));
        self.plan();
    }
}

fn held_by_nodes(detail: &str) -> (Option<Held>, Option<String>) {
    (Some(Held::NoNode), Some(detail.to_owned()))
}

#[test]
fn nothing_is_launched_before_the_nodes_are_known() {
    let mut site = Site::new(vec![on_cluster(1, policy(0, 9))], vec![cluster("c")]);
    site.queue(0..3, None);
    assert_eq!((site.plan(), site.held("p").0), (vec![], Some(Held::HostUnseen)));
    site.observe(Evidence::HostSize { host: named("c"), size: memory(64) });
    assert_eq!((site.plan(), site.held("p").0), (vec![], Some(Held::HostUnseen)));
    let mut site = site.with_nodes("c", vec![node("n1", 4)]);
    assert_eq!(site.plan(), ["p@c"]);
}

#[test]
fn without_room_on_one_node_nothing_is_launched_whatever_all_have_together() {
    let mut site = site_of(on_cluster(4, policy(0, 9)), vec![node("n1", 3), node("n2", 3)]);
    site.queue(0..3, None);
    let none = held_by_nodes("none of its 2 suitable nodes has the memory and cpus of another runner free");
    assert!(site.live(HOUR).is_empty());
    assert_eq!(site.held("p"), none);
    // What others reserve is no room either.
    site.nodes.insert(named("c"), vec![Node { reserved: memory(2), ..node("n1", 5) }]);
    assert!(site.live(MINUTE).is_empty());
    site.node("n1").reserved = memory(1);
    assert_eq!(site.live(MINUTE), ["p@c"]);
}

#[test]
fn the_first_goes_alone_and_the_rest_at_once_as_many_as_fit() {
    let nodes = vec![node("n1", 8), node("n2", 5), Node { reserved: memory(1), ..node("n3", 4) }];
    let mut site = site_of(on_cluster(2, policy(0, 20)), nodes);
    site.queue(0..20, None);
    assert_eq!(site.plan(), ["p@c"]);
    assert_eq!((site.plan(), site.held("p").0), (vec![], Some(Held::HostUnseen)));
    site.wait(Duration::from_secs(1));
    assert_eq!(site.plan().len(), 6, "four, two and one in all");
    site.wait(Duration::from_secs(1));
    assert_eq!((site.plan(), site.pending(), site.held("p").0), (vec![], 0, Some(Held::NoNode)));
    site.all_busy("p");
    site.one_done("p");
    assert_eq!(site.plan(), ["p@c"], "and whenever there is room");
}

#[test]
fn a_pool_without_a_suitable_node_mints_one_runner_at_a_time() {
    for has_busy in [false, true] {
        let mut site = site_of(on_cluster(1, policy(0, 20)), vec![node("n1", 8), node("n2", 8)]);
        if has_busy {
            site.queue(0..1, None);
            site.live(MINUTE);
            site.all_busy("p");
            site.wait(2 * MINUTE);
        }
        site.places_nothing = true;
        site.queue(10..11, None);
        assert_eq!(site.live(MINUTE), ["p@c"]);
        let (held, mut mints) = (held_by_nodes(NO_SUITABLE_NODE), 1);
        for _ in 0..360 {
            let starting = site.running.iter().filter(|(_, (.., busy))| !busy);
            site.offline = starting.map(|(name, _)| name.clone()).collect();
            site.wait(Duration::from_secs(10));
            site.queue(10..20, None);
            mints += site.plan().len();
            assert!(site.pending() <= 1);
        }
        assert!((3..=5).contains(&mints), "each waits for a quarter of an hour: {mints}");
        assert_eq!((site.pending(), site.held("p")), (1, held));
        site.places_nothing = false;
        site.offline.clear();
        assert_eq!(site.live(10 * MINUTE).len(), 9, "the one that has waited is the tenth");
    }
}

#[test]
fn another_host_takes_the_job_of_a_runner_that_has_no_node() {
    let pool = Pool { placement: Placement::Ordered, ..of_size(1, on("p", &["c", "d"], policy(0, 20))) };
    let hosts = vec![cluster("c"), sized("d", 3)];
    let mut site = Site::new(vec![pool], hosts).with_nodes("c", vec![node("n1", 8)]);
    site.places_nothing = true;
    site.queue(0..3, None);
    assert_eq!(site.plan(), ["p@c", "p@d", "p@d"]);
    site.wait(Duration::from_secs(10));
    assert_eq!(site.plan(), ["p@d"], "the one on the cluster is no capacity");
    site.queue(0..4, None);
    assert!(site.plan().is_empty());
    let detail = format!("c: {NO_SUITABLE_NODE}; d: its host's max_runners is reached");
    assert_eq!(site.held("p"), held_by_nodes(&detail));
    site.places_nothing = false;
    assert!(site.live(MINUTE).is_empty(), "there is a node for it after all");
    assert_eq!(site.where_they_run(), [("p@c".to_owned(), 1), ("p@d".to_owned(), 3)].into());
}

#[test]
fn a_runner_waits_for_a_node_for_a_quarter_of_an_hour_and_is_then_removed_in_the_usual_order() {
    let mut site = site_of(on_cluster(1, policy(1, 1)), vec![node("n1", 8)]);
    site.places_nothing = true;
    site.plan();
    let runner = site.only();
    site.offline.insert(runner.clone());
    site.live(16 * MINUTE);
    assert_eq!((site.steps(), site.only()), (vec![], runner));
    site.live(2 * MINUTE);
    assert_eq!(
        site.steps(),
        ["ask, deregister: boot_timeout", "ask, stop: boot_timeout", "remove: finished"]
    );
    // One whose image is pulled for long is no less patient.
    let mut site = site_of(on_cluster(1, policy(1, 1)), vec![node("n1", 8)]);
    site.plan();
    let runner = site.only();
    site.offline.insert(runner.clone());
    site.placed.insert(runner.clone(), Placed::On { node: NodeId("n1".into()), started: false });
    assert!(site.live(14 * MINUTE).is_empty());
    site.placed.insert(runner.clone(), Placed::On { node: NodeId("n1".into()), started: true });
    assert!(site.live(Duration::from_secs(110)).is_empty());
    assert_eq!((site.steps(), site.only()), (vec![], runner));
}

#[test]
fn runners_go_only_where_their_constraints_allow_it() {
    let with_disk = |name: &str, disk: &str| {
        let attributes = BTreeMap::from([("node.labels.disk".to_owned(), disk.to_owned())]);
        Node { attributes, ..node(name, 4) }
    };
    let constrained = |value: &str| {
        let mut pool = on_cluster(2, policy(0, 20));
        let (attribute, value) = ("node.labels.disk".to_owned(), value.to_owned());
        pool.template.constraints = vec![Constraint { attribute, equal: true, value }];
        pool
    };
    let nodes = || vec![with_disk("n1", "ssd"), with_disk("n2", "hdd")];
    let mut site = site_of(constrained("nvme"), nodes());
    site.queue(0..9, None);
    assert!(site.live(HOUR).is_empty());
    assert_eq!(site.held("p"), held_by_nodes("none of its 2 active nodes satisfies node.labels.disk==nvme"));
    let mut site = site_of(constrained("ssd"), nodes());
    site.queue(0..9, None);
    assert_eq!(site.plan().len(), 1);
    site.placed.insert(site.only(), Placed::On { node: NodeId("n1".into()), started: true });
    site.wait(MINUTE);
    assert_eq!(site.plan().len(), 1, "two of them in all");
}

#[test]
fn a_paused_node_gets_no_runners_and_keeps_what_it_has() {
    let mut site = site_of(on_cluster(2, policy(1, 20)), vec![node("n1", 8)]);
    site.live(MINUTE);
    site.node("n1").availability = Availability::Paused;
    site.queue(0..3, None);
    site.wait(MINUTE);
    assert!(site.live(10 * MINUTE).is_empty());
    assert_eq!(site.held("p"), held_by_nodes("none of its 1 nodes is active and reachable"));
    assert_eq!((site.steps(), site.running.len()), (vec![], 1));
    site.node("n1").availability = Availability::Active;
    assert_eq!(site.live(MINUTE).len(), 3);
}

#[test]
fn a_node_is_drained_once_when_its_idle_runners_are_removed_and_its_busy_ones_have_ended() {
    let mut site = site_of(on_cluster(1, policy(3, 3)), vec![node("n1", 4)]);
    site.live(MINUTE);
    let mut names = site.running.keys().cloned();
    let (busy, starting) = (names.next().unwrap(), names.next().unwrap());
    site.running.get_mut(&busy).unwrap().2 = true;
    site.look();
    // One is still starting.
    site.offline.insert(starting);
    let mut site = Site::restarted(site, vec![on_cluster(1, policy(3, 3))], vec![cluster("c")]);
    site.plan();
    site.node("n1").drain_requested = true;
    assert!(site.live(MINUTE).is_empty() && site.steps().is_empty(), "it is to be paused first");
    site.node("n1").availability = Availability::Paused;
    site.live(Duration::from_secs(30));
    let mut steps = site.steps();
    steps.sort();
    let each = ["ask, deregister: draining", "ask, stop: draining", "remove: finished"];
    assert_eq!(steps, each.map(|step| [step; 2]).concat());
    site.live(HOUR);
    assert_eq!((site.steps(), site.only()), (vec![], busy));
    site.node("n1").other_runners = 1;
    site.one_done("p");
    site.look();
    site.live(MINUTE);
    assert_eq!(site.steps(), ["remove: finished"], "somebody else's runner is there");
    site.node("n1").other_runners = 0;
    site.wait(MINUTE);
    for _ in 0..5 {
        site.plan();
    }
    assert_eq!(site.steps(), ["drain n1"]);
    let drained = |trouble| Evidence::NodeDrained { host: named("c"), node: NodeId("n1".into()), trouble };
    site.observe(drained(Some(engine_failed("500"))));
    site.live(Duration::from_secs(9));
    site.plan();
    assert_eq!(site.steps(), ["drain n1"], "after ten seconds, and no sooner");
    site.observe(drained(None));
    site.live(MINUTE);
    site.node("n1").availability = Availability::Drained;
    site.live(MINUTE);
    assert!(site.steps().is_empty());
}

/// A spare runner on one of two nodes, which is lost.
fn lost(is_busy: bool) -> (Site, RunnerName) {
    let mut site = site_of(on_cluster(1, policy(1, 3)), vec![node("n1", 4)]);
    site.live(MINUTE);
    let runner = site.only();
    site.nodes.get_mut(&named("c")).unwrap().push(node("n2", 4));
    if is_busy {
        site.all_busy("p");
    }
    site.loses("n1");
    assert_eq!(site.phase_of(&runner), Phase::Unknown);
    (site, runner)
}

#[test]
fn nothing_is_done_to_runners_of_a_lost_node_while_they_are_connected() {
    for is_busy in [false, true] {
        let (mut site, runner) = lost(is_busy);
        site.live(HOUR);
        assert_eq!((site.steps(), site.phase_of(&runner)), (vec![], Phase::Unknown));
        // An idle one can take a job, and a busy one is on top of the spare.
        assert_eq!(site.running.len(), 1 + usize::from(is_busy));
    }
}

#[test]
fn an_idle_runner_of_a_lost_node_is_replaced_and_removed_when_github_has_given_it_up() {
    for is_gone in [false, true] {
        let (mut site, runner) = lost(false);
        if is_gone {
            site.unregistered.insert(runner.clone());
            site.answer = Deregistered::NotFound;
        } else {
            site.offline.insert(runner.clone());
        }
        let replaced = site.live(Duration::from_secs(50));
        assert_eq!((replaced.len(), site.steps()), (usize::from(is_gone), vec![]));
        assert_eq!(site.live(MINUTE).len(), usize::from(!is_gone));
        assert_eq!(site.steps(), ["deregister: node_lost", "remove: node_lost"]);
        assert_eq!(site.ends, [ExitReason::NodeLost]);
        assert!(!site.running.contains_key(&runner) && site.live(HOUR).is_empty());
    }
}

#[test]
fn the_end_of_a_lost_runner_is_that_although_the_response_to_its_removal_was_lost() {
    let (mut site, runner) = lost(false);
    site.loses_responses = true;
    site.offline.insert(runner);
    site.live(5 * MINUTE);
    assert_eq!(site.ends, [ExitReason::NodeLost]);
}

#[test]
fn a_launch_whose_response_was_lost_takes_room_until_a_list_shows_whether_it_was_done() {
    for is_done in [false, true] {
        let mut site = site_of(on_cluster(1, policy(1, 1)), vec![node("n1", 4)]);
        site.silent = vec![named("c")];
        site.plan();
        let runner = site.fleet.runners.keys().next().unwrap().clone();
        let (registration, trouble) = (Minted::Yes(RegistrationId(1)), engine_failed("timed out"));
        let outcome = Launched::Failed { registration, container: None, trouble };
        site.observe(Evidence::Launch { runner: runner.clone(), outcome });
        assert!(site.plan().is_empty() && site.steps().is_empty(), "it may be running");
        site.silent.clear();
        if is_done {
            let container = site.container(&runner);
            site.running.insert(runner, (named("c"), container, false));
        }
        site.wait(Duration::from_secs(1));
        let launched = site.plan();
        assert_eq!((launched.len(), site.steps().len()), if is_done { (0, 0) } else { (1, 1) });
    }
}

#[test]
fn a_runner_that_was_starting_on_a_lost_node_is_replaced_and_removed() {
    for started in [false, true] {
        let mut site = site_of(on_cluster(1, policy(1, 3)), vec![node("n1", 4), node("n2", 4)]);
        site.plan();
        let runner = site.only();
        site.offline.insert(runner.clone());
        site.placed.insert(runner.clone(), Placed::On { node: NodeId("n1".into()), started });
        site.loses("n1");
        assert_eq!(site.live(3 * MINUTE).len(), 1);
        assert_eq!(site.steps(), ["deregister: node_lost", "remove: node_lost"]);
        assert!(!site.running.contains_key(&runner));
    }
}

#[test]
fn a_busy_runner_of_a_lost_node_stays_as_long_as_github_says_that_it_has_a_job() {
    let (mut site, runner) = lost(true);
    site.offline.insert(runner.clone());
    site.answer = Deregistered::Busy;
    site.live(14 * MINUTE);
    assert!(site.steps().is_empty(), "GitHub has not given it up yet");
    assert_eq!(site.goes_on_until_a_step(), ["deregister: node_lost"]);
    site.live(Duration::from_secs(50));
    assert!(site.steps().is_empty(), "a minute later");
    site.live(20 * MINUTE);
    let steps = site.steps();
    assert!(steps.iter().all(|step| step == "deregister: node_lost"), "{steps:?}");
    assert!((3..20).contains(&steps.len()), "{steps:?}");
    assert!(site.ends.is_empty() && site.running.contains_key(&runner));
    site.answer = Deregistered::Removed;
    site.live(20 * MINUTE);
    assert_eq!(site.steps(), ["deregister: node_lost", "remove: node_lost"]);
    assert_eq!(site.ends, [ExitReason::NodeLost]);
}

#[test]
fn a_node_that_is_not_listed_any_more_is_lost() {
    let (mut site, runner) = lost(false);
    site.nodes.get_mut(&named("c")).unwrap().remove(0);
    site.live(MINUTE);
    assert_eq!((site.phase_of(&runner), site.steps()), (Phase::Unknown, vec![]));
    site.offline.insert(runner);
    site.live(2 * MINUTE);
    assert_eq!(site.steps(), ["deregister: node_lost", "remove: node_lost"]);
}

#[test]
fn a_runner_whose_node_comes_back_is_asked_before_anything_is_done_to_it() {
    for (is_busy, answer) in
        [(false, Deregistered::Removed), (true, Deregistered::Removed), (true, Deregistered::Busy)]
    {
        let (mut site, runner) = lost(is_busy);
        site.offline.insert(runner.clone());
        site.answer = answer.clone();
        assert_eq!(site.goes_on_until_a_step(), ["deregister: node_lost"]);
        // While it settles.
        site.node("n1").reachable = true;
        site.answer = Deregistered::NotFound;
        site.look();
        for _ in 0..30 {
            site.plan();
        }
        site.live(10 * MINUTE);
        if is_busy {
            assert_eq!(site.phase_of(&runner), Phase::Busy, "{answer:?}");
            assert!(site.steps().is_empty());
        } else {
            assert!(site.steps().iter().all(|step| step.starts_with("ask") || step == "remove: finished"));
            assert!(!site.running.contains_key(&runner));
        }
    }
}

#[test]
fn a_removal_that_was_under_way_when_the_node_was_lost_goes_on_as_that_of_a_lost_runner() {
    let mut site = site_of(on_cluster(1, policy(1, 3)), vec![node("n1", 4), node("n2", 4)]);
    site.queue(0..1, None);
    site.live(MINUTE);
    site.queue(0..0, None);
    site.goes_on_until_a_step();
    let runner = site.unregistered.iter().next().unwrap().clone();
    let Some(Placed::On { node, .. }) = site.placed.get(&runner).cloned() else { panic!("it is on a node") };
    site.loses(&node.0);
    site.answer = Deregistered::NotFound;
    site.live(5 * MINUTE);
    assert_eq!(site.steps(), ["deregister: node_lost", "remove: node_lost"]);
    assert!(!site.running.contains_key(&runner));
}

#[test]
fn a_late_job_of_a_runner_without_a_registration_is_not_ended_by_the_loss_of_its_node() {
    let (mut site, runner) = lost(false);
    site.node("n1").reachable = true;
    site.wait(MINUTE);
    // It was given a job as it was deregistered, and its log shows that.
    site.observe(Evidence::Drain(true));
    site.plan();
    site.observe(Evidence::Drain(false));
    let said = Said::RunningJob { job: "build".to_owned(), began: None };
    site.observe(Evidence::Said { runner: runner.clone(), said, clock: ClockReading::default() });
    site.answer = Deregistered::NotFound;
    site.steps();
    site.loses("n1");
    site.live(HOUR);
    assert_eq!((site.steps(), site.phase_of(&runner)), (vec![], Phase::Unknown));
}

#[test]
fn what_is_taken_back_for_a_higher_priority_is_on_one_node() {
    let low = labelled("low", of_size(2, on("low", &["c"], policy(4, 9))));
    let high = labelled("high", of_size(4, on("high", &["c"], Policy { priority: 1, ..policy(0, 9) })));
    let nodes = vec![node("n1", 4), node("n2", 4)];
    let mut site = Site::new(vec![low, high], vec![cluster("c")]).with_nodes("c", nodes);
    site.live(5 * MINUTE);
    assert_eq!(site.where_they_run(), [("low@c".to_owned(), 4)].into());
    let mut launched = Vec::new();
    for _ in 0..10 {
        site.queue(0..1, Some("high"));
        launched.extend(site.live(Duration::from_secs(10)));
    }
    assert_eq!(counted(&launched), [("high@c", 1)].into());
    assert_eq!(site.where_they_run(), [("high@c".to_owned(), 1), ("low@c".to_owned(), 2)].into());
    assert_eq!(site.pending(), 0);
}

#[test]
fn a_restart_adopts_what_a_cluster_has() {
    let pools = || vec![on_cluster(2, policy(0, 20))];
    let mut site = site_of(pools().remove(0), vec![node("n1", 8)]);
    site.queue(0..2, None);
    site.live(MINUTE);
    let mut site = site.restarted(pools(), vec![cluster("c")]);
    site.queue(0..4, None);
    assert_eq!(site.plan().len(), 2, "it is known that there are nodes");
    assert_eq!(site.steps(), Vec::<String>::new());
    // One that waits for a node goes on waiting, and no other is minted.
    let mut site = site_of(pools().remove(0), vec![node("n1", 8)]);
    site.places_nothing = true;
    site.queue(0..2, None);
    site.live(MINUTE);
    let waiting = site.only();
    let mut site = site.restarted(pools(), vec![cluster("c")]);
    site.queue(0..9, None);
    assert!(site.live(10 * MINUTE).is_empty());
    assert_eq!((site.only(), site.steps()), (waiting, vec![]));
}
