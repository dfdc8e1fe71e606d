//! The allow list: its patterns, and which destinations they match.

use std::{fmt, str::FromStr};

use super::{
    address::Class,
    target::{Host, Target, TargetError, parse_port, split_port},
};

/// The ports of a pattern without one.
const DEFAULT_PORTS: [u16; 2] = [443, 80];

/// One entry of the allow list: `github.com`, `*.githubusercontent.com`, `registry.example:5000`,
/// `192.0.2.1` or `[2001:db8::1]:8443`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    names: Names,
    /// Only this port; `None` for 443 and 80.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Names {
    Exactly(Host),
    /// All names that end in a dot and this one, at any depth.
    Below(String),
}

/// Why a text is not a pattern; reads after "is invalid: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `https://github.com`, or `github.com/acme`.
    #[error("write the host name alone, without https:// and without a path; paths cannot be restricted")]
    Address,
    /// `*` alone.
    #[error("it would allow everything; use mode = \"audit\" to report destinations without refusing any")]
    Everything,
    /// `git*.com`, `*.*.com`.
    #[error("* can only be the first part, as in *.example.com")]
    Star,
    /// `10.0.0.0/8`.
    #[error("ranges of addresses are not supported; list host names, or single addresses")]
    Range,
    /// No number from 1 to 65535 after the colon.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// Letters of other alphabets.
    #[error("use the name's ASCII form, which begins with xn--")]
    NotAscii,
    /// Neither a name nor an address.
    #[error("it is neither a host name, such as github.com or *.githubusercontent.com, nor an IP address")]
    Host,
    /// An address that is refused always.
    #[error("it is {0}, which is never allowed")]
    Forbidden(Class),
}

/// How a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// By a name that begins with `*`.
    Wildcard,
    /// By the destination's own name or address.
    Exact,
}

/// The patterns of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Pattern>);

