//! Whose turn it is on a connection of an event loop, and the short way of a statement through it.
//!
//! Calls run one after the other in the order in which they were made; those inside a transaction
//! block take turns among themselves while the others wait for its end. A call that finds its turn
//! free and a session at hand is one call of [`Lane::submit`]; everything else (queueing, dialling,
//! trying again) is Python's, which keeps the turn meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyEllipsis, PyString, PyTuple};

use crate::answer::Answer;
use crate::connection::Connection;
use crate::projection::Projection;
use crate::ready;
use crate::statement::{self, Statement};

/// Texts whose statement is found by the address of the Python object.
const KNOWN: usize = 16;

/// Turns and the current session of one connection; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Lane {
    /// The context variable with the blocks around the running task.
    blocks: Py<PyAny>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    session: Option<Py<Connection>>,
    timeout: Option<f64>,
    /// When the last statement went the short way.
    since: Option<Instant>,
    /// Only the long way may be taken.
    shut: bool,
    block: Option<Py<PyAny>>,
    outside: Turn,
    inside: Turn,
    known: [Option<(Py<PyString>, Arc<Statement>)>; KNOWN],
}

#[derive(Default)]
struct Turn {
    taken: bool,
    waiting: VecDeque<Py<PyAny>>,
}

impl Inner {
    const fn turn(&mut self, inside: bool) -> &mut Turn {
        if inside {
            &mut self.inside
        } else {
            &mut self.outside
        }
    }
}

/// A turn that a statement holds until it has succeeded.
pub(crate) struct Held {
    lane: Py<Lane>,
    inside: bool,
}

impl Held {
    /// Passes it on.
    pub(crate) fn give(self, py: Python<'_>) {
        self.lane.get().pass_on(py, self.inside);
    }

    /// For the collector of cycles.
    pub(crate) const fn lane(&self) -> &Py<Lane> {
        &self.lane
    }
}

impl Lane {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the turn to the next who still waits.
    fn pass_on(&self, py: Python<'_>, inside: bool) {
        loop {
            let next = {
                let mut inner = self.inner();
                let turn = inner.turn(inside);
                let next = turn.waiting.pop_front();
                if next.is_none() {
                    turn.taken = false;
                }
                next
            };
            let Some(place) = next else { return };
            let place = place.bind(py);
            let done = place.call_method0(intern!(py, "done"));
            let waits = done.and_then(|done| Ok(!done.is_truthy()?));
            if matches!(waits, Ok(true))
                && place
                    .call_method1(intern!(py, "set_result"), (py.None(),))
                    .is_ok()
            {
                return;
            }
        }
    }

    fn within(&self, py: Python<'_>, block: &Py<PyAny>) -> PyResult<bool> {
        let around = self.blocks.bind(py).call_method0(intern!(py, "get"))?;
        Ok(around.cast::<PyTuple>()?.iter().any(|one| one.is(block)))
    }

    /// The statement of a text that was seen before, by the object's address, else by its bytes.
    fn statement(&self, sql: &Bound<'_, PyString>) -> PyResult<Arc<Statement>> {
        let at = (sql.as_ptr().addr() >> 5) % KNOWN;
        if let Some((text, statement)) = &self.inner().known[at]
            && text.is(sql)
        {
            return Ok(Arc::clone(statement));
        }
        let statement = Statement::of(sql.py(), statement::text(sql)?)?;
        if statement.is_short() {
            let entry = (sql.clone().unbind(), Arc::clone(&statement));
            let old = self.inner().known[at].replace(entry);
            drop(old);
        }
        Ok(statement)
    }
}

#[pymethods]
impl Lane {
    #[new]
    fn new(blocks: Py<PyAny>, timeout: Option<f64>) -> Self {
        let inner = Inner {
            timeout,
            ..Inner::default()
        };
        Self {
            blocks,
            inner: Mutex::new(inner),
        }
    }

    /// Goes on with this session.
    #[pyo3(name = "use")]
    fn adopt(&self, session: Option<Py<Connection>>) {
        let old = std::mem::replace(&mut self.inner().session, session);
        drop(old);
    }

    /// Whether only the long way may be taken: the connection is closed, or its transaction broken.
    fn shut(&self, shut: bool) {
        self.inner().shut = shut;
    }

    /// Enters or leaves a transaction block.
    fn set_block(&self, block: Option<Py<PyAny>>) {
        let old = std::mem::replace(&mut self.inner().block, block);
        drop(old);
    }

    /// Whether the running task is in the block.
    fn is_inside(&self, py: Python<'_>) -> PyResult<bool> {
        let block = self.inner().block.as_ref().map(|block| block.clone_ref(py));
        block.map_or(Ok(false), |block| self.within(py, &block))
    }

    /// Takes a turn if it is free.
    fn take(&self, inside: bool) -> bool {
        let mut inner = self.inner();
        !std::mem::replace(&mut inner.turn(inside).taken, true)
    }

    /// Queues up; the future gets None when the turn is its owner's.
    fn queue(&self, inside: bool, place: Py<PyAny>) {
        self.inner().turn(inside).waiting.push_back(place);
    }

    /// Seconds since a statement went the short way.
    fn age(&self) -> f64 {
        let since = self.inner().since;
        since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }

    /// Whether the next user meets nothing that is open or due.
    fn is_clean(&self, py: Python<'_>) -> bool {
        let inner = self.inner();
        let session = inner.session.as_ref().filter(|_| !inner.shut);
        let session = session.map(|session| session.clone_ref(py));
        drop(inner);
        session.is_some_and(|session| session.get().is_clean())
    }

    /// Passes a turn on.
    fn give(&self, py: Python<'_>, inside: bool) {
        self.pass_on(py, inside);
    }

    /// Sends a statement by the short way; None where there is none, and nothing was done.
    #[pyo3(signature = (projection, sql, args, timeout, answer = None))]
    fn submit<'py>(
        slf: &Bound<'py, Self>,
        projection: &Projection,
        sql: &Bound<'py, PyString>,
        args: &Bound<'py, PyTuple>,
        timeout: &Bound<'py, PyAny>,
        answer: Option<Bound<'py, Answer>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, lane) = (slf.py(), slf.get());
        let (session, block, default) = {
            let inner = lane.inner();
            let Some(session) = inner.session.as_ref().filter(|_| !inner.shut) else {
                return Ok(None);
            };
            let block = inner.block.as_ref().map(|block| block.clone_ref(py));
            (session.clone_ref(py), block, inner.timeout)
        };
        let inside = match &block {
            Some(block) => lane.within(py, block)?,
            None => false,
        };
        let statement = lane.statement(sql)?;
        let timeout = if timeout.is(PyEllipsis::get(py)) {
            default
        } else {
            timeout.extract::<Option<f64>>()?
        };
        if !lane.take(inside) {
            return Ok(None);
        }
        let held = Held {
            lane: slf.clone().unbind(),
            inside,
        };
        lane.inner().since = Some(Instant::now());
        let sent = ready::submit(
            session.bind(py),
            *projection,
            statement,
            args,
            timeout,
            Some(held),
            answer,
        );
        if !matches!(sent, Ok(Some(_))) {
            lane.pass_on(py, inside);
        }
        sent
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(inner) = self.inner.try_lock() else {
            return Ok(());
        };
        if let Some(session) = &inner.session {
            visit.call(session)?;
        }
        if let Some(block) = &inner.block {
            visit.call(block)?;
        }
        for place in inner.outside.waiting.iter().chain(&inner.inside.waiting) {
            visit.call(place)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let taken = std::mem::take(&mut *self.inner());
        drop(taken);
    }
}
