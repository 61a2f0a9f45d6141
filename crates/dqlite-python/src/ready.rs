//! The event loop's side of a connection: the loop says when the socket is ready, replies resolve
//! futures, one timer serves all deadlines.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_client::fd::{Filled, Link};
use dqlite_proto::outcome::After;
use dqlite_proto::{Event, Failure, Progress, RowsFrame, Ticket, Violation};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::answer::{Answer, in_callback};
use crate::blocking::duration;
use crate::call::Call;
use crate::connection::{Connection, Place, Waiting, resolve};
use crate::deadline;
use crate::encode;
use crate::errors::{self, Loss};
use crate::lane::Held;
use crate::many;
use crate::projection::Projection;
use crate::statement::Statement;
use crate::stream::{Stream, Streaming};
use crate::streaming;

/// What one wake-up reads and decodes; the rest waits for the next, so that other tasks get their
/// turn.
const WAKE_BYTES_MAX: usize = 256 << 10;
const WAKE_TIME_MAX: Duration = Duration::from_millis(2);
/// A read that gave less has emptied the socket.
const READ_BYTES: usize = 64 << 10;

type Own<'a, 'py> = &'a Bound<'py, Connection>;

/// Registers with the running loop, once.
pub(crate) fn attach(own: Own<'_, '_>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, connection) = (own.py(), own.get());
    connection.affinity.check_process(py)?;
    let socket = connection.inner().link().map(|link| link.as_raw_fd());
    let Some(socket) = socket else {
        return Err(errors::not_sent(py, &connection.address));
    };
    connection.affinity.bind(event_loop)?;
    connection.affinity.make_futures(event_loop)?;
    let callback = own.getattr(intern!(py, "_on_readable"))?;
    event_loop
        .call_method1(intern!(py, "add_reader"), (socket, callback))
        .map(drop)
}

/// Whether the loop was closed; its selector is gone then.
pub(crate) fn is_closed(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    event_loop
        .call_method0(intern!(event_loop.py(), "is_closed"))?
        .is_truthy()
}

/// Whether the task of trio that runs would be cancelled at its first wait: nothing is sent then.
fn is_cancelled(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    event_loop
        .call_method0(intern!(event_loop.py(), "is_cancelled"))?
        .is_truthy()
}

/// Sends a statement; `None` if the session is closed or draining and nothing was sent. The turn
/// is passed on with the answer if that is a success. Without `answer` it makes a new one, for the
/// task that runs.
pub(crate) fn submit<'py>(
    own: Own<'_, 'py>,
    projection: Projection,
    statement: Arc<Statement>,
    args: &Bound<'py, PyTuple>,
    timeout: Option<f64>,
    held: Option<Held>,
    answer: Option<Bound<'py, Answer>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, connection) = (own.py(), own.get());
    connection.affinity.check_process(py)?;
    let params = encode::parameters(&statement, args, projection.is_strict())?;
    let event_loop = connection.affinity.check_loop(py)?;
    let trio = connection.affinity.is_trio();
    let future = match answer {
        Some(answer) => answer,
        None if trio && is_cancelled(event_loop)? => return Ok(None),
        None => Bound::new(py, Answer::new(event_loop.clone().unbind(), trio))?,
    }
    .into_any();
    if statement.is_empty() {
        let nothing = Call::nothing(py, &statement, projection, 0, 0)?;
        if let Some(held) = held {
            held.give(py);
        }
        resolve(py, future.as_unbound(), Ok(nothing));
        return Ok(Some(future));
    }
    connection.suspects.check(py, &statement)?;
    let sent = Instant::now();
    let deadline = timeout.map(|seconds| sent + duration(seconds));
    let (queued, armed) = {
        let mut guard = connection.inner();
        let inner = &mut *guard;
        let Place::Here(link) = &mut inner.link else {
            return Ok(None);
        };
        if inner.drain_until.is_some() {
            return Ok(None);
        }
        let id = inner.prepared.id(&statement);
        let queued = Call::queue(link.session_mut(), &statement, &params, id).map(|ticket| {
            let call = Call::new(statement, projection, inner.transaction.is_open());
            let call = Some(call.by(id));
            let future = future.clone().unbind();
            inner.waiting.push_back(Waiting {
                ticket,
                call,
                future,
                sent,
                deadline,
                held,
            });
        });
        (queued, inner.timer.as_ref().map(|timer| timer.at))
    };
    match queued {
        Ok(()) => {}
        Err(Violation::Lost) => {
            close(own);
            return Ok(None);
        }
        Err(violation) => return Err(errors::violation(py, &violation)),
    }
    flush_or_report(own);
    if let Err(error) = streaming::go_on(own) {
        error.write_unraisable(py, Some(own.as_any()));
    }
    let is_armed = armed.is_some_and(|at| deadline.is_none_or(|deadline| at <= deadline));
    if let Some(deadline) = deadline.filter(|_| !is_armed)
        && let Err(error) = deadline::arm(own, deadline)
    {
        error.write_unraisable(py, Some(own.as_any()));
    }
    Ok(Some(future))
}

