//! The removal of sets: only of those that no other client serves.

use dayfly::{
    demand::scale_set::{Removal, remove},
    simulator::{ScaleSetFault, ScaleSetRoute as Route},
};

use super::stand::{Served, eventually, is_up, pool, quick, stand};

#[tokio::test]
async fn a_set_that_another_installation_serves_is_left_alone() {
    let (simulator, _directory, sets) = stand(quick()).await;
    let mut theirs = pool("linux", &["linux"]);
    theirs.owner = "dayfly/ci2@there".to_owned();
    let served = Served::begin(&sets, theirs);
    served.heard("up", 1, is_up).await;
    let ours = pool("linux", &["linux"]);
    let Removal::ServedElsewhere { owner, says } = remove(&sets, &ours).await.unwrap() else {
        panic!("removed")
    };
    assert_eq!(owner.as_deref(), Some("dayfly/ci2@there"));
    assert!(says.contains("already has an active session"), "{says}");
    let knobs = simulator.scale_sets();
    assert_eq!(knobs.view("linux").unwrap().owner.as_deref(), Some("dayfly/ci2@there"));
    assert!(!knobs.requests().iter().any(|asked| asked.route == Route::Delete));
    served.end().await;
    assert_eq!(remove(&sets, &ours).await.unwrap(), Removal::Removed);
    assert!(knobs.views().is_empty());
    assert_eq!(remove(&sets, &ours).await.unwrap(), Removal::NoSuchSet);
}

#[tokio::test]
async fn the_session_of_a_killed_daemon_of_ours_is_closed_and_its_note_removed() {
    let (simulator, directory, sets) = stand(quick()).await;
    let mut pool = pool("linux", &["linux"]);
    let note = directory.path().join("sessions/linux");
    pool.session_file = Some(note.clone());
    let killed = Served::begin(&sets, pool.clone());
    killed.heard("up", 1, is_up).await;
    killed.task.abort();
    assert!(eventually(|| killed.task.is_finished()).await);
    assert!(note.exists());
    // Where the set stays, so does what is needed to try again.
    let down = ScaleSetFault::Exception { status: 502, type_name: "", message: "down" };
    for route in [Route::Close, Route::Delete] {
        simulator.scale_sets().fault(route, 1, down.clone());
        remove(&sets, &pool).await.unwrap_err();
        assert!(note.exists() && simulator.scale_sets().view("linux").is_some());
    }
    assert_eq!(remove(&sets, &pool).await.unwrap(), Removal::Removed);
    assert!(!note.exists() && simulator.scale_sets().views().is_empty());
}
