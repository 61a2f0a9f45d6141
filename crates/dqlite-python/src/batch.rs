//! One statement with many sets of parameters: prepared once, its executions pipelined in a bounded
//! window, answers counted as they come. Without I/O; `many` and `blocking` drive it.
//!
//! An error does not stop what is queued behind it, so nothing more is sent after the first one,
//! all answers that are due are read, and only then is it raised: the caller rolls back.

use std::collections::VecDeque;
use std::sync::Arc;

use dqlite_proto::outcome::After;
use dqlite_proto::sql::StatementKind;
use dqlite_proto::{
    DecodeError, Failure, Params, Progress, Request, Response, RowsFrame, Session, Ticket,
    Violation,
};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList};

use crate::arrow::Kept;
use crate::call::Call;
use crate::connection::Connection;
use crate::encode;
use crate::errors::{self, Loss};
use crate::projection::{Projection, Result, Types};
use crate::record::Known;
use crate::statement::Statement;
use crate::transaction::Transaction;

/// Executions under way at most. New ones are sent when half of them are answered, so that several
/// share a packet.
const WINDOW: usize = 512;

/// The executions of one `executemany`.
pub(crate) struct Batch {
    statement: Arc<Statement>,
    projection: Projection,
    in_transaction: bool,
    sets: Py<PyIterator>,
    prepare: Option<Ticket>,
    id: Option<u32>,
    due: VecDeque<(Ticket, usize)>,
    /// Encoded, and too much for the window.
    next: Option<Params>,
    index: usize,
    exhausted: bool,
    changed: i64,
    rows: Option<Call>,
    error: Option<PyErr>,
    window: usize,
}

/// What a driver does next.
pub(crate) enum Step {
    /// Wait for answers.
    Wait,
    /// It is over.
    Done,
}

impl Batch {
    /// Checks the statement; nothing is queued.
    pub(crate) fn new(
        statement: Arc<Statement>,
        projection: Projection,
        sets: &Bound<'_, PyAny>,
        in_transaction: bool,
    ) -> PyResult<Self> {
        let py = sets.py();
        let counts = statement.kind().is_some_and(StatementKind::counts_rows);
        if !counts {
            let text = "executemany is for INSERT, REPLACE, UPDATE and DELETE";
            return Err(errors::programming(py, text));
        }
        let window = if statement.rolls_back() { 1 } else { WINDOW };
        Ok(Self {
            sets: sets.try_iter()?.unbind(),
            statement,
            projection,
            in_transaction,
            prepare: None,
            id: None,
            due: VecDeque::new(),
            next: None,
            index: 0,
            exhausted: false,
            changed: 0,
            rows: None,
            error: None,
            window,
        })
    }

    /// Queues PREPARE.
    pub(crate) fn start(&mut self, session: &mut Session) -> std::result::Result<(), Violation> {
        let sql = self.statement.sql();
        self.prepare = Some(session.queue(&Request::Prepare { sql })?);
        Ok(())
    }

    /// Whether there is room for more executions, and somebody to ask for them.
    pub(crate) fn is_hungry(&self) -> bool {
        let done = self.exhausted && self.next.is_none();
        self.id.is_some()
            && self.error.is_none()
            && !done
            && (self.due.len() <= self.window / 2 || self.next.is_none() && self.due.is_empty())
    }

    /// Takes the next set of parameters from Python; false if there is none to be sent.
    pub(crate) fn pull(&mut self, py: Python<'_>) -> bool {
        if self.next.is_some() {
            return true;
        }
        if self.exhausted || self.error.is_some() {
            return false;
        }
        let set = self.sets.bind(py).clone().next();
        let encoded = set.map(|set| {
            set.and_then(|set| encode::set(&self.statement, &set, self.projection.is_strict()))
        });
        match encoded {
            Some(Ok(params)) => {
                self.next = Some(params);
                return true;
            }
            Some(Err(error)) => self.fail(py, error, self.index),
            None => self.exhausted = true,
        }
        false
    }

    /// Queues what was pulled; false if the window is full.
    pub(crate) fn queue(&mut self, py: Python<'_>, session: &mut Session) -> bool {
        let (Some(params), Some(statement)) = (&self.next, self.id) else {
            return false;
        };
        if self.due.len() >= self.window {
            return false;
        }
        let params = params.as_ref();
        let request = if self.statement.returns_rows() {
            Request::Query { statement, params }
        } else {
            Request::Exec { statement, params }
        };
        match session.queue(&request) {
            Ok(ticket) => {
                self.due.push_back((ticket, self.index));
                self.index += 1;
                self.next = None;
                true
            }
            Err(Violation::WindowFull) => false,
            Err(violation) => {
                self.next = None;
                self.fail(py, errors::violation(py, &violation), self.index);
                false
            }
        }
    }

