//! Runners of a set: only while the set is ours, and never away from a job.

use std::{sync::Arc, time::Duration};

use dayfly::{
    fleet::{Evidence, RegistrationId, RunnerStatus},
    github::{Client, Credential, GithubError, RunnerApi as _, TokenSource, scale_set::ScaleSets},
    simulator::{Endpoint, Job, Presence, ScaleSetFault, ScaleSetRoute as Route, Simulator},
};
use secrecy::ExposeSecret as _;

use super::stand::{Served, is_up, pool, quick, runner, stand, until};

#[tokio::test]
async fn a_job_goes_from_the_queue_to_a_runner_of_the_set_and_all_of_it_is_reported() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin(&sets, pool("linux", &["self-hosted", "linux"]));
    served.heard("up", 1, is_up).await;
    simulator.enqueue(Job::new("acme", &["linux"]).named("build").lasting(Duration::from_millis(50)));
    served.assigned(1).await;
    let minted = served.mint("linux").await.unwrap();
    let listed = served.runners.list().await.unwrap().registrations;
    assert_eq!((listed[0].id, &listed[0].status, listed[0].busy), (minted.id, &RunnerStatus::Offline, false));
    let mut process = runner(minted.jit.expose_secret());
    served
        .heard("the start", 1, |evidence| {
            matches!(evidence, Evidence::Took { runner, facts, .. } if runner.starts_with("dayfly-linux-")
                && facts.name == "build" && facts.repository.path() == "acme/widgets")
        })
        .await;
    served
        .heard("the end", 1, |evidence| {
            matches!(evidence, Evidence::JobOver { runner } if runner.starts_with("dayfly-linux-"))
        })
        .await;
    served.assigned(0).await;
    assert!(process.wait().await.unwrap().success());
    until("everything is acknowledged", || simulator.scale_sets().view("linux").unwrap().unheard == 0).await;
    let started = served.count(|evidence| matches!(evidence, Evidence::Took { .. }));
    assert_eq!(started, 1);
    served.end().await;
}

#[tokio::test]
async fn a_job_of_a_set_is_not_for_other_runners() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    let other = simulator.scale_sets();
    let minted = served.mint("linux").await.unwrap();
    let mut process = runner(minted.jit.expose_secret());
    // Its label is not the set's, so the set's runner must leave it alone.
    simulator.enqueue(Job::new("acme", &["windows"]));
    simulator.enqueue(Job::new("acme", &["linux"]).lasting(Duration::from_millis(1)));
    assert!(process.wait().await.unwrap().success());
    let snapshot = simulator.snapshot();
    assert_eq!((snapshot.queued, snapshot.succeeded), (1, 1));
    assert_eq!(other.view("linux").unwrap().runners.len(), 0);
    served.end().await;
}

#[tokio::test]
async fn nothing_is_minted_for_a_set_that_is_not_ours() {
    let (_simulator, _directory, sets) = stand(quick()).await;
    let first = Served::begin(&sets, pool("linux", &["linux"]));
    first.heard("up", 1, is_up).await;
    let mut other = pool("linux", &["linux"]);
    other.owner = "dayfly/ci2@there".to_owned();
    let second = Served::begin(&sets, other);
    second
        .heard("waiting", 2, |evidence| {
            matches!(evidence, Evidence::Source { trouble: Some(trouble), .. }
                if trouble.detail.starts_with("the session belongs to dayfly/ci1@here; "))
        })
        .await;
    let Err(GithubError::Refused(text)) = second.mint("linux").await else { panic!("minted") };
    assert!(text.contains("already has an active session for owner dayfly/ci1@here"), "{text}");
    first.mint("linux").await.unwrap();
    first.end().await;
    second.heard("up", 1, is_up).await;
    second.mint("other").await.unwrap();
    second.end().await;
}

