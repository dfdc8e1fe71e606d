//! Sidecars and devices of runners that no list has shown yet, and of those that lists show at the wrong moment.

use super::*;

const SIDECAR: Resources = Resources { memory: 2 << 30, cpu_millis: 500 };

fn dind(devices: DeviceCounts) -> Pool {
    let docker = DockerMode::Dind(Dind {
        image: Template::default().image,
        resources: SIDECAR,
        registry_mirrors: Vec::new(),
        mtu: None,
        start_timeout: MINUTE,
    });
    Pool { template: Template { docker, devices, ..Template::default() }, ..pool(policy(1, 5)) }
}

/// Room for one sidecar, and one GPU.
fn small_host() -> Host {
    let devices = BTreeMap::from([(DeviceClass::Gpu, vec!["0".to_owned()])]);
    Host { budget: SIDECAR, devices, ..host() }
}

fn launched(board: &mut Board) -> (RunnerName, Devices) {
    match board.fleet.plan(board.now).actions.pop() {
        Some(Action::Launch { runner, devices, .. }) => (runner, devices),
        other => panic!("{other:?}"),
    }
}

fn up(board: &mut Board, runner: &RunnerName) {
    let outcome = Launched::Up { registration: RegistrationId(1), container: ContainerId("c0".into()) };
    board.observe(Evidence::Launch { runner: runner.clone(), outcome });
}

fn failed(board: &mut Board, runner: &RunnerName) {
    let trouble = Trouble { kind: TroubleKind::EngineFailed, retry_after: None, detail: String::new() };
    let outcome = Launched::Failed { registration: Minted::No, container: None, trouble };
    board.observe(Evidence::Launch { runner: runner.clone(), outcome });
}

/// A list as of now: the runner's container in this state, and its sidecar.
fn list(
    board: &mut Board,
    runner: &RunnerName,
    container: Option<ContainerState>,
    sidecar: Option<SidecarState>,
) {
    board.now = board.now + Duration::from_secs(1);
    let template = dind(DeviceCounts::new()).template.digest();
    let containers = container.map(|state| Container {
        id: ContainerId("c0".into()),
        runner: runner.clone(),
        registration: Some(RegistrationId(1)),
        scope: Some(scope()),
        template,
        image: None,
        resources: Resources::default(),
        devices: board.devices.clone(),
        state,
    });
    let attachments = sidecar.map(|state| Attachment {
        runner: runner.clone(),
        kind: AttachmentKind::Sidecar { resources: SIDECAR, state },
        id: "s0".to_owned(),
    });
    board.observe(Evidence::Containers {
        host: host_name(),
        began: board.now,
        containers: containers.into_iter().collect(),
        attachments: attachments.into_iter().collect(),
    });
}

#[test]
fn a_sidecar_counts_before_any_list_has_shown_it() {
    for ended in [true, false] {
        let mut board = Board::new("", dind(DeviceCounts::new()), small_host());
        let (runner, _) = launched(&mut board);
        if ended {
            up(&mut board, &runner);
            board.observe(Evidence::Died { runner: runner.clone(), code: 0 });
        } else {
            failed(&mut board, &runner);
        }
        assert_eq!(board.fleet.status().hosts[0].committed, SIDECAR, "ended: {ended}");
        // Until a list shows that it does not exist.
        list(&mut board, &runner, None, None);
        assert_eq!(board.fleet.status().hosts[0].committed, Resources::default(), "ended: {ended}");
    }
}

#[test]
fn the_proxy_of_a_pool_counts_toward_the_budget_of_its_host() {
    let mut pool = dind(DeviceCounts::new());
    pool.template.egress = Some(Egress { mode: EgressMode::Enforce, allow: Vec::new(), image: None });
    assert_eq!(pool.template.total_resources().memory, SIDECAR.memory + Egress::RESOURCES.memory);
    let mut board = Board::new("", pool, small_host());
    assert_eq!((board.plan().as_str(), board.held()), ("", Some(Held::HostMemory)));
}

#[test]
fn a_list_from_before_the_end_of_a_launch_may_lack_its_sidecar() {
    let mut board = Board::new("", dind(DeviceCounts::new()), small_host());
    let (runner, _) = launched(&mut board);
    let began = board.now;
    board.now = board.now + Duration::from_secs(1);
    up(&mut board, &runner);
    board.observe(Evidence::Containers {
        host: host_name(),
        began,
        containers: Vec::new(),
        attachments: Vec::new(),
    });
    assert_eq!(board.fleet.status().hosts[0].committed, SIDECAR);
    list(&mut board, &runner, Some(ContainerState::Up), Some(SidecarState::Up));
    assert_eq!(board.plan(), "");
}

