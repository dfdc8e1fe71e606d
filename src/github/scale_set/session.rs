//! Message sessions: a scale set has one at a time, and its owner gets the messages about jobs.

use std::fmt;

use http::{Method, StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ScaleSetError, ScaleSetId, ScaleSets, address, messages::assigned_in, problem::Exception, service::Call,
    sets::SETS,
};
use crate::github::{GithubError, transport::Origin};

/// GitHub's id of a session: a UUID, or another text that is safe in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// A text as an id, if it can be one.
    pub fn parse(text: &str) -> Option<Self> {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let known = !text.is_empty() && text.len() <= 100 && text.chars().all(fine);
        (known && text != "00000000-0000-0000-0000-000000000000").then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An open session.
#[derive(Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The set that it is of.
    pub set: ScaleSetId,
    /// How many jobs were the set's when the session was opened or refreshed, if it said so.
    pub assigned: Option<u32>,
    pub(super) queue: Uri,
    pub(super) origin: Origin,
    pub(super) token: SecretString,
}

impl Session {
    /// Reads what came for an opened or refreshed session of `set`. With `secure`, its queue must
    /// have TLS.
    pub fn read(set: ScaleSetId, body: &[u8], secure: bool) -> Result<Self, GithubError> {
        let wire: SessionBody =
            serde_json::from_slice(body).map_err(|_| GithubError::failed("the response is not a session"))?;
        let id = wire.session_id.as_deref().and_then(SessionId::parse);
        let id = id.ok_or_else(|| GithubError::failed("the session has no id"))?;
        // Seen during an outage (actions-runner-controller#4370).
        let queue = wire.message_queue_url.filter(|url| !url.trim().is_empty());
        let queue = queue.ok_or_else(|| GithubError::failed("the session has no queue URL"))?;
        let (queue, origin) = address::given(&queue, secure)?;
        if wire.message_queue_access_token.expose_secret().is_empty() {
            return Err(GithubError::failed("the session has no token for its queue"));
        }
        Ok(Self {
            id,
            set,
            assigned: wire.statistics.as_ref().and_then(assigned_in),
            queue,
            origin,
            token: wire.message_queue_access_token,
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("set", &self.set).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionBody {
    session_id: Option<String>,
    message_queue_url: Option<String>,
    #[serde(default)]
    message_queue_access_token: SecretString,
    statistics: Option<Value>,
}

impl ScaleSets {
    /// Opens a session with a set. While there is one, even of this process, it is a
    /// [`ScaleSetError::Conflict`].
    pub async fn open(&self, set: ScaleSetId, owner: &str) -> Result<Session, ScaleSetError> {
        let path = format!("{SETS}/{set}/sessions");
        let body = json!({ "ownerName": owner });
        match self.call(Call::post("session", &path, &body)).await? {
            Ok(answer) => Ok(Session::read(set, &answer.body, self.is_secure())?),
            Err(problem)
                if problem.exception == Exception::SessionConflict
                    || problem.status == StatusCode::CONFLICT =>
            {
                Err(ScaleSetError::Conflict { says: problem.says })
            }
            Err(problem)
                if problem.exception == Exception::NoSuchSet || problem.status == StatusCode::NOT_FOUND =>
            {
                Err(ScaleSetError::NoSuchSet)
            }
            Err(problem) => Err(problem.error("opening a session").into()),
        }
    }

    /// Gives a session a new token, and perhaps a new queue: all of it is replaced.
    pub async fn refresh(&self, session: &Session) -> Result<Session, ScaleSetError> {
        let path = format!("{SETS}/{}/sessions/{}", session.set, session.id.0);
        let call = Call { method: Method::PATCH, ..Call::get("session", &path) };
        match self.call(call).await? {
            Ok(answer) => Ok(Session::read(session.set, &answer.body, self.is_secure())?),
            Err(problem)
                if problem.exception == Exception::SessionConflict
                    || problem.status == StatusCode::CONFLICT =>
            {
                Err(ScaleSetError::SessionLost { says: problem.says })
            }
            Err(problem) => Err(problem.about_session("refreshing a session")),
        }
    }

    /// Closes a session, so that the next one need not wait. Succeeds if it is gone already.
    pub async fn close(&self, set: ScaleSetId, session: &SessionId) -> Result<(), ScaleSetError> {
        let path = format!("{SETS}/{set}/sessions/{}", session.0);
        let call = Call { method: Method::DELETE, ..Call::get("session", &path) };
        let Err(problem) = self.call(call).await? else { return Ok(()) };
        match problem.about_session("closing a session") {
            ScaleSetError::NoSuchSet | ScaleSetError::SessionLost { .. } => Ok(()),
            other => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "https://queue.example/q?k=v";

    fn read(id: &str, queue: &str, token: &str) -> Result<Session, GithubError> {
        let body = json!({ "sessionId": id, "messageQueueUrl": queue, "messageQueueAccessToken": token });
        Session::read(ScaleSetId(1), body.to_string().as_bytes(), true)
    }

    #[test]
    fn a_session_that_cannot_be_used_is_an_error() {
        let session = read("a-1", QUEUE, "s3cret").unwrap();
        assert!(!format!("{session:?}").contains("s3cret"));
        for (id, queue, token) in
            [("", QUEUE, "x"), ("a", "", "x"), ("a", "http://queue.example", "x"), ("a", QUEUE, "")]
        {
            assert!(read(id, queue, token).is_err(), "{id} {queue} {token}");
        }
        for body in ["", "null", "[]", "{}", r#"{"sessionId":7}"#] {
            assert!(Session::read(ScaleSetId(1), body.as_bytes(), true).is_err(), "{body}");
        }
    }

    #[test]
    fn only_what_is_safe_in_a_path_is_a_session() {
        assert!(SessionId::parse("6f1d4b5e-0c39-4b27-9c43-2a4f1d0a1b2c").is_some());
        for wrong in ["", "a/b", "a?b", "..", "00000000-0000-0000-0000-000000000000", &"a".repeat(101)] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }
}