#[tokio::test]
async fn one_list_has_the_runners_of_all_sets_of_a_scope() {
    let (_simulator, _directory, sets) = stand(quick()).await;
    let (one, two) =
        (Served::begin(&sets, pool("linux", &["linux"])), Served::begin(&sets, pool("gpu", &["gpu"])));
    one.heard("up", 1, is_up).await;
    two.heard("up", 1, is_up).await;
    let minted = [one.mint("linux").await.unwrap().id, two.mint("gpu").await.unwrap().id];
    let listed = sets.list().await.unwrap().registrations;
    assert!(listed.len() == 2 && minted.iter().all(|id| listed.iter().any(|runner| runner.id == *id)));
    assert_eq!(one.runners.list().await.unwrap().registrations, listed);
    assert_eq!(two.runners.list().await.unwrap().registrations, listed);
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn at_rest_the_services_list_is_not_asked_for_each_time() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let scope = simulator.scope_url("acme").parse().unwrap();
    let token = TokenSource::Command(vec!["echo".to_owned(), "simulated-token".to_owned()]);
    let client = Client::new(scope, &Credential::new(token), Arc::new(|_| {})).unwrap();
    let sets = ScaleSets::new(client.clone());
    let asked = || simulator.scale_sets().count(Route::Agents, 200);
    for _ in 0..6 {
        client.list().await.unwrap();
        assert!(sets.list().await.unwrap().registrations.is_empty());
    }
    assert_eq!((asked(), simulator.count(Endpoint::ListRunners)), (1, 6));
    simulator.register("acme", "theirs", &["linux"], Presence::Idle).unwrap();
    for _ in 0..2 {
        client.list().await.unwrap();
        sets.list().await.unwrap();
    }
    assert_eq!(asked(), 2, "the scope's own list has changed once");
}

#[tokio::test]
async fn a_name_is_taken_once_and_a_lost_reply_leaves_a_runner_that_can_be_found() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    let knobs = simulator.scale_sets();
    knobs.fault(Route::Mint, 1, ScaleSetFault::DropsAfterTheDeed);
    assert!(matches!(served.mint("linux").await, Err(GithubError::Failed { .. })));
    assert!(matches!(served.mint("linux").await, Err(GithubError::NameTaken)));
    let mints = knobs.requests().iter().filter(|asked| asked.route == Route::Mint).count();
    assert_eq!(mints, 2, "a mint is never repeated by itself");
    let name = "dayfly-linux-ci1-01hzzzzzzzzzzzzzzzzzzzzzzz";
    let left = served.runners.find(name).await.unwrap().unwrap();
    assert_eq!(served.runners.find("somebody").await.unwrap(), None);
    served.runners.delete(left).await.unwrap();
    assert_eq!(served.runners.find(name).await.unwrap(), None);
    knobs.fault(Route::Mint, 1, ScaleSetFault::Empty);
    assert!(matches!(served.mint("linux").await, Err(GithubError::Failed { .. })));
    served.end().await;
}

#[tokio::test]
async fn a_runner_with_a_job_is_not_removed_and_one_that_is_gone_is_fine() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    let minted = served.mint("linux").await.unwrap();
    let _process = runner(minted.jit.expose_secret());
    simulator.enqueue(Job::new("acme", &["linux"]).lasting(Duration::from_hours(1)));
    served.heard("the start", 1, |evidence| matches!(evidence, Evidence::Took { .. })).await;
    assert!(matches!(served.runners.delete(minted.id).await, Err(GithubError::Busy)));
    assert!(served.runners.list().await.unwrap().registrations[0].busy);
    served.runners.delete(RegistrationId(999)).await.unwrap();
    let gone = ScaleSetFault::Exception {
        status: 404,
        type_name: "GitHub.DistributedTask.WebApi.TaskAgentNotFoundException, x",
        message: "no such agent",
    };
    simulator.scale_sets().fault(Route::RemoveAgent, 1, gone);
    assert!(matches!(served.runners.delete(RegistrationId(999)).await, Err(GithubError::NotFound)));
    served.end().await;
}
