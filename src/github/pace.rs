//! How fast mints may follow each other, so that GitHub's secondary limits are never met.

use std::time::Duration;

use crate::fleet::Instant;

/// Mints that may go at once.
const MINT_BURST: u32 = 50;

/// Between mints after a burst: 60 a minute.
const MINT_INTERVAL: Duration = Duration::from_secs(1);

/// Spaces mints out. GitHub takes 900 points a minute of which a POST costs 5, and asks for a
/// second between requests that change something (docs.github.com, "Rate limits" and "Best
/// practices"). A burst goes at once, so that tens of runners from nothing are not slowed down:
/// at worst 110 mints in a minute, 550 points.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the mints so far would have been over at one per interval.
    paid_until: Instant,
}

impl Pace {
    /// Takes a turn: how long to wait for it, or, if that is longer than `patience`, how long until
    /// it is worth trying again, without having taken one.
    pub(super) fn turn(&mut self, patience: Duration, now: Instant) -> Result<Duration, Duration> {
        let turn = self.paid_until.max(now - MINT_INTERVAL * MINT_BURST) + MINT_INTERVAL;
        let wait = turn.since(now);
        if wait > patience {
            return Err(wait.saturating_sub(patience));
        }
        self.paid_until = turn;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_795_348_800_000);

    #[test]
    fn fifty_mints_go_at_once_and_then_one_a_second() {
        let mut pace = Pace::default();
        let patience = Duration::from_secs(2);
        for _ in 0..MINT_BURST {
            assert_eq!(pace.turn(patience, NOW), Ok(Duration::ZERO));
        }
        assert_eq!(pace.turn(patience, NOW), Ok(Duration::from_secs(1)));
        assert_eq!(pace.turn(patience, NOW), Ok(Duration::from_secs(2)));
        assert_eq!(pace.turn(patience, NOW), Err(Duration::from_secs(1)));
        assert_eq!(pace.turn(patience, NOW + Duration::from_secs(1)), Ok(Duration::from_secs(2)));
        let later = NOW + Duration::from_hours(1);
        let free = (0..100).filter(|_| pace.turn(patience, later) == Ok(Duration::ZERO)).count();
        assert_eq!(free, MINT_BURST as usize);
    }
}
