//! Which host of a pool gets its next runner.

use std::cmp::Reverse;

/// How a pool chooses among those of its hosts that have room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// The one of which the smallest share is taken.
    #[default]
    Spread,
    /// The one of which the largest share is taken, so that others stay free for larger runners.
    Pack,
    /// The first in the order of the configuration.
    Ordered,
}

/// How full a host would be with the runner: the share of its budget, in millionths, then the number of runners.
pub(super) type Fullness = (u64, u32);

impl Placement {
    /// The value in the configuration and the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Pack => "pack",
            Self::Ordered => "ordered",
        }
    }

    /// Chooses one of these hosts, which are in the order of the configuration.
    pub(super) fn choose<T>(self, hosts: impl Iterator<Item = (Fullness, T)>) -> Option<T> {
        // Of equal ones the first is taken.
        let chosen = match self {
            Self::Spread => hosts.min_by_key(|(fullness, _)| *fullness),
            Self::Pack => hosts.min_by_key(|(fullness, _)| Reverse(*fullness)),
            Self::Ordered => hosts.into_iter().next(),
        };
        chosen.map(|(_, host)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_chooses_its_own_and_of_equals_the_first() {
        let hosts = [((500, 1), "a"), ((200, 9), "b"), ((900, 2), "c"), ((200, 9), "d"), ((900, 2), "e")];
        for (placement, chosen) in
            [(Placement::Spread, "b"), (Placement::Pack, "c"), (Placement::Ordered, "a")]
        {
            assert_eq!(placement.choose(hosts.into_iter()), Some(chosen), "{placement:?}");
        }
        assert_eq!(Placement::Spread.choose([((7, 3), "x"), ((7, 2), "y")].into_iter()), Some("y"));
        assert_eq!(Placement::Pack.choose(std::iter::empty::<(Fullness, ())>()), None);
    }
}
