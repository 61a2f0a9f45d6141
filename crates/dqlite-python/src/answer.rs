//! What a statement is awaited by: a future whose task goes on within the wake-up that brought the
//! answer, instead of in the loop's next round.
//!
//! It is what `asyncio` calls future-like: tasks know it by `_asyncio_future_blocking`. It resumes
//! a task at once only where no task runs, which is in callbacks of the loop; elsewhere, and
//! whenever that fails, it asks the loop. Tasks of trio wait by means of their own.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration};
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::errors;

thread_local! {
    /// Whether a callback of the loop runs in this thread, and nothing of the user's within it.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs a callback of the loop, in which tasks may be resumed.
pub(crate) fn in_callback<T>(work: impl FnOnce() -> T) -> T {
    let before = IN_CALLBACK.replace(true);
    let done = work();
    IN_CALLBACK.set(before);
    done
}

/// The future of one statement; see the stub for its contract.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Answer {
    event_loop: Py<PyAny>,
    /// Its task is trio's, which the loop parks.
    trio: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    blocking: bool,
    callbacks: Vec<(Py<PyAny>, Option<Py<PyAny>>)>,
}

enum State {
    Pending,
    Done(Py<PyAny>),
    /// Its traceback leads to frames that hold this answer: the collector has to see it.
    Failed(Py<PyBaseException>),
    Cancelled,
}

