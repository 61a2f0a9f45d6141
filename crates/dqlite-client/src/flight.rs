//! One search for the leader at a time among the clones of a configuration.
//!
//! ```text
//!   leader known   ──► ask it alone, each caller for itself
//!   miss, or none  ──► Memory::take_off ──► Ok(Flight): search among everybody
//!                                       └─► Err(Search): somebody else does; wait for its end,
//!                                           then begin anew: it is known, or it is our turn
//! ```
//!
//! Whoever waits keeps its own deadline, and knows the reasons that the search has met so far.
//! Whoever searches and gives up, dropped or late, leaves the search to the next who waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;

use crate::address::Address;
use crate::memory::Memory;
use crate::search::Search;

/// A search that others may look at.
pub(crate) type Shared = Arc<Mutex<Search>>;

/// The search that is under way, and who waits for its end.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    running: Option<Shared>,
    waiting: Vec<Waker>,
}

/// The right to search among everybody; others wait until it is dropped, or the leader is found.
#[derive(Debug)]
pub(crate) struct Flight {
    memory: Arc<Memory>,
    search: Shared,
}

impl Memory {
    /// Begins the one search among everybody; the one that is under way if there is one.
    pub(crate) fn take_off(self: &Arc<Self>, search: &Shared) -> Result<Flight, Shared> {
        let mut known = self.flights.known();
        if let Some(running) = &known.running {
            return Err(Arc::clone(running));
        }
        known.running = Some(Arc::clone(search));
        Ok(Flight {
            memory: Arc::clone(self),
            search: Arc::clone(search),
        })
    }

    /// A server has said that it leads: nobody needs to search any more, even if that server takes
    /// its time to open a database for whoever asked.
    pub(crate) fn found(&self, leader: &Address) {
        self.led_by(leader);
        self.flights.land(|_| true);
    }

    /// Whether that search has ended; the waker is woken when it does.
    pub(crate) fn landed(&self, search: &Shared, waker: &Waker) -> Poll<()> {
        let mut known = self.flights.known();
        let runs = |running: &Shared| Arc::ptr_eq(running, search);
        if !known.running.as_ref().is_some_and(runs) {
            return Poll::Ready(());
        }
        if !known.waiting.iter().any(|known| known.will_wake(waker)) {
            known.waiting.push(waker.clone());
        }
        Poll::Pending
    }
}

impl Flights {
    /// Ends the search that is under way, if it is one of these, and wakes who waits for it.
    fn land(&self, is_one: impl FnOnce(&Shared) -> bool) {
        let waiting = {
            let mut known = self.known();
            if !known.running.as_ref().is_some_and(is_one) {
                return;
            }
            known.running = None;
            std::mem::take(&mut known.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Self { memory, search } = self;
        memory.flights.land(|running| Arc::ptr_eq(running, search));
    }
}

/// Locks a search for one step.
pub(crate) fn lock(search: &Shared) -> MutexGuard<'_, Search> {
    search.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a thread that parks.
pub(crate) struct Unpark(Thread);

impl Unpark {
    /// A waker for this thread.
    pub(crate) fn waker() -> Waker {
        Arc::new(Self(std::thread::current())).into()
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::search::Bounds;

    fn search() -> Shared {
        let now = Instant::now();
        let bounds = Bounds::until(None, 1);
        Arc::new(Mutex::new(Search::new(None, &[], &[], bounds, now)))
    }

    #[test]
    fn one_searches_and_the_next_takes_over() {
        let memory = Arc::new(Memory::default());
        let (first, second) = (search(), search());
        let flight = memory.take_off(&first).unwrap();
        let running = memory.take_off(&second).unwrap_err();
        assert!(Arc::ptr_eq(&running, &first));
        let waker = Unpark::waker();
        for _ in 0..100 {
            assert!(memory.landed(&running, &waker).is_pending());
        }
        assert_eq!(memory.flights.known().waiting.len(), 1);
        drop(flight);
        // Woken before it parks, it does not sleep.
        std::thread::park();
        assert!(memory.landed(&running, &waker).is_ready());
        let flight = memory.take_off(&second).unwrap();
        assert!(memory.landed(&running, &waker).is_ready(), "another flight");
        drop(flight);
    }
}
