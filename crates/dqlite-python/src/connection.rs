//! One server session over one socket: its state, and its face to Python. Sync calls are made in
//! `blocking`, the event loop's side is `ready`.
//!
//! The lock is never held while Python code can run: objects are taken out first and dropped after.

mod prepared;
mod suspects;
mod waiting;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dqlite_client::fd::Link;
use dqlite_proto::{Abandoned, Event, Progress, Request, Session, Ticket};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::affinity::Affinity;
use crate::blocking::{self, Interruption};
use crate::call::Call;
use crate::config::{Bounds, Config};
use crate::deadline;
use crate::errors::Loss;
use crate::many::{self, Many};
use crate::projection::Projection;
use crate::ready;
use crate::record::Known;
use crate::statement::{self, Statement};
use crate::stream::{Stream, Streaming};
use crate::streaming;
use crate::transaction::Transaction;

use prepared::Prepared;

pub(crate) use suspects::Suspects;
pub(crate) use waiting::{Waiting, resolve};

/// How long the reply of an abandoned statement is waited for before the session is dropped.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(1);

/// One server session over one socket; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Connection {
    pub(crate) affinity: Affinity,
    pub(crate) address: String,
    pub(crate) suspects: Arc<Suspects>,
    pub(crate) bounds: Bounds,
    pub(crate) interruption: Interruption,
    opened: Instant,
    inner: Mutex<Inner>,
}

/// What the lock protects.
pub(crate) struct Inner {
    pub(crate) link: Place,
    pub(crate) waiting: VecDeque<Waiting>,
    /// Executions of one statement with many sets of parameters.
    pub(crate) batch: Option<Box<Many>>,
    /// Results that are given out while they come, in their order.
    pub(crate) streams: VecDeque<Streaming>,
    /// Nothing is read until a stream is asked for more.
    pub(crate) paused: bool,
    pub(crate) transaction: Transaction,
    pub(crate) prepared: Prepared,
    /// Names of the result that came last.
    pub(crate) header: Option<Known>,
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

    /// Takes the answer to a PREPARE that nobody waits for; gives back any other event.
    pub(crate) fn prepared_event(&mut self, ticket: Ticket, event: Event) -> Option<Event> {
        if !self.prepared.is_due() {
            return Some(event);
        }
        match &mut self.link {
            Place::Here(link) => self.prepared.event(ticket, event, link.session_mut()),
            Place::Lent(_) | Place::Gone => Some(event),
        }
    }

    /// Takes back a request that nobody waits for, or has its answer drained.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        let first = self.drain_until.is_none();
        let Some(link) = self.link() else { return };
        if give_up(link.session_mut(), ticket, first) == Abandoned::Draining {
            self.transaction.doubt();
            self.drain_until
                .get_or_insert_with(|| Instant::now() + DRAIN_MAX);
        }
    }
}

/// Abandons a request; a server that can ends what it is doing, once for all that was abandoned.
pub(crate) fn give_up(session: &mut Session, ticket: Ticket, first: bool) -> Abandoned {
    let abandoned = session.abandon(ticket);
    let ends = abandoned == Abandoned::Draining && first && session.capabilities().interrupts();
    if ends && let Ok(interrupt) = session.queue(&Request::Interrupt {}) {
        session.abandon(interrupt);
    }
    abandoned
}

impl Connection {
    /// A connection over a socket whose database is open.
    pub(crate) fn over(link: Link, config: &Config) -> Self {
        let address = link.address().leads_as().to_owned();
        let inner = Inner {
            link: Place::Here(Box::new(link)),
            waiting: VecDeque::new(),
            batch: None,
            streams: VecDeque::new(),
            paused: false,
            transaction: Transaction::default(),
            prepared: Prepared::new(config.bounds.statements),
            header: None,
            drain_until: None,
            drained: Vec::new(),
            timer: None,
            writing: false,
            resuming: false,
        };
        Self {
            affinity: Affinity::new("Connection"),
            address,
            suspects: Arc::clone(&config.suspects),
            bounds: config.bounds,
            interruption: Interruption::default(),
            opened: Instant::now(),
            inner: Mutex::new(inner),
        }
    }

