//! The webhooks of a scope, and GitHub's delivery logs, which show lost deliveries.
//!
//! Facts: docs.github.com, "REST API endpoints for organization webhooks" and "… for repository webhooks".
//! GitHub never delivers again by itself, and keeps the log for three days.

use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Client, GithubError, Identities,
    endpoint::Endpoint,
    lenient_json::{Row, lenient},
    paging::{Cost, List, Page, PageBody, Pages, Walked},
    redact::foreign,
    rest::{Request, Response},
    webhook::{DeliveryEvent, Encoding, Malformed, Told, read_job},
};
use crate::fleet::{ClockReading, Timestamp};

/// More pages of hooks than any scope has: 20 for each event, on GHES 250.
const HOOK_PAGES: usize = 5;

/// A webhook, with what decides whether deliveries can arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRecord {
    /// GitHub's number.
    pub id: u64,
    /// Where it delivers to: scheme, host and path, since what else is in an address may be a secret. Empty
    /// when it cannot be read.
    pub url: String,
    /// Its content type; `None` for an unknown one.
    pub encoding: Option<Encoding>,
    /// Whether it has a secret.
    pub signs: bool,
    /// Whether it is active.
    pub active: bool,
    /// Whether it sends workflow jobs.
    pub tells_of_jobs: bool,
}

/// A delivery in a hook's log.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "DeliveryBody")]
pub struct DeliveryRecord {
    /// GitHub's id; it exceeds 2^53.
    pub id: u64,
    /// What all attempts of the same have in common: `X-GitHub-Delivery`.
    pub guid: String,
    /// When it was tried, by GitHub's clock.
    pub delivered_at: Timestamp,
    /// Its event.
    pub event: DeliveryEvent,
    /// Its payload's action.
    pub action: Option<String>,
    /// Whether it was accepted.
    pub delivered: bool,
    /// Its status as text, with the status code.
    pub status: String,
}

/// How far a webhook's log was read: makes the next request conditional, so that it is free at rest.
#[derive(Clone, Debug, Default)]
pub struct LogMark(Pages<DeliveryRecord>);

#[derive(Deserialize)]
struct HookBody {
    id: u64,
    active: Option<bool>,
    events: Option<Vec<String>>,
    config: Option<HookConfigBody>,
}

#[derive(Deserialize)]
struct HookConfigBody {
    url: Option<String>,
    content_type: Option<String>,
    secret: Option<Value>,
}

#[derive(Deserialize)]
struct DeliveryBody {
    id: u64,
    guid: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    delivered_at: Option<Timestamp>,
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    status_code: Option<u64>,
    event: Option<String>,
    action: Option<String>,
}

#[derive(Deserialize)]
struct RequestBody {
    request: PayloadBody,
}

#[derive(Deserialize)]
struct PayloadBody {
    /// Read by itself: what is wrong with it is wrong with this delivery, and not with the answer.
    payload: Option<Box<RawValue>>,
}

impl Client {
    /// The webhooks of the scope, without unreadable ones.
    pub async fn hooks(&self) -> Result<Vec<HookRecord>, GithubError> {
        let (rest, of) = (self.rest(), self.scope());
        let read = |reply: &Response| {
            let (rows, unreadable) =
                rest.readable(reply.answer.json::<Vec<Row<HookBody>>>()?, "webhooks", of);
            Ok(PageBody { total: 0, rows: rows.into_iter().map(hook).collect(), unreadable })
        };
        let list = List { rest, endpoint: Endpoint::Hooks, of, max_pages: HOOK_PAGES, read: &read };
        let first = rest.address("/hooks?per_page=100")?;
        let walked = list.walk(first, &mut Pages::default(), &mut Cost::default(), |_| false).await?;
        Ok(walked.iter().flat_map(Walked::rows).cloned().collect())
    }

    /// The deliveries of a hook, newest first, until one that was tried before `since` by GitHub's clock, or so many pages of
    /// a hundred; and whether that was all. `None` when nothing is new since the mark was made.
    pub async fn deliveries(
        &self,
        hook: u64,
        since: Timestamp,
        pages: usize,
        mark: &mut LogMark,
    ) -> Result<Option<(Vec<DeliveryRecord>, bool)>, GithubError> {
        let (rest, of) = (self.rest(), self.scope());
        let read = |reply: &Response| {
            let rows: Vec<Row<DeliveryRecord>> = reply.answer.json()?;
            let (rows, unreadable) = rest.readable(rows, "deliveries of webhooks", of);
            Ok(PageBody { total: 0, rows, unreadable })
        };
        let list = List { rest, endpoint: Endpoint::Hooks, of, max_pages: pages, read: &read };
        let first = rest.address(&format!("/hooks/{hook}/deliveries?per_page=100"))?;
        let old =
            |page: &Page<DeliveryRecord>| page.rows.last().is_some_and(|oldest| oldest.delivered_at < since);
        let walked = list.walk(first, &mut mark.0.clone(), &mut Cost::default(), old).await?;
        let Some(Walked { pages, cut }) = walked else { return Ok(None) };
        let Some(newest) = pages.first() else { return Ok(Some((Vec::new(), false))) };
        if mark.0.has(newest) {
            return Ok(None);
        }
        let rows = pages.iter().flat_map(|page| &page.rows);
        if cut.is_some() {
            return Ok(Some((rows.cloned().collect(), false)));
        }
        let deliveries = rows.filter(|delivery| delivery.delivered_at >= since).cloned().collect();
        *mark = LogMark(Pages::mark(newest));
        Ok(Some((deliveries, true)))
    }

