//! Ends of containers, reported in two steps: that one ended, and how.

use super::*;

/// A board of a pool that has one runner at most, and that runner.
fn board(letters: &str) -> (Board, RunnerName) {
    let mut board = Board::new(letters, pool(policy(1, 1)), host());
    board.plan();
    let runner = board.letters[0].1.clone();
    (board, runner)
}

impl Board {
    fn died(&mut self, runner: &RunnerName, code: i64) {
        self.observe(Evidence::Died { runner: runner.clone(), code });
    }

    fn exited(&mut self, runner: &RunnerName, exit: Exit) {
        self.observe(Evidence::Exited { runner: runner.clone(), exit });
    }

    fn events(&mut self) -> (String, Vec<Event>) {
        let plan = self.fleet.plan(self.now);
        let signs = plan.actions.iter().map(sign);
        let ends = plan.events.iter().filter(|event| matches!(event, Event::Exited { .. })).cloned();
        (signs.collect(), ends.collect())
    }

    fn later(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }

    fn failures(&self) -> u32 {
        self.fleet.pools["p"].backoffs.on(&host_name()).map_or(0, |backoff| backoff.failures)
    }
}

#[test]
fn a_replacement_does_not_wait_for_how_its_predecessor_ended() {
    for letters in ["i", "b", "s"] {
        let (mut board, runner) = board(letters);
        board.died(&runner, 137);
        let (signs, reported) = board.events();
        assert_eq!((signs.as_str(), reported.len()), ("+", 0), "{letters}: nothing is removed or told yet");
        assert_eq!(board.fleet.status().runners[0].phase, Phase::Finished);
        board.later(300);
        let mut details = exit(None, 137, board.now);
        details.out_of_memory = true;
        board.exited(&runner, details);
        let (signs, reported) = board.events();
        assert_eq!(signs, "x", "{letters}");
        let [Event::Exited { reason: ExitReason::OutOfMemory, exit: Some(_), .. }] = &reported[..] else {
            panic!("{letters}: once, and in full: {reported:?}")
        };
        // Neither a second word of the same nor a list makes it end twice.
        board.died(&runner, 137);
        board.exited(&runner, exit(None, 0, board.now));
        assert!(board.events().1.is_empty());
    }
}

#[test]
fn a_list_completes_an_end_whose_details_never_came() {
    let (mut board, runner) = board("i");
    board.died(&runner, 0);
    assert_eq!(board.plan(), "+");
    board.later(300);
    board.letters[0].0 = 'F';
    board.look(|_| true);
    let (signs, reported) = board.events();
    assert_eq!((signs.as_str(), reported.len()), ("x", 1));
    let Event::Exited { job, .. } = &reported[0] else { unreachable!() };
    assert_eq!(job.as_deref(), Some("build"), "its log told it");
}

#[test]
fn a_list_that_began_before_the_end_does_not_bring_it_back() {
    let (mut board, runner) = board("i");
    let (began, at) = (board.now, board.now + Duration::from_millis(300));
    board.now = at;
    board.died(&runner, 137);
    board.now = began;
    board.look(|_| true);
    board.now = at;
    assert_eq!(board.fleet.status().runners[0].phase, Phase::Idle, "the last pass");
    assert_eq!(board.plan(), "+");
    assert_eq!(board.fleet.status().runners[0].phase, Phase::Finished);
}

#[test]
fn what_vanishes_before_its_end_was_read_is_reported_by_its_code() {
    let (mut board, runner) = board("i");
    board.died(&runner, 137);
    board.plan();
    let mut reported = Vec::new();
    for _ in 0..2 {
        board.later(60_000);
        board.look(|letter| letter != 'i');
        reported.extend(board.events().1);
    }
    let [Event::Exited { reason: ExitReason::Killed, exit: Some(exit), .. }] = &reported[..] else {
        panic!("{reported:?}")
    };
    assert_eq!(exit.code, 137);
}

#[test]
fn a_failure_counts_at_once_and_once() {
    let (mut board, runner) = board("s");
    board.died(&runner, 1);
    assert_eq!((board.failures(), board.plan().as_str()), (1, "+"));
    board.later(300);
    board.exited(&runner, exit(None, 1, board.now));
    assert_eq!(board.failures(), 1);
    // The replacement was begun in the moment of the failure, and its own failure is the next one.
    let next = board.fleet.status().runners.into_iter().find(|other| other.name != runner).unwrap().name;
    let (registration, container) = (RegistrationId(9), ContainerId("next".into()));
    let outcome = Launched::Up { registration, container };
    board.observe(Evidence::Launch { runner: next.clone(), outcome });
    board.later(700);
    board.died(&next, 1);
    assert_eq!((board.failures(), board.held()), (2, None));
    assert_eq!((board.plan().as_str(), board.held()), ("x", Some(Held::BackingOff)));
}

