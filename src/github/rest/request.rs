//! A request and its response.

use http::{HeaderValue, Method, Uri, header};

use crate::github::{endpoint::Endpoint, transport::Answer};

/// A request, before its token is chosen.
pub(in crate::github) struct Request<'a> {
    pub(in crate::github) endpoint: Endpoint,
    pub(in crate::github) method: Method,
    pub(in crate::github) address: Uri,
    pub(in crate::github) body: Option<&'a serde_json::Value>,
    /// What is known already: a response that says the same is a 304, at no cost.
    pub(in crate::github) known: Option<&'a Validator>,
}

impl Request<'_> {
    pub(in crate::github) fn get(endpoint: Endpoint, address: Uri) -> Self {
        Self { endpoint, method: Method::GET, address, body: None, known: None }
    }
}

/// What makes the next request for the same conditional (RFC 9110, 8.8): an ETag, and the generation of the token
/// that it was given to. Other tokens have other ETags, and may see other things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::github) struct Validator {
    pub(super) etag: HeaderValue,
    pub(super) generation: u64,
}

/// A response with what the endpoints need to read it.
pub(in crate::github) struct Response {
    pub(in crate::github) answer: Answer,
    /// The message of an error; empty otherwise.
    pub(in crate::github) complaint: String,
    /// The generation of the token that the request went out with.
    pub(super) generation: u64,
}

impl Response {
    pub(in crate::github) fn validator(&self) -> Option<Validator> {
        let etag = self.answer.headers.get(header::ETAG)?.clone();
        Some(Validator { etag, generation: self.generation })
    }

    /// Whether a 304 can be about what this validator is of.
    pub(in crate::github) fn confirms(&self, validator: &Validator) -> bool {
        validator.generation == self.generation
    }
}
