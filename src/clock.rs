//! This machine's clocks. No other module reads one for a decision: the core gets moments as arguments, and
//! tests provide their own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::fleet::{ClockReading, Instant, Timestamp};

/// Monotonic, and continues while the machine is suspended (`clock_gettime(2)`).
#[cfg(any(target_os = "linux", target_os = "android"))]
const SUSPEND_AWARE: ClockId = ClockId::Boottime;

/// On macOS this one counts on in suspend.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SUSPEND_AWARE: ClockId = ClockId::Monotonic;

/// A century, so that moments before the machine was booted can be represented too.
const BEFORE_BOOT: Duration = Duration::from_hours(24 * 365 * 100);

/// The moment now: the same in all parts of the process, and unaffected by steps of the wall clock.
pub fn now() -> Instant {
    Instant::default() + BEFORE_BOOT + read(SUSPEND_AWARE)
}

/// How long the machine has been suspended since it was booted.
pub fn suspended() -> Duration {
    // Read in this order, so that the time between the two does not count as sleep.
    let since_boot = read(SUSPEND_AWARE);
    since_boot.saturating_sub(read(ClockId::Monotonic))
}

fn read(clock: ClockId) -> Duration {
    let shown = clock_gettime(clock);
    Duration::new(shown.tv_sec.try_into().unwrap_or_default(), shown.tv_nsec.try_into().unwrap_or_default())
}

/// A reading of the wall clock. It may be set at any time, so a reading must be used at once.
pub fn wall() -> ClockReading {
    let shown = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ClockReading { at: now(), shown: Timestamp::default() + shown }
}

/// The moment as tokio's timers know it. They stand still while the machine is suspended.
pub fn timer(at: Instant) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.since(now())
}
