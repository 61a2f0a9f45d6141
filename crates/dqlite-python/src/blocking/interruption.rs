//! Ending a call of one thread from another: a flag the call looks at, and what wakes its wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Whether somebody wants the sync call on a connection to end.
///
/// Changed under the lock of the connection only, so that it is asked of one call, never the next.
#[derive(Debug, Default)]
pub(crate) struct Interruption {
    asked: AtomicBool,
    /// Made for the first sync call; without one a wait looks at the flag every 100 ms.
    wake: OnceLock<Option<EventFd>>,
}

impl Interruption {
    /// A call begins: nothing is asked of it.
    pub(super) fn begin(&self) {
        self.wake.get_or_init(|| {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            EventFd::from_value_and_flags(0, flags).ok()
        });
        self.asked.store(false, Ordering::Release);
    }

    /// Asks the call that has begun to end.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        if let Some(Some(wake)) = self.wake.get() {
            // It fails when it was asked very often before, and then is readable all the same.
            let _ = wake.write(1);
        }
    }

    /// Whether the call shall end.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Turns readable when it is asked; also for what was asked of a call before.
    pub(super) fn waker(&self) -> Option<BorrowedFd<'_>> {
        let wake = self.wake.get()?.as_ref()?;
        Some(wake.as_fd())
    }

    /// Makes it unreadable again.
    pub(super) fn rest(&self) {
        if let Some(Some(wake)) = self.wake.get() {
            // Nothing to read is as good.
            let _ = wake.read();
        }
    }
}
