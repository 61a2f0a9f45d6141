//! Streams and their connection: reading stops while enough rows wait, goes on when they are taken
//! or something else is due.

use std::os::fd::AsRawFd;
use std::time::Instant;

use dqlite_proto::outcome::After;
use dqlite_proto::{Event, Progress, Ticket};
use pyo3::intern;
use pyo3::prelude::*;

use crate::connection::{Connection, DRAIN_MAX, Place, give_up};
use crate::deadline;
use crate::errors::Loss;
use crate::ready::{close, flush_or_report, lose, resume};
use crate::stream::{Stream, Streaming};

type Own<'a, 'py> = &'a Bound<'py, Connection>;

/// What an event meant to a stream.
pub(crate) enum Took {
    /// It was none of a stream's.
    Not(Event),
    /// It was; nothing else follows from it.
    Yes,
    /// The connection is useless.
    Broken(Loss),
    /// The session on the server is over.
    Over,
}

/// Takes an event that belongs to a stream.
pub(crate) fn event(py: Python<'_>, connection: &Connection, ticket: Ticket, event: Event) -> Took {
    let mut inner = connection.inner();
    let Some(at) = inner.streams.iter().position(|one| one.ticket == ticket) else {
        return Took::Not(event);
    };
    let stream = inner.streams[at].stream.clone_ref(py);
    let mut known = inner.header.clone();
    let stream = stream.bind(py).get();
    match event {
        Event::Rows { frame, done, .. } => {
            let ended = if done { inner.streams.remove(at) } else { None };
            if let Some(ended) = &ended {
                drop(inner);
                connection.succeeded(&ended.call.statement);
                inner = connection.inner();
            }
            let crowded = inner
                .link()
                .is_some_and(|link| link.session().pending() > 1);
            drop(inner);
            let taken = stream.feed(py, &frame, done, &mut known);
            let mut inner = connection.inner();
            inner.header = known;
            if let Err(error) = taken {
                return Took::Broken(Loss::Protocol(error.to_string()));
            }
            if let Err(why) = connection.check_rows(stream.seen()) {
                return Took::Broken(why);
            }
            if crowded && !done && stream.is_overflowing() {
                inner.streams.retain(|one| one.ticket != ticket);
                inner.abandon_read(ticket);
                drop(inner);
                stream.fail(py, stream.overflow(py));
            }
            Took::Yes
        }
        // Rows are answered by rows or a failure.
        Event::Reply { .. } => Took::Yes,
        Event::Failed { failure, .. } => {
            let Some(Streaming { call, .. }) = inner.streams.remove(at) else {
                return Took::Yes;
            };
            let verdict = call.judge(&failure);
            inner.transaction.failed(&call.statement, verdict.after);
            drop(inner);
            let error = call.failure(py, &failure, verdict, &connection.address);
            stream.fail(py, error);
            if verdict.after == After::Lost {
                Took::Over
            } else {
                Took::Yes
            }
        }
    }
}

/// Tells the streams of a connection that is gone.
pub(crate) fn lose_all(
    py: Python<'_>,
    streams: impl IntoIterator<Item = Streaming>,
    why: &Loss,
    address: &str,
) {
    for Streaming { call, stream, .. } in streams {
        let error = call.loss(py, Progress::Streaming, why, address);
        stream.bind(py).get().fail(py, error);
    }
}

/// Stops reading if enough rows wait and nothing else is due.
pub(crate) fn rest(own: Own<'_, '_>) {
    let (py, connection) = (own.py(), own.get());
    let mut inner = connection.inner();
    let Some(first) = inner.streams.front().map(|one| one.stream.clone_ref(py)) else {
        return;
    };
    let alone = inner
        .link()
        .is_some_and(|link| link.session().pending() == 1);
    if !alone || inner.paused || !first.bind(py).get().is_full(py) {
        return;
    }
    let socket = inner.link().map(|link| link.as_raw_fd());
    inner.paused = true;
    drop(inner);
    if let (Some(event_loop), Some(socket)) = (connection.affinity.event_loop(py), socket) {
        let _ = event_loop.call_method1(intern!(py, "remove_reader"), (socket,));
    }
}

/// Reads again.
pub(crate) fn go_on(own: Own<'_, '_>) -> PyResult<()> {
    let (py, connection) = (own.py(), own.get());
    let socket = {
        let mut inner = connection.inner();
        if !std::mem::take(&mut inner.paused) {
            return Ok(());
        }
        inner.link().map(|link| link.as_raw_fd())
    };
    if let (Some(event_loop), Some(socket)) = (connection.affinity.event_loop(py), socket) {
        let callback = own.getattr(intern!(py, "_on_readable"))?;
        event_loop.call_method1(intern!(py, "add_reader"), (socket, callback))?;
        resume(own)?;
    }
    Ok(())
}

/// A future for more rows, or None if some wait already or there are no more.
pub(crate) fn more<'py>(
    own: Own<'_, 'py>,
    stream: &Bound<'py, Stream>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, connection) = (own.py(), own.get());
    connection.affinity.check_process(py)?;
    connection.affinity.check_loop(py)?;
    go_on(own)?;
    if stream.get().is_ready(py) {
        return Ok(None);
    }
    let future = connection.affinity.future(py)?;
    stream.get().call_back(future.clone().unbind());
    Ok(Some(future))
}

/// Gives a stream up; the rest of it is read and dropped, or its end asked for.
pub(crate) fn leave(own: Own<'_, '_>, stream: &Bound<'_, Stream>) -> PyResult<()> {
    let (py, connection) = (own.py(), own.get());
    if connection.affinity.is_foreign() {
        return Ok(());
    }
    let left = {
        let mut inner = connection.inner();
        if matches!(inner.link, Place::Lent(_)) {
            // Whoever reads must know whose rows these are.
            drop(inner);
            stream.get().discard();
            return Ok(());
        }
        let at = inner.streams.iter().position(|one| one.stream.is(stream));
        let left = at.and_then(|at| inner.streams.remove(at));
        if let Some(left) = &left {
            inner.abandon_read(left.ticket);
        }
        left
    };
    if left.is_none() || connection.affinity.event_loop(py).is_none() {
        return Ok(());
    }
    flush_or_report(own);
    go_on(own)?;
    let until = connection.inner().drain_until;
    until.map_or(Ok(()), |until| deadline::arm(own, until))
}

impl crate::connection::Inner {
    /// Gives up a statement that changes nothing. In a transaction it is read to its end, because
    /// closing would roll back.
    pub(crate) fn abandon_read(&mut self, ticket: Ticket) {
        let first = self.drain_until.is_none();
        let patience = if self.transaction.is_open() { 60 } else { 1 };
        if let Some(link) = self.link() {
            give_up(link.session_mut(), ticket, first);
            self.drain_until
                .get_or_insert_with(|| Instant::now() + DRAIN_MAX * patience);
        }
    }
}

/// What an event of a stream means for the connection of a loop.
pub(crate) fn act(own: Own<'_, '_>, ticket: Ticket, event: Event) -> Option<Event> {
    match self::event(own.py(), own.get(), ticket, event) {
        Took::Not(event) => return Some(event),
        Took::Yes => {}
        Took::Broken(why) => lose(own, &why),
        Took::Over => close(own),
    }
    None
}
