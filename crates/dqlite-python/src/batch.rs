//! One statement with many sets of parameters: prepared once, its executions pipelined in a bounded
//! window, answers counted as they come. Where there are many, rows of a plain INSERT go in
//! [`Lots`]. Without I/O; `many` and `blocking` drive it.
//!
//! An error does not stop what is queued behind it, so nothing more is sent after the first one,
//! all answers that are due are read, and only then is it raised: the caller rolls back.

use std::collections::VecDeque;
use std::sync::Arc;

use dqlite_proto::outcome::{After, FailureKind, Retry};
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
use crate::lots::{self, Guard, Lots, Retrial};
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
    /// Encoded and not sent yet, and the bytes of all their values.
    gathered: VecDeque<Params>,
    gathered_bytes: usize,
    lots: Option<Lots>,
    retrial: Option<Retrial>,
    /// How many sets were sent.
    index: usize,
    /// The server took some behind the one that failed.
    later: bool,
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
            gathered: VecDeque::new(),
            gathered_bytes: 0,
            lots: None,
            retrial: None,
            index: 0,
            later: false,
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
        // Outside a transaction the rows before a refused one would stay.
        if self.in_transaction {
            self.lots = Lots::of(&self.statement, session.class());
        }
        Ok(())
    }

    /// Whether there is room for more executions, and somebody to ask for them.
    pub(crate) fn is_hungry(&self) -> bool {
        let done = self.exhausted && self.gathered.is_empty();
        let free = self.lots.iter().all(|lots| lots.tickets().next().is_none());
        self.id.is_some()
            && self.error.is_none()
            && !done
            && free
            && self.due.len() <= self.window() / 2
    }

    /// Takes sets of parameters from Python until there is something to send; false if there is
    /// nothing.
    pub(crate) fn pull(&mut self, py: Python<'_>) -> bool {
        while self.error.is_none() && !self.exhausted && self.gathered.len() < self.goal() {
            let set = self.sets.bind(py).clone().next();
            let encoded = set.map(|set| {
                set.and_then(|set| encode::set(&self.statement, &set, self.projection.is_strict()))
            });
            match encoded {
                Some(Ok(params)) => {
                    self.gathered_bytes += params.values_size();
                    self.gathered.push_back(params);
                }
                Some(Err(error)) => self.fail(py, error, self.index + self.gathered.len()),
                None => self.exhausted = true,
            }
        }
        self.error.is_none() && !self.gathered.is_empty()
    }

    /// Queues what was pulled; false if no more can be sent for now.
    pub(crate) fn queue(&mut self, py: Python<'_>, session: &mut Session) -> bool {
        let queued = if self.is_lot() {
            self.queue_lot(session).map(|()| false)
        } else {
            self.queue_one(session)
        };
        match queued {
            Ok(more) => more,
            Err(Violation::WindowFull) => false,
            Err(violation) => {
                self.fail(py, errors::violation(py, &violation), self.index);
                false
            }
        }
    }

    /// What to do when everything that came was handed in.
    pub(crate) fn step(&self) -> Step {
        let nothing_more = self.error.is_some() || self.exhausted && self.gathered.is_empty();
        if nothing_more && self.tickets().next().is_none() {
            Step::Done
        } else {
            Step::Wait
        }
    }

    /// Whether this answers one of its requests.
    pub(crate) fn expects(&self, ticket: Ticket) -> bool {
        self.prepare == Some(ticket)
            || self.due.front().is_some_and(|(due, _)| *due == ticket)
            || self.others().any(|due| due == ticket)
    }

    /// The whole answer to a request.
    pub(crate) fn reply(&mut self, py: Python<'_>, ticket: Ticket, response: &Response) {
        if self.prepare == Some(ticket) {
            self.prepare = None;
            if let Response::Stmt { id, .. } = *response {
                self.id = Some(id);
            }
            return;
        }
        if let Some(lots) = &mut self.lots
            && lots.prepares(ticket)
        {
            if let Response::Stmt { id, .. } = *response {
                lots.keep(id);
            }
            return;
        }
        if self
            .retrial
            .as_mut()
            .is_some_and(|retrial| retrial.is_guarded(ticket))
        {
            return;
        }
        self.later |= self.error.is_some();
        let whole = self.lots.as_mut().is_some_and(|lots| lots.ends(ticket));
        if !whole {
            self.due.pop_front();
        }
        if let Response::Result {
            last_insert_id,
            rows_affected,
        } = *response
        {
            self.changed += self.statement.numbers(rows_affected, last_insert_id).0;
        }
        self.retried(py);
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
            self.later |= self.error.is_some();
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
        let call = self.call();
        let verdict = call.judge(failure);
        let goes_on = verdict.after == After::Ok;
        if goes_on && self.lots.as_mut().is_some_and(|lots| lots.prepares(ticket)) {
            // This server takes fewer values.
            self.lots = None;
            return verdict.after;
        }
        transaction.failed(&self.statement, verdict.after);
        let error = call.failure(py, failure, verdict, address);
        if let Some(lots) = &mut self.lots
            && lots.ends(ticket)
        {
            let first = self.index.saturating_sub(lots.rows());
            let is_its_own = verdict.retry == Retry::No && verdict.kind != FailureKind::Interrupted;
            if goes_on && is_its_own {
                self.try_again(error, first);
            } else {
                self.fail(py, error, first);
            }
            return verdict.after;
        }
        let guarded = self.retrial.take_if(|retrial| retrial.is_guarded(ticket));
        if let Some(Retrial { error, first, .. }) = guarded {
            self.fail(py, error, first);
            return verdict.after;
        }
        let index = if self.prepare.take_if(|due| *due == ticket).is_some() {
            None
        } else {
            self.due.pop_front().map(|(_, index)| index)
        };
        self.fail(py, error, index.unwrap_or_default());
        verdict.after
    }

    /// No more answers will come.
    pub(crate) fn lost(&mut self, py: Python<'_>, why: &Loss, home: &Connection) -> PyErr {
        let lot = self.lots.as_ref().filter(|lots| lots.is_due());
        let lot = lot.map(|lots| self.index.saturating_sub(lots.rows()));
        let first = lot.or_else(|| self.due.front().map(|(_, index)| *index));
        let index = first.unwrap_or(self.index);
        let progress = first.map_or(Progress::Unsent, |_| Progress::Sent);
        home.died(&self.statement, progress, why);
        let error = self.call().loss(py, progress, why, &home.address);
        self.fail(py, error, index);
        self.take_error(py)
    }

    /// Requests that are not answered, the newest first.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        let due = self.due.iter().rev().map(|(ticket, _)| *ticket);
        due.chain(self.others()).chain(self.prepare)
    }

    /// Lets the server forget the statements, behind whatever is due.
    pub(crate) fn finalize(&mut self, session: &mut Session) {
        let lots = self.lots.as_mut().and_then(Lots::take_id);
        for statement in self.id.take().into_iter().chain(lots) {
            if let Ok(ticket) = session.queue(&Request::Finalize { statement }) {
                session.abandon(ticket);
            }
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

    /// Those of them that are not executions of one set.
    fn others(&self) -> impl Iterator<Item = Ticket> + '_ {
        let guard = self.retrial.as_ref().and_then(Retrial::ticket);
        guard
            .into_iter()
            .chain(self.lots.iter().flat_map(Lots::tickets))
    }

    /// How many sets to have at hand before something is sent.
    fn goal(&self) -> usize {
        match &self.lots {
            Some(lots) if self.gathered_bytes < lots::BYTES_MAX => lots.rows(),
            _ => 1,
        }
    }

    fn is_lot(&self) -> bool {
        let fits = self.retrial.is_none() && self.gathered_bytes <= lots::BYTES_MAX;
        fits && self
            .lots
            .as_ref()
            .is_some_and(|lots| self.gathered.len() >= lots.rows())
    }

    fn window(&self) -> usize {
        if self.retrial.is_some() {
            1
        } else {
            self.window
        }
    }

    /// Queues a lot, behind which nothing is sent before it is answered.
    fn queue_lot(&mut self, session: &mut Session) -> std::result::Result<(), Violation> {
        if let Some(lots) = self.lots.as_mut().filter(|_| self.due.is_empty())
            && lots.queue(session, &mut self.gathered)?
        {
            self.index += lots.rows();
            self.gathered_bytes = self.gathered.iter().map(Params::values_size).sum();
        }
        Ok(())
    }

    /// Queues one set; false if the window is full.
    fn queue_one(&mut self, session: &mut Session) -> std::result::Result<bool, Violation> {
        let (Some(params), Some(statement)) = (self.gathered.front(), self.id) else {
            return Ok(false);
        };
        if self.due.len() >= self.window() {
            return Ok(false);
        }
        if let Some(retrial) = &mut self.retrial {
            retrial.guard(session)?;
        }
        let size = params.values_size();
        let params = params.as_ref();
        let request = if self.statement.returns_rows() {
            Request::Query { statement, params }
        } else {
            Request::Exec { statement, params }
        };
        let ticket = session.queue(&request)?;
        self.due.push_back((ticket, self.index));
        self.index += 1;
        self.gathered.pop_front();
        self.gathered_bytes = self.gathered_bytes.saturating_sub(size);
        Ok(true)
    }

    /// A lot was refused, and nothing of it stays: its sets are sent one by one.
    fn try_again(&mut self, error: PyErr, first: usize) {
        let sets = self.lots.as_mut().map(Lots::take_sets).unwrap_or_default();
        self.index = first;
        self.retrial = Some(Retrial {
            error,
            first,
            left: sets.len(),
            guard: Guard::Missing,
        });
        for set in sets.into_iter().rev() {
            self.gathered_bytes += set.values_size();
            self.gathered.push_front(set);
        }
    }

    /// One more of a lot's sets was taken. If all are, it was the lot that the server refused.
    fn retried(&mut self, py: Python<'_>) {
        if let Some(retrial) = &mut self.retrial {
            retrial.left = retrial.left.saturating_sub(1);
        }
        let over = self.retrial.take_if(|retrial| retrial.left == 0);
        if let Some(Retrial { error, first, .. }) = over {
            self.fail(py, error, first);
        }
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
        let error = error.unwrap_or_else(|| errors::interface(py, "there is no error to tell"));
        if self.later {
            let _ = error.value(py).setattr(intern!(py, "later_sets"), true);
        }
        error
    }
}
