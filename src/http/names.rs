//! The host names that requests to this server may use. A web page that is open in a browser on this machine
//! can point a name of its own at this server and read its responses (DNS rebinding); the `Host` header gives
//! that away.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::http::{HeaderMap, Uri, header, uri::Authority};

/// The longest name that a response repeats, in bytes.
const LONGEST: usize = 100;

/// The accepted host names. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HostNames(Option<Arc<[String]>>);

impl HostNames {
    /// For a server with this listen address and this list of other names from the configuration. One that
    /// other machines can reach accepts any name while the list is empty.
    pub fn new(listen: SocketAddr, allowed: &[String]) -> Self {
        let any = !listen.ip().is_loopback() && allowed.is_empty();
        Self((!any).then(|| allowed.iter().map(|name| name.to_ascii_lowercase()).collect()))
    }

    /// The host name of a request, if this server does not accept it.
    pub(super) fn refused<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
        let allowed = self.0.as_ref()?;
        // An absolute address has priority over the header (RFC 9112, section 3.2.2). A browser always sends
        // one of the two.
        let named = uri.authority().map(Authority::as_str);
        let headers = headers.get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or("?"));
        let refused = named.into_iter().chain(headers).find(|name| !is_allowed(name, allowed))?;
        Some(refused.get(..LONGEST).unwrap_or(refused))
    }
}

fn is_allowed(authority: &str, allowed: &[String]) -> bool {
    let authority = authority.to_ascii_lowercase();
    if let Some(address) = authority.strip_prefix('[') {
        return address.split_once(']').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = authority.rsplit_once(':').map_or(&*authority, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || allowed.iter().any(|allowed| allowed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &HostNames, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        names.refused(&Uri::from_static("/api/v1/status"), &headers).is_some()
    }

    #[test]
    fn at_a_loopback_address_only_names_that_are_surely_ours_are_taken() {
        let allowed = ["CI.example.com".to_owned()];
        for listen in ["127.0.0.1:9745", "[::1]:9745"] {
            let names = HostNames::new(listen.parse().unwrap(), &allowed);
            for host in [
                "localhost",
                "LocalHost:9745",
                "a.localhost:1",
                "localhost.",
                "127.0.0.1:9745",
                "10.0.0.7",
                "[::1]",
                "[fd00::1]:80",
                "ci.example.com:9745",
                "ci.example.com.",
            ] {
                assert!(!refused(&names, host), "{host}");
            }
            for host in [
                "",
                "evil.example:9745",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "xlocalhost",
                "x.ci.example.com",
                "[evil]",
                "[::1",
                "1.2.3",
            ] {
                assert!(refused(&names, host), "{host}");
            }
        }
    }

    #[test]
    fn elsewhere_any_name_is_taken_unless_there_is_a_list() {
        let listen = "0.0.0.0:9745".parse().unwrap();
        assert!(!refused(&HostNames::new(listen, &[]), "anything.example"));
        let named = HostNames::new(listen, &["ci.example.com".to_owned()]);
        assert!(refused(&named, "anything.example") && !refused(&named, "ci.example.com"));
        assert!(!refused(&named, "10.0.0.7:9745"));
    }

    #[test]
    fn every_name_in_a_request_counts_and_long_ones_are_cut() {
        let names = HostNames::new("127.0.0.1:9745".parse().unwrap(), &[]);
        let localhost = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        let absolute = Uri::from_static("http://evil.example/metrics");
        assert_eq!(names.refused(&absolute, &localhost), Some("evil.example"));
        let mut twice = localhost;
        twice.append(header::HOST, "a".repeat(1000).parse().unwrap());
        let root = Uri::from_static("/");
        let refused = names.refused(&root, &twice);
        assert_eq!(refused.map(str::len), Some(LONGEST));
        assert_eq!(names.refused(&Uri::from_static("/"), &HeaderMap::new()), None);
    }
}
