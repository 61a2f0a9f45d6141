//! The time that deadlines are counted in.

use std::time::Instant;

/// Now: under a runtime whose clock a test moves, that clock.
pub(crate) fn now() -> Instant {
    #[cfg(feature = "tokio")]
    return tokio::time::Instant::now().into_std();
    #[cfg(not(feature = "tokio"))]
    Instant::now()
}
