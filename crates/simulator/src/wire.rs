//! The protocol between the simulated runner and the simulator, below `/_runner`. It is not the protocol of
//! the real runner.

use serde::{Deserialize, Serialize};

/// Opens a session: 200 with [`Session`], 404 when the registration is gone, 403 when the secret is
/// wrong, 409 when the JIT config was used before.
pub(super) const SESSION: &str = "/_runner/session";
/// Waits for a message: 200 with [`Message`], 204 when there is none, 410 when the registration is
/// gone.
pub(super) const MESSAGE: &str = "/_runner/message";
/// Takes the offered job: 200, or 409 when another runner has it by now.
pub(super) const ACQUIRE: &str = "/_runner/acquire";
/// Fails to take the offered job, which uses the registration up: 200.
pub(super) const DECLINE: &str = "/_runner/decline";
/// Reports the job's end: 200.
pub(super) const COMPLETE: &str = "/_runner/complete";
/// Closes the session: 200.
pub(super) const LEAVE: &str = "/_runner/leave";

/// Who wants to connect.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Connect {
    pub(super) agent_id: u64,
    pub(super) secret: String,
}

/// A session; a client that knows its id is taken for the runner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) session: String,
}

/// A session and the job it means.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct JobOf {
    pub(super) session: String,
    pub(super) job: u64,
    /// Whether it succeeded, where that is reported.
    #[serde(default)]
    pub(super) succeeded: bool,
}

/// An offered job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) job: u64,
    pub(super) name: String,
    pub(super) millis: u64,
    pub(super) work: Work,
}

/// What the job is to do to its runner.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    Succeed,
    Fail,
    Allocate(u64),
    Script(String),
    CrashWorker,
    CrashRunner,
}
