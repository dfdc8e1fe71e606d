//! How idle runners of an old image or template are replaced.

use super::*;

fn new_image(board: &mut Board, id: &str) {
    let state = ImageState::Present(id.to_owned());
    board.observe(Evidence::Image { host: host_name(), image: Template::default().image, state });
}

/// Carries out what is planned until there is nothing more to do for half a minute. Launches are left in flight:
/// returns their runners with the images that they are to be created from, and how many idle runners were removed.
fn removed_and_launched(board: &mut Board) -> (usize, Vec<(RunnerName, String)>) {
    let (mut removed, mut launched) = (0, Vec::new());
    for _ in 0..30 {
        for action in board.fleet.plan(board.now).actions {
            match action {
                Action::Launch { runner, image, .. } => launched.push((runner, image)),
                Action::Deregister { runner, why, .. } => {
                    removed += usize::from(why == Why::Outdated);
                    board.observe(Evidence::Deregister { runner, outcome: Deregistered::Removed });
                }
                Action::Stop { runner, .. } => {
                    let exit = exit(None, 0, board.now);
                    board.observe(Evidence::Exited { runner: runner.clone(), exit });
                    board.observe(Evidence::Stop { runner, outcome: Stopped::Down });
                }
                Action::Remove { runner, .. } => {
                    board.observe(Evidence::Remove { runner, outcome: Removed::Gone });
                }
                Action::DrainNode { .. } => {}
            }
        }
        board.now = board.now + Duration::from_secs(1);
    }
    (removed, launched)
}

fn starts(board: &mut Board, runner: &RunnerName) {
    let container = ContainerId(runner.as_str().into());
    let outcome = Launched::Up { registration: RegistrationId(99), container };
    board.observe(Evidence::Launch { runner: runner.clone(), outcome });
}

fn listens(board: &mut Board, runner: &RunnerName) {
    let (runner, said, clock) = (runner.clone(), Said::Listening, ClockReading::default());
    board.observe(Evidence::Said { runner, said, clock });
}

#[test]
fn each_idle_runner_is_replaced_when_the_replacement_of_the_one_before_listens_and_the_busy_finish() {
    let mut board = Board::new("IIIB", pool(policy(3, 10)), host());
    assert_eq!(board.plan(), "");
    new_image(&mut board, "sha256:2");
    for _ in 0..3 {
        let (removed, launched) = removed_and_launched(&mut board);
        let [(replacement, image)] = &launched[..] else { panic!("{launched:?}") };
        assert_eq!((removed, image.as_str()), (1, "sha256:2"));
        starts(&mut board, replacement);
        assert_eq!(removed_and_launched(&mut board), (0, Vec::new()), "it does not listen yet");
        listens(&mut board, replacement);
    }
    assert_eq!(removed_and_launched(&mut board), (0, Vec::new()), "all that is left is busy");
}

#[test]
fn no_idle_runner_is_removed_while_the_replacement_of_another_fails() {
    let mut board = Board::new("III", pool(policy(3, 10)), host());
    new_image(&mut board, "sha256:2");
    let (removed, mut launched) = removed_and_launched(&mut board);
    assert_eq!(removed, 1);
    for attempt in 0..20 {
        let Some((replacement, _)) = launched.pop() else {
            board.now = board.now + MINUTE;
            launched = removed_and_launched(&mut board).1;
            continue;
        };
        starts(&mut board, &replacement);
        board.observe(Evidence::Exited { runner: replacement, exit: exit(None, 1, board.now) });
        let (removed, retried) = removed_and_launched(&mut board);
        assert_eq!(removed, 0, "attempt {attempt}");
        launched = retried;
    }
    // One that was launched last, if it is not due later.
    for (replacement, _) in launched {
        starts(&mut board, &replacement);
        board.observe(Evidence::Exited { runner: replacement, exit: exit(None, 1, board.now) });
    }
    // An image that works is rolled out like any other.
    new_image(&mut board, "sha256:3");
    let (removed, launched) = removed_and_launched(&mut board);
    let [(replacement, image)] = &launched[..] else { panic!("{launched:?}") };
    assert_eq!((removed, image.as_str()), (0, "sha256:3"));
    starts(&mut board, replacement);
    listens(&mut board, replacement);
    assert_eq!(removed_and_launched(&mut board).0, 1);
}

