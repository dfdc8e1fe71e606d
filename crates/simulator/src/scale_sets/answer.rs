//! What all requests and answers of the service have in common.

use axum::{
    body::{Body, to_bytes},
    extract::{Query, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header::AUTHORIZATION},
    response::Response,
};
use serde_json::{Value, json};

use super::request::{ScaleSetFault, ScaleSetRequest, ScaleSetRoute};
use dayfly_fleet::Timestamp;

use crate::{server::Dropped, world::World};

const BODY_LIMIT: usize = 1 << 20;

/// A request, taken apart.
pub(crate) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Scheme and host, for addresses in answers.
    pub(super) base: String,
}

impl Asked {
    pub(super) async fn of(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        Self {
            path: parts.uri.path().to_owned(),
            query: Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default(),
            base: format!("http://{host}"),
            method: parts.method,
            body: to_bytes(body, BODY_LIMIT).await.unwrap_or_default().to_vec(),
            headers: parts.headers,
        }
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The credential of this scheme.
    pub(super) fn credential(&self, scheme: &str) -> Option<&str> {
        self.header(AUTHORIZATION.as_str())?.strip_prefix(scheme)?.strip_prefix(' ')
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn capacity(&self) -> Option<u32> {
        self.header("x-scalesetmaxcapacity")?.parse().ok()
    }
}

/// An answer, before it is bytes.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Content,
    dropped: bool,
}

pub(super) enum Content {
    None,
    Json(Value),
    Text(&'static str),
}

impl Reply {
    pub(super) fn json(body: Value) -> Self {
        Self { status: 200, body: Content::Json(body), dropped: false }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, body: Content::None, dropped: false }
    }

    pub(super) fn text(status: u16, text: &'static str) -> Self {
        Self { status, body: Content::Text(text), dropped: false }
    }

    pub(super) fn list(items: &[Value]) -> Self {
        Self::json(json!({ "count": items.len(), "value": items }))
    }

    /// An exception in the form that the service's framework gives all of them.
    pub(super) fn exception(status: u16, type_name: &str, message: &str) -> Self {
        let body = json!({
            "$id": "1",
            "innerException": null,
            "message": message,
            "typeName": type_name,
            "typeKey": type_name.split([',']).next().and_then(|name| name.rsplit('.').next()),
            "errorCode": 0,
            "eventId": 3000,
        });
        Self { status, body: Content::Json(body), dropped: false }
    }

    pub(super) fn unauthorized() -> Self {
        Self::exception(401, "GitHub.Services.Common.VssUnauthorizedException", "TF400813: not authorized.")
    }

    pub(super) fn no_such_set() -> Self {
        let name =
            "GitHub.Actions.Runtime.WebApi.RunnerScaleSetNotFoundException, GitHub.Actions.Runtime.WebApi";
        Self::exception(404, name, "No runner scale set found with the given identifier.")
    }
}

impl World {
    /// What goes wrong with a request in place of its answer, if anything does.
    pub(super) fn scale_set_fault(&mut self, route: ScaleSetRoute) -> Option<ScaleSetFault> {
        let faults = &mut self.scale_sets.faults;
        faults.retain(|(_, times, _)| *times > 0);
        let (_, times, fault) = faults.iter_mut().find(|(on, _, _)| *on == route)?;
        *times -= 1;
        Some(fault.clone())
    }

    /// Answers a request, unless a fault does.
    pub(super) fn with_faults(
        &mut self,
        route: ScaleSetRoute,
        answer: impl FnOnce(&mut Self) -> Reply,
    ) -> Reply {
        match self.scale_set_fault(route) {
            None => answer(self),
            Some(ScaleSetFault::Exception { status, type_name, message }) => {
                Reply::exception(status, type_name, message)
            }
            Some(ScaleSetFault::Text(status, text)) => Reply::text(status, text),
            Some(ScaleSetFault::Empty) => Reply::empty(200),
            Some(ScaleSetFault::DropsAfterTheDeed) => Reply { dropped: true, ..answer(self) },
            Some(ScaleSetFault::NoQueueAddress) => {
                let mut reply = answer(self);
                if let Content::Json(body) = &mut reply.body {
                    body["messageQueueUrl"] = json!("");
                }
                reply
            }
        }
    }

    /// Notes the request and makes the answer's bytes.
    pub(super) fn scale_set_response(
        &mut self,
        asked: &Asked,
        route: ScaleSetRoute,
        reply: Reply,
        now: Timestamp,
    ) -> Response {
        self.scale_sets.note(ScaleSetRequest {
            at: now,
            route,
            path: asked.path.clone(),
            query: asked.query.clone(),
            capacity: asked.capacity(),
            body: asked.json(),
            status: (!reply.dropped).then_some(reply.status),
        });
        let (kind, body) = match reply.body {
            Content::None => (None, String::new()),
            Content::Text(text) => (Some("text/plain; charset=utf-8"), text.to_owned()),
            Content::Json(body) => {
                let mark = if self.settings.scale_sets.byte_order_mark { "\u{feff}" } else { "" };
                (Some("application/json; charset=utf-8; api-version=6.0-preview"), format!("{mark}{body}"))
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Ok(activity) = HeaderValue::try_from(self.random.text()) {
            headers.insert("activityid", activity);
        }
        if let Some(kind) = kind {
            headers.insert("content-type", HeaderValue::from_static(kind));
        }
        if reply.dropped {
            response.extensions_mut().insert(Dropped);
        }
        response
    }
}
