//! One statement on its way: what was asked, what came back, how it ended.

use std::sync::Arc;

use dqlite_proto::outcome::{self, FailureKind, Retry, Verdict};
use dqlite_proto::{
    DecodeError, Failure, Params, Progress, Request, Response, RowsFrame, Session, Ticket,
};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arrow::Kept;
use crate::decode::{Collector, Rowcount};
use crate::errors::{self, Loss};
use crate::projection::{Projection, Result, Take, Types};
use crate::record::Known;
use crate::statement::Statement;

/// A statement that was sent, and what has come back of it.
pub(crate) struct Call {
    pub(crate) statement: Arc<Statement>,
    /// Whether a transaction was open when it was sent.
    pub(crate) in_transaction: bool,
    projection: Projection,
    collector: Option<Collector>,
    /// It was sent by the id of a prepared statement.
    by_id: bool,
}

impl Call {
    /// Queues the statement behind whatever else is due; nothing was queued on an error.
    pub(crate) fn queue(
        session: &mut Session,
        statement: &Statement,
        params: &Params,
        id: Option<u32>,
    ) -> std::result::Result<Ticket, dqlite_proto::Violation> {
        let (sql, params) = (statement.sql(), params.as_ref());
        session.queue(&match (statement.returns_rows(), id) {
            (true, None) => Request::QuerySql { sql, params },
            (false, None) => Request::ExecSql { sql, params },
            (true, Some(statement)) => Request::Query { statement, params },
            (false, Some(statement)) => Request::Exec { statement, params },
        })
    }

    pub(crate) fn new(
        statement: Arc<Statement>,
        projection: Projection,
        in_transaction: bool,
    ) -> Self {
        Self {
            statement,
            in_transaction,
            projection,
            collector: None,
            by_id: false,
        }
    }

    /// The same, sent by this id.
    pub(crate) const fn by(mut self, id: Option<u32>) -> Self {
        self.by_id = id.is_some();
        self
    }

    /// Takes the rows of a frame; the last one gives the answer.
    pub(crate) fn rows(
        &mut self,
        py: Python<'_>,
        frame: &RowsFrame,
        known: &mut Option<Known>,
    ) -> std::result::Result<(), DecodeError> {
        let projection = self.projection;
        self.collector
            .get_or_insert_with(|| Collector::new(py, projection))
            .take(py, frame, known)
    }

    /// Whether its rows may be given out before the last one is there. Those of a write never are:
    /// only the end of the answer says that it has happened.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.projection.take, Take::Stream) && !self.statement.is_returning()
    }

    /// How many rows have come.
    pub(crate) fn seen(&self) -> usize {
        self.collector.as_ref().map_or(0, Collector::seen)
    }

    /// The rows so far.
    pub(crate) fn take_collector(&mut self) -> Option<Collector> {
        self.collector.take()
    }

    /// The answer when all rows are there.
    pub(crate) fn finish_rows(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let rowcount = if self.statement.is_returning() {
            Rowcount::Rows
        } else {
            Rowcount::None
        };
        match self.collector {
            Some(collector) => collector.finish(py, rowcount),
            None => self.empty(py, 0, 0),
        }
    }

    /// The answer to a statement without rows.
    pub(crate) fn finish(self, py: Python<'_>, response: &Response) -> PyResult<Py<PyAny>> {
        match *response {
            Response::Result {
                last_insert_id,
                rows_affected,
            } => self.empty(py, rows_affected, last_insert_id),
            _ => self.empty(py, 0, 0),
        }
    }

    fn empty(&self, py: Python<'_>, rows_affected: u64, last_id: i64) -> PyResult<Py<PyAny>> {
        Self::nothing(py, &self.statement, self.projection, rows_affected, last_id)
    }

    /// The answer of a statement that gives no rows.
    pub(crate) fn nothing(
        py: Python<'_>,
        statement: &Statement,
        projection: Projection,
        rows_affected: u64,
        last_insert_id: i64,
    ) -> PyResult<Py<PyAny>> {
        let rows = PyList::empty(py).unbind();
        match projection.take {
            Take::All => Ok(rows.into_any()),
            Take::First | Take::Value => Ok(py.None()),
            Take::Result | Take::Stream => {
                let (rowcount, lastrowid) = statement.numbers(rows_affected, last_insert_id);
                let result = Result {
                    columns: None,
                    tags: Vec::new(),
                    rows,
                    rowcount,
                    lastrowid,
                    kept: Kept::new(Types::Auto),
                };
                Ok(Py::new(py, result)?.into_any())
            }
        }
    }

    /// Judges the failure that answered it.
    pub(crate) fn judge(&self, failure: &Failure) -> Verdict {
        let mut judged = self.statement.judged(self.in_transaction);
        judged.one_query &= !self.by_id;
        let mut verdict = outcome::of_failure(failure, judged);
        if self.by_id && verdict.kind == FailureKind::NoStatement {
            // The session has forgotten what it kept for us: another one takes the text.
            verdict.retry = if self.in_transaction {
                Retry::Transaction
            } else {
                Retry::Elsewhere
            };
        }
        verdict
    }

    /// The exception for a failure.
    pub(crate) fn failure(
        &self,
        py: Python<'_>,
        failure: &Failure,
        verdict: Verdict,
        address: &str,
    ) -> PyErr {
        errors::failure(py, failure, verdict, self.is_commit(), address)
    }

    /// The exception when no answer will come.
    pub(crate) fn loss(
        &self,
        py: Python<'_>,
        progress: Progress,
        why: &Loss,
        address: &str,
    ) -> PyErr {
        let judged = self.statement.judged(self.in_transaction);
        let (outcome, retry) = outcome::of_loss(progress, judged);
        errors::lost(
            py,
            why,
            address,
            (outcome, retry),
            self.is_commit(),
            self.in_transaction,
        )
    }

    fn is_commit(&self) -> bool {
        self.statement.word() == "commit"
    }

    /// Python objects it holds, for the collector of cycles.
    pub(crate) fn rows_list(&self) -> Option<&Py<PyList>> {
        self.collector.as_ref().map(Collector::rows_list)
    }
}
