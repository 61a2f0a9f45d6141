//! Ending a call of one thread from another: a flag the call looks at, and what wakes its wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Whether somebody wants the sync call on a connection to end.
///
/// Changed under the lock of the connection only, so that it is asked of one call, never the next.
#[derive(Debug, Default)]
pub(crate) struct Interruption {
    asked: AtomicBool,
    /// Made for the first sync call; without one a wait looks at the flag every 100 ms.
    wake: Mutex<Option<Arc<EventFd>>>,
}

impl Interruption {
    /// A call begins: nothing is asked of it. What wakes it is readable when something is, and
    /// perhaps for what was asked of a call before.
    pub(super) fn begin(&self) -> Waker {
        self.asked.store(false, Ordering::Release);
        let mut wake = self.wake();
        if wake.is_none() {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            *wake = EventFd::from_value_and_flags(0, flags).ok().map(Arc::new);
        }
        Waker(wake.clone())
    }

    /// Asks the call that has begun to end.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        if let Some(wake) = &*self.wake() {
            // It fails when it was asked very often before, and then is readable all the same.
            let _ = wake.write(1);
        }
    }

    /// Whether the call shall end.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// No call will begin any more: gives the descriptor back.
    pub(crate) fn close(&self) {
        let wake = self.wake().take();
        drop(wake);
    }

    fn wake(&self) -> MutexGuard<'_, Option<Arc<EventFd>>> {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What wakes the wait of a call.
#[derive(Debug)]
pub(super) struct Waker(Option<Arc<EventFd>>);

impl Waker {
    /// The descriptor, if there was one to be had.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|wake| wake.as_fd())
    }

    /// Makes it unreadable again.
    pub(super) fn rest(&self) {
        if let Some(wake) = &self.0 {
            // Nothing to read is as good.
            let _ = wake.read();
        }
    }
}