/// Hands bytes to the kernel; a remainder waits for the socket to become writable.
fn flush(own: Own<'_, '_>) -> PyResult<()> {
    let connection = own.get();
    let (socket, change) = {
        let mut inner = connection.inner();
        let was_writing = inner.writing;
        let Some(link) = inner.link() else {
            return Ok(());
        };
        let socket = link.as_raw_fd();
        // After an error there is nothing to write; the end of the stream is read in a moment,
        // behind whatever the server said before.
        let done = link.flush().unwrap_or(true);
        inner.writing = !done;
        (socket, (done == was_writing).then_some(done))
    };
    let py = own.py();
    let Some(event_loop) = connection.affinity.event_loop(py) else {
        return Ok(());
    };
    match change {
        Some(true) => event_loop
            .call_method1(intern!(py, "remove_writer"), (socket,))
            .map(drop),
        Some(false) => {
            let callback = own.getattr(intern!(py, "_on_writable"))?;
            event_loop
                .call_method1(intern!(py, "add_writer"), (socket, callback))
                .map(drop)
        }
        None => Ok(()),
    }
}

/// The socket takes bytes again.
pub(crate) fn on_writable(own: Own<'_, '_>) {
    flush_or_report(own);
}

/// Sends what waits; the loop's refusal is reported, for want of anybody to tell.
pub(crate) fn flush_or_report(own: Own<'_, '_>) {
    if let Err(error) = flush(own) {
        error.write_unraisable(own.py(), Some(own.as_any()));
    }
}

/// There are bytes to read, or the end of the stream.
pub(crate) fn on_readable(own: Own<'_, '_>) {
    if !own.get().inner().resuming {
        in_callback(|| read(own, Instant::now() + WAKE_TIME_MAX));
    }
}

/// The round of the loop has come in which the last wake-up is continued.
pub(crate) fn on_resume(own: Own<'_, '_>) {
    own.get().inner().resuming = false;
    let until = Instant::now() + WAKE_TIME_MAX;
    in_callback(|| {
        if pump(own, until) {
            read(own, until);
        }
    });
}

fn read(own: Own<'_, '_>, until: Instant) {
    let connection = own.get();
    let mut left = WAKE_BYTES_MAX;
    while left > 0 {
        let filled = connection.inner().link().map(Link::fill);
        match filled {
            None | Some(Ok(Filled::WouldBlock)) => return,
            Some(Ok(Filled::Bytes(read))) if read < READ_BYTES => left = 0,
            Some(Ok(Filled::Bytes(read))) => left = left.saturating_sub(read),
            Some(Ok(Filled::Eof)) => {
                let text = "closed by the server".to_owned();
                return lose(own, &Loss::Connection(text));
            }
            Some(Err(error)) => return lose(own, &Loss::of_socket(&error)),
        }
        if !pump(own, until) {
            return;
        }
    }
}

