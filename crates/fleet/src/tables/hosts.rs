//! Pools over several hosts, and several pools on one: where runners start, what goes on elsewhere, and who comes first.

use super::{site::*, *};

#[test]
fn runners_are_spread_packed_or_put_in_order() {
    for (placement, expected) in [
        (Placement::Spread, [("p@a", 2), ("p@b", 4)].as_slice()),
        (Placement::Pack, &[("p@a", 4), ("p@b", 2)]),
        (Placement::Ordered, &[("p@a", 4), ("p@b", 2)]),
    ] {
        let pool = Pool { placement, ..on("p", &["a", "b"], policy(0, 20)) };
        let mut site = Site::new(vec![pool], vec![sized("a", 4), sized("b", 8)]);
        site.queue(0..6, None);
        assert_eq!(counted(&site.plan()), expected.iter().copied().collect(), "{placement:?}");
    }
    // The order is that of the pool, not of the names.
    let pool = Pool { placement: Placement::Ordered, ..on("p", &["b", "a"], policy(1, 20)) };
    assert_eq!(Site::new(vec![pool], vec![sized("a", 4), sized("b", 8)]).plan(), ["p@b"]);
}

#[test]
fn what_one_host_cannot_start_another_does() {
    let without = |change: &dyn Fn(&mut Site)| {
        let mut site =
            Site::new(vec![on("p", &["a", "b"], policy(0, 20))], vec![sized("a", 9), sized("b", 6)]);
        change(&mut site);
        site.queue(0..6, None);
        let launched = site.plan();
        assert_eq!(site.held("p"), (None, None));
        counted(&launched).get("p@b").copied()
    };
    assert_eq!(without(&|_| {}), Some(2));
    assert_eq!(without(&|site| site.fails("a")), Some(6));
    assert_eq!(without(&|site| site.observe(Evidence::DiskLow { host: named("a"), low: true })), Some(6));
    for state in [ImageState::Pulling, ImageState::Missing("no such image".to_owned())] {
        let image = Template::default().image;
        let evidence = Evidence::Image { host: named("a"), image, state };
        assert_eq!(without(&|site| site.observe(evidence.clone())), Some(6));
    }
}

#[test]
fn a_pool_is_held_only_when_all_of_its_hosts_are_and_says_why_for_each() {
    let mut site = Site::new(vec![on("p", &["a", "b"], policy(0, 20))], vec![sized("a", 2), sized("b", 2)]);
    site.fails("a");
    site.queue(0..6, None);
    assert_eq!(counted(&site.plan()), [("p@b", 2)].into());
    let detail = "a: timed out; b: its host's max_runners is reached".to_owned();
    assert_eq!(site.held("p"), (Some(Held::HostFull), Some(detail)));
    site.look();
    assert_eq!(counted(&site.plan()), [("p@a", 2)].into());
}

#[test]
fn launches_that_fail_on_one_host_are_tried_on_the_others_at_once() {
    let pool = Pool { placement: Placement::Ordered, ..on("p", &["a", "b"], policy(0, 20)) };
    let mut site = Site::new(vec![pool], vec![sized("a", 99), sized("b", 99)]);
    site.silent = vec![named("a")];
    site.queue(0..1, None);
    for expected in ["p@a", "p@a", "p@b"] {
        assert_eq!(site.plan(), [expected], "the first failure is retried at once, where it was");
        if expected == "p@a" {
            let launching = site.fleet.runners.values().find(|runner| runner.is_launching());
            let runner = launching.unwrap().name.clone();
            let trouble =
                Trouble { kind: TroubleKind::EngineFailed, retry_after: None, detail: "500".to_owned() };
            let outcome = Launched::Failed { registration: Minted::No, container: None, trouble };
            site.observe(Evidence::Launch { runner, outcome });
            site.now = site.now + Duration::from_secs(1);
        }
    }
}

#[test]
fn a_launch_on_a_host_that_does_not_answer_is_no_capacity_and_never_too_many() {
    let mut site = Site::new(vec![on("p", &["a", "b"], policy(0, 3))], vec![sized("a", 99), sized("b", 99)]);
    site.silent = vec![named("a")];
    site.queue(0..2, None);
    assert_eq!(counted(&site.plan()), [("p@a", 1), ("p@b", 1)].into());
    assert!(site.plan().is_empty());
    site.fails("a");
    assert_eq!(site.plan(), ["p@b"], "another takes its place");
    site.queue(0..5, None);
    assert_eq!((site.plan(), site.held("p").0), (vec![], Some(Held::AtMax)), "it may still come up");
}

