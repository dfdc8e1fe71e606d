//! Parses a payload. Only the essential fields of a job are required.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Number;

use super::{DeliveryEvent, Encoding};
use crate::{
    fleet::{ClockReading, Job, JobFacts, JobId, JobState, Scope, Target, Timestamp},
    github::{Numbers, lenient_json::lenient},
};

/// The longest name or address that is kept of a job.
const MAX_TEXT: usize = 512;

/// No job asks for more labels, or longer ones. One that does is refused rather than cut: with fewer
/// labels it would match more runners.
const MAX_LABELS: usize = 100;

/// The content of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A hook was made, or a person asked for this.
    Ping,
    /// The state of a job, and the ids of its repository.
    Job(Box<Job>, JobState, Numbers),
    /// Nothing of interest.
    Nothing,
}

/// Why a signed delivery cannot be read. Nothing of its text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A form without the field that GitHub puts the payload into.
    #[error("the form has no field \"payload\"")]
    NoPayload,
    /// Not JSON, or without what every payload of the event has.
    #[error("it is not a valid payload for its event (line {line}, column {column})")]
    NoSuchPayload {
        /// Where in the JSON.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// Its repository's `html_url` is not that of a repository.
    #[error("its repository has no usable URL")]
    NoRepository,
    /// More labels than any job has.
    #[error("its labels are too many or too long")]
    TooManyLabels,
}

/// Reads a delivery: its `X-GitHub-Event`, how it is written, its body, and GitHub's clock when it came.
///
/// A job's state is what the top-level `action` says, never its `status`: that of a job just approved says
/// "waiting" while it is queued. What a runner or an action is called that this version does not know is
/// ignored.
pub fn read(
    event: DeliveryEvent,
    encoding: Encoding,
    body: &[u8],
    clock: ClockReading,
) -> Result<Told, Malformed> {
    match event {
        DeliveryEvent::Ping => return Ok(Told::Ping),
        DeliveryEvent::Other => return Ok(Told::Nothing),
        DeliveryEvent::WorkflowJob => {}
    }
    let payload;
    let json = match encoding {
        Encoding::Json => body,
        Encoding::Form => {
            let mut fields = form_urlencoded::parse(body);
            let field = fields.find(|(name, _)| name == "payload").ok_or(Malformed::NoPayload)?;
            payload = field.1;
            payload.as_bytes()
        }
    };
    read_job(json, clock)
}

/// Reads the payload of an event of jobs.
pub(in crate::github) fn read_job(json: &[u8], clock: ClockReading) -> Result<Told, Malformed> {
    let wire: JobEvent = serde_json::from_slice(json)
        .map_err(|error| Malformed::NoSuchPayload { line: error.line(), column: error.column() })?;
    wire.reported(clock)
}

/// A payload of an event of jobs, as sent.
#[derive(Deserialize)]
struct JobEvent {
    action: String,
    workflow_job: EventJob,
    repository: EventRepository,
    enterprise: Option<EventEnterprise>,
}

#[derive(Deserialize)]
struct EventJob {
    id: u64,
    /// A `number` in GitHub's description, where the others are integers.
    run_id: Option<Number>,
    name: Option<String>,
    html_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    started_at: Option<Timestamp>,
    labels: Option<Vec<String>>,
    runner_name: Option<String>,
}

#[derive(Deserialize)]
struct EventRepository {
    html_url: String,
    private: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    id: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    owner: Option<EventOwner>,
}

#[derive(Deserialize)]
struct EventOwner {
    id: u64,
}

#[derive(Deserialize)]
struct EventEnterprise {
    slug: Option<String>,
}

