//! A result that is read while it comes: rows wait here until somebody takes them.
//!
//! A call whose answer does not fit one message gives a [`Stream`]. Its connection reads on as long
//! as few rows wait, and for as long as something else is due behind them; so the server waits for
//! a slow reader, and a second statement finds the first one's rows set aside.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dqlite_proto::{DecodeError, RowsFrame, Ticket};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::arrow::{ArrowTable, Gatherer, Wish};
use crate::call::Call;
use crate::connection::resolve;
use crate::decode::Collector;
use crate::errors;
use crate::record::Known;

/// Rows that wait before the connection stops reading.
const WAITING_ROWS_MAX: usize = 1000;

/// An unfinished result; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Stream {
    inner: Mutex<Inner>,
}

struct Inner {
    collector: Option<Collector>,
    /// Takes the rows from when Arrow is asked for.
    gatherer: Option<Gatherer>,
    columns: Vec<Py<PyString>>,
    tags: Vec<Vec<u8>>,
    error: Option<PyErr>,
    done: bool,
    waiter: Option<Py<PyAny>>,
    bytes: usize,
    frames: usize,
    rows_max: usize,
    aside_max: usize,
}

/// A stream whose connection still reads for it.
pub(crate) struct Streaming {
    pub(crate) ticket: Ticket,
    pub(crate) call: Call,
    pub(crate) stream: Py<Stream>,
}

impl Stream {
    /// Begins with the rows of the first message.
    pub(crate) fn of(py: Python<'_>, call: &mut Call, aside_max: usize) -> PyResult<Py<Self>> {
        let collector = call.take_collector();
        let (columns, tags) = collector
            .as_ref()
            .map_or_else(Default::default, |collector| collector.described(py));
        let inner = Inner {
            collector,
            gatherer: None,
            columns,
            tags,
            error: None,
            done: false,
            waiter: None,
            bytes: 0,
            frames: 1,
            rows_max: WAITING_ROWS_MAX,
            aside_max,
        };
        Py::new(
            py,
            Self {
                inner: Mutex::new(inner),
            },
        )
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the rows of a message.
    pub(crate) fn feed(
        &self,
        py: Python<'_>,
        frame: &RowsFrame,
        done: bool,
        known: &mut Option<Known>,
    ) -> Result<(), DecodeError> {
        let gathered = self.inner().gatherer.as_mut().map(|one| one.take(frame));
        let mut collector = self.inner().collector.take();
        let taken = gathered.unwrap_or_else(|| {
            let collector = collector.as_mut();
            collector.map_or(Ok(()), |collector| collector.take(py, frame, known))
        });
        let waiter = {
            let mut inner = self.inner();
            inner.collector = collector;
            inner.bytes += frame.row_bytes();
            inner.frames += 1;
            inner.done |= done;
            inner.waiter.take()
        };
        wake(py, waiter);
        taken
    }

    /// Drops the rows that wait and those to come.
    pub(crate) fn discard(&self) {
        let mut inner = self.inner();
        let dropped = (inner.collector.take(), inner.gatherer.take());
        drop(inner);
        drop(dropped);
    }

    /// Ends it with an error, which is told behind the rows that came before.
    pub(crate) fn fail(&self, py: Python<'_>, error: PyErr) {
        let waiter = {
            let mut inner = self.inner();
            inner.done = true;
            inner.error.get_or_insert(error);
            inner.waiter.take()
        };
        wake(py, waiter);
    }

    /// Whether so many rows wait that reading should stop.
    pub(crate) fn is_full(&self, py: Python<'_>) -> bool {
        if let Some(gatherer) = &self.inner().gatherer {
            return gatherer.is_ready();
        }
        let rows_max = self.inner().rows_max;
        self.waiting(py) >= rows_max
    }

    /// Whether more was set aside than there should be.
    pub(crate) fn is_overflowing(&self) -> bool {
        let inner = self.inner();
        inner.bytes > inner.aside_max
    }

    /// The error for that.
    pub(crate) fn overflow(&self, py: Python<'_>) -> PyErr {
        overflow(py, self.inner().aside_max)
    }

    /// How many rows have come.
    pub(crate) fn seen(&self) -> usize {
        let inner = self.inner();
        match &inner.gatherer {
            Some(gatherer) => gatherer.seen(),
            None => inner.collector.as_ref().map_or(0, Collector::seen),
        }
    }

    /// Whether there is something to take: rows, or the end.
    pub(crate) fn is_ready(&self, py: Python<'_>) -> bool {
        if let Some(gatherer) = &self.inner().gatherer
            && gatherer.is_ready()
        {
            return true;
        }
        self.waiting(py) > 0 || self.inner().done
    }

    /// Tells `future` when there is something to take.
    pub(crate) fn call_back(&self, future: Py<PyAny>) {
        let old = self.inner().waiter.replace(future);
        drop(old);
    }

    fn waiting(&self, py: Python<'_>) -> usize {
        let inner = self.inner();
        let collector = inner.collector.as_ref();
        collector.map_or(0, |collector| collector.rows_list().bind(py).len())
    }
}

#[pymethods]
impl Stream {
    #[getter]
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let inner = self.inner();
        let names: Vec<_> = inner.columns.iter().map(|n| n.clone_ref(py)).collect();
        drop(inner);
        PyList::new(py, names)
    }

