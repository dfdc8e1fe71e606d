//! The way to the service, and scale sets themselves.

use std::time::Duration;

use dayfly::{
    github::{
        GithubError, RunnerApi as _,
        scale_set::{ScaleSetError, ScaleSets, Waits},
    },
    simulator::{ScaleSetFault, ScaleSetRoute as Route, Simulator},
};

use super::stand::{DEADLINE, client, delete, quick, sets, stand, waits};

const REFUSED: ScaleSetFault = ScaleSetFault::Exception { status: 401, type_name: "", message: "not yet" };

async fn look(sets: &ScaleSets) -> Result<bool, ScaleSetError> {
    sets.find("Default", "linux").await.map(|set| set.is_some())
}

#[tokio::test]
async fn a_registration_that_github_does_not_know_yet_is_repeated_and_one_token_serves_many_requests() {
    let (simulator, _directory, sets) = stand(quick()).await;
    simulator.scale_sets().fault(Route::Registration, 4, REFUSED);
    let (one, two) = tokio::join!(look(&sets), look(&sets));
    assert!(!one.unwrap() && !two.unwrap());
    assert!(!look(&sets).await.unwrap());
    let knobs = simulator.scale_sets();
    assert_eq!((knobs.count(Route::Registration, 401), knobs.count(Route::Registration, 200)), (4, 1));
    assert_eq!(knobs.count(Route::Find, 200), 3);
}

#[tokio::test]
async fn a_registration_that_stays_refused_says_what_github_said() {
    let (simulator, _directory, sets) = stand(quick()).await;
    simulator.scale_sets().fault(Route::Registration, 100, REFUSED);
    let error = look(&sets).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("401 (not yet, activity ") && text.contains("/acme"), "{text}");
    assert!(matches!(error, ScaleSetError::Github(GithubError::Refused(_))));
    assert_eq!(simulator.scale_sets().count(Route::Registration, 401), 5);
}

#[tokio::test]
async fn a_registration_that_failed_is_not_tried_again_by_every_request() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let (_directory, client) = client(&simulator.scope_url("acme"), "simulated-token");
    let hour = Duration::from_hours(1);
    let patient = ScaleSets::with_waits(client.clone(), Waits { first: hour, longest: hour, ..waits() });
    let knobs = simulator.scale_sets();
    knobs.fault(Route::Registration, 5, REFUSED);
    let first = look(&patient).await.unwrap_err().to_string();
    for _ in 0..3 {
        assert_eq!(look(&patient).await.unwrap_err().to_string(), first);
    }
    assert_eq!((knobs.count(Route::Registration, 401), knobs.count(Route::Registration, 200)), (5, 0));
    // And once the time has come it is, on its own.
    let sets = ScaleSets::with_waits(client, waits());
    knobs.fault(Route::Registration, 5, REFUSED);
    look(&sets).await.unwrap_err();
    tokio::time::timeout(DEADLINE, async { while look(&sets).await.is_err() {} }).await.unwrap();
    assert_eq!(knobs.count(Route::Registration, 200), 1);
}

#[tokio::test]
async fn a_rate_limit_of_a_registration_is_not_a_refusal_and_applies_to_the_credential() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let (_directory, client) = client(&simulator.scope_url("acme"), "simulated-token");
    let sets = ScaleSets::with_waits(client.clone(), waits());
    let message = "You have exceeded a secondary rate limit.";
    let limit = ScaleSetFault::Exception { status: 403, type_name: "", message };
    simulator.scale_sets().fault(Route::Registration, 1, limit);
    for _ in 0..2 {
        let error = look(&sets).await.unwrap_err();
        assert!(matches!(error, ScaleSetError::Github(GithubError::RateLimited { .. })), "{error}");
    }
    assert_eq!(simulator.scale_sets().requests().len(), 1);
    assert!(matches!(client.list().await, Err(GithubError::RateLimited { .. })));
}

#[tokio::test]
async fn a_token_that_may_not_register_runners_is_reported_as_everywhere() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let (_directory, sets) = sets(&simulator.scope_url("acme"), "wrong-token");
    let text = look(&sets).await.unwrap_err().to_string();
    assert!(text.contains("401 (Bad credentials) when creating a registration token for"), "{text}");
}

#[tokio::test]
async fn the_admin_token_is_used_for_a_while_and_renewed_once_when_it_is_refused() {
    let mut settings = quick();
    settings.scale_sets.admin_lifetime = Duration::from_secs(50);
    let (simulator, _directory, sets) = stand(settings).await;
    let knobs = simulator.scale_sets();
    look(&sets).await.unwrap();
    look(&sets).await.unwrap();
    assert_eq!(knobs.count(Route::Registration, 200), 1, "50 s are less than a minute, and enough for two");
    knobs.expire_admin_tokens();
    look(&sets).await.unwrap();
    assert_eq!((knobs.count(Route::Find, 401), knobs.count(Route::Registration, 200)), (1, 2));
    knobs.fault(Route::Find, 2, REFUSED);
    assert!(look(&sets).await.is_err());
    assert_eq!((knobs.count(Route::Find, 401), knobs.count(Route::Registration, 200)), (3, 3));
}