impl Pattern {
    fn matches(&self, target: &Target) -> Option<Match> {
        let port = match self.port {
            Some(port) => port == target.port,
            None => DEFAULT_PORTS.contains(&target.port),
        };
        let name = match (&self.names, &target.host) {
            (Names::Exactly(host), there) => (host == there).then_some(Match::Exact),
            (Names::Below(parent), Host::Name(name)) => name
                .strip_suffix(parent.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                .then_some(Match::Wildcard),
            (Names::Below(_), Host::Address(_)) => None,
        };
        name.filter(|_| port)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if !text.is_ascii() {
            return Err(PatternError::NotAscii);
        }
        if let Some((before, after)) = text.split_once('/') {
            let range = Host::parse(before).is_ok_and(|host| matches!(host, Host::Address(_)))
                || before.parse::<std::net::IpAddr>().is_ok();
            let range = range && !after.is_empty() && after.bytes().all(|c| c.is_ascii_digit());
            return Err(if range { PatternError::Range } else { PatternError::Address });
        }
        // An IPv6 address is understood without brackets where it has no port.
        if let Ok(address) = text.parse() {
            return Self::of(Host::of(address), None);
        }
        let (host, port) = split_port(text);
        let port = port.map(parse_port).transpose().map_err(|_| PatternError::Port)?;
        if host == "*" {
            return Err(PatternError::Everything);
        }
        match host.strip_prefix("*.") {
            Some(parent) => match Host::parse(parent) {
                Ok(Host::Name(parent)) => Ok(Self { names: Names::Below(parent), port }),
                _ if parent.contains('*') => Err(PatternError::Star),
                _ => Err(PatternError::Host),
            },
            None if host.contains('*') => Err(PatternError::Star),
            None => Self::of(Host::parse(host)?, port),
        }
    }
}

impl Pattern {
    fn of(host: Host, port: Option<u16>) -> Result<Self, PatternError> {
        if let Host::Address(address) = host {
            let class = Class::of(address);
            if class.is_forbidden() {
                return Err(PatternError::Forbidden(class));
            }
        }
        Ok(Self { names: Names::Exactly(host), port })
    }
}

impl From<TargetError> for PatternError {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::NotAscii => Self::NotAscii,
            TargetError::Port => Self::Port,
            TargetError::UserInfo | TargetError::Number | TargetError::Host => Self::Host,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names {
            Names::Exactly(host) => write!(f, "{host}")?,
            Names::Below(parent) => write!(f, "*.{parent}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl AllowList {
    /// The closest match of the destination, if any pattern matches it.
    pub fn matches(&self, target: &Target) -> Option<Match> {
        self.0.iter().filter_map(|pattern| pattern.matches(target)).max()
    }
}

impl FromIterator<Pattern> for AllowList {
    fn from_iter<I: IntoIterator<Item = Pattern>>(patterns: I) -> Self {
        Self(patterns.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, target: &str) -> Option<Match> {
        let list: AllowList = [pattern.parse().unwrap()].into_iter().collect();
        list.matches(&Target::parse(target, Some(443)).unwrap())
    }

    #[test]
    fn a_name_matches_itself_and_a_wildcard_what_is_below() {
        for (pattern, target, expected) in [
            ("github.com", "github.com", Some(Match::Exact)),
            ("GitHub.com.", "GITHUB.COM.", Some(Match::Exact)),
            ("github.com", "api.github.com", None),
            ("github.com", "notgithub.com", None),
            ("github.com", "github.com.evil.example", None),
            ("*.github.com", "api.github.com", Some(Match::Wildcard)),
            ("*.github.com", "a.b.c.github.com", Some(Match::Wildcard)),
            ("*.GITHUB.com", "Api.GitHub.Com.", Some(Match::Wildcard)),
            ("*.github.com", "github.com", None),
            ("*.github.com", "evilgithub.com", None),
            ("*.github.com", "github.com.evil.example", None),
            ("*.example", "a.example", Some(Match::Wildcard)),
            ("192.0.2.1", "192.0.2.1", Some(Match::Exact)),
            ("192.0.2.1", "[::ffff:192.0.2.1]", Some(Match::Exact)),
            ("192.0.2.1", "192.0.2.2", None),
            ("2001:db8::1", "[2001:0db8::0001]", Some(Match::Exact)),
            ("[2001:db8::1]", "[2001:db8::1]", Some(Match::Exact)),
        ] {
            assert_eq!(matched(pattern, target), expected, "{pattern} {target}");
        }
    }

    #[test]
    fn without_a_port_a_pattern_is_for_443_and_80() {
        for (pattern, target, expected) in [
            ("github.com", "github.com:443", true),
            ("github.com", "github.com:80", true),
            ("github.com", "github.com:22", false),
            ("github.com:22", "github.com:22", true),
            ("github.com:22", "github.com:443", false),
            ("*.github.com:8443", "api.github.com:8443", true),
            ("*.github.com:8443", "api.github.com:443", false),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443", true),
            ("10.0.0.5:5000", "10.0.0.5:5000", true),
            ("10.0.0.5:5000", "10.0.0.5:80", false),
        ] {
            assert_eq!(matched(pattern, target).is_some(), expected, "{pattern} {target}");
        }
    }

    #[test]
    fn an_exact_match_is_closer_than_a_wildcard() {
        for order in [["*.example", "a.example"], ["a.example", "*.example"]] {
            let list: AllowList = order.map(|pattern| pattern.parse().unwrap()).into_iter().collect();
            let matched = |target| list.matches(&Target::parse(target, Some(443)).unwrap());
            assert_eq!(matched("a.example"), Some(Match::Exact));
            assert_eq!(matched("b.example"), Some(Match::Wildcard));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("", PatternError::Host),
            ("*", PatternError::Everything),
            ("*:443", PatternError::Everything),
            ("*.", PatternError::Host),
            ("git*.com", PatternError::Star),
            ("*.*.com", PatternError::Star),
            ("*github.com", PatternError::Star),
            ("a.*.com", PatternError::Star),
            ("https://github.com", PatternError::Address),
            ("github.com/acme", PatternError::Address),
            ("10.0.0.0/8", PatternError::Range),
            ("fd00::/8", PatternError::Range),
            ("bücher.example", PatternError::NotAscii),
            ("github.com:0", PatternError::Port),
            ("github.com:https", PatternError::Port),
            ("github.com:", PatternError::Port),
            ("127.1", PatternError::Host),
            ("user@github.com", PatternError::Host),
            ("git hub.com", PatternError::Host),
            ("*.192.0.2.1", PatternError::Host),
            ("169.254.169.254", PatternError::Forbidden(Class::Metadata)),
            ("127.0.0.1:8080", PatternError::Forbidden(Class::Loopback)),
            ("::1", PatternError::Forbidden(Class::Loopback)),
            ("[::ffff:169.254.169.254]", PatternError::Forbidden(Class::Metadata)),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_is_written() {
        for text in
            ["github.com", "*.githubusercontent.com", "registry:5000", "10.0.0.5", "[2001:db8::1]:8443"]
        {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
    }
}
