//! Lags, leases and second chances, with time passed in.

use std::time::Duration;

use super::*;
use crate::{GroupPolicy, Hold, Job, jit::Jit};

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::from_millis(1_000_000);

fn world(settings: Settings) -> World {
    World::new(settings, "http://127.0.0.1:1".to_owned())
}

fn mint(world: &mut World, name: &str) -> (u64, Jit) {
    let minted = world.mint("acme", name, 1, vec!["Linux".to_owned()], "_work", START);
    let (id, jit) = minted.ok().expect("nothing is in the way");
    (id, Jit::decode(&jit).expect("a JIT config"))
}

/// A runner that is connected and polls.
fn connected(world: &mut World, name: &str) -> (u64, String) {
    let (id, jit) = mint(world, name);
    let session = world.connect(id, &jit.secret, START).expect("its first session");
    assert!(world.poll_begins(&session));
    (id, session)
}

fn look(world: &World, id: u64, now: Timestamp) -> (bool, bool) {
    let look = world.look(world.registration("acme", id).expect("it is there"), now);
    (look.online, look.busy)
}

#[test]
fn the_same_seed_draws_the_same_secrets() {
    let secret = |seed| mint(&mut world(Settings { seed, ..Settings::default() }), "a").1.secret;
    assert_eq!(secret(1), secret(1));
    assert_ne!(secret(1), secret(2));
}

#[test]
fn a_list_lags_behind_a_mint() {
    let mut world = world(Settings { list_lag: 3 * SECOND, ..Settings::default() });
    mint(&mut world, "a");
    assert_eq!(world.listed("acme", START + 2 * SECOND).count(), 0);
    assert_eq!(world.listed("acme", START + 3 * SECOND).count(), 1);
}

#[test]
fn a_job_that_its_runner_does_not_take_is_offered_to_another() {
    let mut world = world(Settings { pickup_timeout: 60 * SECOND, ..Settings::default() });
    let (_, slow) = connected(&mut world, "slow");
    let (_, other) = connected(&mut world, "other");
    let job = world.enqueue(Job::new("acme", &["linux"]), START);
    assert_eq!(world.offer(&slow, START).map(|offered| offered.job), Some(job));
    assert!(world.offer(&slow, START).is_none(), "it has one");
    world.settle(START + 59 * SECOND);
    assert!(world.offer(&other, START + 59 * SECOND).is_none(), "it is taken");
    world.settle(START + 60 * SECOND);
    assert_eq!(world.offer(&other, START + 60 * SECOND).map(|offered| offered.job), Some(job));
    assert!(!world.acquire(&slow, job, START + 61 * SECOND), "it is somebody else's");
    assert!(world.acquire(&other, job, START + 61 * SECOND));
    assert!(!world.complete(&slow, job, true, START + 62 * SECOND));
    assert!(world.complete(&other, job, true, START + 62 * SECOND));
    assert!(!world.poll_begins(&other), "its registration went with the job");
    assert_eq!(world.snapshot(START).succeeded, 1);
}

#[test]
fn busy_lags_and_outlives_the_connection_until_the_lease_ends() {
    let settings = Settings {
        busy_lag: 25 * SECOND,
        offline_after: 5 * SECOND,
        lease: 600 * SECOND,
        ..Settings::default()
    };
    let mut world = world(settings);
    let (id, session) = connected(&mut world, "a");
    let job = world.enqueue(Job::new("acme", &["LINUX"]), START);
    assert!(world.offer(&session, START).is_some());
    assert!(world.acquire(&session, job, START));
    assert_eq!(look(&world, id, START + 24 * SECOND), (true, false));
    assert_eq!(look(&world, id, START + 25 * SECOND), (true, true));
    let lost_at = START + 100 * SECOND;
    world.poll_ends(&session, lost_at);
    assert_eq!(look(&world, id, lost_at + 4 * SECOND), (true, true));
    assert_eq!(look(&world, id, lost_at + 5 * SECOND), (false, true));
    world.settle(lost_at + 599 * SECOND);
    assert_eq!(world.snapshot(lost_at).lost, 0);
    world.settle(lost_at + 600 * SECOND);
    assert_eq!(world.snapshot(lost_at).lost, 1);
    assert_eq!(look(&world, id, lost_at + 600 * SECOND), (false, false));
}

