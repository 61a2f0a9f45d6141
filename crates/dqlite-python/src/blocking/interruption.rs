//! Ending a call of one thread from another: a flag the call looks at, and what wakes its wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Whether somebody wants the sync call on a connection to end.
///
/// It stays asked until it is forgiven: a call may be several statements, of which none runs just
/// now. Who makes the calls forgives what was asked before the one that begins.
#[derive(Debug, Default)]
pub(crate) struct Interruption {
    asked: AtomicBool,
    /// Made for the first sync call; without one a wait looks at the flag every 100 ms.
    wake: Mutex<Option<Arc<EventFd>>>,
}

impl Interruption {
    /// A statement begins. What wakes it is readable when something is asked, and perhaps for what
    /// was asked of a call before.
    pub(super) fn begin(&self) -> Waker {
        let mut wake = self.wake();
        if wake.is_none() {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            *wake = EventFd::from_value_and_flags(0, flags).ok().map(Arc::new);
        }
        Waker(wake.clone())
    }

    /// Nothing is asked any more.
    pub(crate) fn forgive(&self) {
        self.asked.store(false, Ordering::Release);
    }

    /// Asks the call to end.
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
