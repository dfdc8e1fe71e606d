//! Which destinations there were, and when to report them: at first use, and again when a count doubles.

use std::collections::BTreeMap;

use super::{
    line::{Line, Report, Verdict},
    target::{Host, Target},
};

/// Destinations that are kept. The memory for them stays bounded, whatever a job does.
pub const MAX_DESTINATIONS: usize = 1000;

/// The destinations of one proxy, with the number of requests to each.
#[derive(Debug, Default)]
pub struct Destinations {
    counts: BTreeMap<(Target, Verdict), u64>,
    is_full: bool,
}

impl Destinations {
    /// Counts a request, and returns what is to be reported.
    pub fn count(&mut self, target: &Target, verdict: Verdict) -> Option<Report> {
        let key = (target.clone(), verdict);
        if !self.counts.contains_key(&key) && self.counts.len() == MAX_DESTINATIONS {
            let first = !std::mem::replace(&mut self.is_full, true);
            return first.then_some(Report::More { more_than: MAX_DESTINATIONS });
        }
        let count = self.counts.entry(key).or_default();
        *count += 1;
        let host = match &target.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        };
        let line = Line { host, port: target.port, verdict, count: *count };
        count.is_power_of_two().then_some(Report::Destination(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_reported_at_first_and_when_its_count_doubles() {
        let mut destinations = Destinations::default();
        let target = Target::parse("[2001:db8::1]:443", None).unwrap();
        let mut counts = Vec::new();
        for _ in 0..100 {
            if let Some(Report::Destination(line)) = destinations.count(&target, Verdict::Allowed) {
                assert_eq!((line.host.as_str(), line.port), ("2001:db8::1", 443));
                counts.push(line.count);
            }
        }
        assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64]);
        let refused = destinations.count(&target, Verdict::Refused).unwrap();
        assert!(matches!(refused, Report::Destination(Line { count: 1, .. })), "{refused:?}");
    }

    #[test]
    fn beyond_the_limit_one_line_says_that_there_are_more() {
        let mut destinations = Destinations::default();
        let target = |n: usize| Target::parse(&format!("host-{n}.example"), Some(443)).unwrap();
        for n in 0..MAX_DESTINATIONS {
            assert!(destinations.count(&target(n), Verdict::Audited).is_some(), "{n}");
        }
        let more = destinations.count(&target(MAX_DESTINATIONS), Verdict::Audited);
        assert_eq!(more, Some(Report::More { more_than: MAX_DESTINATIONS }));
        assert_eq!(destinations.count(&target(MAX_DESTINATIONS + 1), Verdict::Audited), None);
        assert!(destinations.count(&target(0), Verdict::Audited).is_some(), "those that are kept count on");
        assert_eq!(destinations.counts.len(), MAX_DESTINATIONS);
    }
}