impl Answer {
    /// Nothing yet.
    pub(crate) fn new(event_loop: Py<PyAny>, trio: bool) -> Self {
        Self {
            event_loop,
            trio,
            inner: Mutex::new(Inner {
                state: State::Pending,
                blocking: false,
                callbacks: Vec::new(),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles it and lets its task go on; false if it was settled or cancelled before.
    pub(crate) fn settle(slf: &Bound<'_, Self>, answer: PyResult<Py<PyAny>>) -> bool {
        let callbacks = {
            let mut inner = slf.get().inner();
            if !matches!(inner.state, State::Pending) {
                return false;
            }
            inner.state = match answer {
                Ok(value) => State::Done(value),
                Err(error) => State::Failed(error.into_value(slf.py())),
            };
            std::mem::take(&mut inner.callbacks)
        };
        for (callback, context) in callbacks {
            if !IN_CALLBACK.get() || !Self::resume(slf, &callback, context.as_ref()) {
                Self::schedule(slf, &callback, context.as_ref());
            }
        }
        true
    }

    /// Runs a callback now; false if the task could not be entered.
    fn resume(slf: &Bound<'_, Self>, callback: &Py<PyAny>, context: Option<&Py<PyAny>>) -> bool {
        let py = slf.py();
        IN_CALLBACK.set(false);
        let ran = match context {
            Some(context) => context.call_method1(py, intern!(py, "run"), (callback, slf)),
            None => callback.call1(py, (slf,)),
        };
        IN_CALLBACK.set(true);
        match ran {
            Ok(_) => true,
            // A task that runs lets only SystemExit and KeyboardInterrupt out.
            Err(error) if error.is_instance_of::<PyRuntimeError>(py) => false,
            Err(error) => {
                let throw = wrap_pyfunction!(throw, py).and_then(|throw| {
                    let event_loop = slf.get().event_loop.bind(py);
                    event_loop.call_method1(intern!(py, "call_soon"), (throw, error.into_value(py)))
                });
                if let Err(error) = throw {
                    error.write_unraisable(py, None);
                }
                true
            }
        }
    }

    /// Asks the loop to run a callback. A closed loop refuses, and nobody waits there.
    fn schedule(slf: &Bound<'_, Self>, callback: &Py<PyAny>, context: Option<&Py<PyAny>>) {
        let py = slf.py();
        let keywords = PyDict::new(py);
        if let Some(context) = context {
            // Setting a text key of a new dict fails for want of memory only.
            let _ = keywords.set_item(intern!(py, "context"), context);
        }
        let event_loop = slf.get().event_loop.bind(py);
        let _ = event_loop.call_method(intern!(py, "call_soon"), (callback, slf), Some(&keywords));
    }

    fn outcome(&self, py: Python<'_>) -> Option<PyResult<Py<PyAny>>> {
        match &self.inner().state {
            State::Pending => None,
            State::Done(value) => Some(Ok(value.clone_ref(py))),
            State::Failed(error) => {
                let error = error.clone_ref(py).into_bound(py);
                Some(Err(PyErr::from_value(error.into_any())))
            }
            State::Cancelled => Some(Err(cancelled(py))),
        }
    }

    fn told(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.outcome(py)
            .unwrap_or_else(|| Err(errors::interface(py, "the answer has not come yet")))
    }
}

#[pymethods]
impl Answer {
    /// One that a statement is sent for later.
    #[new]
    fn made(event_loop: Py<PyAny>, trio: bool) -> Self {
        Self::new(event_loop, trio)
    }

    fn set_result(slf: &Bound<'_, Self>, value: Py<PyAny>) -> bool {
        Self::settle(slf, Ok(value))
    }

    fn set_exception(slf: &Bound<'_, Self>, error: Bound<'_, PyAny>) -> bool {
        Self::settle(slf, Err(PyErr::from_value(error)))
    }

    fn __await__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        if !slf.get().trio {
            return Ok(slf.into_any());
        }
        let py = slf.py();
        let event_loop = slf.get().event_loop.bind(py).clone();
        event_loop
            .call_method1(intern!(py, "wait_for"), (slf,))?
            .call_method0(intern!(py, "__await__"))
    }

    const fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        let py = slf.py();
        match slf.get().outcome(py) {
            None => {
                slf.get().inner().blocking = true;
                Ok(slf.clone().unbind())
            }
            Some(Ok(value)) => Err(PyStopIteration::new_err((value,))),
            Some(Err(error)) => Err(error),
        }
    }

    #[getter]
    fn _asyncio_future_blocking(&self) -> bool {
        self.inner().blocking
    }

    #[setter]
    #[pyo3(name = "_asyncio_future_blocking")]
    fn set_blocking(&self, blocking: bool) {
        self.inner().blocking = blocking;
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    #[pyo3(signature = (callback, *, context = None))]
    fn add_done_callback(slf: &Bound<'_, Self>, callback: Py<PyAny>, context: Option<Py<PyAny>>) {
        let mut inner = slf.get().inner();
        if matches!(inner.state, State::Pending) {
            inner.callbacks.push((callback, context));
            return;
        }
        drop(inner);
        Self::schedule(slf, &callback, context.as_ref());
    }

    fn remove_done_callback(&self, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        let before = std::mem::take(&mut self.inner().callbacks);
        let (mut kept, mut removed) = (Vec::new(), 0);
        for (own, context) in before {
            if own.bind(callback.py()).eq(callback)? {
                removed += 1;
            } else {
                kept.push((own, context));
            }
        }
        self.inner().callbacks = kept;
        Ok(removed)
    }

    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> bool {
        drop(msg);
        let callbacks = {
            let mut inner = slf.get().inner();
            if !matches!(inner.state, State::Pending) {
                return false;
            }
            inner.state = State::Cancelled;
            std::mem::take(&mut inner.callbacks)
        };
        for (callback, context) in callbacks {
            Self::schedule(slf, &callback, context.as_ref());
        }
        true
    }

    fn done(&self) -> bool {
        !matches!(self.inner().state, State::Pending)
    }

    fn cancelled(&self) -> bool {
        matches!(self.inner().state, State::Cancelled)
    }

    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.told(py)
    }

    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if self.cancelled() {
            return Err(cancelled(py));
        }
        let error = self.told(py).err();
        Ok(error.map(|error| error.into_value(py).into_any()))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        let Ok(inner) = self.inner.try_lock() else {
            return Ok(());
        };
        for (callback, context) in &inner.callbacks {
            visit.call(callback)?;
            context.as_ref().map_or(Ok(()), |one| visit.call(one))?;
        }
        match &inner.state {
            State::Done(value) => visit.call(value),
            State::Failed(error) => visit.call(error),
            State::Pending | State::Cancelled => Ok(()),
        }
    }

    fn __clear__(&self) {
        let taken = {
            let mut inner = self.inner();
            let state = std::mem::replace(&mut inner.state, State::Cancelled);
            (std::mem::take(&mut inner.callbacks), state)
        };
        drop(taken);
    }
}

/// Raises what a task let out, where the loop sees it.
#[pyfunction]
fn throw(error: &Bound<'_, PyAny>) -> PyResult<()> {
    Err(PyErr::from_value(error.clone()))
}

fn cancelled(py: Python<'_>) -> PyErr {
    static CANCELLED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CANCELLED.get_or_try_init(py, || {
        py.import("asyncio")?
            .getattr("CancelledError")
            .map(Bound::unbind)
    });
    let made = class.and_then(|class| class.bind(py).call0());
    made.map_or_else(|error| error, PyErr::from_value)
}
