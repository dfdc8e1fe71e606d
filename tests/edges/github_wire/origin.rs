//! Where the jobs of a run come from, against the simulated GitHub and against broken records.

use dayfly::{
    fleet::JobOrigin,
    simulator::{Endpoint, Job},
};
use serde_json::{Value, json};

use super::{
    queue::{HOUR, github, repository},
    world::{World, says},
};

#[tokio::test]
async fn the_record_of_a_run_says_where_its_jobs_come_from() {
    let (simulator, client) = github("acme/widgets").await;
    let widgets = repository(&simulator, "acme/widgets");
    let job = || Job::new("acme/widgets", &["self-hosted"]).lasting(HOUR);
    let own = |event: &str, branch: &str| JobOrigin {
        event: event.to_owned(),
        head_branch: branch.to_owned(),
        head_repository: widgets.clone(),
        default_branch: "main".to_owned(),
    };
    let hostile = job().started_by("pull_request", "main").from_fork("mallory/widgets");
    let fork = repository(&simulator, "mallory/widgets");
    for (job, expected) in [
        (job(), own("push", "main")),
        (job().started_by("workflow_dispatch", "feature"), own("workflow_dispatch", "feature")),
        (hostile, JobOrigin { head_repository: fork, ..own("pull_request", "main") }),
    ] {
        let id = simulator.enqueue(job);
        let run = simulator.jobs().iter().find(|job| job.id == id).unwrap().run_id;
        assert_eq!(client.job_origin(&widgets, run).await.unwrap(), Some(expected));
    }
    let before = simulator.count(Endpoint::GetRun);
    assert_eq!(client.job_origin(&widgets, 1).await.unwrap(), None);
    assert_eq!(simulator.count(Endpoint::GetRun), before + 1);
}

#[tokio::test]
async fn a_record_that_lacks_something_or_has_a_name_used_again_is_no_origin_of_the_repository() {
    for (run, expected) in [
        (json!({}), None),
        // The fork was deleted.
        (
            json!({ "event": "push", "head_branch": "main", "repository": { "id": 7 }, "head_repository": null }),
            None,
        ),
        (
            json!({ "event": "push", "head_branch": "main", "repository": { "id": 7 }, "head_repository": { "id": 8 } }),
            None,
        ),
        // Another repository that has its name by now.
        (
            json!({
                "event": "push", "head_branch": "main", "repository": { "id": 7 },
                "head_repository": { "id": 8, "full_name": "acme/widgets" },
            }),
            None,
        ),
        (
            json!({
                "event": "push", "head_branch": "main", "repository": { "id": 7 },
                "head_repository": { "id": 7, "full_name": "acme/new-name" },
            }),
            Some(("push", "main")),
        ),
        (json!({ "repository": { "id": 7 }, "head_repository": { "id": 7 } }), Some(("", ""))),
    ] {
        let shown = run.clone();
        let world = World::new("acme/widgets", move |seen| {
            let body: Value = if seen.uri.path().contains("/actions/runs/") {
                run.clone()
            } else {
                json!({ "id": 7, "default_branch": "main" })
            };
            says(200, &body)
        })
        .await;
        let widgets = world.client.scope().clone();
        let origin = world.client.job_origin(&widgets, 5).await.unwrap();
        let found = origin.as_ref().map(|origin| (origin.event.as_str(), origin.head_branch.as_str()));
        assert_eq!(found, expected, "{shown}");
        assert!(origin.is_none_or(|origin| origin.head_repository == widgets));
    }
}