#[test]
fn a_job_goes_to_another_pool_with_its_labels_when_its_own_cannot_start_it() {
    let pools = || vec![on("one", &["a"], policy(0, 2)), on("two", &["b"], policy(0, 9))];
    // Full, silent, and at the most that it may have.
    for (first, silent, own) in
        [(sized("a", 1), false, 1), (sized("a", 9), true, 0), (sized("a", 9), false, 2)]
    {
        let mut site = Site::new(pools(), vec![first, sized("b", 9)]);
        if silent {
            site.fails("a");
        }
        site.queue(0..6, None);
        let launched = site.plan();
        let here = counted(&launched);
        assert_eq!((here.get("one@a").copied().unwrap_or(0), here["two@b"]), (own, 6 - own));
        let queued: Vec<u32> = site.fleet.status().pools.iter().map(|pool| pool.queued).collect();
        assert_eq!(queued, [u32::try_from(own).unwrap(), 6 - u32::try_from(own).unwrap()]);
        let configured = pools();
        let known = &site.fleet.jobs.known;
        let moved = known.values().find(|known| known.matched == Matched::Pool("two".parse().unwrap()));
        let (job, status) = (&moved.unwrap().job, site.fleet.status());
        let pools = configured.iter().map(|pool| (pool, None));
        let explained = explain(job, &JobState::Queued, pools, Some(&status)).join(" ");
        assert!(explained.contains("Pool one could not start it, so pool two with the same labels does."));
        // They stay there, and a poll that shows them again changes nothing.
        site.wait(MINUTE);
        site.queue(0..6, None);
        assert_eq!(site.plan(), Vec::<String>::new());
    }
}

#[test]
fn a_job_stays_where_it_is_when_no_other_pool_has_the_same_labels_or_can_start_it() {
    let one = on("one", &["a"], policy(0, 9));
    let other = labelled("gpu", on("two", &["b"], policy(0, 9)));
    let mut site = Site::new(vec![one.clone(), other], vec![sized("a", 1), sized("b", 9)]);
    site.queue(0..3, None);
    assert_eq!(counted(&site.plan()), [("one@a", 1)].into());
    let mut site = Site::new(vec![one, on("two", &["b"], policy(0, 9))], vec![sized("a", 1), sized("b", 1)]);
    site.queue(0..3, None);
    assert_eq!(counted(&site.plan()), [("one@a", 1), ("two@b", 1)].into());
    let queued: u32 = site.fleet.status().pools.iter().map(|pool| pool.queued).sum();
    assert_eq!(queued, 3);
    assert_eq!(site.held("one").0, Some(Held::HostFull));
    assert!(site.plan().is_empty());
}

#[test]
fn idle_runners_make_room_for_jobs_of_a_higher_priority_and_busy_ones_do_not() {
    let low = labelled("low", on("low", &["a"], policy(3, 9)));
    let high = labelled("high", on("high", &["a"], Policy { priority: 1, ..policy(0, 9) }));
    let site = || {
        let mut site = Site::new(vec![low.clone(), high.clone()], vec![sized("a", 3)]);
        assert_eq!(counted(&site.plan()), [("low@a", 3)].into());
        for _ in 0..2 {
            site.wait(2 * MINUTE);
        }
        site
    };
    let mut calm = site();
    calm.queue(0..1, Some("high"));
    calm.plan();
    assert_eq!(calm.held("high").0, Some(Held::HostFull));
    let stopping = |site: &Site| {
        let status = site.fleet.status();
        status.runners.iter().filter(|runner| runner.removal_reason == Some(Why::Preempted)).count()
    };
    assert_eq!(stopping(&calm), 1, "as many as are needed");
    let mut launched = Vec::new();
    for _ in 0..10 {
        calm.wait(Duration::from_secs(5));
        launched.extend(calm.plan());
    }
    assert_eq!(launched, ["high@a"]);
    assert_eq!(calm.where_they_run(), [("high@a".to_owned(), 1), ("low@a".to_owned(), 2)].into());

    let mut busy = site();
    busy.all_busy("low");
    busy.queue(0..1, Some("high"));
    for _ in 0..10 {
        assert!(busy.plan().is_empty());
        busy.wait(MINUTE);
        busy.queue(0..1, Some("high"));
    }
    assert_eq!((stopping(&busy), busy.where_they_run()), (0, [("low@a".to_owned(), 3)].into()));
    // What becomes free is for the job that waits, not for a spare of the other.
    busy.one_done("low");
    assert_eq!(busy.plan(), ["high@a"]);
}

/// P30: a host for twenty, of which a pool without priority has nineteen.
#[test]
fn a_pool_of_higher_priority_gets_as_many_as_it_has_jobs() {
    let first = labelled("a", on("a", &["h"], Policy { priority: 10, ..policy(0, 20) }));
    let other = labelled("b", on("b", &["h"], policy(19, 20)));
    let mut site = Site::new(vec![first, other], vec![sized("h", 20)]);
    assert_eq!(site.plan().len(), 19);
    for _ in 0..2 {
        site.wait(2 * MINUTE);
    }
    for _ in 0..10 {
        site.queue(0..5, Some("a"));
        site.plan();
        site.wait(Duration::from_secs(5));
    }
    assert_eq!(site.where_they_run(), [("a@h".to_owned(), 5), ("b@h".to_owned(), 15)].into());
}

