//! What GitHub says of a scale set, as demand.

use super::*;

fn set_pool() -> Pool {
    pool("p", &["set"], Demand::ScaleSet)
}

#[test]
fn a_scale_set_counts_what_github_assigned_and_no_runner_has() {
    let mut table = Table::of(vec![set_pool()]);
    assert_eq!(table.queued(), [0], "nothing was reported yet");
    table.assigned(3);
    assert_eq!(table.queued(), [3]);
    table.pass_by(SECOND);
    table.takes_a_job(0);
    assert_eq!(table.queued(), [2]);
    // Its container ends before GitHub reports that its job is over.
    table.pass_by(SECOND);
    table.ends(0);
    assert_eq!(table.queued(), [2]);
    table.pass_by(SECOND);
    table.assigned(2);
    table.job_over(0);
    assert_eq!(table.queued(), [2]);
    assert_eq!(table.launched.len(), 3, "as many as jobs");
}

#[test]
fn a_scale_sets_job_that_is_over_before_its_container_is_not_taken_off_twice() {
    let mut table = Table::of(vec![set_pool()]);
    table.assigned(1);
    table.plan();
    table.pass_by(SECOND);
    table.takes_a_job(0);
    // The job is over, and another is assigned; then the container ends.
    table.pass_by(MINUTE);
    table.assigned(1);
    table.job_over(0);
    assert_eq!(table.queued(), [1]);
    table.pass_by(SECOND);
    table.ends(0);
    assert_eq!(table.queued(), [1]);
    // Reported again, and for an unknown runner.
    table.job_over(0);
    table.observe(Evidence::JobOver { runner: "another".to_owned() });
    assert_eq!(table.queued(), [1]);
    assert_eq!(table.launched.len(), 2);
}

#[test]
fn phantom_jobs_of_a_scale_set_go_with_the_news() {
    let mut table = Table::of(vec![set_pool()]);
    let old = table.now;
    table.pass_by(SECOND);
    table.assigned(2);
    assert_eq!(table.queued(), [2]);
    table.pass_by(MINUTE);
    table.assigned(0);
    assert_eq!(table.queued(), [0]);
    table.observe(Evidence::Assigned { pool: "p".parse().unwrap(), jobs: Some(9), at: old });
    assert_eq!(table.queued(), [0], "older than what is known");
}

#[test]
fn while_another_session_holds_the_set_nothing_is_launched_or_removed() {
    let mut table = Table::of(vec![set_pool()]);
    table.assigned(2);
    table.plan();
    for runner in table.launched.clone() {
        table.observe(Evidence::Said { runner, said: Said::Listening, clock: ClockReading::default() });
    }
    let taken = |taken: bool| Evidence::Source {
        pool: "p".parse().unwrap(),
        source: Source::ScaleSet,
        trouble: taken.then(|| Trouble {
            kind: TroubleKind::SessionTaken,
            retry_after: None,
            detail: "held".to_owned(),
        }),
    };
    table.observe(taken(true));
    table.assigned(5);
    assert!(table.plan().actions.is_empty());
    table.assigned(0);
    let containers = table.launched.iter().enumerate().map(|(number, runner)| Container {
        id: ContainerId(format!("{}", number + 1).into()),
        runner: runner.clone(),
        registration: Some(RegistrationId(number as u64 + 1)),
        scope: Some(organization()),
        template: Template::default().digest(),
        image: None,
        resources: Resources::default(),
        devices: Devices::default(),
        state: ContainerState::Up,
    });
    let containers = containers.collect::<Vec<_>>();
    table.pass_by(60 * MINUTE);
    table.observe(Evidence::Containers {
        host: host(),
        began: table.now,
        containers,
        attachments: Vec::new(),
    });
    assert!(table.plan().actions.is_empty());
    table.observe(taken(false));
    assert_eq!(table.plan().actions.len(), 2, "and now they are too many");
}

#[test]
fn a_set_that_is_not_ours_any_more_is_left_as_it_is_until_it_is_again() {
    let mut table = Table::of(vec![set_pool()]);
    table.assigned(2);
    table.plan();
    assert_eq!(table.launched.len(), 2);
    let (pool, at): (PoolName, _) = ("p".parse().unwrap(), table.now);
    table.observe(Evidence::Assigned { pool, jobs: None, at });
    table.pass_by(SECOND);
    let plan = table.plan();
    assert_eq!(plan.actions, []);
    table.assigned(3);
    table.plan();
    assert!(table.launched.len() > 2);
}
