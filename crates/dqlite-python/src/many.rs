//! The event loop's side of `executemany`: a batch on its way, one future for all of it.

use std::sync::Arc;
use std::time::Instant;

use dqlite_proto::outcome::After;
use dqlite_proto::{Event, Ticket, Violation};
use pyo3::prelude::*;

use crate::batch::{Batch, Step};
use crate::blocking::duration;
use crate::connection::resolve;
use crate::connection::{Connection, Place};
use crate::deadline;
use crate::errors::{self, Loss};
use crate::projection::Projection;
use crate::ready::{close, flush_or_report};
use crate::statement::Statement;
use crate::streaming;

type Own<'a, 'py> = &'a Bound<'py, Connection>;

/// A batch whose end the loop waits for.
pub(crate) struct Many {
    pub(crate) batch: Batch,
    pub(crate) future: Py<PyAny>,
    pub(crate) sent: Instant,
    pub(crate) deadline: Option<Instant>,
}

/// Begins a batch; `None` if the session is closed or draining and nothing was sent.
pub(crate) fn submit<'py>(
    own: Own<'_, 'py>,
    projection: Projection,
    statement: Arc<Statement>,
    sets: &Bound<'py, PyAny>,
    timeout: Option<f64>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, connection) = (own.py(), own.get());
    connection.affinity.check_process(py)?;
    connection.affinity.check_loop(py)?;
    connection.suspects.check(py, &statement)?;
    let in_transaction = connection.inner().transaction.is_open();
    let mut batch = Batch::new(statement, projection, sets, in_transaction)?;
    let future = connection.affinity.future(py)?;
    let sent = Instant::now();
    let deadline = timeout.map(|seconds| sent + duration(seconds));
    let started = {
        let mut guard = connection.inner();
        let inner = &mut *guard;
        let Place::Here(link) = &mut inner.link else {
            return Ok(None);
        };
        if inner.drain_until.is_some() || inner.batch.is_some() {
            return Ok(None);
        }
        batch.start(link.session_mut()).map(|()| {
            inner.batch = Some(Box::new(Many {
                batch,
                future: future.clone().unbind(),
                sent,
                deadline,
            }));
        })
    };
    match started {
        Ok(()) => {}
        Err(Violation::Lost) => {
            close(own);
            return Ok(None);
        }
        Err(violation) => return Err(errors::violation(py, &violation)),
    }
    flush_or_report(own);
    streaming::go_on(own)?;
    if let Some(deadline) = deadline {
        deadline::arm(own, deadline)?;
    }
    Ok(Some(future))
}

/// Takes an event that answers one of its requests; gives back any other.
pub(crate) fn event(own: Own<'_, '_>, ticket: Ticket, event: Event) -> Option<Event> {
    let (py, connection) = (own.py(), own.get());
    let mut inner = connection.inner();
    let Some(mut many) = inner.batch.take_if(|many| many.batch.expects(ticket)) else {
        return Some(event);
    };
    let mut known = inner.header.clone();
    drop(inner);
    let mut broken = None;
    let mut over = false;
    match event {
        Event::Reply { response, .. } => many.batch.reply(py, ticket, &response),
        Event::Rows { frame, done, .. } => {
            let taken = many.batch.rows(py, &frame, done, &mut known);
            broken = taken.err().map(|error| Loss::Protocol(error.to_string()));
        }
        Event::Failed { failure, .. } => {
            // Nothing of this runs Python code: the error is made without one.
            let mut transaction = std::mem::take(&mut connection.inner().transaction);
            let address = &connection.address;
            let after = many
                .batch
                .failed(py, ticket, &failure, &mut transaction, address);
            connection.inner().transaction = transaction;
            over = after == After::Lost;
        }
    }
    let mut inner = connection.inner();
    inner.header = known;
    inner.batch = Some(many);
    drop(inner);
    if let Some(why) = broken {
        crate::ready::lose(own, &why);
    } else if over {
        close(own);
    }
    None
}

/// Sends what the window takes, and ends the batch when all of it is answered.
pub(crate) fn feed(own: Own<'_, '_>) {
    let (py, connection) = (own.py(), own.get());
    let taken = connection.inner().batch.take();
    let Some(mut many) = taken else { return };
    if many.batch.is_hungry() {
        while many.batch.pull(py) {
            let mut inner = connection.inner();
            let Some(link) = inner.link() else { break };
            if !many.batch.queue(py, link.session_mut()) {
                break;
            }
        }
    }
    let mut inner = connection.inner();
    let Some(link) = inner.link() else {
        drop(inner);
        // The iterator closed the connection under itself.
        let lost = many.batch.lost(py, &Loss::Closed, connection);
        resolve(py, &many.future, Err(lost));
        return;
    };
    if matches!(many.batch.step(), Step::Wait) {
        inner.batch = Some(many);
        drop(inner);
        flush_or_report(own);
        return;
    }
    many.batch.finalize(link.session_mut());
    drop(inner);
    flush_or_report(own);
    let Many { batch, future, .. } = *many;
    resolve(py, &future, batch.finish(py));
}

/// Gives up the batch of a cancelled future; false if there is none.
pub(crate) fn forget(own: Own<'_, '_>, future: &Bound<'_, PyAny>) -> bool {
    let connection = own.get();
    let mut inner = connection.inner();
    let taken = inner.batch.take_if(|many| many.future.is(future));
    let Some(many) = taken else { return false };
    for ticket in many.batch.tickets() {
        inner.abandon(ticket);
    }
    drop(inner);
    drop(many);
    true
}

/// Gives up a batch that is past its deadline.
pub(crate) fn expire(own: Own<'_, '_>, now: Instant) {
    let (py, connection) = (own.py(), own.get());
    let overdue = |many: &mut Box<Many>| many.deadline.is_some_and(|deadline| deadline <= now);
    let mut inner = connection.inner();
    let Some(mut many) = inner.batch.take_if(overdue) else {
        return;
    };
    for ticket in many.batch.tickets() {
        inner.abandon(ticket);
    }
    drop(inner);
    let deadline = many.deadline.unwrap_or(now);
    let why = Loss::Deadline((deadline - many.sent).as_secs_f64());
    let error = many.batch.lost(py, &why, connection);
    resolve(py, &many.future, Err(error));
}

/// Fails the batch of a connection that is gone.
pub(crate) fn lose(py: Python<'_>, many: Option<Box<Many>>, why: &Loss, home: &Connection) {
    if let Some(mut many) = many {
        let error = many.batch.lost(py, why, home);
        resolve(py, &many.future, Err(error));
    }
}
