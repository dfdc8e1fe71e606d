//! What the service says when it does not do what was asked: exceptions, distinguished by the names of
//! their types, since their statuses differ from server to server.

use http::StatusCode;
use serde::Deserialize;

use crate::{
    clock,
    github::{GithubError, limits::limited, redact::foreign, transport::Answer},
};

/// What can go wrong with a scale set, by what a caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum ScaleSetError {
    /// The set does not exist, any more or not yet: find or create it by name.
    #[error("GitHub has no such scale set")]
    NoSuchSet,
    /// Another client has a session with the set: wait.
    #[error("the scale set has another open session: {says}")]
    Conflict {
        /// The service's own words, which may name the owner.
        says: String,
    },
    /// The session no longer exists: open another.
    #[error("the session no longer exists: {says}")]
    SessionLost {
        /// The service's own words.
        says: String,
    },
    /// 401 from the message queue: refresh the session.
    #[error("the message queue rejects the session's token")]
    TokenExpired,
    /// An error that any request can have.
    #[error(transparent)]
    Github(#[from] GithubError),
}

/// The exceptions that make a difference, by a part of their type's name (actions/scaleset,
/// `errors.go`, and the issues of actions-runner-controller).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exception {
    RunnerExists,
    NoSuchRunner,
    JobStillRunning,
    SessionConflict,
    NoSuchSet,
    SessionExpired,
    Other,
}

impl Exception {
    fn named(name: &str) -> Self {
        [
            ("AgentExistsException", Self::RunnerExists),
            ("AgentNotFoundException", Self::NoSuchRunner),
            ("JobStillRunningException", Self::JobStillRunning),
            ("SessionConflictException", Self::SessionConflict),
            ("RunnerScaleSetNotFoundException", Self::NoSuchSet),
            ("SessionExpiredException", Self::SessionExpired),
            ("RunnerAdminException", Self::SessionExpired),
        ]
        .into_iter()
        .find(|(part, _)| name.contains(part))
        .map_or(Self::Other, |(_, exception)| exception)
    }
}

/// An unsuccessful response.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) exception: Exception,
    /// The service's message with the id that GitHub's support asks for, on one line.
    pub(super) says: String,
    retry_after: Option<std::time::Duration>,
}

/// The common part of an exception's body.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    type_name: Option<String>,
    message: Option<String>,
}

impl Problem {
    /// Reads a response; occurrences of `secret` are removed.
    pub(super) fn of(answer: &Answer, secret: &str) -> Self {
        let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let plain = header("content-type").is_some_and(|kind| kind.contains("text/plain"));
        let body: Body =
            if plain { Body::default() } else { serde_json::from_slice(&answer.body).unwrap_or_default() };
        let message = match body.message {
            None if plain => String::from_utf8_lossy(&answer.body).trim().to_owned(),
            message => message.unwrap_or_default(),
        };
        let message = foreign(&message, secret);
        let id = header("activityid").or_else(|| header("x-github-request-id"));
        let id = id.map(|id| format!("activity {}", foreign(id, secret)));
        let parts = [Some(message.clone()).filter(|text| !text.is_empty()), id];
        let throttled = answer.status == StatusCode::TOO_MANY_REQUESTS;
        Self {
            status: answer.status,
            exception: body.type_name.as_deref().map_or(Exception::Other, Exception::named),
            says: parts.into_iter().flatten().collect::<Vec<_>>().join(", "),
            retry_after: throttled
                .then(|| limited(answer.status, &answer.headers, &message, 0, clock::wall()))
                .flatten(),
        }
    }

    /// The error for an exception without a special meaning; `what` reads after "when".
    pub(super) fn error(self, what: &str) -> GithubError {
        if let Some(wait) = self.retry_after {
            return GithubError::RateLimited { wait };
        }
        let status = self.status.as_u16();
        let says = if self.says.is_empty() { String::new() } else { format!(" ({})", self.says) };
        if self.status.is_client_error() {
            return GithubError::Refused(format!(
                "the scale-set service answered {status}{says} when {what}"
            ));
        }
        GithubError::failed(format!("the scale-set service answered {status}{says} when {what}"))
    }

