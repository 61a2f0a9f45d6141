//! Finding the leader and opening the database: blocking, or in a thread without Python whose end
//! a byte on a socket pair announces.

use std::io::Write as _;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use dqlite_client::fd::{self, Link};
use pyo3::prelude::*;

use crate::affinity::Affinity;
use crate::blocking::{duration, signalled};
use crate::config::Config;
use crate::connection::Connection;
use crate::errors;

/// Finds the leader and opens the database; Ctrl-C works, and `given_up` is asked now and then.
#[pyfunction]
#[pyo3(name = "dial", signature = (config, timeout, given_up=None))]
pub(crate) fn dial_blocking(
    py: Python<'_>,
    config: &Config,
    timeout: f64,
    given_up: Option<&Bound<'_, PyAny>>,
) -> PyResult<Connection> {
    let deadline = Instant::now() + duration(timeout);
    let given_up = given_up.map(|asked| asked.clone().unbind());
    let mut raised = None;
    let dialled = py.detach(|| {
        let mut interrupt = || {
            raised = signalled().or_else(|| given_up.as_ref().and_then(interrupted));
            raised.is_some()
        };
        fd::dial(&config.client, deadline, &mut interrupt)
    });
    if let Some(error) = raised {
        return Err(error);
    }
    dialled
        .map(|link| Connection::over(link, config))
        .map_err(|error| errors::client(py, &error))
}

/// The error of a dial that its caller no longer wants.
fn interrupted(given_up: &Py<PyAny>) -> Option<PyErr> {
    Python::attach(|py| {
        let wanted = given_up.call0(py).and_then(|answer| answer.is_truthy(py));
        match wanted {
            Ok(false) => None,
            Ok(true) => Some(errors::interrupted(py, None)),
            Err(error) => Some(error),
        }
    })
}

/// A dial in a thread of its own.
#[pyclass(frozen, module = "dqlite._native")]
pub(crate) struct Dial {
    affinity: Affinity,
    config: Config,
    shared: Arc<Shared>,
    announced: UnixStream,
}

struct Shared {
    given_up: AtomicBool,
    result: Mutex<Option<dqlite_client::Result<Link>>>,
}

#[pymethods]
impl Dial {
    #[new]
    fn new(py: Python<'_>, config: &Config, timeout: f64) -> PyResult<Self> {
        let deadline = Instant::now() + duration(timeout);
        let (announced, announce) = UnixStream::pair()?;
        let shared = Arc::new(Shared {
            given_up: AtomicBool::new(false),
            result: Mutex::default(),
        });
        let (client, theirs) = (config.client.clone(), Arc::clone(&shared));
        let work = move || {
            let mut interrupt = || theirs.given_up.load(Ordering::Acquire);
            let result = fd::dial(&client, deadline, &mut interrupt);
            *theirs.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            // Nobody listens any more if this fails.
            let _ = (&announce).write_all(&[1]);
        };
        thread::Builder::new()
            .name("dqlite-dial".to_owned())
            .spawn(work)
            .map_err(|error| errors::interface(py, format!("start a thread to dial: {error}")))?;
        Ok(Self {
            affinity: Affinity::new("Dial"),
            config: config.clone(),
            shared,
            announced,
        })
    }

    /// Readable when the result is there.
    fn fileno(&self) -> RawFd {
        self.announced.as_raw_fd()
    }

    /// The connection, or the exception that says why there is none.
    fn result(&self, py: Python<'_>) -> PyResult<Connection> {
        self.affinity.check_process(py)?;
        let result = self
            .shared
            .result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match result {
            Some(Ok(link)) => Ok(Connection::over(link, &self.config)),
            Some(Err(error)) => Err(errors::client(py, &error)),
            None => Err(errors::interface(
                py,
                "this dial is not over, or its result was taken",
            )),
        }
    }

    /// Gives up; the thread ends soon.
    fn cancel(&self) {
        self.shared.given_up.store(true, Ordering::Release);
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.cancel();
    }
}
