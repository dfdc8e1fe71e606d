//! The order of a removal, and what forbids one.

use super::*;

#[test]
fn what_is_being_removed_still_takes_room() {
    assert_eq!(plan("SS", 2, 2, 0), "--", "the two that do not boot still fill the pool");
    let mut board = Board::new("SS", pool(policy(2, 2)), host());
    board.plan();
    assert_eq!(board.held(), Some(Held::AtMax));
}

#[test]
fn a_drain_removes_the_idle_and_lets_the_busy_finish() {
    let mut board = Board::new("iiIbbs", pool(policy(2, 10)), host());
    board.observe(Evidence::Drain(true));
    assert_eq!((board.plan().as_str(), board.held()), ("----", Some(Held::Draining)));
}

#[test]
fn the_order_of_a_removal_is_deregister_settle_stop_remove() {
    let mut board = Board::new("I", pool(policy(0, 1)), host());
    let name = board.letters[0].1.clone();
    assert_eq!(board.plan(), "-");
    board.observe(Evidence::Deregister { runner: name.clone(), outcome: Deregistered::Removed });
    assert_eq!(board.plan(), "", "a job may still be on its way");
    board.now = board.now + plan::SETTLE;
    assert_eq!(board.plan(), "!");
    let end = Evidence::Exited { runner: name.clone(), exit: exit(None, 143, board.now) };
    board.observe(end);
    board.observe(Evidence::Stop { runner: name.clone(), outcome: Stopped::Down });
    board.now = board.now + MINUTE;
    assert_eq!(board.plan(), "x");
    board.observe(Evidence::Remove { runner: name, outcome: Removed::Gone });
    assert_eq!((board.plan().as_str(), board.fleet.status().runners.len()), ("", 0));
}

#[test]
fn every_refusal_of_a_removal_leaves_the_runner_alone() {
    let trouble = Trouble { kind: TroubleKind::GithubFailed, retry_after: None, detail: String::new() };
    for (outcome, phase) in [
        (Deregistered::Busy, Phase::Busy),
        (Deregistered::Vetoed(Some("build".to_owned())), Phase::Busy),
        (Deregistered::NotFound, Phase::Ghost),
        (Deregistered::Failed(trouble), Phase::Idle),
    ] {
        let mut board = Board::new("I", pool(policy(0, 1)), host());
        board.plan();
        let runner = board.letters[0].1.clone();
        board.observe(Evidence::Deregister { runner, outcome: outcome.clone() });
        assert_eq!(board.plan(), "", "{outcome:?}");
        assert_eq!(board.fleet.status().runners[0].phase, phase, "{outcome:?}");
    }
}

#[test]
fn a_late_job_cancels_the_stop() {
    let mut board = Board::new("I", pool(policy(0, 1)), host());
    board.plan();
    let runner = board.letters[0].1.clone();
    board.observe(Evidence::Deregister { runner: runner.clone(), outcome: Deregistered::Removed });
    board.observe(Evidence::Said {
        runner,
        said: Said::RunningJob { job: "build".to_owned(), began: None },
        clock: ClockReading::default(),
    });
    board.now = board.now + HOUR;
    assert_eq!(board.plan(), "");
}

#[test]
fn a_container_whose_start_was_not_confirmed_is_left_alone_once_its_runner_shows_life() {
    for busy in [false, true] {
        let mut board = Board::new("C", pool(policy(1, 1)), host());
        let (id, name) = (RegistrationId(1), board.letters[0].1.to_string());
        let registrations = vec![Registration { id, name, status: RunnerStatus::Online, busy }];
        board.observe(Evidence::Registrations {
            scope: scope(),
            began: board.now,
            registrations,
            unseen: Vec::new(),
        });
        assert_eq!(board.plan(), "");
    }
}

#[test]
fn the_latch_outlives_every_later_word_of_idleness() {
    let mut board = Board::new("b", pool(policy(0, 1)), host());
    board.letters[0].0 = 'i';
    for _ in 0..10 {
        board.now = board.now + HOUR;
        board.look(|_| true);
        assert_eq!(board.plan(), "");
    }
    assert_eq!(board.fleet.status().runners[0].phase, Phase::Busy);
}

#[test]
fn a_job_that_takes_too_long_is_stopped_only_where_that_is_configured() {
    assert_eq!(plan("B", 0, 1, 0), "");
    let policy = Policy { max_job_age: Some(MINUTE), ..policy(0, 1) };
    assert_eq!(Board::new("B", pool(policy), host()).plan(), "!");
}
