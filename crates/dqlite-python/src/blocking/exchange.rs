//! Waiting for a socket without the interpreter: one write, one wait, one read.

use std::time::Instant;

use dqlite_client::fd::{self, Filled, Link};
use pyo3::prelude::*;

use crate::errors::Loss;

use super::duration;
use super::interruption::{Interruption, Waker};

/// Why a wait ended without an event.
pub(super) enum Ended {
    Lost(Loss),
    TimedOut,
    /// Another thread wants the call to end.
    Interrupted,
    Raised(PyErr),
}

/// Writes what waits, waits, and reads once.
pub(super) fn exchange(
    link: &mut Link,
    until: Option<Instant>,
    (interruption, waker): (&Interruption, &Waker),
) -> Result<(), Ended> {
    let broken = |error: dqlite_client::Error| Ended::Lost(Loss::of_socket(&error));
    let flushed = match link.flush() {
        Ok(flushed) => flushed,
        // What a server said before it closed must be read all the same.
        Err(error) => {
            return match link.fill() {
                Ok(Filled::Bytes(_)) => Ok(()),
                _ => Err(broken(error)),
            };
        }
    };
    let mut raised = None;
    let mut interrupt = || {
        raised = signalled();
        raised.is_some() || interruption.is_asked()
    };
    let until = until.unwrap_or_else(|| Instant::now() + duration(f64::INFINITY));
    let ready = match waker.fd() {
        Some(wake) => fd::wait_or(link, true, !flushed, wake, until, &mut interrupt),
        None => fd::wait(link, true, !flushed, until, &mut interrupt).map(Some),
    };
    if let Some(error) = raised {
        return Err(Ended::Raised(error));
    }
    if interruption.is_asked() {
        return Err(Ended::Interrupted);
    }
    let Some(ready) = ready.map_err(broken)? else {
        waker.rest();
        return Ok(());
    };
    if ready.is_late() {
        return Err(Ended::TimedOut);
    }
    if !ready.readable {
        return Ok(());
    }
    match link.fill().map_err(broken)? {
        Filled::Eof => Err(Ended::Lost(Loss::Connection(
            "closed by the server".to_owned(),
        ))),
        Filled::Bytes(_) | Filled::WouldBlock => Ok(()),
    }
}

/// What the handler of a signal raises, if one has come; for waits without the interpreter.
pub(crate) fn signalled() -> Option<PyErr> {
    Python::attach(|py| py.check_signals().err())
}
