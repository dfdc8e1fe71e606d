//! What the jobs of a runner with an egress proxy connected to.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Destinations that are kept of a runner; of others there is only a number.
const MOST: usize = 100;

/// What the proxy did with the requests to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EgressVerdict {
    /// The allow list permits it.
    Allowed,
    /// Only the mode permits it, which is `audit`.
    Audited,
    Refused,
}

impl EgressVerdict {
    /// Every verdict.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Audited, Self::Refused];

    /// The word in the status, and as the value of a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Audited => "audited",
            Self::Refused => "refused",
        }
    }

    /// As the end of a sentence about a destination.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Audited => "permitted by audit mode only",
            Self::Refused => "refused",
        }
    }
}

/// A host and port that a job requested, and what the proxy did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// A name in lower case, or an address without brackets. Jobs choose it.
    pub host: Arc<str>,
    pub port: u16,
    pub verdict: EgressVerdict,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The destinations of one runner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    counts: BTreeMap<Destination, u64>,
    more: u64,
}

impl Destinations {
    /// Records that there were `requests` so far, and returns whether the destination is a new one. The same report
    /// again changes nothing, except for the number of those that are not kept.
    pub fn record(&mut self, destination: &Destination, requests: u64) -> bool {
        if let Some(count) = self.counts.get_mut(destination) {
            *count = requests.max(*count);
            return false;
        }
        if self.counts.len() == MOST {
            self.more += u64::from(requests == 1);
            return false;
        }
        self.counts.insert(destination.clone(), requests);
        true
    }

    /// Those that are kept, with the number of requests to each.
    pub fn iter(&self) -> impl Iterator<Item = (&Destination, u64)> {
        self.counts.iter().map(|(destination, &requests)| (destination, requests))
    }

    /// How many there are besides.
    pub fn more(&self) -> u64 {
        self.more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &str) -> Destination {
        Destination { host: host.into(), port: 443, verdict: EgressVerdict::Refused }
    }

    #[test]
    fn a_destination_is_new_once_and_its_count_is_the_highest_reported() {
        let mut all = Destinations::default();
        for (requests, is_new) in [(1, true), (4, false), (2, false)] {
            assert_eq!(all.record(&refused("evil.example"), requests), is_new, "{requests}");
        }
        let allowed = Destination { verdict: EgressVerdict::Allowed, ..refused("evil.example") };
        assert!(all.record(&allowed, 1), "another verdict is another destination");
        let kept: Vec<_> =
            all.iter().map(|(destination, requests)| (destination.verdict, requests)).collect();
        assert_eq!(kept, [(EgressVerdict::Allowed, 1), (EgressVerdict::Refused, 4)]);
    }

    #[test]
    fn only_the_first_hundred_are_kept_and_the_others_counted() {
        let mut all = Destinations::default();
        for n in 0..150 {
            for requests in [1, 2] {
                all.record(&refused(&format!("{n}.example")), requests);
            }
        }
        assert_eq!((all.iter().count(), all.more()), (100, 50));
    }

    #[test]
    fn an_address_of_ipv6_is_shown_in_brackets() {
        assert_eq!(refused("2001:db8::1").to_string(), "[2001:db8::1]:443");
        assert_eq!(refused("github.com").to_string(), "github.com:443");
    }
}