#[tokio::test]
async fn a_set_is_created_once_and_then_found_whatever_the_letter_case() {
    let mut settings = quick();
    settings.scale_sets.byte_order_mark = true;
    let (simulator, _directory, sets) = stand(settings).await;
    let labels = ["linux".to_owned(), "gpu".to_owned()];
    let first = sets.ensure("default", "linux", &labels).await.unwrap();
    assert!(first.created);
    assert_eq!((first.set.name.as_str(), first.set.labels.as_slice()), ("linux", labels.as_slice()));
    assert_eq!(first.set.update_disabled, Some(true));
    let second = sets.ensure("Default", "linux", &labels).await.unwrap();
    assert_eq!((second.created, second.set.id), (false, first.set.id));
    let requests = simulator.scale_sets().requests();
    let created = requests.iter().find(|asked| asked.route == Route::Create).unwrap();
    let body = created.body.as_ref().unwrap();
    assert_eq!(body["labels"][1], serde_json::json!({ "type": "System", "name": "gpu" }));
    assert!(delete(&sets, "linux").await.unwrap());
    assert!(!delete(&sets, "linux").await.unwrap());
    assert!(simulator.scale_sets().views().is_empty());
}

#[tokio::test]
async fn another_set_is_not_taken_for_the_one_that_was_asked_for() {
    let mut settings = quick();
    settings.scale_sets.filters = false;
    let (simulator, _directory, sets) = stand(settings).await;
    let other = sets.ensure("Default", "theirs", &[]).await.unwrap().set;
    assert_eq!(sets.find("Default", "linux").await.unwrap(), None);
    let made = sets.ensure("Default", "linux", &[]).await.unwrap();
    assert!(made.created && made.set.id != other.id);
    for name in ["linux", "LINUX"] {
        assert_eq!(sets.find("Default", name).await.unwrap().unwrap().id, made.set.id);
    }
    assert!(delete(&sets, "linux").await.unwrap());
    assert!(!delete(&sets, "linux").await.unwrap());
    assert!(simulator.scale_sets().view("theirs").is_some());
}

#[tokio::test]
async fn a_set_is_found_after_a_lost_reply_or_when_another_client_created_it() {
    let (simulator, _directory, sets) = stand(quick()).await;
    simulator.scale_sets().fault(Route::Create, 1, ScaleSetFault::DropsAfterTheDeed);
    let lost = sets.ensure("Default", "linux", &[]).await.unwrap_err();
    assert!(matches!(lost, ScaleSetError::Github(GithubError::Failed { .. })), "{lost}");
    assert!(!sets.ensure("Default", "linux", &[]).await.unwrap().created);
    // Not found by the first request, and taken at the creation.
    let elsewhere = ScaleSetFault::Exception { status: 400, type_name: "Exists", message: "taken" };
    simulator.scale_sets().fault(Route::Create, 1, elsewhere);
    let text = sets.ensure("Default", "other", &[]).await.unwrap_err().to_string();
    assert!(text.contains("400 (taken") && text.contains("the scale set \"other\""), "{text}");
}

#[tokio::test]
async fn a_group_is_found_by_name_and_a_missing_one_is_for_the_operator_to_fix() {
    let mut settings = quick();
    settings.groups.push("gpu cards".to_owned());
    let (simulator, _directory, sets) = stand(settings).await;
    sets.ensure("GPU cards", "linux", &[]).await.unwrap();
    sets.ensure("Default", "linux", &[]).await.unwrap();
    assert_eq!(simulator.scale_sets().views().len(), 2, "names are unique in their group only");
    let text = sets.ensure("cpu", "linux", &[]).await.unwrap_err().to_string();
    assert!(text.contains("no runner group \"cpu\"") && text.contains("correct the pool's group"), "{text}");
}

#[tokio::test]
async fn a_repository_has_sets_of_its_own_in_the_one_group_that_it_has() {
    let simulator = Simulator::start(quick()).await.unwrap();
    let (_directory, sets) = sets(&simulator.scope_url("acme/widgets"), "simulated-token");
    sets.ensure("whatever", "linux", &["linux".to_owned()]).await.unwrap();
    let view = simulator.scale_sets().view("linux").unwrap();
    assert_eq!((view.scope.as_str(), simulator.scale_sets().count(Route::Groups, 200)), ("acme/widgets", 0));
}

#[tokio::test]
async fn a_set_with_a_running_job_is_not_deleted() {
    let (simulator, _directory, sets) = stand(quick()).await;
    sets.ensure("Default", "linux", &[]).await.unwrap();
    simulator.scale_sets().fault(
        Route::Delete,
        1,
        ScaleSetFault::Exception { status: 409, type_name: "a.JobStillRunningException, a", message: "m" },
    );
    let text = delete(&sets, "linux").await.unwrap_err().to_string();
    assert!(text.contains("a job is running"), "{text}");
    assert!(delete(&sets, "linux").await.unwrap());
}

#[tokio::test]
async fn a_throttled_service_is_left_alone_and_no_debug_shows_a_token() {
    let (simulator, _directory, sets) = stand(quick()).await;
    simulator.scale_sets().fault(
        Route::Find,
        1,
        ScaleSetFault::Exception { status: 429, type_name: "", message: "slow down" },
    );
    let error = look(&sets).await.unwrap_err();
    assert!(matches!(error, ScaleSetError::Github(GithubError::RateLimited { .. })), "{error}");
    let set = sets.ensure("Default", "linux", &[]).await.unwrap().set;
    let session = sets.open(set.id, "me").await.unwrap();
    let shown = format!("{sets:?} {session:?}");
    assert!(shown.contains("acme") && !shown.contains("simulated-token"), "{shown}");
    assert!(!shown.contains("token:"), "{shown}");
}