impl JobEvent {
    /// What it reports; `clock` is GitHub's when it came.
    fn reported(self, clock: ClockReading) -> Result<Told, Malformed> {
        let Self { action, workflow_job, repository, enterprise } = self;
        let state = match action.as_str() {
            "queued" => JobState::Queued,
            "waiting" => JobState::Waiting,
            // Elsewhere the runner means nothing: queued jobs have been seen with one.
            "in_progress" => JobState::InProgress {
                runner: workflow_job.runner_name.clone().filter(|name| !name.is_empty()).map(short),
            },
            "completed" => JobState::Completed,
            _ => return Ok(Told::Nothing),
        };
        let scope: Scope = repository.html_url.parse().map_err(|_| Malformed::NoRepository)?;
        if !matches!(scope.target(), Target::Repository { .. }) || scope.as_str().len() > MAX_TEXT {
            return Err(Malformed::NoRepository);
        }
        let labels = workflow_job.labels.unwrap_or_default();
        if labels.len() > MAX_LABELS || labels.iter().any(|label| label.len() > MAX_TEXT) {
            return Err(Malformed::TooManyLabels);
        }
        let (created_at, started_at) = (workflow_job.created_at, workflow_job.started_at);
        // As a queue's jobs are read: one that an approval held was made long before it was queued.
        let started_at = started_at.filter(|&at| state == JobState::Queued && at <= clock.shown);
        let queued_at = started_at.max(created_at).unwrap_or(clock.shown);
        let facts = JobFacts {
            name: short(workflow_job.name.unwrap_or_default()),
            repository: scope,
            run_id: workflow_job.run_id.and_then(|id| id.as_u64()).unwrap_or_default(),
            url: short(workflow_job.html_url.unwrap_or_default()),
            queued_at,
        };
        let slug = enterprise.and_then(|enterprise| enterprise.slug).filter(|slug| !slug.is_empty());
        let job = Job {
            id: JobId(workflow_job.id),
            labels,
            enterprise: slug.map(|slug| short(slug.to_ascii_lowercase()).into()),
            public: repository.private.map(|private| !private),
            workflows: Vec::new(),
            queued_at: clock.instant(queued_at),
            facts: Arc::new(facts),
        };
        let numbers = Numbers { repository: repository.id, owner: repository.owner.map(|owner| owner.id) };
        Ok(Told::Job(Box::new(job), state, numbers))
    }
}

fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fleet::Instant;

    const CAME_AT: Timestamp = Timestamp::from_millis(1_795_348_800_000);
    const CLOCK: ClockReading = ClockReading { at: Instant::from_millis(5_000_000_000), shown: CAME_AT };

    fn payload() -> Value {
        json!({
            "action": "queued",
            "workflow_job": {
                "id": 12_877_621_891_u64, "run_id": 47, "name": "build (a, b)", "status": "waiting",
                "html_url": "https://github.com/Acme/Widgets/actions/runs/47/job/1",
                "created_at": "2026-11-22T11:59:00Z", "labels": ["Linux", "self-hosted"],
                "runner_name": "GitHub Actions 5"
            },
            "repository": { "html_url": "https://github.com/Acme/Widgets", "private": true },
            "enterprise": { "slug": "Acme-Inc" }
        })
    }

    fn reported(payload: &Value) -> Result<Told, Malformed> {
        read(DeliveryEvent::WorkflowJob, Encoding::Json, payload.to_string().as_bytes(), CLOCK)
    }

    fn job(payload: &Value) -> (Box<Job>, JobState) {
        match reported(payload).unwrap() {
            Told::Job(job, state, _) => (job, state),
            other => panic!("{other:?}"),
        }
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut payload = payload();
        *payload.pointer_mut(pointer).unwrap() = value;
        payload
    }

    #[test]
    fn a_job_is_read_with_all_that_people_want_to_know() {
        let (job, state) = job(&payload());
        assert_eq!(state, JobState::Queued, "the action counts, not the status");
        assert_eq!(job.id, JobId(12_877_621_891));
        assert_eq!(job.labels, ["Linux", "self-hosted"]);
        assert_eq!((job.enterprise.as_deref(), job.public), (Some("acme-inc"), Some(false)));
        assert_eq!(job.facts.repository.as_str(), "https://github.com/acme/widgets");
        assert_eq!((job.facts.name.as_str(), job.facts.run_id), ("build (a, b)", 47));
        assert_eq!(job.facts.url, "https://github.com/Acme/Widgets/actions/runs/47/job/1");
        assert_eq!(job.facts.queued_at, CAME_AT - std::time::Duration::from_mins(1));
    }

    #[test]
    fn the_action_gives_the_state() {
        let running = |runner: Option<&str>| JobState::InProgress { runner: runner.map(str::to_owned) };
        for (action, name, expected) in [
            ("queued", json!("GitHub Actions 5"), JobState::Queued),
            ("waiting", json!(null), JobState::Waiting),
            ("in_progress", json!("dayfly-1"), running(Some("dayfly-1"))),
            ("in_progress", json!(""), running(None)),
            ("in_progress", json!(null), running(None)),
            ("completed", json!("dayfly-1"), JobState::Completed),
        ] {
            let mut payload = with("/action", json!(action));
            payload["workflow_job"]["runner_name"] = name;
            assert_eq!(job(&payload).1, expected, "{action}");
        }
    }

    #[test]
    fn a_job_that_was_held_is_queued_since_its_approval() {
        let queued_at = |action: &str, started_at: &str| {
            let mut payload = with("/action", json!(action));
            payload["workflow_job"]["started_at"] = json!(started_at);
            let (job, _) = job(&payload);
            assert_eq!(CLOCK.at.since(job.queued_at), CAME_AT.since(job.facts.queued_at));
            CAME_AT.since(job.facts.queued_at).as_secs()
        };
        assert_eq!(queued_at("queued", "2026-11-22T11:59:50Z"), 10);
        assert_eq!(queued_at("queued", "2026-11-22T11:00:00Z"), 60, "the later of both");
        assert_eq!(queued_at("queued", "2026-11-22T12:00:01Z"), 60, "no moment that is yet to come");
        assert_eq!(queued_at("in_progress", "2026-11-22T11:59:50Z"), 60, "there it tells of the runner");
    }

    #[test]
    fn what_is_not_known_or_not_there_is_no_trouble() {
        assert_eq!(reported(&with("/action", json!("requeued"))), Ok(Told::Nothing));
        assert_eq!(read(DeliveryEvent::Other, Encoding::Json, b"\xff", CLOCK), Ok(Told::Nothing));
        assert_eq!(read(DeliveryEvent::Ping, Encoding::Form, b"", CLOCK), Ok(Told::Ping));
        let bare = json!({
            "action": "queued", "workflow_job": { "id": 1, "labels": null, "steps": "?" },
            "repository": { "html_url": "https://github.com/acme/.github" }, "sender": 3,
        });
        let (job, _) = job(&bare);
        assert!(job.labels.is_empty() && job.facts.name.is_empty());
        assert_eq!((job.public, job.enterprise, job.facts.queued_at), (None, None, CAME_AT));
    }

    #[test]
    fn what_cannot_be_a_job_is_refused_without_showing_it() {
        for broken in [
            json!({}),
            with("/workflow_job/id", json!("secret")),
            with("/workflow_job/labels", json!(["secret", 3])),
            with("/repository", json!(null)),
        ] {
            let refused = reported(&broken).unwrap_err();
            assert!(matches!(refused, Malformed::NoSuchPayload { .. }), "{refused}");
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
        for address in ["https://github.com/acme", "acme/widgets", "https://github.com/a/b/c", "file:///a/b"]
        {
            let refused = reported(&with("/repository/html_url", json!(address)));
            assert_eq!(refused, Err(Malformed::NoRepository), "{address}");
        }
        let many: Vec<String> = (0..=MAX_LABELS).map(|n| n.to_string()).collect();
        assert_eq!(reported(&with("/workflow_job/labels", json!(many))), Err(Malformed::TooManyLabels));
        let long = json!(["x".repeat(MAX_TEXT + 1)]);
        assert_eq!(reported(&with("/workflow_job/labels", long)), Err(Malformed::TooManyLabels));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let (job, _) = job(&with("/workflow_job/name", json!("ä".repeat(1000))));
        assert_eq!(job.facts.name, "ä".repeat(MAX_TEXT / 2));
        let (cut, _) = self::job(&with("/workflow_job/name", json!(format!("x{}", "ä".repeat(1000)))));
        assert_eq!(cut.facts.name.len(), MAX_TEXT - 1);
    }

    #[test]
    fn a_form_holds_the_same_payload() {
        let written: String = form_urlencoded::byte_serialize(payload().to_string().as_bytes()).collect();
        let form = format!("other=1&payload={written}");
        let read_form = |body: &str| read(DeliveryEvent::WorkflowJob, Encoding::Form, body.as_bytes(), CLOCK);
        assert_eq!(read_form(&form), reported(&payload()));
        assert_eq!(read_form("load=1"), Err(Malformed::NoPayload));
        assert!(matches!(read_form("payload=%"), Err(Malformed::NoSuchPayload { .. })));
    }

    #[test]
    fn the_content_type_gives_the_encoding() {
        for (header, expected) in [
            ("application/json", Some(Encoding::Json)),
            ("Application/JSON; charset=utf-8", Some(Encoding::Json)),
            ("application/x-www-form-urlencoded", Some(Encoding::Form)),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Encoding::of(header), expected, "{header}");
        }
    }
}
