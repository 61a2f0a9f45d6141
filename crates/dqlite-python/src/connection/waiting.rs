//! A statement whose answer the loop waits for.

use std::time::Instant;

use dqlite_proto::Ticket;
use pyo3::intern;
use pyo3::prelude::*;

use crate::answer::Answer;
use crate::call::Call;
use crate::lane::Held;

/// A statement whose answer the loop waits for.
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    pub(crate) call: Option<Call>,
    pub(crate) future: Py<PyAny>,
    pub(crate) sent: Instant,
    pub(crate) deadline: Option<Instant>,
    pub(crate) held: Option<Held>,
}

impl Waiting {
    /// The statement has succeeded: resolves the future, passes the turn on. What the values or
    /// the memory make of that does not change it.
    pub(crate) fn answer(self, py: Python<'_>, answer: PyResult<Py<PyAny>>) {
        if answer.is_err() {
            // Python goes on with the error as if the statement had failed, and has the turn.
            let Err(error) = answer else { return };
            return self.refuse(py, error);
        }
        // The task may go on at once, and then finds its turn free.
        if let Some(held) = self.held {
            held.give(py);
        }
        resolve(py, &self.future, answer);
    }

    /// Fails the future; the turn stays with whoever hears of that, else it is passed on.
    pub(crate) fn refuse(self, py: Python<'_>, error: PyErr) {
        let heard = resolve(py, &self.future, Err(error));
        if let Some(held) = self.held.filter(|_| !heard) {
            held.give(py);
        }
    }
}

/// Resolves a future; false if somebody did, or gave it up. A closed loop takes no results, and
/// nobody waits there.
pub(crate) fn resolve(py: Python<'_>, future: &Py<PyAny>, answer: PyResult<Py<PyAny>>) -> bool {
    let future = future.bind(py);
    if let Ok(own) = future.cast::<Answer>() {
        return Answer::settle(own, answer);
    }
    let told = match answer {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,)),
        Err(error) => future.call_method1(intern!(py, "set_exception"), (error.into_value(py),)),
    };
    told.is_ok()
}
