//! Waiting for a socket without the interpreter: one write, one wait, one read.

use std::time::Instant;

use dqlite_client::fd::{self, Filled, Link};
use pyo3::prelude::*;

use crate::errors::Loss;

use super::duration;

/// Why a wait ended without an event.
pub(super) enum Ended {
    Lost(Loss),
    TimedOut,
    Raised(PyErr),
}

/// Writes what waits, waits, and reads once.
pub(super) fn exchange(link: &mut Link, until: Option<Instant>) -> Result<(), Ended> {
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
        raised.is_some()
    };
    let until = until.unwrap_or_else(|| Instant::now() + duration(f64::INFINITY));
    let ready = fd::wait(link, true, !flushed, until, &mut interrupt);
    if let Some(error) = raised {
        return Err(Ended::Raised(error));
    }
    let ready = ready.map_err(broken)?;
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
