//! URLs in GitHub's `Link` headers and redirects, which are followed only to the same origin, since nothing
//! else may get the token.

use http::{HeaderMap, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

use crate::github::GithubError;

/// Scheme, host and port of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::github) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute http or https address.
    pub(in crate::github) fn of(address: &Uri) -> Option<Self> {
        let scheme = address.scheme_str()?;
        let usual = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let authority = address.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        Some(Self {
            scheme: scheme.to_owned(),
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(usual),
        })
    }

    pub(in crate::github) fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    pub(in crate::github) fn host(&self) -> &str {
        &self.host
    }

    /// The address of its root, for choosing a proxy.
    pub(in crate::github) fn uri(&self) -> Option<Uri> {
        let Self { scheme, host, port } = self;
        format!("{scheme}://{host}:{port}/").parse().ok()
    }

    /// Whether it is this machine.
    pub(in crate::github) fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The address that a `Link` or `Location` names, if it stays at this origin.
    pub(in crate::github) fn admit(&self, target: &str) -> Result<Uri, GithubError> {
        let absolute = if target.starts_with('/') && !target.starts_with("//") {
            let Self { scheme, host, port } = self;
            format!("{scheme}://{host}:{port}{target}")
        } else {
            target.to_owned()
        };
        match absolute.parse::<Uri>().ok().filter(|address| Self::of(address).as_ref() == Some(self)) {
            Some(address) => Ok(address),
            None => Err(GithubError::failed("a link to another host was not followed")),
        }
    }
}

/// All that is not unreserved (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as one segment of a path, or as a value in a query.
pub(in crate::github) fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// The `rel="next"` of the `Link` headers (RFC 8288), verbatim.
pub(in crate::github) fn next(headers: &HeaderMap) -> Option<String> {
    headers.get_all(header::LINK).iter().filter_map(|value| value.to_str().ok()).find_map(next_in)
}

/// Splits at the angle brackets, since a URL may contain commas and semicolons.
fn next_in(mut rest: &str) -> Option<String> {
    while let Some((_, opened)) = rest.split_once('<') {
        let (target, after) = opened.split_once('>')?;
        let (parameters, more) = after.split_at(after.find('<').unwrap_or(after.len()));
        let is_next = parameters
            .split([';', ','])
            .filter_map(|parameter| parameter.split_once('='))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("rel"))
            .flat_map(|(_, value)| value.trim().trim_matches('"').split_ascii_whitespace())
            .any(|relation| relation.eq_ignore_ascii_case("next"));
        if is_next {
            return Some(target.to_owned());
        }
        rest = more;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Option<Origin> {
        Origin::of(&address.parse().unwrap())
    }

    #[test]
    fn next_is_found_wherever_it_stands() {
        for (link, expected) in [
            (
                r#"<https://a/x?page=2>; rel="next", <https://a/x?page=9>; rel="last""#,
                Some("https://a/x?page=2"),
            ),
            (
                r#"<https://a/x?page=1>; rel="prev", <https://a/x?page=3>; rel="next""#,
                Some("https://a/x?page=3"),
            ),
            (
                r#"<https://a/x?labels=a,b;c&page=2>; title="t"; rel=next"#,
                Some("https://a/x?labels=a,b;c&page=2"),
            ),
            (r#"<https://a/x>; rel="first prev""#, None),
            (r#"<https://a/x>; rel="last next""#, Some("https://a/x")),
            ("<https://a/x", None),
            ("", None),
        ] {
            assert_eq!(next_in(link).as_deref(), expected, "{link}");
        }
    }

    #[test]
    fn only_the_same_origin_is_admitted() {
        let home = origin("https://api.github.com").unwrap();
        for fine in
            ["https://api.github.com/x?page=2", "https://API.github.com:443/x", "/organizations/1?page=2"]
        {
            assert!(home.admit(fine).is_ok(), "{fine}");
        }
        for other in [
            "http://api.github.com/x",
            "https://api.github.com:8443/x",
            "https://evil.example/x",
            "https://api.github.com.evil.example/x",
            "https://api.github.com@evil.example/x",
            "https://me@api.github.com/x",
            "//evil.example/x",
            "ftp://api.github.com/x",
            "x?page=2",
            "not an address",
            "",
        ] {
            assert!(home.admit(other).is_err(), "{other}");
        }
    }
}
