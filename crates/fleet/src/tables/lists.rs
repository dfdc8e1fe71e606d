//! What lists show and omit of runners, and what that says of them.

use super::*;

#[test]
fn a_runner_that_lists_omitted_and_show_again_was_never_gone() {
    let mut board = Board::new("i", pool(policy(1, 2)), host());
    let mut lists = |shown: bool, times: u32| {
        for _ in 0..times {
            board.now = board.now + Duration::from_secs(10);
            let registrations = Registration {
                id: RegistrationId(1),
                name: board.letters[0].1.to_string(),
                status: RunnerStatus::Online,
                busy: false,
            };
            let registrations = Some(registrations).filter(|_| shown).into_iter().collect();
            let (began, unseen) = (board.now, Vec::new());
            board.observe(Evidence::Containers {
                host: host_name(),
                began,
                containers: board.up(),
                attachments: Vec::new(),
            });
            board.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen });
            let plan = board.plan();
            assert!(plan.is_empty() || plan == "+", "{plan}");
        }
        board.fleet.status().runners.iter().filter(|runner| runner.phase == Phase::Idle).count()
    };
    assert_eq!(lists(false, 3), 0);
    assert_eq!(lists(true, 20), 1, "it is listed, so it is idle");
}

/// GitHub's list shows this runner alone, and the host has no container.
fn shows_alone(board: &mut Board, name: &RunnerName, status: RunnerStatus) {
    let registration = Registration { id: RegistrationId(9), name: name.to_string(), status, busy: false };
    let (began, registrations) = (board.now, vec![registration]);
    board.observe(Evidence::Containers {
        host: host_name(),
        began,
        containers: Vec::new(),
        attachments: Vec::new(),
    });
    board.observe(Evidence::Registrations { scope: scope(), began, registrations, unseen: Vec::new() });
}

#[test]
fn a_registration_that_another_process_may_have_minted_just_now_is_left_alone() {
    let mut board = Board::new("", pool(policy(0, 2)), host());
    let name = Names::new("ci1".parse().unwrap(), 9).next(&"p".parse().unwrap(), shown(board.now));
    let mut acted = Vec::new();
    for _ in 0..15 {
        board.now = board.now + Duration::from_secs(10);
        shows_alone(&mut board, &name, RunnerStatus::Offline);
        acted.push(board.plan());
    }
    assert_eq!(acted.iter().position(|plan| plan == "-"), Some(12), "after `boot_timeout`: {acted:?}");
}

#[test]
fn runners_that_are_online_and_run_on_no_host_are_reported_once() {
    let mut board = Board::new("", pool(policy(0, 2)), host());
    let name = Names::new("ci1".parse().unwrap(), 9).next(&"p".parse().unwrap(), shown(board.now));
    let mut reports = 0;
    for _ in 0..30 {
        board.now = board.now + Duration::from_secs(10);
        shows_alone(&mut board, &name, RunnerStatus::Online);
        let plan = board.fleet.plan(board.now);
        assert_eq!(plan.actions, []);
        reports +=
            plan.events.iter().filter(|event| matches!(event, Event::Elsewhere { runners: 1, .. })).count();
    }
    assert_eq!(reports, 1);
}

#[test]
fn what_a_run_before_has_minted_counts_whichever_list_comes_first() {
    let idle = Pool { demand: Demand::IDLE, ..pool(policy(400, 500)) };
    let mut board = Board::new(&"s".repeat(100), idle, host());
    // Not seen before by this run, and minted just now.
    let letters = std::mem::take(&mut board.letters);
    let mut names = Names::new("ci1".parse().unwrap(), 77);
    board.letters =
        letters.iter().map(|_| ('s', names.next(&"p".parse().unwrap(), shown(board.now)))).collect();
    board.look(|_| true);
    let launched =
        board.fleet.plan(board.now).actions.iter().filter(|a| matches!(a, Action::Launch { .. })).count();
    assert_eq!(launched, 50, "150 within a minute, of which a run before has minted 100");
}

#[test]
fn an_end_is_reported_once_though_the_engine_is_slow_to_remove_the_container() {
    let mut board = Board::new("E", pool(policy(0, 1)), host());
    assert_eq!(board.plan(), "x");
    let runner = board.letters[0].1.clone();
    board.observe(Evidence::Remove { runner, outcome: Removed::Gone });
    for _ in 0..3 {
        board.now = board.now + Duration::from_secs(10);
        board.look(|_| true);
        let events = board.fleet.plan(board.now).events;
        assert!(!events.iter().any(|event| matches!(event, Event::Exited { .. })), "{events:?}");
    }
}