#[test]
fn the_whole_truth_takes_the_place_of_what_was_counted_at_once() {
    let with_job = |board: &Board| exit(Some("build"), 1, board.now);
    let refused = |board: &Board| Exit { version_deprecated: true, ..exit(None, 1, board.now) };
    for (details, failures, held) in
        [(with_job as fn(&Board) -> Exit, 0, None), (refused, 1, Some(Held::VersionDeprecated))]
    {
        let (mut board, runner) = board("s");
        board.died(&runner, 1);
        assert_eq!(board.failures(), 1);
        board.later(300);
        let details = details(&board);
        board.exited(&runner, details);
        assert_eq!(
            (board.failures(), board.fleet.pools["p"].backoffs.on(&host_name()).and_then(|b| b.held)),
            (failures, held)
        );
    }
}

#[test]
fn a_failure_is_not_forgotten_because_one_that_came_with_it_was_none() {
    let mut board = Board::new("ss", pool(policy(2, 2)), host());
    board.plan();
    let [first, second] = [0, 1].map(|which| board.letters[which].1.clone());
    board.died(&first, 1);
    board.died(&second, 1);
    board.later(300);
    board.exited(&first, exit(Some("build"), 1, board.now));
    assert_eq!(board.failures(), 1);
    board.exited(&second, exit(None, 1, board.now));
    assert_eq!(board.failures(), 1);
}

#[test]
fn two_jobs_that_ended_together_are_no_failure() {
    let mut board = Board::new("ss", pool(policy(2, 2)), host());
    board.plan();
    let runners = [0, 1].map(|which| board.letters[which].1.clone());
    for runner in &runners {
        board.died(runner, 1);
    }
    board.later(300);
    for runner in &runners {
        board.exited(runner, exit(Some("build"), 1, board.now));
    }
    assert_eq!(board.failures(), 0);
}

#[test]
fn a_job_that_ended_is_counted_once_for_a_scale_set() {
    let mut pool = pool(policy(0, 10));
    pool.demand = Demand::ScaleSet;
    let mut board = Board::new("b", pool, host());
    let (name, runner): (PoolName, _) = ("p".parse().unwrap(), board.letters[0].1.clone());
    board.observe(Evidence::Assigned { pool: name, jobs: Some(1), at: board.now });
    board.observe(Evidence::JobOver { runner: runner.to_string() });
    board.later(10);
    board.died(&runner, 0);
    board.later(10);
    board.exited(&runner, exit(Some("build"), 0, board.now));
    assert!(board.fleet.pools["p"].demand.has_no_runner_to_subtract(), "its job was over before");
}

#[test]
fn an_image_that_the_engine_does_not_talk_about_holds_its_pool_until_it_does() {
    let mut fleet = Fleet::new("ci1".parse().unwrap(), 1, vec![pool(policy(1, 1))], vec![host()]);
    let now = Instant::from_millis(1_800_000_000_000);
    fleet.observe(
        Evidence::Containers { host: host_name(), began: now, containers: vec![], attachments: Vec::new() },
        now,
    );
    let (registrations, unseen) = (Vec::new(), Vec::new());
    fleet.observe(Evidence::Registrations { scope: scope(), began: now, registrations, unseen }, now);
    let mut step = |state| {
        let image = Template::default().image;
        fleet.observe(Evidence::Image { host: host_name(), image, state }, now);
        let plan = fleet.plan(now);
        let reported = plan.events.into_iter().find_map(|event| match event {
            Event::Held { held, detail, .. } => Some((held, detail)),
            _ => None,
        });
        (plan.actions.len(), reported)
    };
    let unknown = || ImageState::Unknown("inspect image: forbidden".to_owned());
    let missing = |why: &str| ImageState::Missing(why.to_owned());
    let reported = |held, detail: &str| Some((Some(held), detail.to_owned()));
    assert_eq!(step(unknown()), (0, reported(Held::ImageUnknown, "inspect image: forbidden")));
    assert_eq!(step(unknown()), (0, None), "once");
    assert_eq!(step(ImageState::Pulling), (0, reported(Held::ImagePulling, "")));
    assert_eq!(step(missing("no such tag")), (0, reported(Held::ImageMissing, "no such tag")));
    assert_eq!(step(missing("no such tag, request 2")), (0, None), "once per streak, however it is worded");
    assert_eq!(step(unknown()), (0, None), "more is known");
    assert_eq!(step(ImageState::Present("sha256:1".to_owned())), (1, Some((None, String::new()))));
    assert_eq!(step(unknown()), (0, None));
}
