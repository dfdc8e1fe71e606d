//! Clocks that are wrong or set, machines that sleep, and what takes longer than it should: rule 12 as tables.

use super::*;

#[test]
fn a_schedule_follows_the_wall_clock_however_it_is_set() {
    let policy = Policy { schedule: berlin(10 * 60 + 30, 18 * 60, 3), ..policy(1, 10) };
    let mut board = Board::new("i", pool(policy), host());
    let hour = |hours: i64, board: &mut Board| {
        let millis = shown(board.now).as_millis().saturating_add_signed(hours * 3_600_000);
        let reading = ClockReading { at: board.now, shown: Timestamp::from_millis(millis) };
        board.observe(Evidence::WallClock(reading));
        board.plan();
        board.fleet.status().pools[0].min_idle
    };
    // Set forward into the window, back before it, and over its end; no runner waits for the old time.
    assert_eq!(hour(0, &mut board), 1);
    assert_eq!(hour(1, &mut board), 3);
    assert_eq!(hour(-2, &mut board), 1);
    assert_eq!(hour(9, &mut board), 1);
    assert_eq!(hour(3, &mut board), 3);
    assert_eq!(hour(0, &mut board), 1);
}

#[test]
fn how_long_a_found_runner_ran_is_measured_by_the_engines_clock_alone() {
    for (ran, held) in [(20, Some(Held::BackingOff)), (3600, None)] {
        let mut board = Board::new("is", pool(policy(1, 4)), host());
        for runner in [0, 1] {
            let (_, runner) = board.letters[runner].clone();
            // The engine's clock is a day behind.
            let at = shown(board.now) - 24 * HOUR;
            let ended = Exit { at, ran: Some(Duration::from_secs(ran)), ..exit(None, 0, board.now) };
            board.observe(Evidence::Exited { runner, exit: ended });
        }
        board.plan();
        let failing = board.fleet.pools["p"].backoffs.on(&host_name()).and_then(|backoff| backoff.held);
        assert_eq!(failing, held, "{ran} s");
    }
}

#[test]
fn a_launch_under_way_is_capacity_however_long_it_takes() {
    let mut board = Board::new("", pool(policy(2, 10)), host());
    assert_eq!(board.plan(), "++");
    board.now = board.now + HOUR;
    board.look(|_| true);
    assert_eq!(board.plan(), "", "a suspended machine or a slow engine makes no second launch");
    let runner = board.fleet.runners.keys().next().unwrap().clone();
    let up = Launched::Up { registration: RegistrationId(7), container: ContainerId("c7".into()) };
    board.observe(Evidence::Launch { runner, outcome: up });
    board.now = board.now + MINUTE;
    assert_eq!(board.plan(), "", "it has only begun to boot");
    board.now = board.now + 2 * MINUTE;
    assert_eq!(board.plan(), "-+", "and now it has not come up in time");
}

#[test]
fn a_jobs_age_outlives_the_daemon_since_the_runners_log_is_dated() {
    let policy = Policy { max_job_age: Some(HOUR), ..policy(0, 1) };
    for (ago, signs) in [(90 * MINUTE, "!"), (30 * MINUTE, "")] {
        let mut board = Board::new("b", pool(policy.clone()), host());
        // The engine's clock is three hours behind.
        let clock = ClockReading { at: board.now, shown: shown(board.now) - 3 * HOUR };
        let said = Said::RunningJob { job: "build".to_owned(), began: Some(clock.shown - ago) };
        board.observe(Evidence::Said { runner: board.letters[0].1.clone(), said, clock });
        assert_eq!(board.plan(), signs, "{ago:?}");
    }
}

#[test]
fn a_job_is_not_older_for_the_time_that_the_machine_slept() {
    let policy = Policy { max_job_age: Some(2 * HOUR), ..policy(0, 1) };
    let mut board = Board::new("b", pool(policy), host());
    board.now = board.now + 10 * HOUR;
    board.observe(Evidence::Slept(9 * HOUR));
    board.look(|_| true);
    assert_eq!(board.plan(), "");
    board.now = board.now + HOUR;
    board.look(|_| true);
    assert_eq!(board.plan(), "!");
}