#[test]
fn spares_of_a_higher_priority_and_jobs_of_an_equal_one_take_nothing_back() {
    let low = labelled("low", on("low", &["a"], policy(3, 9)));
    for (min_idle, priority) in [(2, 1), (0, 0)] {
        let other = labelled("other", on("other", &["a"], Policy { priority, ..policy(min_idle, 9) }));
        let mut site = Site::new(vec![low.clone()], vec![sized("a", 3)]);
        site.plan();
        let mut both = Site::new(vec![low.clone(), other], vec![sized("a", 3)]);
        both.running = std::mem::take(&mut site.running);
        for _ in 0..2 {
            both.wait(2 * MINUTE);
        }
        if min_idle == 0 {
            both.queue(0..1, Some("other"));
        }
        for _ in 0..5 {
            assert!(both.plan().is_empty(), "{priority}");
            both.wait(MINUTE);
        }
        assert_eq!(both.where_they_run()["low@a"], 3, "{priority}");
    }
}

#[test]
fn a_full_host_is_shared_by_weight() {
    let pool = |name: &str, weight| labelled(name, on(name, &["a"], Policy { weight, ..policy(0, 100) }));
    let mut site = Site::new(vec![pool("light", 1), pool("heavy", 3)], vec![sized("a", 8)]);
    let jobs = |site: &mut Site| {
        site.queue_each(0..60, |id| Some(if id % 2 == 0 { "light" } else { "heavy" }));
    };
    jobs(&mut site);
    assert_eq!(counted(&site.plan()), [("heavy@a", 6), ("light@a", 2)].into());
    // It stays so whatever ends first.
    for pool in ["heavy", "heavy", "light", "heavy", "light"] {
        site.all_busy(pool);
        site.one_done(pool);
        site.wait(Duration::from_secs(10));
        jobs(&mut site);
        assert_eq!(site.plan(), [format!("{pool}@a")]);
    }
}

#[test]
fn large_runners_get_their_turn_although_small_ones_would_fit_before() {
    let small = labelled("small", of_size(1, on("small", &["a"], Policy { weight: 100, ..policy(0, 100) })));
    let large = labelled("large", of_size(4, on("large", &["a"], policy(0, 100))));
    let mut site = Site::new(vec![small, large], vec![with_memory("a", 4)]);
    let jobs = |site: &mut Site| {
        site.queue_each(0..1000, |id| Some(if id == 0 { "large" } else { "small" }));
    };
    jobs(&mut site);
    assert_eq!(counted(&site.plan()), [("small@a", 4)].into());
    let mut waited = Duration::ZERO;
    while !site.where_they_run().contains_key("large@a") {
        assert!(waited < 20 * MINUTE, "it starves");
        site.all_busy("small");
        if site.where_they_run().contains_key("small@a") {
            site.one_done("small");
        }
        site.wait(MINUTE);
        waited += MINUTE;
        jobs(&mut site);
        site.plan();
    }
    assert!(waited > 5 * MINUTE, "and before that small ones go on: {waited:?}");
}

#[test]
fn a_host_without_a_budget_beside_others_is_limited_by_its_machine() {
    let machine = Resources { memory: 8 << 30, cpu_millis: 4000 };
    let both = of_size(4, on("p", &["a", "b"], policy(0, 20)));
    let mut site = Site::new(vec![both.clone()], vec![host_of("a"), sized("b", 5)]);
    site.queue(0..20, None);
    assert_eq!(counted(&site.plan()), [("p@b", 5)].into(), "what it has is not known yet");
    let mut site = Site::new(vec![both], vec![host_of("a"), sized("b", 5)]).sized(machine);
    site.queue(0..20, None);
    assert_eq!(counted(&site.plan()), [("p@a", 2), ("p@b", 5)].into());
    let alone = of_size(4, on("p", &["a"], policy(0, 20)));
    let mut site = Site::new(vec![alone], vec![host_of("a")]).sized(machine);
    site.queue(0..20, None);
    assert_eq!(site.plan().len(), 20, "a host that a pool has alone has no limit but those that are set");
}

#[test]
fn an_idle_runner_on_a_host_that_its_pool_no_longer_has_is_replaced() {
    let mut before = Site::new(vec![on("p", &["a"], policy(1, 9))], vec![sized("a", 99), sized("b", 99)]);
    before.plan();
    let mut after = Site::new(vec![on("p", &["b"], policy(1, 9))], vec![sized("a", 99), sized("b", 99)]);
    after.running = before.running;
    let mut launched = Vec::new();
    for _ in 0..20 {
        after.wait(Duration::from_secs(20));
        launched.extend(after.plan());
    }
    assert_eq!((launched, after.where_they_run()), (vec!["p@b".to_owned()], [("p@b".to_owned(), 1)].into()));
}
