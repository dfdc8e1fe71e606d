//! What all exchanges with the service have in common.

use std::{future::Future, time::Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::github::{Client, GithubError, transport::Answer};

/// The largest answer of the service that is read. A list of ten thousand runners has some 4 MB.
pub(super) const MAX_ANSWER: usize = 16 * 1024 * 1024;

const ACTIVITY: HeaderName = HeaderName::from_static("activityid");

/// Reports an exchange, and takes the byte order mark off its answer.
pub(super) async fn reported(
    client: &Client,
    endpoint: &'static str,
    exchange: impl Future<Output = Result<Answer, GithubError>>,
) -> Result<Answer, GithubError> {
    let began = Instant::now();
    let mut exchanged = exchange.await;
    let (took, answer) = (began.elapsed(), exchanged.as_ref().ok());
    let status = answer.map(|answer| answer.status.as_u16());
    let activity = answer.and_then(|answer| answer.headers.get(ACTIVITY)?.to_str().ok());
    let scope = client.scope();
    tracing::debug!(%scope, endpoint, status, ?took, activity, "sent a request to GitHub's scale-set service");
    client.rest().report(endpoint, status, took, None);
    if let Ok(answer) = &mut exchanged {
        strip_mark(&mut answer.body);
    }
    exchanged
}

/// A header that is not logged.
pub(super) fn secret_header(value: &str) -> Result<HeaderValue, GithubError> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| GithubError::failed("GitHub returned a token with invalid characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The service begins some bodies with a byte order mark, which is not JSON.
fn strip_mark(body: &mut Bytes) {
    if body.starts_with(b"\xEF\xBB\xBF") {
        drop(body.split_to(3));
    }
}