#[test]
fn no_idle_runner_is_removed_for_a_template_whose_image_is_missing() {
    let mut pool = pool(policy(2, 10));
    pool.template.pids = Some(7);
    let mut board = Board::new("II", pool, host());
    let image = Template::default().image;
    let state = ImageState::Missing("no such image".to_owned());
    board.observe(Evidence::Image { host: host_name(), image, state });
    assert_eq!(removed_and_launched(&mut board), (0, Vec::new()));
    new_image(&mut board, "sha256:1");
    let (removed, launched) = removed_and_launched(&mut board);
    assert_eq!((removed, launched.len()), (1, 1));
}

#[test]
fn a_launch_from_an_image_that_was_replaced_meanwhile_does_not_make_the_new_one_missing() {
    let mut board = Board::new("", pool(policy(1, 10)), host());
    let (_, launched) = removed_and_launched(&mut board);
    assert_eq!(launched[0].1, "sha256:1");
    new_image(&mut board, "sha256:2");
    let detail = "the engine has no image sha256:1".to_owned();
    let trouble = Trouble { kind: TroubleKind::ImageMissing, retry_after: None, detail };
    let outcome = Launched::Failed { registration: Minted::No, container: None, trouble };
    board.observe(Evidence::Launch { runner: launched[0].0.clone(), outcome });
    let (_, launched) = removed_and_launched(&mut board);
    assert_eq!(launched[0].1, "sha256:2");
}

#[test]
fn pulls_in_progress_are_reported_until_they_end() {
    let mut board = Board::new("", pool(policy(0, 10)), host());
    let progress = PullProgress { since: board.now, layers_done: 1, layers: 3, bytes: 10, bytes_known: 30 };
    for (progress, reported) in [(Some(progress), 1), (None, 0)] {
        board.observe(Evidence::Pull { host: host_name(), image: "a:1".to_owned(), progress });
        let pulls = &board.fleet.status().hosts[0].pulls;
        assert_eq!(pulls.len(), reported);
        assert!(pulls.iter().all(|pull| (pull.image.as_str(), pull.progress.layers) == ("a:1", 3)));
    }
}

#[test]
fn a_new_image_rolls_the_idle_and_ends_the_wait_of_a_pool_whose_version_is_refused() {
    let mut board = Board::new("III", pool(policy(3, 10)), host());
    assert_eq!(board.plan(), "");
    let image = Template::default().image;
    let state = ImageState::Present("sha256:2".to_owned());
    board.observe(Evidence::Image { host: host_name(), image: image.clone(), state });
    assert_eq!(board.plan(), "-+");

    let mut board = Board::new("s", pool(policy(1, 10)), host());
    let mut refused = exit(None, 7, board.now);
    refused.version_deprecated = true;
    let runner = board.letters[0].1.clone();
    board.observe(Evidence::Exited { runner, exit: refused });
    assert_eq!((board.plan().as_str(), board.held()), ("x", Some(Held::VersionDeprecated)));
    let state = ImageState::Present("sha256:2".to_owned());
    board.observe(Evidence::Image { host: host_name(), image, state });
    assert_eq!((board.plan().as_str(), board.held()), ("+", None));
}

#[test]
fn a_template_that_changed_rolls_the_idle_one_at_a_time() {
    let mut pool = pool(policy(3, 10));
    pool.template.pids = Some(7);
    assert_eq!(Board::new("IIIb", pool, host()).plan(), "-+");
}
