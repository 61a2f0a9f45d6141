//! The time that deadlines are counted in.

use std::time::{Duration, Instant};

/// Longer waits are cut: clocks cannot count for ever.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Now: under a runtime whose clock a test moves, that clock.
pub(crate) fn now() -> Instant {
    #[cfg(feature = "tokio")]
    return tokio::time::Instant::now().into_std();
    #[cfg(not(feature = "tokio"))]
    Instant::now()
}

/// So much later than now.
pub(crate) fn after(time: Duration) -> Instant {
    later(now(), time)
}

/// So much later than a moment.
pub(crate) fn later(moment: Instant, time: Duration) -> Instant {
    moment + time.min(LONGEST)
}