    #[getter]
    fn tags(&self) -> Vec<Vec<u16>> {
        let inner = self.inner();
        let rows = inner.tags.iter();
        rows.map(|row| row.iter().map(|tag| u16::from(*tag)).collect())
            .collect()
    }

    #[getter]
    fn done(&self) -> bool {
        self.inner().done
    }

    /// How many messages have come.
    #[getter]
    fn frames(&self) -> usize {
        self.inner().frames
    }

    /// How many rows may wait before reading stops.
    fn prefetch(&self, rows: usize) {
        self.inner().rows_max = rows.max(1);
    }

    /// The rows that wait; raises the error that ended the result when there are none.
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyList>> {
        let fresh = PyList::empty(py).unbind();
        let (rows, failed) = {
            let mut inner = self.inner();
            inner.bytes = 0;
            let done = inner.done;
            match inner.collector.as_mut() {
                Some(collector) => {
                    let failed = if done { collector.take_failed() } else { None };
                    let count = collector.rows_list().bind(py).len();
                    (collector.swap_rows(fresh, count), failed)
                }
                None => (fresh, None),
            }
        };
        if !rows.bind(py).is_empty() {
            if let Some(failed) = failed {
                self.inner().error.get_or_insert(failed);
            }
            return Ok(rows);
        }
        let error = self.inner().error.take();
        match failed.or(error) {
            Some(error) => Err(error),
            None => Ok(rows),
        }
    }

    /// Gathers the last `left` of the rows given out, those that wait and all that come as Arrow.
    fn to_arrow(
        &self,
        py: Python<'_>,
        left: usize,
        batch_rows: usize,
        types: Vec<(String, String)>,
        whole: bool,
    ) -> PyResult<()> {
        let wish = Wish::of(py, batch_rows, types, whole)?;
        let waiting = self.waiting(py);
        let mut inner = self.inner();
        let names = inner.columns.iter().map(|name| name.extract(py));
        let names = names.collect::<PyResult<Vec<String>>>()?;
        if inner.gatherer.is_some() {
            drop(inner);
            return Err(errors::interface(
                py,
                "the rest of this result went to Arrow",
            ));
        }
        let Some(collector) = inner.collector.take() else {
            return Ok(());
        };
        drop(inner);
        // Errors are made by Python code, for which the lock must be free.
        let gatherer = Gatherer::of(py, names, wish, collector.kept(), left + waiting);
        let mut inner = self.inner();
        let unused = match gatherer {
            Ok(mut gatherer) => {
                gatherer.begin_at(collector.seen());
                inner.gatherer = Some(gatherer);
                Ok(collector)
            }
            Err(error) => {
                inner.collector = Some(collector);
                Err(error)
            }
        };
        drop(inner);
        unused.map(drop)
    }

    /// The Arrow batch that is ready, or the whole at the end; None if there is none.
    ///
    /// Raises what ended the result behind the batches that came before.
    fn take_arrow(&self, py: Python<'_>) -> PyResult<Option<ArrowTable>> {
        let mut inner = self.inner();
        inner.bytes = 0;
        let (done, lost) = (inner.done, inner.error.is_some());
        let Some(mut gatherer) = inner.gatherer.take() else {
            return Ok(None);
        };
        drop(inner);
        // Errors are made by Python code, for which the lock must be free.
        let next = if lost && !gatherer.is_ready() {
            Ok(None)
        } else {
            gatherer.next(py, done && !lost)
        };
        let mut inner = self.inner();
        inner.gatherer = Some(gatherer);
        let error = match &next {
            Ok(None) => inner.error.take(),
            _ => None,
        };
        drop(inner);
        error.map_or(next, Err)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(inner) = self.inner.try_lock() else {
            return Ok(());
        };
        if let Some(collector) = &inner.collector {
            visit.call(collector.rows_list())?;
        }
        inner.waiter.as_ref().map_or(Ok(()), |one| visit.call(one))
    }

    fn __clear__(&self) {
        let taken = {
            let mut inner = self.inner();
            (inner.collector.take(), inner.waiter.take())
        };
        drop(taken);
    }
}

/// What is raised when too much had to be set aside.
fn overflow(py: Python<'_>, bytes: usize) -> PyErr {
    let text = format!(
        "more than {} MiB of an unread result were in the way of another statement: \
         use a second connection",
        bytes >> 20
    );
    errors::Raise::new(py, "OperationalError", text).error()
}

fn wake(py: Python<'_>, waiter: Option<Py<PyAny>>) {
    if let Some(waiter) = waiter {
        resolve(py, &waiter, Ok(py.None()));
    }
}
