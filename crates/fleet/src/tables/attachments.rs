//! What is made for a runner beside its container: counted while it exists, and removed on every way out.

use super::*;

fn isolated() -> Pool {
    let template = Template { network: Network::Isolated, ..Template::default() };
    Pool { template, ..pool(policy(0, 1)) }
}

fn sidecar(runner: &RunnerName, state: SidecarState) -> Attachment {
    let resources = Resources { memory: 2 << 30, cpu_millis: 500 };
    Attachment {
        runner: runner.clone(),
        kind: AttachmentKind::Sidecar { resources, state },
        id: "s1".to_owned(),
    }
}

fn network(runner: &RunnerName) -> Attachment {
    Attachment { runner: runner.clone(), kind: AttachmentKind::Network, id: "n1".to_owned() }
}

/// A runner that the daemon finds, with what a list shows beside its container.
fn board(letters: &str, attachments: impl Fn(&RunnerName) -> Vec<Attachment>) -> Board {
    let mut board = Board::new(letters, isolated(), host());
    board.attachments = board.letters.iter().flat_map(|(_, name)| attachments(name)).collect();
    board.look(|_| true);
    board
}

/// What is removed by the only planned action but launches: a container, and whether attachments.
fn removed(board: &mut Board) -> (Option<ContainerId>, bool) {
    let mut actions = board.fleet.plan(board.now).actions;
    actions.retain(|action| !matches!(action, Action::Launch { .. }));
    match actions.as_slice() {
        [Action::Remove { container, attached, .. }] => (container.clone(), *attached),
        other => panic!("{other:?}"),
    }
}

fn gone(board: &mut Board) {
    let runner = board.letters[0].1.clone();
    board.attachments.clear();
    board.observe(Evidence::Remove { runner, outcome: Removed::Gone });
}

#[test]
fn a_container_that_ended_is_removed_with_its_attachments() {
    let mut board = board("F", |name| vec![sidecar(name, SidecarState::Up), network(name)]);
    assert_eq!(removed(&mut board), (Some(ContainerId("c0".into())), true));
    gone(&mut board);
    assert_eq!(board.plan(), "");
}

#[test]
fn attachments_that_outlive_their_container_are_removed_and_keep_counting_until_then() {
    let mut board = board("I", |name| vec![sidecar(name, SidecarState::Up)]);
    assert_eq!(board.fleet.status().hosts[0].committed, Resources { memory: 2 << 30, cpu_millis: 500 });
    board.letters.clear();
    for _ in 0..2 {
        board.now = board.now + MINUTE;
        board.look(|_| true);
    }
    assert_eq!(board.fleet.status().hosts[0].committed.memory, 2 << 30);
    assert_eq!(removed(&mut board), (None, true));
}

#[test]
fn what_a_failed_launch_left_is_removed_as_soon_as_a_list_shows_it() {
    let mut board = Board::new("", isolated(), host());
    board.queue(1);
    let Some(Action::Launch { runner, .. }) = board.fleet.plan(board.now).actions.pop() else { panic!() };
    let trouble = Trouble { kind: TroubleKind::EngineFailed, retry_after: None, detail: String::new() };
    let outcome = Launched::Failed { registration: Minted::No, container: None, trouble };
    board.observe(Evidence::Launch { runner: runner.clone(), outcome });
    assert!(!board.plan().contains('x'), "no list has shown anything");
    board.attachments = vec![network(&runner)];
    board.now = board.now + Duration::from_secs(1);
    board.look(|_| true);
    assert_eq!(removed(&mut board), (None, true));
    board.observe(Evidence::Remove { runner: runner.clone(), outcome: Removed::Gone });
    assert!(board.fleet.status().runners.iter().all(|left| left.name != runner));
}

#[test]
fn attachments_of_a_launch_in_flight_or_of_another_process_are_left_alone() {
    let mut board = Board::new("", isolated(), host());
    board.queue(1);
    let Some(Action::Launch { runner, .. }) = board.fleet.plan(board.now).actions.pop() else { panic!() };
    let mut names = Names::new("ci1".parse().unwrap(), 9);
    let other = names.next(&"p".parse().unwrap(), shown(board.now));
    board.attachments = vec![network(&runner), network(&other)];
    board.now = board.now + Duration::from_secs(1);
    board.look(|_| true);
    assert_eq!(board.plan(), "");
    board.now = board.now + Policy::default().boot_timeout;
    board.look(|_| true);
    let left = board.fleet.plan(board.now).actions;
    assert!(
        matches!(&left[..], [Action::Remove { runner, container: None, .. }] if *runner == other),
        "{left:?}"
    );
}

#[test]
fn nothing_is_removed_while_the_host_cannot_be_listed() {
    let mut board = board("F", |name| vec![network(name)]);
    let trouble = Trouble { kind: TroubleKind::EngineFailed, retry_after: None, detail: "down".to_owned() };
    board.observe(Evidence::HostTrouble { host: host_name(), trouble });
    assert_eq!(board.plan(), "");
}

#[test]
fn a_runner_whose_sidecar_stopped_is_replaced_unless_it_has_a_job() {
    for (letter, signs) in [("I", "-+"), ("i", "-+"), ("b", "")] {
        let mut board = Board::new(letter, pool(policy(1, 3)), host());
        let name = board.letters[0].1.clone();
        board.attachments = vec![sidecar(&name, SidecarState::Up)];
        board.look(|_| true);
        board.plan();
        board.attachments = vec![sidecar(&name, SidecarState::Down)];
        board.now = board.now + Duration::from_secs(1);
        board.look(|_| true);
        assert_eq!(board.plan(), signs, "{letter}");
    }
}

#[test]
fn a_list_that_began_before_a_removal_does_not_bring_attachments_back() {
    let mut board = board("F", |name| vec![network(name)]);
    board.plan();
    let (began, shown) = (board.now, board.attachments.clone());
    board.now = board.now + Duration::from_secs(5);
    gone(&mut board);
    board.observe(Evidence::Containers { host: host_name(), began, containers: vec![], attachments: shown });
    assert_eq!(board.plan(), "");
}

fn with_gpus(count: u32) -> (Pool, Host) {
    let template = Template { devices: BTreeMap::from([(DeviceClass::Gpu, count)]), ..Template::default() };
    let gpus = vec!["0".to_owned(), "1".to_owned()];
    let host = Host { devices: BTreeMap::from([(DeviceClass::Gpu, gpus)]), ..host() };
    (Pool { template, ..pool(policy(5, 10)) }, host)
}

#[test]
fn a_host_hands_each_gpu_to_one_runner_whatever_max_is() {
    for (each, signs) in [(1, "++"), (2, "+")] {
        let (pool, host) = with_gpus(each);
        let mut board = Board::new("", pool, host);
        assert_eq!((board.plan().as_str(), board.held()), (signs, Some(Held::HostGpus)));
    }
}

#[test]
fn an_adopted_runner_keeps_its_gpu_until_its_container_is_gone() {
    let (pool, host) = with_gpus(1);
    let mut board = Board::new("E", pool, host);
    board.devices = Devices([(DeviceClass::Gpu, ["1".to_owned()].into())].into());
    board.look(|_| true);
    let gpus = |board: &mut Board| {
        let launched = board.fleet.plan(board.now).actions.into_iter().filter_map(|action| match action {
            Action::Launch { devices, .. } => Some(devices.of(&DeviceClass::Gpu).collect::<String>()),
            _ => None,
        });
        launched.collect::<Vec<_>>()
    };
    assert_eq!(gpus(&mut board), ["0"]);
    gone(&mut board);
    assert_eq!(gpus(&mut board), ["1"]);
}
