//! Where a request is to go: a host and a port, from the authority of a request.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// The longest name that DNS has.
const MAX_NAME: usize = 253;

/// The longest label of a name.
const MAX_LABEL: usize = 63;

/// A host: a name, or a literal address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// In lower case, without a trailing dot.
    Name(String),
    Address(IpAddr),
}

/// The destination of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub host: Host,
    pub port: u16,
}

/// Why a text is no destination; reads after "the destination is invalid: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// `user@host`, which other programs may read as another host.
    #[error("it must not contain a user name")]
    UserInfo,
    /// No port where one is needed, or not a number from 1 to 65535.
    #[error("it needs a port from 1 to 65535")]
    Port,
    /// Letters of other alphabets.
    #[error("use the name's ASCII form, which begins with xn--")]
    NotAscii,
    /// A number that some resolvers take for an address: `127.1`, `0x7f000001`.
    #[error("an IPv4 address needs four decimal numbers")]
    Number,
    /// Neither a name nor an address.
    #[error("it is neither a host name nor an IP address")]
    Host,
}

impl Host {
    /// A host from `name`, `192.0.2.1` or `[2001:db8::1]`.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
            return address.map(|address| Self::of(address.into())).ok_or(TargetError::Host);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return if address.is_ipv4() { Ok(Self::of(address)) } else { Err(TargetError::Host) };
        }
        name(text).map(Self::Name)
    }

    /// A literal address; one that is mapped to IPv6 is the IPv4 address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

/// A valid host name in lower case, without a trailing dot.
fn name(text: &str) -> Result<String, TargetError> {
    if !text.is_ascii() {
        return Err(TargetError::NotAscii);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        // An underscore is not valid in a host name, but in use.
        let inside = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > MAX_NAME || !text.split('.').all(is_label) {
        return Err(TargetError::Host);
    }
    let last = text.rsplit('.').next().unwrap_or(text).to_ascii_lowercase();
    // The C library's resolver reads these as addresses (inet_aton).
    let is_number = last.bytes().all(|c| c.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()));
    if is_number { Err(TargetError::Number) } else { Ok(text.to_ascii_lowercase()) }
}

impl Target {
    /// The destination of `host:port`, or of `host` if there is a default port.
    pub fn parse(authority: &str, default_port: Option<u16>) -> Result<Self, TargetError> {
        if authority.contains('@') {
            return Err(TargetError::UserInfo);
        }
        let (host, port) = split_port(authority);
        let port = match port {
            Some(port) => parse_port(port)?,
            None => default_port.ok_or(TargetError::Port)?,
        };
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// The value of the `Host` header for this destination over plain http.
    pub fn host_header(&self) -> String {
        if self.port == 80 { self.host.to_string() } else { self.to_string() }
    }
}

/// The host, and what follows the colon of a port.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// A port from 1 to 65535, in digits alone.
pub(super) fn parse_port(text: &str) -> Result<u16, TargetError> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let port = text.parse().ok().filter(|&port| digits && port > 0);
    port.ok_or(TargetError::Port)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_name_or_an_address_with_a_port() {
        for (text, expected) in [
            ("github.com:443", "github.com:443"),
            ("GitHub.COM.:443", "github.com:443"),
            ("a_b.example:8443", "a_b.example:8443"),
            ("registry:5000", "registry:5000"),
            ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
            ("192.0.2.1:443", "192.0.2.1:443"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
            ("[::ffff:10.0.0.1]:443", "10.0.0.1:443"),
            ("github.com", "github.com:80"),
            ("[2001:db8::1]", "[2001:db8::1]:80"),
        ] {
            assert_eq!(Target::parse(text, Some(80)).unwrap().to_string(), expected, "{text}");
        }
        assert_eq!(Target::parse("github.com", None), Err(TargetError::Port));
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", &label[..61]);
        assert!(Target::parse(&longest, Some(80)).is_ok());
        assert_eq!(Target::parse(&format!("{longest}a"), Some(80)), Err(TargetError::Host));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_destination() {
        for (text, expected) in [
            ("github.com@evil.example:443", TargetError::UserInfo),
            ("user:secret@github.com:443", TargetError::UserInfo),
            ("github.com:0", TargetError::Port),
            ("github.com:", TargetError::Port),
            ("github.com:65536", TargetError::Port),
            ("github.com:+80", TargetError::Port),
            ("github.com:443:443", TargetError::Host),
            ("2001:db8::1", TargetError::Host),
            ("[2001:db8::1", TargetError::Host),
            ("[fe80::1%eth0]:80", TargetError::Host),
            ("[192.0.2.1]:80", TargetError::Host),
            ("bücher.example:443", TargetError::NotAscii),
            ("127.1:80", TargetError::Number),
            ("2130706433:80", TargetError::Number),
            ("0x7f000001:80", TargetError::Number),
            ("0x7f.0.0.0x1:80", TargetError::Number),
            ("0177.0.0.1:80", TargetError::Number),
            ("1.2.3.4.5:80", TargetError::Number),
            ("example.0x:80", TargetError::Number),
            ("git hub.com:443", TargetError::Host),
            ("git%68ub.com:443", TargetError::Host),
            ("*.github.com:443", TargetError::Host),
            ("github..com:443", TargetError::Host),
            ("github.com..:443", TargetError::Host),
            (".github.com:443", TargetError::Host),
            ("-github.com:443", TargetError::Host),
            (":443", TargetError::Host),
            (".:443", TargetError::Host),
        ] {
            assert_eq!(Target::parse(text, Some(80)), Err(expected), "{text}");
        }
        let label = format!("{}.example:443", "a".repeat(64));
        assert_eq!(Target::parse(&label, None), Err(TargetError::Host));
    }

    #[test]
    fn the_host_header_names_other_ports_than_80() {
        let header = |text| Target::parse(text, Some(80)).unwrap().host_header();
        assert_eq!(header("example.com"), "example.com");
        assert_eq!(header("example.com:8080"), "example.com:8080");
        assert_eq!(header("[2001:db8::1]:80"), "[2001:db8::1]");
    }
}
