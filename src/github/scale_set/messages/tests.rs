//! Messages as GitHub sends them, and malformed ones.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A message as github.com sends it, in form and order.
const REAL: &str = r#"{
  "messageId": 100000171,
  "messageType": "RunnerScaleSetJobMessages",
  "body": "[{\"acquireJobUrl\":\"https://broker.actions.githubusercontent.com/acquire\",\"messageType\":\"JobAvailable\",\"runnerRequestId\":7848922,\"repositoryName\":\"widgets\",\"ownerName\":\"acme\",\"eventName\":\"push\",\"requestLabels\":[\"linux\",\"x64\"]},{\"messageType\":\"JobAssigned\",\"runnerRequestId\":0,\"jobId\":\"6f1d4b5e-0c39-4b27-9c43-2a4f1d0a1b2c\",\"jobDisplayName\":\"build (1)\",\"workflowRunId\":9876543210,\"requestLabels\":null,\"queueTime\":\"0001-01-01T00:00:00Z\"},{\"messageType\":\"JobStarted\",\"runnerId\":42,\"runnerName\":\"dayfly-linux-ci1-x\",\"repositoryName\":\"widgets\",\"ownerName\":\"acme\",\"jobWorkflowRef\":\"acme/widgets/.github/workflows/ci.yml@refs/heads/main\",\"jobDisplayName\":\"build (1)\",\"workflowRunId\":9876543210,\"eventName\":\"push\",\"requestLabels\":[\"linux\",\"x64\"],\"queueTime\":\"2026-11-22T12:00:00.1234567Z\"},{\"messageType\":\"JobStarted\",\"runnerId\":42,\"runnerName\":\"dayfly-linux-ci1-y\",\"repositoryName\":\"widgets\",\"ownerName\":\"acme\",\"jobWorkflowRef\":\"acme/widgets/.github/workflows/ci.yml@refs/heads/main\",\"jobDisplayName\":\"build (2)\",\"eventName\":\"push\",\"requestLabels\":[\"linux\",\"x64\"],\"queueTime\":\"2026-11-22T12:00:00\"},{\"messageType\":\"JobStarted\",\"runnerId\":42,\"runnerName\":\"dayfly-linux-ci1-z\",\"repositoryName\":\"widgets\",\"ownerName\":\"acme\",\"jobWorkflowRef\":\"acme/widgets/.github/workflows/ci.yml@refs/heads/main\",\"jobDisplayName\":\"build (3)\",\"eventName\":\"push\",\"requestLabels\":[\"linux\",\"x64\"],\"queueTime\":\"0001-01-01T00:00:00Z\"},{\"messageType\":\"JobCompleted\",\"result\":\"succeeded\",\"runnerId\":42,\"runnerName\":\"dayfly-linux-ci1-x\"},{\"messageType\":\"JobCompleted\",\"result\":\"canceled\",\"runnerId\":0,\"runnerName\":\"\",\"runnerAssignTime\":\"0001-01-01T00:00:00Z\"},{\"messageType\":\"JobReticulated\",\"runnerRequestId\":1}]",
  "statistics": {"totalAvailableJobs":1,"totalAcquiredJobs":0,"totalAssignedJobs":3,"totalRunningJobs":2,"totalRegisteredRunners":4,"totalBusyRunners":2,"totalIdleRunners":1}
}"#;

fn read(body: &str) -> Message {
    Message::read(body.as_bytes()).unwrap().unwrap()
}

fn with_jobs(list: &Value) -> Message {
    read(&json!({ "messageId": 1, "body": list.to_string() }).to_string())
}

#[test]
fn a_real_message_is_read() {
    let message = read(REAL);
    assert_eq!(message.id, Some(100_000_171));
    assert_eq!(message.assigned, Some(3));
    assert_eq!(message.requests(), [7_848_922]);
    let job = |name: &str, run, queued_at: Option<u64>| Job {
        name: name.to_owned(),
        repository: "acme/widgets".to_owned(),
        run,
        queued_at: queued_at.map(Timestamp::from_millis),
    };
    let started = |runner: &str, job| JobMessage::Started { runner: runner.to_owned(), job };
    let expected = [
        JobMessage::Available(7_848_922),
        started("dayfly-linux-ci1-x", job("build (1)", Some(9_876_543_210), Some(1_795_348_800_123))),
        started("dayfly-linux-ci1-y", job("build (2)", None, Some(1_795_348_800_000))),
        started("dayfly-linux-ci1-z", job("build (3)", None, None)),
        JobMessage::Completed { runner: "dayfly-linux-ci1-x".to_owned() },
    ];
    assert_eq!(message.jobs, expected);
}

