//! Who may use a connection: the process that made it, and the event loop it is bound to.

use std::sync::OnceLock;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::errors;

/// The process and loop an object belongs to.
pub(crate) struct Affinity {
    what: &'static str,
    pid: u32,
    event_loop: PyOnceLock<Py<PyAny>>,
    /// The loop is a run of trio, behind the methods of a loop.
    trio: OnceLock<bool>,
    /// Makes a future of the loop, without a Python frame where that can be had.
    futures: PyOnceLock<Py<PyAny>>,
}

impl Affinity {
    /// Bound to this process, not yet to a loop.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            pid: std::process::id(),
            event_loop: PyOnceLock::new(),
            trio: OnceLock::new(),
            futures: PyOnceLock::new(),
        }
    }

    /// Whether this is a process that was forked from the owner.
    pub(crate) fn is_foreign(&self) -> bool {
        std::process::id() != self.pid
    }

    /// An `InterfaceError` after a fork.
    pub(crate) fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        let current = std::process::id();
        if current == self.pid {
            return Ok(());
        }
        let text = format!(
            "{} used after fork; reconstruct it in the child process (created in pid {}, \
             current pid {current})",
            self.what, self.pid,
        );
        Err(errors::interface(py, text))
    }

    /// Binds to a loop, once.
    pub(crate) fn bind(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let trio = event_loop.hasattr(intern!(py, "wait_for"))?;
        let _ = self.trio.set(trio);
        self.event_loop
            .set(py, event_loop.clone().unbind())
            .map_err(|_| {
                errors::interface(
                    py,
                    format!("{} is bound to an event loop already", self.what),
                )
            })
    }

    /// Learns how futures of the loop are made.
    pub(crate) fn make_futures(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let method = event_loop.getattr("create_future")?;
        let asyncio = py.import("asyncio")?;
        let plain = asyncio
            .getattr("BaseEventLoop")?
            .getattr("create_future")?
            .is(event_loop.get_type().getattr("create_future")?);
        let make = if plain {
            let keywords = PyDict::new(py);
            keywords.set_item("loop", event_loop)?;
            let future = asyncio.getattr("Future")?;
            let partial = py.import("functools")?.getattr("partial")?;
            partial.call((future,), Some(&keywords))?
        } else {
            method
        };
        // A second time is refused by `bind`.
        let _ = self.futures.set(py, make.unbind());
        Ok(())
    }

    /// A new future of the loop.
    pub(crate) fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.futures.get(py) {
            Some(make) => make.bind(py).call0(),
            None => self.check_loop(py)?.call_method0("create_future"),
        }
    }

    /// The loop it is bound to.
    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.event_loop
            .get(py)
            .map(|event_loop| event_loop.bind(py))
    }

    /// Whether tasks of the loop are trio's.
    pub(crate) fn is_trio(&self) -> bool {
        self.trio.get().is_some_and(|trio| *trio)
    }

    /// Whether the loop it is bound to runs in this thread.
    pub(crate) fn is_inside(&self, py: Python<'_>) -> bool {
        self.event_loop(py)
            .is_some_and(|own| self.runs(own).unwrap_or(false))
    }

    fn runs(&self, own: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = own.py();
        if self.is_trio() {
            return own.call_method0(intern!(py, "is_inside"))?.is_truthy();
        }
        Ok(running_loop(py)?.is(own))
    }

    /// The loop; an `InterfaceError` in another loop or thread, or if it is bound to none.
    pub(crate) fn check_loop<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let Some(own) = self.event_loop(py) else {
            return Err(errors::interface(
                py,
                format!("{} is bound to no event loop", self.what),
            ));
        };
        if self.runs(own)? {
            return Ok(own);
        }
        Err(errors::interface(
            py,
            format!("{} is bound to a different event loop", self.what),
        ))
    }
}

/// The running loop of this thread, or None.
fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let running = RUNNING.get_or_try_init(py, || {
        py.import("asyncio.events")?
            .getattr("_get_running_loop")
            .map(Bound::unbind)
    })?;
    running.bind(py).call0()
}