#[test]
fn a_runner_without_the_sidecar_of_its_template_is_replaced() {
    for adopted in [false, true] {
        let mut board = Board::new("", dind(DeviceCounts::new()), host());
        let runner = if adopted {
            Names::new("ci1".parse().unwrap(), 9).next(&"p".parse().unwrap(), shown(board.now))
        } else {
            let (runner, _) = launched(&mut board);
            up(&mut board, &runner);
            runner
        };
        list(&mut board, &runner, Some(ContainerState::Up), None);
        let actions = board.fleet.plan(board.now).actions;
        let why = actions.iter().find_map(|action| match action {
            Action::Deregister { why, .. } => Some(*why),
            _ => None,
        });
        assert_eq!(why, Some(Why::SidecarLost), "adopted: {adopted}");
    }
}

#[test]
fn a_pool_whose_sidecars_stop_at_once_backs_off_and_one_whose_sidecar_stops_later_does_not() {
    for (after, held) in [(5, Some(Held::BackingOff)), (600, None)] {
        let mut board = Board::new("", dind(DeviceCounts::new()), host());
        // The first failure costs nothing.
        for _ in 0..2 {
            let (runner, _) = launched(&mut board);
            up(&mut board, &runner);
            let clock = ClockReading::default();
            board.observe(Evidence::Said { runner: runner.clone(), said: Said::Listening, clock });
            list(&mut board, &runner, Some(ContainerState::Up), Some(SidecarState::Up));
            board.now = board.now + Duration::from_secs(after);
            list(&mut board, &runner, Some(ContainerState::Up), Some(SidecarState::Down));
        }
        board.plan();
        assert_eq!(board.held(), held, "after {after} s");
    }
}

#[test]
fn a_container_that_a_list_shows_during_the_removal_of_attachments_keeps_its_devices() {
    let one = DeviceCounts::from([(DeviceClass::Gpu, 1)]);
    let mut board = Board::new("", dind(one), Host { budget: Resources::default(), ..small_host() });
    let (runner, devices) = launched(&mut board);
    board.devices = devices;
    failed(&mut board, &runner);
    list(&mut board, &runner, None, Some(SidecarState::Up));
    let removal = |action: &Action| matches!(action, Action::Remove { container: None, .. });
    assert!(board.fleet.plan(board.now).actions.iter().any(removal));
    // The request to create it was carried out late.
    list(&mut board, &runner, Some(ContainerState::Created), Some(SidecarState::Up));
    board.observe(Evidence::Remove { runner: runner.clone(), outcome: Removed::Gone });
    board.now = board.now + MINUTE;
    let launches = |action: &Action| matches!(action, Action::Launch { .. });
    assert!(!board.fleet.plan(board.now).actions.iter().any(launches), "its GPU is in use");
}

#[test]
fn attachments_of_a_failed_launch_are_removed_once_a_later_list_shows_whether_a_container_is_left() {
    let mut board = Board::new("", dind(DeviceCounts::new()), small_host());
    let (runner, _) = launched(&mut board);
    list(&mut board, &runner, None, Some(SidecarState::Up));
    failed(&mut board, &runner);
    assert_eq!(board.plan(), "", "the container may exist");
    list(&mut board, &runner, None, Some(SidecarState::Up));
    assert_eq!(board.plan(), "x");
}

#[test]
fn a_removed_runner_is_not_forgotten_before_a_list_that_began_after_the_removal() {
    let mut board = Board::new("", dind(DeviceCounts::new()), small_host());
    let (runner, _) = launched(&mut board);
    failed(&mut board, &runner);
    list(&mut board, &runner, None, Some(SidecarState::Up));
    assert_eq!(board.plan(), "x");
    let began = board.now + Duration::from_millis(1);
    board.now = board.now + Duration::from_secs(5);
    board.observe(Evidence::Remove { runner: runner.clone(), outcome: Removed::Gone });
    let (registrations, unseen) = (Vec::new(), Vec::new());
    board.observe(Evidence::Registrations { scope: scope(), began: board.now, registrations, unseen });
    let attachments = vec![Attachment {
        runner: runner.clone(),
        kind: AttachmentKind::Sidecar { resources: SIDECAR, state: SidecarState::Up },
        id: "s0".to_owned(),
    }];
    board.observe(Evidence::Containers { host: host_name(), began, containers: Vec::new(), attachments });
    assert_eq!(board.fleet.status().hosts[0].committed, Resources::default());
}

#[test]
fn a_pool_that_waits_for_a_gpu_still_replaces_its_outdated_runner() {
    let one = DeviceCounts::from([(DeviceClass::Gpu, 1)]);
    let mut board = Board::new("i", dind(one), Host { budget: Resources::default(), ..small_host() });
    board.devices = Devices([(DeviceClass::Gpu, ["0".to_owned()].into())].into());
    board.look(|_| true);
    board.queue(2);
    assert_eq!((board.plan().as_str(), board.held()), ("", Some(Held::HostGpus)));
    board.now = board.now + MINUTE;
    assert_eq!(board.plan(), "-");
}