#[test]
fn nothing_is_no_message_and_what_is_no_object_is_an_error() {
    for nothing in ["", "  \n", "\u{feff}"] {
        assert_eq!(Message::read(nothing.as_bytes()).unwrap(), None);
    }
    for wrong in ["null", "[]x", "<html>", "{", "\"text\"", "7"] {
        let error = Message::read(wrong.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("not a message") && !error.contains("html"), "{wrong}: {error}");
    }
}

#[test]
fn a_message_may_have_statistics_only_or_be_of_a_kind_that_no_one_knows() {
    for body in [json!(""), json!(null), json!("null"), json!("[]"), json!("no list"), json!(7), json!({})] {
        let message = json!({ "messageId": 5, "body": body, "statistics": { "totalAssignedJobs": 2 } });
        let message = read(&format!("\u{feff}{message}"));
        assert_eq!((message.id, message.jobs.len()), (Some(5), 0), "{body}");
        assert_eq!(message.assigned, Some(2));
    }
    let unknown = read(
        r#"{"messageId":6,"messageType":"Surprise","body":"[{\"messageType\":\"JobCompleted\",\"runnerName\":\"r\"}]"}"#,
    );
    assert_eq!(unknown, Message { id: Some(6), ..Message::default() });
    assert_eq!(read("{}"), Message::default());
}

#[test]
fn one_strange_field_or_element_costs_no_other() {
    let message = with_jobs(&json!([
        7,
        null,
        { "messageType": ["JobStarted"] },
        { "messageType": "JobAvailable", "runnerRequestId": 1e300 },
        { "messageType": "JobStarted", "runnerName": { "deep": [[[]]] } },
        { "messageType": "JobCompleted", "runnerName": 7 },
        { "messageType": "JobStarted", "runnerName": "r", "jobDisplayName": "kept", "workflowRunId": "x", "queueTime": 7 },
    ]));
    let job = Job { name: "kept".to_owned(), ..Job::default() };
    assert_eq!(message.jobs, [JobMessage::Started { runner: "r".to_owned(), job }]);
    for (count, assigned) in [("-4", 0), ("1e99", 0), ("99999999999", u32::MAX)] {
        let counts = read(&format!(r#"{{"statistics":{{"totalAssignedJobs":{count}}}}}"#));
        assert_eq!(counts.assigned, Some(assigned), "{count}");
    }
    assert_eq!(read(r#"{"messageId":-1,"statistics":[]}"#), Message::default());
}

#[test]
fn what_is_kept_is_bounded() {
    let long = "ä".repeat(100_000);
    let one = json!({ "messageType": "JobStarted", "runnerName": "r", "jobDisplayName": long });
    let message = with_jobs(&json!(vec![one; 2]));
    let JobMessage::Started { job, .. } = &message.jobs[0] else { panic!() };
    assert_eq!(job.name.chars().count(), MAX_TEXT);
    let many = with_jobs(&json!(vec![json!({ "messageType": "JobCompleted", "runnerName": "r" }); 3000]));
    assert_eq!(many.jobs.len(), MAX_JOBS);
    let deep = format!("{{\"messageId\":1,\"body\":{}}}", "[".repeat(100_000));
    assert!(Message::read(deep.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_lead_to_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        drop(Message::read(&bytes));
    }

    #[test]
    fn no_cut_or_changed_byte_leads_to_a_panic(at in 0..REAL.len(), byte: u8, cut in 0..REAL.len()) {
        let mut bytes = REAL.as_bytes().to_vec();
        bytes[at] = byte;
        bytes.truncate(cut.max(at));
        drop(Message::read(&bytes));
    }

    #[test]
    fn no_list_leads_to_a_panic_or_hides_what_comes_before(text in ".{0,200}") {
        let message = read(&json!({ "messageId": 3, "body": text, "statistics": { "totalAssignedJobs": 1 } }).to_string());
        prop_assert_eq!(message.id, Some(3));
        prop_assert_eq!(message.assigned, Some(1));
    }
}
