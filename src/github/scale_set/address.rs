//! Addresses of the service and of the message queue: both are given by GitHub and opaque, may have
//! a path and a query, and get our own parts added.

use http::Uri;

use crate::github::{
    GithubError,
    transport::{Origin, encoded},
};

/// The query parameter of every request to the service (actions/scaleset, `client.go`).
const API_VERSION: (&str, &str) = ("api-version", "6.0-preview");

/// An address that GitHub gave, if it can be asked. A token that came over TLS does not leave over
/// anything else.
pub(super) fn given(text: &str, secure: bool) -> Result<(Uri, Origin), GithubError> {
    let address: Option<Uri> = text.trim().parse().ok();
    let found = address.and_then(|address| Some((Origin::of(&address)?, address)));
    match found {
        Some((origin, _)) if secure && !origin.is_https() => Err(GithubError::failed(
            "GitHub returned an address of its scale-set service without TLS, which is not used",
        )),
        Some((origin, address)) => Ok((address, origin)),
        None => Err(GithubError::failed("GitHub returned no usable address of its scale-set service")),
    }
}

/// A path below the service's base, with a query.
pub(super) fn below(base: &Uri, path: &str, query: &[(&str, &str)]) -> Result<Uri, GithubError> {
    let own = base.query().filter(|own| !own.is_empty());
    let versioned = own.is_some_and(|own| pairs(own).any(|(key, _)| key == API_VERSION.0));
    let version = (!versioned).then_some(API_VERSION);
    let added = query.iter().copied().chain(version);
    let added = added.map(|(key, value)| format!("{key}={}", encoded(value)));
    let query: Vec<String> = own.map(str::to_owned).into_iter().chain(added).collect();
    rebuilt(base, &format!("{}/_apis/{path}", base.path().trim_end_matches('/')), &query.join("&"))
}

/// The queue's address for a poll after the message with this number; 0 is none.
pub(super) fn after(queue: &Uri, last: i64) -> Result<Uri, GithubError> {
    if last <= 0 {
        return Ok(queue.clone());
    }
    let kept = queue.query().map(pairs).into_iter().flatten().filter(|(key, _)| *key != "lastMessageId");
    let kept = kept.map(|(_, pair)| pair.to_owned());
    let query: Vec<String> = kept.chain([format!("lastMessageId={last}")]).collect();
    rebuilt(queue, queue.path(), &query.join("&"))
}

/// The address of one message of the queue.
pub(super) fn message(queue: &Uri, id: i64) -> Result<Uri, GithubError> {
    let path = format!("{}/{id}", queue.path().trim_end_matches('/'));
    rebuilt(queue, &path, queue.query().unwrap_or_default())
}

/// Keys with the pairs that they are of.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| (pair.split('=').next().unwrap_or_default(), pair))
}

fn rebuilt(address: &Uri, path: &str, query: &str) -> Result<Uri, GithubError> {
    let scheme = address.scheme_str().unwrap_or("https");
    let authority = address.authority().map_or("", |authority| authority.as_str());
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{authority}{path}{mark}{query}")
        .parse()
        .map_err(|error| GithubError::because("the request has no valid URL", Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn the_service_may_have_a_path_and_a_query() {
        for (base, expected) in [
            (
                "https://x.example/rest/",
                "https://x.example/rest/_apis/a?name=a%20b%26c&api-version=6.0-preview",
            ),
            ("https://x.example", "https://x.example/_apis/a?name=a%20b%26c&api-version=6.0-preview"),
            (
                "https://x.example/t?k=v",
                "https://x.example/t/_apis/a?k=v&name=a%20b%26c&api-version=6.0-preview",
            ),
            ("https://x.example/t?api-version=7", "https://x.example/t/_apis/a?api-version=7&name=a%20b%26c"),
        ] {
            assert_eq!(below(&uri(base), "a", &[("name", "a b&c")]).unwrap(), expected);
        }
        let kept = below(&uri("https://x.example/"), "runtime/runnergroups/", &[]).unwrap();
        assert_eq!(kept, "https://x.example/_apis/runtime/runnergroups/?api-version=6.0-preview");
    }

    #[test]
    fn the_queue_keeps_its_query() {
        let queue = uri("https://q.example/q/7?sessionId=x&lastMessageId=1");
        assert_eq!(after(&queue, 0).unwrap(), queue);
        assert_eq!(after(&queue, 9).unwrap(), "https://q.example/q/7?sessionId=x&lastMessageId=9");
        assert_eq!(after(&uri("https://q.example/q"), 9).unwrap(), "https://q.example/q?lastMessageId=9");
        assert_eq!(message(&queue, 5).unwrap(), "https://q.example/q/7/5?sessionId=x&lastMessageId=1");
        assert_eq!(message(&uri("https://q.example/q/"), 5).unwrap(), "https://q.example/q/5");
    }

    #[test]
    fn an_address_without_tls_is_not_asked_where_there_was_tls() {
        assert!(given("http://x.example/", true).is_err());
        assert!(given("http://x.example/", false).is_ok());
        assert!(given("https://x.example/", true).is_ok());
        for wrong in ["", "/path", "ftp://x.example", "https://", "https://a@x.example/", "not an address"] {
            assert!(given(wrong, false).is_err(), "{wrong}");
        }
    }
}