    /// The error of a request about a set, its session or its queue.
    pub(super) fn about_session(self, what: &str) -> ScaleSetError {
        match (self.exception, self.status) {
            (Exception::NoSuchSet, _) => ScaleSetError::NoSuchSet,
            (Exception::SessionExpired, _) | (_, StatusCode::NOT_FOUND | StatusCode::GONE) => {
                ScaleSetError::SessionLost { says: self.says }
            }
            _ => self.error(what).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, headers: &[(&'static str, &str)], body: &str) -> Problem {
        let headers = headers.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: body.to_owned().into(),
        };
        Problem::of(&answer, "s3cret")
    }

    #[test]
    fn exceptions_are_distinguished_by_type_and_not_by_status() {
        for (name, exception) in [
            (
                "GitHub.DistributedTask.WebApi.TaskAgentExistsException, GitHub.DistributedTask.WebApi",
                Exception::RunnerExists,
            ),
            (
                "GitHub.DistributedTask.WebApi.TaskAgentJobStillRunningException, x",
                Exception::JobStillRunning,
            ),
            (
                "GitHub.Actions.Runtime.WebApi.RunnerScaleSetSessionConflictException, x",
                Exception::SessionConflict,
            ),
            ("GitHub.DistributedTask.WebApi.TaskAgentSessionConflictException", Exception::SessionConflict),
            ("GitHub.Actions.Runtime.WebApi.RunnerScaleSetNotFoundException, x", Exception::NoSuchSet),
            (
                "GitHub.Actions.Runtime.WebApi.RunnerScaleSetSessionExpiredException, x",
                Exception::SessionExpired,
            ),
            ("System.Exception", Exception::Other),
        ] {
            for status in [400, 404, 409, 500] {
                let body = serde_json::json!({ "typeName": name, "message": "m" }).to_string();
                assert_eq!(problem(status, &[], &body).exception, exception);
            }
        }
    }

    #[test]
    fn the_words_are_kept_on_one_line_with_the_activity_and_without_the_token() {
        let reported =
            problem(400, &[("activityid", "abc-1")], r#"{"message":"bad\ns3cret","typeName":"X"}"#);
        assert_eq!(
            reported.error("polling").to_string(),
            "the scale-set service answered 400 (bad [token], activity abc-1) when polling"
        );
        let plain = problem(400, &[("content-type", "text/plain; charset=utf-8")], "capacity is wrong\n");
        assert_eq!(
            plain.error("polling").to_string(),
            "the scale-set service answered 400 (capacity is wrong) when polling"
        );
        let html = problem(503, &[], "<html>");
        let text = html.error("polling").to_string();
        assert!(text.contains("503 when polling") && !text.contains("html"), "{text}");
        assert!(matches!(
            problem(429, &[("retry-after", "9")], "").error("x"),
            GithubError::RateLimited { .. }
        ));
    }

    #[test]
    fn a_lost_session_is_distinguished_from_a_lost_set_and_from_trouble() {
        let named = |status, name: &str| problem(status, &[], &format!(r#"{{"typeName":"{name}"}}"#));
        let about = |problem: Problem| problem.about_session("polling");
        assert!(matches!(about(named(404, "RunnerScaleSetNotFoundException")), ScaleSetError::NoSuchSet));
        for lost in [
            named(404, "RunnerAdminException"),
            named(400, "RunnerScaleSetSessionExpiredException"),
            named(404, "VssServiceException"),
        ] {
            assert!(matches!(about(lost), ScaleSetError::SessionLost { .. }));
        }
        for other in [named(400, "x"), named(500, "x"), named(502, "")] {
            assert!(matches!(about(other), ScaleSetError::Github(_)));
        }
    }
}
