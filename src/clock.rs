//! This machine's clocks. Nobody else reads one for a decision: the core is given moments, and tests give their
//! own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::fleet::{ClockReading, Instant, Timestamp};

/// Monotonic, and counted on while the machine is suspended (`clock_gettime(2)`).
#[cfg(any(target_os = "linux", target_os = "android"))]
const SUSPEND_AWARE: ClockId = ClockId::Boottime;

/// On macOS this one counts on in suspend.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SUSPEND_AWARE: ClockId = ClockId::Monotonic;

/// A century, so that moments before the machine was booted have a place too.
const BEFORE_BOOT: Duration = Duration::from_hours(24 * 365 * 100);

/// The moment now: the same in all parts of the process, whatever happens to the wall clock.
pub fn now() -> Instant {
    let now = clock_gettime(SUSPEND_AWARE);
    let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or_default());
    let nanos = Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or_default());
    Instant::default() + BEFORE_BOOT + seconds + nanos
}

/// How long the machine has been suspended since it was booted.
pub fn suspended() -> Duration {
    let of = |clock| {
        let now = clock_gettime(clock);
        Duration::new(now.tv_sec.try_into().unwrap_or_default(), now.tv_nsec.try_into().unwrap_or_default())
    };
    // In this order, so that what passes between the two is not taken for sleep.
    let awake_after = of(SUSPEND_AWARE);
    awake_after.saturating_sub(of(ClockId::Monotonic))
}

/// What the wall clock shows now. It may be set at any time, so a reading is used at once.
pub fn wall() -> ClockReading {
    let shown = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ClockReading { at: now(), shown: Timestamp::default() + shown }
}

/// The moment as tokio's timers know it. They stand still while the machine is suspended.
pub fn timer(at: Instant) -> tokio::time::Instant {
    tokio::time::Instant::now() + at.since(now())
}
