//! The decisions: whether a destination is permitted, and whether an address that its name resolves to is.

use std::{fmt, net::IpAddr, str::FromStr};

use super::{
    ALLOW_KEY,
    address::Class,
    allow::{AllowList, Match},
    line::Verdict,
    target::{Host, Target},
};

/// What happens to destinations that are not in the allow list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are reported.
    Audit,
    /// They are refused.
    Enforce,
}

/// Why a destination is refused; reads after "DESTINATION is refused: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No pattern matches it.
    NotListed,
    /// It is a literal address that is not listed.
    AddressNotListed,
    /// Its name resolves to a private address, and is not listed by itself.
    Private(IpAddr),
    /// It is, or resolves to, an address that is never permitted.
    Forbidden(IpAddr, Class),
}

/// The mode and the allow list of one proxy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub mode: Mode,
    pub allow: AllowList,
}

impl Policy {
    /// Judges a destination before its name is resolved, so that names that are refused reach no DNS server.
    pub fn judge(&self, target: &Target) -> Result<Verdict, Refusal> {
        if let Host::Address(address) = target.host {
            return self.judge_address(target, address);
        }
        self.verdict(self.allow.matches(target).is_some(), Refusal::NotListed)
    }

    /// Judges an address that the destination has: its own, or one that its name resolves to.
    pub fn judge_address(&self, target: &Target, address: IpAddr) -> Result<Verdict, Refusal> {
        let class = Class::of(address);
        if class.is_forbidden() {
            return Err(Refusal::Forbidden(address, class));
        }
        let listed = self.allow.matches(target);
        match target.host {
            Host::Address(_) => self.verdict(listed.is_some(), Refusal::AddressNotListed),
            Host::Name(_) if class == Class::Private => {
                let reason = listed.map_or(Refusal::NotListed, |_| Refusal::Private(address));
                self.verdict(listed == Some(Match::Exact), reason)
            }
            Host::Name(_) => self.verdict(listed.is_some(), Refusal::NotListed),
        }
    }

    fn verdict(&self, is_allowed: bool, otherwise: Refusal) -> Result<Verdict, Refusal> {
        match (is_allowed, self.mode) {
            (true, _) => Ok(Verdict::Allowed),
            (false, Mode::Audit) => Ok(Verdict::Audited),
            (false, Mode::Enforce) => Err(otherwise),
        }
    }
}

impl Refusal {
    /// The whole text for a client: what is refused, why, and what to change.
    pub fn text(&self, target: &Target) -> String {
        let entry = match target.port {
            443 | 80 => target.host.to_string(),
            _ => target.to_string(),
        };
        let hint = match self {
            Self::NotListed | Self::AddressNotListed | Self::Private(_) => {
                format!("; to permit it, add \"{entry}\" to {ALLOW_KEY}")
            }
            Self::Forbidden(..) => format!("; {ALLOW_KEY} cannot permit it"),
        };
        format!("{target} is refused: {self}{hint}")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => f.write_str("no entry of the allow list matches it"),
            Self::AddressNotListed => {
                f.write_str("IP addresses are permitted only where the allow list has the same address")
            }
            Self::Private(address) => write!(
                f,
                "it resolves to the private address {address}, which an entry with * does not permit"
            ),
            Self::Forbidden(address, class) => write!(f, "{address} is {class}"),
        }
    }
}

impl Mode {
    /// The mode as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "audit" => Ok(Self::Audit),
            "enforce" => Ok(Self::Enforce),
            _ => Err("it must be audit or enforce"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: [&str; 4] = ["exact.example", "*.wild.example", "192.0.2.1", "10.0.0.5:5000"];

    fn policy(mode: Mode) -> Policy {
        Policy { mode, allow: ALLOW.iter().map(|pattern| pattern.parse().unwrap()).collect() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn enforce_refuses_what_is_not_listed_and_audit_only_notes_it() {
        for (target, refusal) in [
            ("exact.example:443", None),
            ("a.wild.example:80", None),
            ("192.0.2.1:443", None),
            ("10.0.0.5:5000", None),
            ("exact.example:22", Some(Refusal::NotListed)),
            ("wild.example:443", Some(Refusal::NotListed)),
            ("other.example:443", Some(Refusal::NotListed)),
            ("192.0.2.2:443", Some(Refusal::AddressNotListed)),
            ("10.0.0.5:443", Some(Refusal::AddressNotListed)),
            ("[2001:db8::1]:443", Some(Refusal::AddressNotListed)),
        ] {
            let target = Target::parse(target, None).unwrap();
            let (enforce, audit) = match refusal {
                None => (Ok(Verdict::Allowed), Verdict::Allowed),
                Some(refusal) => (Err(refusal), Verdict::Audited),
            };
            assert_eq!(policy(Mode::Enforce).judge(&target), enforce, "{target}");
            assert_eq!(policy(Mode::Audit).judge(&target), Ok(audit), "{target}");
        }
    }

    #[test]
    fn a_name_reaches_private_addresses_only_if_it_is_listed_by_itself() {
        let private = address("10.0.0.1");
        for (name, public, enforce) in [
            ("exact.example", Ok(Verdict::Allowed), Ok(Verdict::Allowed)),
            ("a.wild.example", Ok(Verdict::Allowed), Err(Refusal::Private(private))),
            ("other.example", Err(Refusal::NotListed), Err(Refusal::NotListed)),
        ] {
            let target = Target::parse(name, Some(443)).unwrap();
            let judged = |mode, address| policy(mode).judge_address(&target, address);
            assert_eq!(judged(Mode::Enforce, address("198.51.100.1")), public, "{name}");
            assert_eq!(judged(Mode::Enforce, private), enforce, "{name}");
            let audit = enforce.unwrap_or(Verdict::Audited);
            assert_eq!(judged(Mode::Audit, private), Ok(audit), "{name}");
        }
    }

    #[test]
    fn no_mode_and_no_entry_permit_metadata_loopback_and_the_like() {
        for bad in ["169.254.169.254", "fd00:ec2::254", "fe80::1", "127.0.0.1", "::1", "0.0.0.0", "224.0.0.1"]
        {
            let bad = address(bad);
            let refusal = Err(Refusal::Forbidden(bad, Class::of(bad)));
            for mode in [Mode::Audit, Mode::Enforce] {
                for name in ["exact.example", "a.wild.example", "other.example"] {
                    let target = Target::parse(name, Some(443)).unwrap();
                    assert_eq!(policy(mode).judge_address(&target, bad), refusal, "{name} {bad}");
                }
                let literal = Target { host: Host::Address(bad), port: 80 };
                assert_eq!(policy(mode).judge(&literal), refusal, "{literal}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_rule_and_the_key_in_one_line() {
        let text = |target, refusal: Refusal| refusal.text(&Target::parse(target, None).unwrap());
        assert_eq!(
            text("evil.example:443", Refusal::NotListed),
            "evil.example:443 is refused: no entry of the allow list matches it; to permit it, add \
             \"evil.example\" to [pool.container.egress] allow"
        );
        assert!(text("a.example:22", Refusal::NotListed).contains("add \"a.example:22\" to"));
        let bad = address("169.254.169.254");
        assert_eq!(
            text("a.example:80", Refusal::Forbidden(bad, Class::of(bad))),
            "a.example:80 is refused: 169.254.169.254 is an address of a cloud's metadata service; \
             [pool.container.egress] allow cannot permit it"
        );
    }
}
