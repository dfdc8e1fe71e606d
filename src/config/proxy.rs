//! The proxy that jobs use. An address may contain a password, so no message shows one.

use std::net::IpAddr;

use super::{file::Container, findings::At};
use crate::fleet::Proxy;

/// Reads the proxy.
pub(super) fn proxy(written: &Container, at: &At<'_>) -> Proxy {
    let written = &written.proxy;
    let address = |key: &str, text: Option<&String>| {
        let sound = text?.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        let hint = "for example \"http://proxy.example.com:3128\"";
        at.key(key)
            .require(sound, "must be an address with http:// or https://", hint)
            .then(|| text.cloned())?
    };
    let (http, https) = (address("http", written.http.as_ref()), address("https", written.https.as_ref()));
    if let Some(names) = &written.no_proxy {
        let at = at.key("no_proxy");
        let is_address = |name: &str| {
            let (host, _) = name.split_once('/').unwrap_or((name, ""));
            host.parse::<IpAddr>().is_ok()
        };
        if names.split(',').any(|name| is_address(name.trim())) {
            at.warn("has IP addresses, which the runner ignores", "write host names");
        }
        at.require(
            written.http.is_some() || written.https.is_some(),
            "has no effect without http or https",
            "set one of them, or remove it",
        );
    }
    Proxy { http, https, no_proxy: written.no_proxy.clone() }
}
