//! The message queue of a session: the long poll, and the acknowledgement of a message.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Message, ScaleSetError, ScaleSets, Session, address, problem::Exception, service::Call, sets::SETS,
};
use crate::github::transport::Foreign;

/// The timeout of a poll. The service responds after some 50 s when there is nothing to report.
const POLL_DEADLINE: Duration = Duration::from_secs(100);

/// The largest message that is read. Fifty jobs have some 80 kB.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The maximum number of runners of the set; the service assigns no more jobs than that.
const CAPACITY: HeaderName = HeaderName::from_static("x-scalesetmaxcapacity");

impl ScaleSets {
    /// Waits for the next message after `last` (0 is none), up to a minute and a half; `None` when
    /// there was none. `capacity` is how many runners the set may have in all, and no
    /// more jobs than that will be assigned to it.
    pub async fn poll(
        &self,
        session: &Session,
        last: i64,
        capacity: u32,
    ) -> Result<Option<Message>, ScaleSetError> {
        let at = address::after(&session.queue, last)?;
        let accept = HeaderValue::from_static("application/json; api-version=6.0-preview");
        // The service's own numbers are signed.
        let capacity = HeaderValue::from(capacity.min(i32::MAX.unsigned_abs()));
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept), (CAPACITY, capacity)]);
        let foreign = Foreign {
            method: Method::GET,
            address: &at,
            headers,
            body: None,
            deadline: POLL_DEADLINE,
            max_body: MAX_MESSAGE,
        };
        let way = self.way(&session.origin)?;
        match self.exchange("poll", &way, foreign, &session.token).await? {
            Ok(answer) if answer.status == StatusCode::OK => Ok(Message::read(&answer.body)?),
            Ok(_) => Ok(None),
            Err(problem) if problem.status == StatusCode::UNAUTHORIZED => Err(ScaleSetError::TokenExpired),
            Err(problem) => Err(problem.about_session("polling for messages")),
        }
    }

    /// Acknowledges a message; until then it is sent again.
    pub async fn acknowledge(&self, session: &Session, message: i64) -> Result<(), ScaleSetError> {
        let at = address::message(&session.queue, message)?;
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let foreign = Foreign {
            method: Method::DELETE,
            address: &at,
            headers: HeaderMap::from_iter(json),
            body: None,
            deadline: self.client().rest().deadline(),
            max_body: MAX_MESSAGE,
        };
        let way = self.way(&session.origin)?;
        let Err(problem) = self.exchange("acknowledge", &way, foreign, &session.token).await? else {
            return Ok(());
        };
        match (problem.status, problem.exception) {
            (StatusCode::UNAUTHORIZED, _) => Err(ScaleSetError::TokenExpired),
            // Gone already, as after a lost reply; if the session is what is gone, the next poll says so.
            (StatusCode::NOT_FOUND, Exception::Other) => Ok(()),
            _ => Err(problem.about_session("deleting a message")),
        }
    }

    /// Acquires offered jobs, which GHES requires and github.com does by itself; returns which were acquired.
    pub async fn acquire(&self, session: &Session, requests: &[i64]) -> Result<Vec<i64>, ScaleSetError> {
        let path = format!("{SETS}/{}/acquirejobs", session.set);
        let body = json!(requests);
        match self.call_with(Call::post("acquire", &path, &body), &session.token).await? {
            Ok(answer) => {
                let won: Value = answer.json()?;
                let won = won["value"].as_array().map(Vec::as_slice).unwrap_or_default();
                Ok(won.iter().filter_map(Value::as_i64).collect())
            }
            Err(problem) if problem.status == StatusCode::UNAUTHORIZED => Err(ScaleSetError::TokenExpired),
            Err(problem) => Err(problem.about_session("acquiring jobs")),
        }
    }
}
