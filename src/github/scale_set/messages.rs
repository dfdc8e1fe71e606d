//! What the messages of a session report.
//!
//! Messages are untrusted: their size, number of jobs and texts are limited, and what cannot be read is
//! skipped individually. The number of wanted runners is in the statistics only: a message has at most fifty
//! jobs, no matter how many changed.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{fleet::Timestamp, github::GithubError};

/// The most jobs of a message that are read; the service sends fifty at most.
const MAX_JOBS: usize = 1000;

/// The most that is kept of a text, in characters.
const MAX_TEXT: usize = 300;

/// The jobs that are the set's, waiting and running, by the service's own statistics: the number of runners that it
/// needs. `None` when they are no object; a missing count is 0.
pub(super) fn assigned_in(statistics: &Value) -> Option<u32> {
    let count = statistics.as_object()?.get("totalAssignedJobs").and_then(Value::as_i64).unwrap_or_default();
    Some(u32::try_from(count.max(0)).unwrap_or(u32::MAX))
}

/// A job that a runner has, as a message reports it. Texts are shortened, and empty where they were missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The name that people see.
    pub name: String,
    /// `owner/name` of its repository.
    pub repository: String,
    /// Its workflow run.
    pub run: Option<u64>,
    /// When it was queued.
    pub queued_at: Option<Timestamp>,
}

/// What happened to a job, as far as the count of assigned jobs does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobMessage {
    /// It waits, and can be acquired by this number. On github.com nothing needs to be acquired.
    Available(i64),
    /// A runner has it.
    Started {
        /// The runner's name, perhaps one that is not ours.
        runner: String,
        /// The job.
        job: Job,
    },
    /// It is over, and this runner had it.
    Completed {
        /// The runner's name, perhaps one that is not ours.
        runner: String,
    },
}

/// A message of the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its number, to be acknowledged; `None` for one that has none and cannot be.
    pub id: Option<i64>,
    /// How many jobs were the set's when it was sent, if it says so.
    pub assigned: Option<u32>,
    /// What happened, in order.
    pub jobs: Vec<JobMessage>,
}

impl Message {
    /// The jobs that are to be acquired.
    pub fn requests(&self) -> Vec<i64> {
        let available = self.jobs.iter().filter_map(|job| match job {
            JobMessage::Available(request) => Some(*request),
            _ => None,
        });
        available.collect()
    }

    /// Reads the body of a poll's answer. An empty one is no message, as the service sends now and
    /// then (actions-runner-controller#4285); of another one all that can be read is read, as long
    /// as it is a JSON object.
    pub fn read(body: &[u8]) -> Result<Option<Self>, GithubError> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(body) else {
            return Err(GithubError::failed("the message queue sent something that is not a message"));
        };
        let kind = text(envelope.message_type);
        let id = number(envelope.message_id).filter(|&id| id > 0);
        let mut message = Self { id, assigned: None, jobs: Vec::new() };
        if let Some(statistics) = envelope.statistics {
            message.assigned = parsed::<Value>(statistics).as_ref().and_then(assigned_in);
        }
        if !kind.is_empty() && kind != "RunnerScaleSetJobMessages" {
            tracing::debug!(kind, "ignored a message of an unknown kind");
            return Ok(Some(message));
        }
        // A text that holds a list.
        let list: String = envelope.body.and_then(parsed).unwrap_or_default();
        if let Ok(Some(jobs)) = serde_json::from_str::<Option<Elements<'_>>>(list.trim()) {
            message.jobs = jobs.0.into_iter().filter_map(JobMessage::read).collect();
        }
        Ok(Some(message))
    }
}

impl JobMessage {
    fn read(element: &RawValue) -> Option<Self> {
        let wire: JobMessageBody<'_> = parsed(element)?;
        let runner = || Some(text(wire.runner_name)).filter(|runner| !runner.is_empty());
        match text(wire.message_type).as_str() {
            "JobAvailable" => {
                number(wire.runner_request_id).filter(|&request| request > 0).map(Self::Available)
            }
            "JobStarted" => Some(Self::Started { runner: runner()?, job: wire.job() }),
            "JobCompleted" => Some(Self::Completed { runner: runner()? }),
            _ => None,
        }
    }
}

impl JobMessageBody<'_> {
    fn job(&self) -> Job {
        let (owner, repository) = (text(self.owner_name), text(self.repository_name));
        Job {
            name: text(self.job_display_name),
            repository: match (owner.as_str(), repository.as_str()) {
                ("", repository) => repository.to_owned(),
                (owner, "") => owner.to_owned(),
                (owner, repository) => format!("{owner}/{repository}"),
            },
            run: number(self.workflow_run_id).filter(|&run| run > 0).and_then(|run| run.try_into().ok()),
            queued_at: moment(&text(self.queue_time)),
        }
    }
}

/// Every field as it came, so that one of another form costs that field and no more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message_type: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    statistics: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobMessageBody<'a> {
    #[serde(borrow)]
    message_type: Option<&'a RawValue>,
    #[serde(borrow)]
    runner_request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    repository_name: Option<&'a RawValue>,
    #[serde(borrow)]
    owner_name: Option<&'a RawValue>,
    #[serde(borrow)]
    job_display_name: Option<&'a RawValue>,
    #[serde(borrow)]
    workflow_run_id: Option<&'a RawValue>,
    #[serde(borrow)]
    queue_time: Option<&'a RawValue>,
    #[serde(borrow)]
    runner_name: Option<&'a RawValue>,
}

/// The first so many elements of a list, as they came; the others are only passed over.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while elements.len() < MAX_JOBS {
                    let Some(element) = list.next_element()? else { return Ok(Elements(elements)) };
                    elements.push(element);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Walk)
    }
}

fn parsed<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

fn text(raw: Option<&RawValue>) -> String {
    let text: String = raw.and_then(parsed).unwrap_or_default();
    text.chars().take(MAX_TEXT).collect()
}

fn number(raw: Option<&RawValue>) -> Option<i64> {
    raw.and_then(parsed)
}

/// A time of the service, with a zone or without; the year 1 is never.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().or_else(|_| format!("{text}Z").parse()).ok()
}

#[cfg(test)]
mod tests;
