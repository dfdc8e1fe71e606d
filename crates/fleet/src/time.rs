//! Two kinds of time, distinguished by type.
//!
//! All decisions use [`Instant`]s: one clock of this machine, which continues through steps of the wall clock
//! and while the machine is suspended. The core never reads it: every moment is an argument, and edges
//! provide moments of it ("not before then"), or durations.
//!
//! [`Timestamp`]s are wall-clock times, from GitHub, from an engine, or for display. Each belongs to its own
//! clock, so two of them may be compared only if they are from the same clock. Where a timestamp matters for
//! a decision, the edge converts it into an instant with a [`ClockReading`] of its clock. Schedules use the
//! newest reading of this machine's wall clock.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment by this machine's monotonic clock, in milliseconds. Its zero has no meaning, but is before
/// everything that can matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// A wall-clock time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// `first`, doubled so many times, but never more than `longest`.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(longest)
}

macro_rules! moment {
    ($moment:ident) => {
        impl $moment {
            /// The moment with this many milliseconds.
            pub const fn from_millis(millis: u64) -> Self {
                Self(millis)
            }

            /// Its milliseconds.
            pub const fn as_millis(self) -> u64 {
                self.0
            }

            /// How long ago `earlier` was; zero if it is in the future.
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_millis(self.0.saturating_sub(earlier.0))
            }
        }

        impl Add<Duration> for $moment {
            type Output = Self;

            fn add(self, duration: Duration) -> Self {
                let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                Self(self.0.saturating_add(millis))
            }
        }

        impl Sub<Duration> for $moment {
            type Output = Self;

            fn sub(self, duration: Duration) -> Self {
                let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                Self(self.0.saturating_sub(millis))
            }
        }
    };
}

moment!(Instant);
moment!(Timestamp);

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = i64::try_from(self.0)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{moment:.3}")
    }
}

/// The text is not a time in RFC 3339 format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time in RFC 3339 format")]
pub struct NoTimestamp;

impl FromStr for Timestamp {
    type Err = NoTimestamp;

    /// Parses RFC 3339. Times before 1970 are rejected: Docker writes the year 1 for "not yet".
    fn from_str(text: &str) -> Result<Self, NoTimestamp> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| NoTimestamp)?;
        u64::try_from(moment.as_millisecond()).map(Self).map_err(|_| NoTimestamp)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What a wall clock showed at a moment, for converting times of that clock into moments and back.
///
/// The default is a clock that shows the milliseconds of the instants themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    pub at: Instant,
    pub shown: Timestamp,
}

impl ClockReading {
    /// What the clock shows at `instant`, provided that it is not set in between.
    pub fn timestamp(self, instant: Instant) -> Timestamp {
        if instant >= self.at {
            self.shown + instant.since(self.at)
        } else {
            self.shown - self.at.since(instant)
        }
    }

    /// When the clock showed, or will show, `timestamp`.
    pub fn instant(self, timestamp: Timestamp) -> Instant {
        if timestamp >= self.shown {
            self.at + timestamp.since(self.shown)
        } else {
            self.at - self.shown.since(timestamp)
        }
    }

    /// How far this clock is ahead of `other`, in milliseconds; negative when it is behind.
    pub fn ahead_of(self, other: Self) -> i64 {
        let theirs = other.timestamp(self.at).as_millis();
        i64::try_from(i128::from(self.shown.as_millis()) - i128::from(theirs)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_delay_is_bounded_and_does_not_overflow() {
        const SECOND: Duration = Duration::from_secs(1);
        assert_eq!(doubled(SECOND, 3, Duration::MAX), 8 * SECOND);
        assert_eq!(doubled(SECOND, u32::MAX, Duration::MAX), SECOND * u32::MAX);
        assert_eq!(doubled(Duration::MAX, 3, Duration::MAX), Duration::MAX);
        assert_eq!(doubled(10 * SECOND, 1, SECOND), SECOND);
    }

    #[test]
    fn a_timestamp_is_shown_as_rfc_3339() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string().len(), 24);
    }

    #[test]
    fn a_timestamp_is_read_as_github_and_docker_write_it() {
        assert_eq!("1970-01-01T01:00:00.250123+01:00".parse(), Ok(Timestamp::from_millis(250)));
        for text in ["0001-01-01T00:00:00Z", "yesterday", "", "2026-02-30T00:00:00Z"] {
            assert_eq!(text.parse::<Timestamp>(), Err(NoTimestamp), "{text}");
        }
    }

    #[test]
    fn distances_never_go_below_zero() {
        let early = Instant::from_millis(10);
        assert_eq!(early.since(early + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!(early - Duration::from_secs(1), Instant::default());
    }

    #[test]
    fn a_reading_turns_times_of_its_clock_into_moments_and_back() {
        let (at, shown) = (Instant::from_millis(1_000_000), Timestamp::from_millis(50_000));
        let clock = ClockReading { at, shown };
        let minute = Duration::from_mins(1);
        assert_eq!(clock.instant(shown + minute), at + minute);
        assert_eq!(clock.timestamp(at + minute), shown + minute);
        assert_eq!(clock.instant(shown - Duration::from_secs(20)), at - Duration::from_secs(20));
        assert_eq!(clock.timestamp(at - Duration::from_secs(20)), shown - Duration::from_secs(20));
    }

    #[test]
    fn readings_of_two_clocks_show_how_far_they_are_apart() {
        let clock =
            |at, shown| ClockReading { at: Instant::from_millis(at), shown: Timestamp::from_millis(shown) };
        assert_eq!(clock(5_000, 90_000).ahead_of(clock(1_000, 80_000)), 6_000);
        assert_eq!(clock(1_000, 80_000).ahead_of(clock(5_000, 90_000)), -6_000);
    }
}