/// Goes on in the next round of the loop, behind other tasks.
pub(crate) fn resume(own: Own<'_, '_>) -> PyResult<()> {
    let py = own.py();
    let Some(event_loop) = own.get().affinity.event_loop(py) else {
        return Ok(());
    };
    let callback = own.getattr(intern!(py, "_on_resume"))?;
    event_loop.call_method1(intern!(py, "call_soon"), (callback,))?;
    own.get().inner().resuming = true;
    Ok(())
}

/// Acts on everything that was read; false if the connection is closed now, or time is up.
fn pump(own: Own<'_, '_>, until: Instant) -> bool {
    let connection = own.get();
    loop {
        if Instant::now() >= until {
            if let Err(error) = resume(own) {
                error.write_unraisable(own.py(), Some(own.as_any()));
            }
            return false;
        }
        let event = connection
            .inner()
            .link()
            .map(|link| link.session_mut().event());
        match event {
            None => return false,
            Some(Ok(None)) => break,
            Some(Ok(Some(event))) => act(own, event),
            Some(Err(error)) => {
                lose(own, &Loss::of(&error));
                return false;
            }
        }
    }
    settle(own)
}

fn act(own: Own<'_, '_>, event: Event) {
    let (py, connection) = (own.py(), own.get());
    let (Event::Rows { ticket, .. } | Event::Reply { ticket, .. } | Event::Failed { ticket, .. }) =
        event;
    let mut inner = connection.inner();
    let Some(event) = inner.prepared_event(ticket, event) else {
        return;
    };
    drop(inner);
    let others = streaming::act(own, ticket, event);
    match others.and_then(|event| many::event(own, ticket, event)) {
        Some(Event::Rows { frame, done, .. }) => rows(own, ticket, &frame, done),
        Some(Event::Reply { response, .. }) => {
            if let Some((waiting, call)) = take_first(connection, ticket) {
                connection.succeeded(&call.statement);
                waiting.answer(py, call.finish(py, &response));
            }
        }
        Some(Event::Failed { failure, .. }) => failed(own, ticket, &failure),
        None => {}
    }
}

fn take_first(connection: &Connection, ticket: Ticket) -> Option<(Waiting, Call)> {
    let mut inner = connection.inner();
    let at = inner
        .waiting
        .iter()
        .position(|waiting| waiting.ticket == ticket)?;
    let mut waiting = inner.waiting.remove(at)?;
    let call = waiting.call.take()?;
    Some((waiting, call))
}

fn rows(own: Own<'_, '_>, ticket: Ticket, frame: &RowsFrame, done: bool) {
    let (py, connection) = (own.py(), own.get());
    let Some((mut waiting, mut call)) = take_first(connection, ticket) else {
        return;
    };
    let mut known = connection.inner().header.clone();
    let taken = call.rows(py, frame, &mut known);
    connection.inner().header = known;
    let taken = taken.map_err(|error| Loss::Protocol(error.to_string()));
    if let Err(why) = taken.and_then(|()| connection.check_rows(call.seen())) {
        waiting.call = Some(call);
        connection.inner().waiting.push_front(waiting);
        return lose(own, &why);
    }
    if done {
        connection.succeeded(&call.statement);
        return waiting.answer(py, call.finish_rows(py));
    }
    if call.is_stream() {
        return begin_stream(own, waiting, call);
    }
    waiting.call = Some(call);
    let mut inner = connection.inner();
    // Decoding may have run Python code that closed the connection or gave the call up.
    let wanted = inner
        .link()
        .is_some_and(|link| link.session().progress(ticket).is_some());
    if wanted {
        inner.waiting.push_front(waiting);
        return;
    }
    drop(inner);
    let lost = errors::not_sent(py, &connection.address);
    waiting.refuse(py, lost);
}

