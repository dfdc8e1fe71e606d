//! How many requests an interval makes.

use std::time::Duration;

/// How often an hour has this interval.
pub fn times_an_hour(interval: Duration) -> u64 {
    let hour = Duration::from_hours(1);
    u64::try_from(hour.as_millis() / interval.as_millis().max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_is_no_part_of_an_hour_counts_whole_times() {
        for (millis, times) in [(0, 3_600_000), (100, 36_000), (7000, 514), (3_600_000, 1), (3_600_001, 0)] {
            assert_eq!(times_an_hour(Duration::from_millis(millis)), times, "{millis}");
        }
    }
}