    /// The state. A panic elsewhere leaves it as it was, which is consistent between statements.
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The statement was answered with success. A sync call has the socket, and prepares itself.
    pub(crate) fn succeeded(&self, statement: &Statement) {
        self.suspects.lived(statement);
        let mut guard = self.inner();
        let inner = &mut *guard;
        inner.transaction.succeeded(statement);
        if let Place::Here(link) = &mut inner.link {
            inner.prepared.succeeded(statement, link.session_mut());
        }
    }

    /// Whether a statement may have given so many rows.
    pub(crate) const fn check_rows(&self, seen: usize) -> Result<(), Loss> {
        if seen <= self.bounds.rows {
            Ok(())
        } else {
            Err(Loss::Rows(self.bounds.rows))
        }
    }

    /// The session ended under a statement, and not because we wanted that.
    pub(crate) fn died(&self, statement: &Statement, progress: Progress, why: &Loss) {
        let sent = matches!(progress, Progress::Sent | Progress::Streaming);
        if sent && matches!(why, Loss::Connection(_)) {
            self.suspects.died(statement, self.opened);
        }
    }

    /// Whether it is open and nothing is: no transaction, no statement, nothing to drain.
    pub(crate) fn is_clean(&self) -> bool {
        let mut inner = self.inner();
        let idle = inner.waiting.is_empty()
            && inner.batch.is_none()
            && inner.streams.is_empty()
            && inner.drain_until.is_none()
            && !inner.transaction.is_open();
        idle && inner.link().is_some_and(|link| !link.session().is_lost())
    }

    /// Drops the socket at once; what is due fails as lost.
    fn close(slf: &Bound<'_, Self>) {
        let connection = slf.get();
        if connection.affinity.is_foreign() {
            connection.inner().link = Place::Gone;
            return;
        }
        blocking::cut(connection);
        ready::close(slf);
        connection.interruption.close();
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
        let statement = Statement::of(slf.py(), statement::text(sql)?)?;
        ready::submit(slf, *projection, statement, args, timeout, None, None)
    }

    fn submit_many<'py>(
        slf: &Bound<'py, Self>,
        projection: &Projection,
        sql: &Bound<'py, PyString>,
        sets: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let statement = Statement::of(slf.py(), statement::text(sql)?)?;
        many::submit(slf, *projection, statement, sets, timeout)
    }

    fn run_many(
        &self,
        projection: &Projection,
        sql: &Bound<'_, PyString>,
        sets: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        let statement = Statement::of(sql.py(), statement::text(sql)?)?;
        blocking::run_many(self, *projection, statement, sets, timeout)
    }

    /// Believes replies of at most so many bytes.
    fn limit_replies(&self, bytes: usize) {
        if let Some(link) = self.inner().link() {
            link.session_mut().set_reply_bytes_max(bytes);
        }
    }

    fn forget(slf: &Bound<'_, Self>, future: &Bound<'_, PyAny>) -> PyResult<bool> {
        deadline::forget(slf, future)
    }

    fn more<'py>(
        slf: &Bound<'py, Self>,
        stream: &Bound<'py, Stream>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        streaming::more(slf, stream)
    }

    fn wait_more(
        &self,
        py: Python<'_>,
        stream: &Bound<'_, Stream>,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        blocking::wait_more(self, py, stream, timeout)
    }

    fn leave(slf: &Bound<'_, Self>, stream: &Bound<'_, Stream>) -> PyResult<()> {
        streaming::leave(slf, stream)
    }

    fn leave_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let streams: Vec<_> = {
            let inner = slf.get().inner();
            let streams = inner.streams.iter();
            streams.map(|one| one.stream.clone_ref(py)).collect()
        };
        for stream in streams {
            streaming::leave(slf, stream.bind(py))?;
        }
        Ok(())
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

    fn interrupt(&self, py: Python<'_>) -> PyResult<()> {
        self.affinity.check_process(py)?;
        blocking::interrupt(self);
        Ok(())
    }

    fn forgive(&self) {
        self.interruption.forgive();
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
            if let Some(held) = &waiting.held {
                visit.call(held.lane())?;
            }
            if let Some(rows) = waiting.call.as_ref().and_then(Call::rows_list) {
                visit.call(rows)?;
            }
        }
        for streaming in &inner.streams {
            visit.call(&streaming.stream)?;
        }
        if let Some(batch) = &inner.batch {
            batch.batch.traverse(&visit)?;
            visit.call(&batch.future)?;
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
                inner.batch.take(),
                std::mem::take(&mut inner.streams),
                drained,
                inner.timer.take(),
            )
        };
        drop(taken);
    }
}