/// The first rows of a result that goes on are there: they are given out.
fn begin_stream(own: Own<'_, '_>, waiting: Waiting, mut call: Call) {
    let py = own.py();
    let made = Stream::of(py, &mut call, own.get().bounds.aside);
    if let Ok(stream) = &made {
        let (ticket, stream) = (waiting.ticket, stream.clone_ref(py));
        own.get().inner().streams.push_back(Streaming {
            ticket,
            call,
            stream,
        });
    }
    let future = waiting.future.clone_ref(py);
    let stream = made.as_ref().ok().map(|stream| stream.clone_ref(py));
    waiting.answer(py, made.map(Py::into_any));
    let given_up = future.bind(py).call_method0(intern!(py, "cancelled"));
    let given_up = given_up.and_then(|answer| answer.is_truthy());
    if let (Ok(true), Some(stream)) = (given_up, stream) {
        // Errors only if the loop is closed.
        let _ = streaming::leave(own, stream.bind(py));
    }
}

fn failed(own: Own<'_, '_>, ticket: Ticket, failure: &Failure) {
    let (py, connection) = (own.py(), own.get());
    let Some((waiting, call)) = take_first(connection, ticket) else {
        return;
    };
    let verdict = call.judge(failure);
    connection.suspects.lived(&call.statement);
    connection
        .inner()
        .transaction
        .failed(&call.statement, verdict.after);
    let error = call.failure(py, failure, verdict, &connection.address);
    if verdict.after == After::Lost {
        close(own);
    }
    waiting.refuse(py, error);
}

/// After events: whoever waits for the end of draining is told, what must be sent is sent.
fn settle(own: Own<'_, '_>) -> bool {
    let connection = own.get();
    let (drained, lost) = {
        let mut inner = connection.inner();
        let Some(link) = inner.link() else {
            return false;
        };
        let idle = link.session().pending() == 0;
        let lost = link.session().is_lost() && idle;
        if inner.drain_until.is_none() || !idle {
            (Vec::new(), lost)
        } else {
            inner.drain_until = None;
            (std::mem::take(&mut inner.drained), lost)
        }
    };
    for future in drained {
        resolve(own.py(), &future, Ok(own.py().None()));
    }
    if lost {
        close(own);
        return false;
    }
    streaming::rest(own);
    if connection.inner().batch.is_some() {
        many::feed(own);
        return connection.inner().link().is_some();
    }
    flush_or_report(own);
    true
}

/// Drops the socket because we want to.
pub(crate) fn close(own: Own<'_, '_>) {
    lose(own, &Loss::Closed);
}

/// Drops the socket and fails everything that is due.
pub(crate) fn lose(own: Own<'_, '_>, why: &Loss) {
    let (py, connection) = (own.py(), own.get());
    let (link, waiting, drained, timer, many, streams) = {
        let mut inner = connection.inner();
        let Place::Here(link) = std::mem::replace(&mut inner.link, Place::Gone) else {
            return;
        };
        inner.drain_until = None;
        let drained = std::mem::take(&mut inner.drained);
        (
            link,
            std::mem::take(&mut inner.waiting),
            drained,
            inner.timer.take(),
            inner.batch.take(),
            std::mem::take(&mut inner.streams),
        )
    };
    if let Some(event_loop) = connection.affinity.event_loop(py) {
        let socket = link.as_raw_fd();
        // A closed loop refuses, and has forgotten the socket already.
        let _ = event_loop.call_method1(intern!(py, "remove_reader"), (socket,));
        let _ = event_loop.call_method1(intern!(py, "remove_writer"), (socket,));
    }
    if let Some(timer) = timer {
        let _ = timer.handle.call_method0(py, intern!(py, "cancel"));
    }
    for mut waiting in waiting {
        let progress = link.session().progress(waiting.ticket);
        if let Some(call) = waiting.call.take() {
            let progress = progress.unwrap_or(Progress::Sent);
            connection.died(&call.statement, progress, why);
            waiting.refuse(py, call.loss(py, progress, why, &connection.address));
        }
    }
    many::lose(py, many, why, connection);
    streaming::lose_all(py, streams, why, &connection.address);
    for future in drained {
        resolve(py, &future, Ok(py.None()));
    }
    if why.must_park() {
        std::mem::forget(link);
    }
}