    /// What to do when everything that came was handed in.
    pub(crate) fn step(&self) -> Step {
        let nothing_more = self.error.is_some() || self.exhausted && self.next.is_none();
        if self.prepare.is_none() && self.due.is_empty() && nothing_more {
            Step::Done
        } else {
            Step::Wait
        }
    }

    /// Whether this answers one of its requests.
    pub(crate) fn expects(&self, ticket: Ticket) -> bool {
        self.prepare == Some(ticket) || self.due.front().is_some_and(|(due, _)| *due == ticket)
    }

    /// The whole answer to a request.
    pub(crate) fn reply(&mut self, ticket: Ticket, response: &Response) {
        if self.prepare == Some(ticket) {
            self.prepare = None;
            if let Response::Stmt { id, .. } = *response {
                self.id = Some(id);
            }
            return;
        }
        self.due.pop_front();
        if let Response::Result {
            last_insert_id,
            rows_affected,
        } = *response
        {
            self.changed += self.statement.numbers(rows_affected, last_insert_id).0;
        }
    }

    /// Rows of a RETURNING.
    pub(crate) fn rows(
        &mut self,
        py: Python<'_>,
        frame: &RowsFrame,
        done: bool,
        known: &mut Option<Known>,
    ) -> std::result::Result<(), DecodeError> {
        let call = self.rows.get_or_insert_with(|| {
            Call::new(
                Arc::clone(&self.statement),
                self.projection,
                self.in_transaction,
            )
        });
        call.rows(py, frame, known)?;
        if done {
            self.due.pop_front();
        }
        Ok(())
    }

    /// The server refused one; says what is left of the session.
    pub(crate) fn failed(
        &mut self,
        py: Python<'_>,
        ticket: Ticket,
        failure: &Failure,
        transaction: &mut Transaction,
        address: &str,
    ) -> After {
        let index = if self.prepare == Some(ticket) {
            self.prepare = None;
            None
        } else {
            self.due.pop_front().map(|(_, index)| index)
        };
        let call = self.call();
        let verdict = call.judge(failure);
        transaction.failed(&self.statement, verdict.after);
        let error = call.failure(py, failure, verdict, address);
        self.fail(py, error, index.unwrap_or_default());
        verdict.after
    }

    /// No more answers will come.
    pub(crate) fn lost(&mut self, py: Python<'_>, why: &Loss, home: &Connection) -> PyErr {
        let index = self.due.front().map_or(self.index, |(_, index)| *index);
        let progress = if self.due.is_empty() {
            Progress::Unsent
        } else {
            Progress::Sent
        };
        home.died(&self.statement, progress, why);
        let error = self.call().loss(py, progress, why, &home.address);
        self.fail(py, error, index);
        self.take_error(py)
    }

    /// Requests whose answers nobody waits for any more.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        let due = self.due.iter().rev().map(|(ticket, _)| *ticket);
        due.chain(self.prepare).collect()
    }

    /// Lets the server forget the statement, behind whatever is due.
    pub(crate) fn finalize(&mut self, session: &mut Session) {
        if let Some(statement) = self.id.take()
            && let Ok(ticket) = session.queue(&Request::Finalize { statement })
        {
            session.abandon(ticket);
        }
    }

    /// The number of rows changed, or the rows that were returned; or the first error.
    pub(crate) fn finish(mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.error.is_some() {
            return Err(self.take_error(py));
        }
        if self.statement.returns_rows() {
            let call = self.rows.take().unwrap_or_else(|| self.call());
            return call.finish_rows(py);
        }
        if !self.projection.take.is_described() {
            return Ok(self.changed.into_pyobject(py)?.into_any().unbind());
        }
        let result = Result {
            columns: None,
            tags: Vec::new(),
            rows: PyList::empty(py).unbind(),
            rowcount: self.changed,
            lastrowid: None,
            kept: Kept::new(Types::Auto),
        };
        Ok(Py::new(py, result)?.into_any())
    }

    /// Visits what the collector of cycles must see.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.call(&self.sets)?;
        match self.rows.as_ref().and_then(Call::rows_list) {
            Some(rows) => visit.call(rows),
            None => Ok(()),
        }
    }

    fn call(&self) -> Call {
        Call::new(
            Arc::clone(&self.statement),
            self.projection,
            self.in_transaction,
        )
    }

    /// The first error counts.
    fn fail(&mut self, py: Python<'_>, error: PyErr, index: usize) {
        if self.error.is_none() {
            // Errors of ours have the attribute; others may refuse it.
            let _ = error.value(py).setattr(intern!(py, "index"), index);
            self.error = Some(error);
        }
    }

    fn take_error(&mut self, py: Python<'_>) -> PyErr {
        let error = self.error.take();
        error.unwrap_or_else(|| errors::interface(py, "there is no error to tell"))
    }
}