    /// What a delivery in a hook's log reports of a job, whether it arrived or not: an event of jobs is read
    /// as if it came at `came_at`. [`GithubError::NotFound`] when the log does not have it any more.
    pub async fn delivered_job(
        &self,
        hook: u64,
        delivery: u64,
        came_at: ClockReading,
    ) -> Result<Result<Told, Malformed>, GithubError> {
        let address: Uri = self.rest().address(&format!("/hooks/{hook}/deliveries/{delivery}"))?;
        let reply = self.rest().ask(Request::get(Endpoint::Hooks, address)).await?;
        match reply.answer.status {
            StatusCode::OK => {
                let wire: RequestBody = reply.answer.json()?;
                let payload = wire.request.payload;
                let reported =
                    payload.map_or(Ok(Told::Nothing), |json| read_job(json.get().as_bytes(), came_at));
                Ok(reported.map(|reported| match reported {
                    Told::Job(mut job, state, numbers) => {
                        if Identities::place([self.identities()], &mut job, numbers) {
                            Told::Job(job, state, numbers)
                        } else {
                            Told::Nothing
                        }
                    }
                    reported => reported,
                }))
            }
            StatusCode::NOT_FOUND => Err(GithubError::NotFound),
            _ => Err(self.rest().refused(Endpoint::Hooks, &reply)),
        }
    }
}

fn hook(wire: HookBody) -> HookRecord {
    let config = wire.config.unwrap_or(HookConfigBody { url: None, content_type: None, secret: None });
    let events = wire.events.unwrap_or_default();
    HookRecord {
        id: wire.id,
        url: foreign(&without_secrets(&config.url.unwrap_or_default()), ""),
        // GitHub's default (OpenAPI: webhook-config-content-type).
        encoding: match config.content_type.as_deref() {
            Some("json") => Some(Encoding::Json),
            Some("form") | None => Some(Encoding::Form),
            Some(_) => None,
        },
        signs: config.secret.is_some_and(|secret| !secret.is_null() && secret != ""),
        active: wire.active.unwrap_or(true),
        tells_of_jobs: events.iter().any(|event| event == "workflow_job" || event == "*"),
    }
}

/// Scheme, host and path of an address.
fn without_secrets(address: &str) -> String {
    let Ok(uri) = address.parse::<Uri>() else { return String::new() };
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return String::new() };
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{}", uri.path())
}

impl TryFrom<DeliveryBody> for DeliveryRecord {
    type Error = &'static str;

    fn try_from(wire: DeliveryBody) -> Result<Self, Self::Error> {
        let status = wire.status.unwrap_or_default();
        let code = wire.status_code.unwrap_or_default();
        Ok(Self {
            id: wire.id,
            guid: wire.guid.unwrap_or_default(),
            delivered_at: wire.delivered_at.ok_or("has no time")?,
            event: DeliveryEvent::of(wire.event.as_deref().unwrap_or_default()),
            action: wire.action,
            // `status=failure` in a query leaves out refused connections; the word does not.
            delivered: status.eq_ignore_ascii_case("OK"),
            status: format!("{} ({code})", foreign(&status, "")),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deliveries(rows: Value) -> Vec<DeliveryRecord> {
        let rows: Vec<Row<DeliveryRecord>> = serde_json::from_value(rows).unwrap();
        rows.into_iter().filter_map(Row::read).collect()
    }

    #[test]
    fn a_row_of_another_form_is_left_out_and_ids_stay_whole() {
        let read = deliveries(json!([
            3, null, {}, { "id": "1" },
            { "id": 1, "delivered_at": "yesterday" },
            { "id": 120_000_000_000_000_001_u64, "delivered_at": "2026-11-22T12:00:00Z", "status": "OK",
              "status_code": 202, "event": "workflow_job", "action": null, "new": [1] },
            { "id": 2, "delivered_at": "2026-11-22T12:00:00.5Z", "status": "timed out\u{1b}[1m" },
        ]));
        assert_eq!(read.iter().map(|one| one.id).collect::<Vec<_>>(), [120_000_000_000_000_001, 2]);
        assert!(read[0].delivered && read[0].event == DeliveryEvent::WorkflowJob);
        assert!(!read[1].delivered && read[1].status == "timed out [1m (0)", "{}", read[1].status);
    }

    #[test]
    fn an_address_is_kept_without_what_may_be_secret() {
        for (address, kept) in [
            ("https://user:pass@host/webhook?x=y", "https://host/webhook"),
            ("https://user:pass@host:8443/a/webhook#x", "https://host:8443/a/webhook"),
            ("http://[::1]:9/webhook", "http://[::1]:9/webhook"),
            ("https://user:pa?ss@host/webhook", "https://user/"),
            ("user:pass@host", ""),
            ("/webhook?secret", ""),
            ("", ""),
        ] {
            assert_eq!(without_secrets(address), kept, "{address}");
        }
    }

    #[test]
    fn a_hook_is_read_with_whatever_it_lacks() {
        let read = |row: Value| hook(serde_json::from_value(row).unwrap());
        let bare = read(json!({ "id": 1 }));
        assert!(bare.active && !bare.signs && !bare.tells_of_jobs && bare.url.is_empty());
        let odd =
            read(json!({ "id": 1, "events": ["*"], "config": { "content_type": "xml", "secret": "" } }));
        assert!(odd.tells_of_jobs && !odd.signs && odd.encoding.is_none());
    }
}
