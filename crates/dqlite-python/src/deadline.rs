//! Calls that end before their answer: cancelled, or past their deadline. One timer of the loop
//! serves all deadlines of a connection.

use std::time::Instant;

use dqlite_proto::Progress;
use pyo3::intern;
use pyo3::prelude::*;

use crate::connection::resolve;
use crate::connection::{Connection, Timer};
use crate::errors::Loss;
use crate::many;
use crate::ready::{close, flush_or_report};

type Own<'a, 'py> = &'a Bound<'py, Connection>;

/// Gives up the request of a cancelled future.
///
/// False if it was answered: then the turn has been passed on, unless the future tells an error.
pub(crate) fn forget(own: Own<'_, '_>, future: &Bound<'_, PyAny>) -> PyResult<bool> {
    let connection = own.get();
    let (taken, drain_until) = {
        let mut inner = connection.inner();
        let found = inner
            .waiting
            .iter()
            .position(|waiting| waiting.future.is(future));
        let taken = found.and_then(|at| inner.waiting.remove(at));
        if let Some(waiting) = &taken {
            inner.abandon(waiting.ticket);
        }
        (taken, inner.drain_until)
    };
    let found = taken.is_some();
    drop(taken);
    let found = found || many::forget(own, future);
    let drain_until = drain_until.or_else(|| connection.inner().drain_until);
    flush_or_report(own);
    if let Some(until) = drain_until {
        arm(own, until)?;
    }
    Ok(found)
}

/// A future that resolves when nothing is drained any more.
pub(crate) fn drained<'py>(own: Own<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let (py, connection) = (own.py(), own.get());
    let event_loop = connection.affinity.check_loop(py)?;
    let future = event_loop.call_method0(intern!(py, "create_future"))?;
    let due = {
        let mut inner = connection.inner();
        let due = inner.drain_until.is_some() && inner.link().is_some();
        if due {
            inner.drained.push(future.clone().unbind());
        }
        due
    };
    if !due {
        resolve(py, future.as_unbound(), Ok(py.None()));
    }
    Ok(future)
}

/// Makes sure that the timer fires by then.
pub(crate) fn arm(own: Own<'_, '_>, by: Instant) -> PyResult<()> {
    let (py, connection) = (own.py(), own.get());
    let old = {
        let mut inner = connection.inner();
        if inner.timer.as_ref().is_some_and(|timer| timer.at <= by) {
            return Ok(());
        }
        inner.timer.take()
    };
    if let Some(old) = old {
        old.handle.call_method0(py, intern!(py, "cancel"))?;
    }
    let Some(event_loop) = connection.affinity.event_loop(py) else {
        return Ok(());
    };
    let seconds = by.saturating_duration_since(Instant::now()).as_secs_f64();
    let callback = own.getattr(intern!(py, "_on_timer"))?;
    let handle = event_loop.call_method1(intern!(py, "call_later"), (seconds, callback))?;
    connection.inner().timer = Some(Timer {
        at: by,
        handle: handle.unbind(),
    });
    Ok(())
}

/// Deadlines have passed, or the timer is early and is set again.
pub(crate) fn on_timer(own: Own<'_, '_>) -> PyResult<()> {
    let (py, connection, now) = (own.py(), own.get(), Instant::now());
    let (timer, overdue, drain_over) = {
        let mut inner = connection.inner();
        let timer = inner.timer.take();
        let mut overdue = Vec::new();
        while let Some(at) = inner
            .waiting
            .iter()
            .position(|w| w.deadline.is_some_and(|d| d <= now))
        {
            let Some(waiting) = inner.waiting.remove(at) else {
                break;
            };
            let progress = inner
                .link()
                .and_then(|link| link.session().progress(waiting.ticket));
            inner.abandon(waiting.ticket);
            overdue.push((waiting, progress.unwrap_or(Progress::Sent)));
        }
        let drain_over = inner.drain_until.is_some_and(|until| until <= now);
        (timer, overdue, drain_over)
    };
    drop(timer);
    for (mut waiting, progress) in overdue {
        let seconds = waiting
            .deadline
            .map_or(0.0, |deadline| (deadline - waiting.sent).as_secs_f64());
        if let Some(call) = waiting.call.take() {
            let why = Loss::Deadline(seconds);
            waiting.refuse(py, call.loss(py, progress, &why, &connection.address));
        }
    }
    many::expire(own, now);
    flush_or_report(own);
    if drain_over {
        close(own);
        return Ok(());
    }
    let next = {
        let inner = connection.inner();
        let deadlines = inner.waiting.iter().filter_map(|waiting| waiting.deadline);
        let many = inner.batch.as_ref().and_then(|many| many.deadline);
        deadlines.chain(inner.drain_until).chain(many).min()
    };
    next.map_or(Ok(()), |next| arm(own, next))
}
