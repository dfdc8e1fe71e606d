//! `dayfly check`, on the version of the runner software.

use std::time::Duration;

use dayfly::{
    fleet::Timestamp,
    simulator::{EndOfLife, Endpoint, Fault, FaultKind, Presence, Settings, Simulator},
};

use super::{
    runners::{LABELS, ours},
    stand::{ABSENT, Stand, pool},
};

/// The line about the version. Connected runners of the simulator run 2.336.0.
async fn line(settings: Settings, presence: Presence, image: &str) -> String {
    let simulator = Simulator::start(settings).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")).replace(ABSENT, image));
    simulator.register("acme", &ours(), &LABELS, presence).unwrap();
    let said = stand.run(&["check"]).await;
    assert!(simulator.requests().iter().all(|request| request.method == "GET"));
    said.line(&["pool \"linux\": ", "version"])
}

fn newest(version: &str) -> Settings {
    Settings { newest_runner: version.to_owned(), ..Settings::default() }
}

fn ends(jobs: Timestamp) -> Settings {
    let ends = EndOfLife { version: "2.336.0".to_owned(), registration: None, jobs: Some(jobs) };
    Settings { ends_of_life: Some(vec![ends]), ..newest("2.338.0") }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pool_runs_is_held_to_the_newest_version_and_to_githubs_plans() {
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond().unsigned_abs());
    let unable = Settings { ends_of_life: None, ..newest("2.338.0") };
    for (settings, mark, says) in [
        (newest("2.336.0"), "[ok]", "runs version 2.336.0 of the runner (reported by its latest runner)"),
        (newest("2.336.4"), "[ok]", "the newest is 2.336.4"),
        (newest("2.338.0"), "[warn]", "; the newest is 2.338.0"),
        (unable, "[warn]", "; the newest is 2.338.0"),
        (ends(now + Duration::from_hours(24)), "[warn]", "which gets no jobs from "),
        (ends(now - Duration::from_hours(24)), "[fail]", "which gets no jobs since "),
    ] {
        let line = line(settings, Presence::Idle, ABSENT).await;
        assert!(line.starts_with(mark) && line.contains(says), "{says}: {line}");
        let hint = "rebuild or pull dayfly-test/absent:1";
        assert_eq!(line.contains(hint), mark != "[ok]", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newest_version_that_cannot_be_learnt_is_a_warning_alone() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    stand.configure(&pool(&simulator.scope_url("acme")));
    for status in [403, 500] {
        simulator.fault(Fault::new(FaultKind::Status(status)).on(Endpoint::Downloads).times(1));
        let said = stand.run(&["check"]).await;
        let line = said.line(&["scope", &format!("{status}")]);
        assert!(line.starts_with("[warn]"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_runner_the_version_is_in_the_images_tag_or_unknown() {
    let line_of = |image| line(newest("2.336.0"), Presence::Offline, image);
    let reported = line_of("dayfly-test/absent:2.320.0").await;
    assert!(
        reported.starts_with("[warn]") && reported.contains("2.320.0 of the runner (from the image tag"),
        "{reported}"
    );
    let untold = line_of("dayfly-test/absent:latest").await;
    assert!(untold.starts_with("[ok]") && untold.contains("does not show its runner version"), "{untold}");
}
