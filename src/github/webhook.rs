//! Webhook deliveries as GitHub sends them: checking the signature, and reading the job. Independent of how
//! they arrive.
//!
//! Facts: docs.github.com, "Webhook events and payloads" and "Validating webhook deliveries", and the
//! payload examples of octokit/webhooks.

mod payload;
mod secrets;

use std::fmt;

pub(super) use self::payload::read_job;
pub use self::{
    payload::{Malformed, Told, read},
    secrets::{SecretError, Secrets},
};

/// How a delivery's body is written: a hook's `content_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `json`: the body is the payload.
    Json,
    /// `form`, GitHub's default: the payload is the field `payload`.
    Form,
}

impl Encoding {
    /// What a `Content-Type` header says, parameters aside; `None` when GitHub sends no such thing.
    pub fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            None
        }
    }
}

/// The events that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryEvent {
    /// A job changed its state.
    WorkflowJob,
    /// The hook was made, or a person asked for it.
    Ping,
    /// Anything else.
    Other,
}

impl DeliveryEvent {
    /// Every event.
    pub const ALL: [Self; 3] = [Self::WorkflowJob, Self::Ping, Self::Other];

    /// The event that an `X-GitHub-Event` header names.
    pub fn of(name: &str) -> Self {
        match name {
            "workflow_job" => Self::WorkflowJob,
            "ping" => Self::Ping,
            _ => Self::Other,
        }
    }

    /// The event as a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowJob => "workflow_job",
            Self::Ping => "ping",
            Self::Other => "other",
        }
    }
}

/// The result of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    /// It had something new, or was a ping.
    Accepted,
    /// It has nothing of interest.
    Ignored,
    /// It was accepted before.
    Duplicate,
    /// It has no signature, or one of another secret.
    BadSignature,
    /// Signed, but unreadable.
    Malformed,
    /// Too large.
    TooLarge,
    /// Of a content type that GitHub does not send.
    Unsupported,
    /// Its body did not arrive in time.
    TimedOut,
    /// Refused because too many are waiting; GitHub's delivery log keeps it.
    Overloaded,
}

impl DeliveryResult {
    /// Every result.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Ignored,
        Self::Duplicate,
        Self::BadSignature,
        Self::Malformed,
        Self::TooLarge,
        Self::Unsupported,
        Self::TimedOut,
        Self::Overloaded,
    ];

    /// The result as a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Duplicate => "duplicate",
            Self::BadSignature => "bad_signature",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
        }
    }
}

impl fmt::Display for DeliveryResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
