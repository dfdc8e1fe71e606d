//! Files that a template names: their content is part of the template, and is read by the edge.

use super::*;

fn read(board: &mut Board, files: u64) {
    let evidence = Evidence::TemplateFiles { pool: "p".parse().unwrap(), files: FilesDigest(files) };
    board.observe(evidence);
}

/// Idle runners that were launched with this content.
fn launched_with(files: u64) -> Board {
    let mut pool = pool(policy(2, 10));
    pool.template.env_file = Some("/etc/dayfly/env".into());
    let template = pool.template.digest_with(FilesDigest(files));
    let mut board = Board::new("II", pool, host());
    board.now = board.now + MINUTE;
    let began = board.now;
    let containers = board.up().into_iter();
    let containers = containers.map(|one| Container { template: template.clone(), ..one }).collect();
    board.observe(Evidence::Containers { host: host_name(), began, containers, attachments: Vec::new() });
    board
}

#[test]
fn nothing_is_outdated_before_the_files_were_read_and_while_they_stay_the_same() {
    let mut board = launched_with(1);
    assert_eq!(board.plan(), "");
    read(&mut board, 1);
    assert_eq!(board.plan(), "");
}

#[test]
fn new_content_rolls_the_idle_one_at_a_time() {
    let mut board = launched_with(1);
    read(&mut board, 1);
    assert_eq!(board.plan(), "");
    read(&mut board, 2);
    assert_eq!(board.plan(), "-+");
}

#[test]
fn new_content_ends_the_delay_after_failed_launches() {
    let mut pool = pool(policy(1, 10));
    pool.template.env_file = Some("/etc/dayfly/env".into());
    let mut board = Board::new("", pool, host());
    for _ in 0..3 {
        let actions = board.fleet.plan(board.now).actions;
        let [Action::Launch { runner, .. }] = &actions[..] else { panic!("{actions:?}") };
        let trouble = Trouble {
            kind: TroubleKind::TemplateFile,
            retry_after: None,
            detail: "/etc/dayfly/env:3: has no \"=\"".to_owned(),
        };
        let outcome = Launched::Failed { registration: Minted::No, container: None, trouble };
        board.observe(Evidence::Launch { runner: runner.clone(), outcome });
        board.now = board.fleet.pools["p"].backoffs.anywhere.retry_at;
    }
    board.now = board.now - Duration::from_secs(1);
    assert_eq!((board.plan().as_str(), board.held()), ("", Some(Held::BackingOff)));
    assert!(board.fleet.status().pools[0].held_detail.as_ref().unwrap().contains("env:3"));
    read(&mut board, 1);
    assert_eq!((board.plan().as_str(), board.held()), ("+", None));
}
