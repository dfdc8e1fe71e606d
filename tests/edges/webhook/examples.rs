//! The payload examples that GitHub's own people keep (octokit/webhooks), as deliveries.

use dayfly::fleet::JobState;
use serde_json::{Value, json};

use super::{Delivery, Server, examples};

#[tokio::test]
async fn every_example_is_understood() {
    let server = Server::start().await;
    for (name, body) in examples() {
        let event = name.split('.').next().unwrap();
        let before = server.reported().len();
        let status = server.deliver(Delivery::new(event, &name, body.clone())).await;
        let reported = server.reported().split_off(before);
        let expected = match name.split('.').nth(1).unwrap() {
            _ if event == "ping" => {
                assert_eq!((status, reported.len()), (200, 0), "{name}");
                continue;
            }
            _ if event == "workflow_run" => {
                assert_eq!((status, reported.len()), (202, 0), "{name}");
                continue;
            }
            // One of these has the status "waiting", and one a runner.
            "queued" => JobState::Queued,
            "waiting" => JobState::Waiting,
            "completed" => JobState::Completed,
            "in_progress" => match reported.first() {
                Some((_, JobState::InProgress { runner: Some(runner) })) => {
                    assert!(runner.starts_with("GitHub Actions "), "{name}");
                    JobState::InProgress { runner: Some(runner.clone()) }
                }
                other => panic!("{name}: {other:?}"),
            },
            other => panic!("{name}: {other} is a new example"),
        };
        assert_eq!((status, reported.len()), (202, 1), "{name}");
        let (job, state) = &reported[0];
        assert_eq!(*state, expected, "{name}");
        let payload: Value = serde_json::from_slice(&body).unwrap();
        let (there, repository) = (&payload["workflow_job"], &payload["repository"]);
        assert_eq!(json!(job.id.0), there["id"], "{name}");
        assert_eq!(json!(job.labels), there["labels"], "{name}");
        assert_eq!(json!(job.public.unwrap()), json!(repository["private"] == false), "{name}");
        let facts = &job.facts;
        assert_eq!(json!(facts.name), there["name"], "{name}");
        assert_eq!(json!(facts.url), there["html_url"], "{name}");
        assert_eq!(json!(facts.run_id), there["run_id"], "{name}");
        let address = repository["html_url"].as_str().unwrap().to_lowercase();
        assert_eq!(facts.repository.as_str(), address, "{name}");
        assert!(facts.queued_at < super::NOON, "{name}");
    }
}