#[test]
fn a_job_goes_to_runners_of_its_repository_or_owner_that_have_all_its_labels() {
    let mut world = world(Settings::default());
    let (_, session) = connected(&mut world, "a");
    for (scope, labels) in [("other", &["linux"][..]), ("acme", &["linux", "gpu"]), ("acmes/x", &[])] {
        world.enqueue(Job::new(scope, labels), START);
    }
    assert!(world.offer(&session, START).is_none());
    let served = world.enqueue(Job::new("Acme/Widgets", &["LINUX"]), START);
    assert_eq!(world.offer(&session, START).map(|offered| offered.job), Some(served));
}

#[test]
fn a_jit_config_opens_one_session_with_the_right_secret() {
    let mut world = world(Settings::default());
    let (id, jit) = mint(&mut world, "a");
    assert_eq!(world.connect(id, "wrong", START), Err(StatusCode::FORBIDDEN));
    let session = world.connect(id, &jit.secret, START).expect("its first session");
    assert_eq!(world.connect(id, &jit.secret, START), Err(StatusCode::CONFLICT));
    assert!(world.leave(&session) && !world.leave(&session));
    assert!(!world.poll_begins(&session));
    assert_eq!(look(&world, id, START), (false, false));
    assert!(world.forget(id));
    assert_eq!(world.connect(id, &jit.secret, START), Err(StatusCode::NOT_FOUND));
}

#[test]
fn a_run_is_as_far_as_its_least_advanced_job_and_late_ones_do_not_set_it_back() {
    let mut world = world(Settings::default());
    let (_, session) = connected(&mut world, "a");
    let job = || Job::new("acme", &["linux"]).in_run("ci");
    let (first, held) = (world.enqueue(job(), START), world.enqueue(job().held(Hold::Approval), START));
    let run = world.jobs()[0].run_id;
    let status = |world: &World| world.run("acme/jobs", run).map(|run| run.status);
    assert_eq!(status(&world), Some("waiting"));
    assert!(world.release_held(held, START) && !world.release_held(held, START));
    assert_eq!(status(&world), Some("queued"));
    assert!(world.cancel(held, START) && !world.cancel(held, START));
    world.offer(&session, START);
    world.acquire(&session, first, START);
    assert_eq!(status(&world), Some("in_progress"));
    let late = world.enqueue(job(), START + SECOND);
    assert_eq!(status(&world), Some("in_progress"), "as after `needs`");
    assert!(world.rerun(run, START).is_empty(), "it is not over");
    world.complete(&session, first, true, START + 2 * SECOND);
    assert!(world.cancel(late, START + 3 * SECOND));
    assert_eq!(status(&world), Some("completed"));
    let again = world.rerun(run, START + 4 * SECOND);
    assert_eq!((again.len(), status(&world)), (3, Some("waiting")));
    assert!(world.jobs().iter().all(|view| view.run_id == run));
    assert_eq!(world.jobs().iter().filter(|view| view.run_attempt == 2).count(), 3);
}

#[test]
fn a_groups_policy_decides_whose_jobs_its_runners_get() {
    let offered = |policy: GroupPolicy, public: bool| {
        let group_policies = [("Default".to_owned(), policy)].into();
        let mut world = world(Settings { group_policies, ..Settings::default() });
        let (_, session) = connected(&mut world, "a");
        world.push("acme/widgets", public, START);
        world.enqueue(Job::new("acme/widgets", &["linux"]), START);
        world.offer(&session, START).is_some()
    };
    let default = GroupPolicy::default;
    assert!(offered(default(), false));
    assert!(!offered(default(), true));
    assert!(offered(GroupPolicy { allows_public_repositories: true, ..default() }, true));
    let selected =
        |name: &str| GroupPolicy { visibility: "selected", repositories: vec![name.to_owned()], ..default() };
    assert!(offered(selected("acme/Widgets"), false));
    assert!(!offered(selected("acme/other"), false));
    let workflow = |file: &str| GroupPolicy {
        workflows: vec![format!("acme/widgets/.github/workflows/{file}@refs/heads/main")],
        ..default()
    };
    assert!(offered(workflow("ci.yml"), false));
    assert!(!offered(workflow("deploy.yml"), false));
}

#[test]
fn githubs_own_runners_take_their_jobs_at_once_and_end_them_in_time() {
    let mut world = world(Settings::default());
    let (_, session) = connected(&mut world, "a");
    world.enqueue(Job::new("acme", &["linux"]).hosted().lasting(SECOND), START);
    assert!(world.offer(&session, START).is_none());
    assert_eq!(world.snapshot(START).in_progress, 1);
    world.settle(START + SECOND);
    assert_eq!(world.snapshot(START).succeeded, 1);
}
