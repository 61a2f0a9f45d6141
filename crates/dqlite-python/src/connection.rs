//! One server session over one socket: its state, and its face to Python. Sync calls are made in
//! `blocking`, the event loop's side is `ready`.
//!
//! The lock is never held while Python code can run: objects are taken out first and dropped after.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dqlite_client::fd::Link;
use dqlite_proto::{Abandoned, Ticket};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::affinity::Affinity;
use crate::blocking;
use crate::call::Call;
use crate::deadline;
use crate::projection::Projection;
use crate::ready;
use crate::statement;
use crate::transaction::Transaction;

/// How long the reply of an abandoned statement is waited for before the session is dropped.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(1);

/// One server session over one socket; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Connection {
    pub(crate) affinity: Affinity,
    pub(crate) address: String,
    inner: Mutex<Inner>,
}

/// What the lock protects.
pub(crate) struct Inner {
    pub(crate) link: Place,
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) transaction: Transaction,
    /// Until when abandoned replies are read.
    pub(crate) drain_until: Option<Instant>,
    pub(crate) drained: Vec<Py<PyAny>>,
    pub(crate) timer: Option<Timer>,
    pub(crate) writing: bool,
    /// A callback is scheduled that goes on with what was read.
    pub(crate) resuming: bool,
}

/// Where the socket is.
pub(crate) enum Place {
    /// Here, idle or driven by the loop.
    Here(Box<Link>),
    /// With a sync call, which waits on this descriptor.
    Lent(RawFd),
    /// Closed.
    Gone,
}

/// A statement whose answer the loop waits for.
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    pub(crate) call: Option<Call>,
    pub(crate) future: Py<PyAny>,
    pub(crate) sent: Instant,
    pub(crate) deadline: Option<Instant>,
}

/// The loop's timer for the earliest deadline.
pub(crate) struct Timer {
    pub(crate) at: Instant,
    pub(crate) handle: Py<PyAny>,
}

impl Inner {
    /// The socket, if it is open and not lent.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.link {
            Place::Here(link) => Some(link),
            Place::Lent(_) | Place::Gone => None,
        }
    }

    /// Takes back a request that nobody waits for, or has its answer drained.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        let Some(link) = self.link() else { return };
        if link.session_mut().abandon(ticket) == Abandoned::Draining {
            self.transaction.doubt();
            self.drain_until
                .get_or_insert_with(|| Instant::now() + DRAIN_MAX);
        }
    }
}

impl Connection {
    /// A connection over a socket whose database is open.
    pub(crate) fn over(link: Link) -> Self {
        let address = link.address().leads_as().to_owned();
        let inner = Inner {
            link: Place::Here(Box::new(link)),
            waiting: VecDeque::new(),
            transaction: Transaction::default(),
            drain_until: None,
            drained: Vec::new(),
            timer: None,
            writing: false,
            resuming: false,
        };
        Self {
            affinity: Affinity::new("Connection"),
            address,
            inner: Mutex::new(inner),
        }
    }

    /// The state. A panic elsewhere leaves it as it was, which is consistent between statements.
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the socket at once; what is due fails as lost.
    fn close(slf: &Bound<'_, Self>) {
        let connection = slf.get();
        if connection.affinity.is_foreign() {
            connection.inner().link = Place::Gone;
            return;
        }
        blocking::interrupt(connection);
        ready::close(slf);
    }
}

#[pymethods]
impl Connection {
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    #[getter]
    fn closed(&self) -> bool {
        match &self.inner().link {
            Place::Here(link) => link.session().is_lost(),
            Place::Lent(_) => false,
            Place::Gone => true,
        }
    }

    #[getter]
    fn foreign(&self) -> bool {
        self.affinity.is_foreign()
    }

    #[getter]
    fn in_transaction(&self) -> bool {
        self.inner().transaction.is_open()
    }

    #[getter]
    fn doubtful(&self) -> bool {
        self.inner().transaction.is_doubtful()
    }

    #[getter]
    fn draining(&self) -> bool {
        self.inner().drain_until.is_some()
    }

    fn attach(slf: &Bound<'_, Self>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        ready::attach(slf, event_loop)
    }

    fn submit<'py>(
        slf: &Bound<'py, Self>,
        projection: &Projection,
        sql: &Bound<'py, PyString>,
        args: &Bound<'py, PyTuple>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        ready::submit(slf, *projection, statement::text(sql)?, args, timeout)
    }

    fn forget(slf: &Bound<'_, Self>, future: &Bound<'_, PyAny>) -> PyResult<()> {
        deadline::forget(slf, future)
    }

    fn drained<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        deadline::drained(slf)
    }

    fn run(
        &self,
        py: Python<'_>,
        projection: &Projection,
        sql: &Bound<'_, PyString>,
        args: &Bound<'_, PyTuple>,
        timeout: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        blocking::run(self, py, *projection, statement::text(sql)?, args, timeout)
    }

    fn terminate(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let affinity = &slf.get().affinity;
        let elsewhere = !affinity.is_foreign() && !affinity.is_inside(py);
        match affinity.event_loop(py) {
            Some(event_loop) if elsewhere && !ready::is_closed(event_loop)? => {
                let call = slf.getattr("terminate")?;
                event_loop
                    .call_method1("call_soon_threadsafe", (call,))
                    .map(drop)
            }
            _ => {
                Self::close(slf);
                Ok(())
            }
        }
    }

    /// The loop says that the socket is readable.
    fn _on_readable(slf: &Bound<'_, Self>) {
        ready::on_readable(slf);
    }

    /// The loop's next round, for what one wake-up left.
    fn _on_resume(slf: &Bound<'_, Self>) {
        ready::on_resume(slf);
    }

    /// The loop says that the socket is writable.
    fn _on_writable(slf: &Bound<'_, Self>) {
        ready::on_writable(slf);
    }

    /// The loop says that the earliest deadline may have passed.
    fn _on_timer(slf: &Bound<'_, Self>) -> PyResult<()> {
        deadline::on_timer(slf)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(inner) = self.inner.try_lock() else {
            return Ok(());
        };
        for waiting in &inner.waiting {
            visit.call(&waiting.future)?;
            if let Some(rows) = waiting.call.as_ref().and_then(Call::rows_list) {
                visit.call(rows)?;
            }
        }
        for future in &inner.drained {
            visit.call(future)?;
        }
        inner
            .timer
            .as_ref()
            .map_or(Ok(()), |timer| visit.call(&timer.handle))
    }

    fn __clear__(&self) {
        let taken = {
            let mut inner = self.inner();
            inner.link = Place::Gone;
            let drained = std::mem::take(&mut inner.drained);
            (
                std::mem::take(&mut inner.waiting),
                drained,
                inner.timer.take(),
            )
        };
        drop(taken);
    }
}
