//! Calls that block: poll with the GIL released, signals checked.

mod exchange;
mod interruption;
mod read_on;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dqlite_client::fd::{Filled, Link};
use dqlite_proto::outcome::After;
use dqlite_proto::{Abandoned, Event, Progress, Ticket, Violation};
use nix::sys::socket::{Shutdown, shutdown};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::batch::{Batch, Step};
use crate::call::Call;
use crate::connection::{Connection, DRAIN_MAX, Place, give_up};
use crate::encode;
use crate::errors::{self, Loss};
use crate::projection::Projection;
use crate::statement::Statement;
use crate::stream::{Stream, Streaming};
use crate::streaming::{self, Took};

use exchange::{Ended, exchange};
use interruption::Waker;

pub(crate) use exchange::signalled;
pub(crate) use interruption::Interruption;
pub(crate) use read_on::wait_more;

/// Sends a statement and waits for its answer.
pub(crate) fn run(
    connection: &Connection,
    py: Python<'_>,
    projection: Projection,
    sql: &str,
    args: &Bound<'_, PyTuple>,
    timeout: Option<f64>,
) -> PyResult<Py<PyAny>> {
    let started = Instant::now();
    connection.affinity.check_process(py)?;
    if connection.affinity.event_loop(py).is_some() {
        return Err(errors::interface(
            py,
            "a connection of an event loop must not block",
        ));
    }
    let statement = Statement::of(py, sql)?;
    let params = encode::parameters(&statement, args, projection.is_strict())?;
    if statement.is_empty() {
        return Call::nothing(py, &statement, projection, 0, 0);
    }
    connection.suspects.check(py, &statement)?;
    let mut borrowed = Borrowed::new(connection, py)?;
    let seconds = timeout.unwrap_or_default();
    let until = timeout.map(|seconds| started + duration(seconds));
    borrowed.drain(py, until, seconds)?;
    borrowed.notice_end(py)?;
    let (id, in_transaction) = {
        let mut inner = connection.inner();
        (inner.prepared.id(&statement), inner.transaction.is_open())
    };
    let ticket = borrowed.queue(py, |link| {
        Call::queue(link.session_mut(), &statement, &params, id)
    })?;
    let call = Call::new(Arc::clone(&statement), projection, in_transaction).by(id);
    let answer = borrowed.answer(py, call, ticket, until, seconds)?;
    borrowed.prepare(py, &statement, until)?;
    Ok(answer)
}

/// Runs one statement with many sets of parameters, pipelined.
pub(crate) fn run_many(
    connection: &Connection,
    projection: Projection,
    statement: Arc<Statement>,
    sets: &Bound<'_, PyAny>,
    timeout: Option<f64>,
) -> PyResult<Py<PyAny>> {
    let (py, started) = (sets.py(), Instant::now());
    connection.affinity.check_process(py)?;
    connection.suspects.check(py, &statement)?;
    let in_transaction = connection.inner().transaction.is_open();
    let mut batch = Batch::new(statement, projection, sets, in_transaction)?;
    let mut borrowed = Borrowed::new(connection, py)?;
    let seconds = timeout.unwrap_or_default();
    let until = timeout.map(|seconds| started + duration(seconds));
    borrowed.drain(py, until, seconds)?;
    borrowed.notice_end(py)?;
    borrowed.queue(py, |link| batch.start(link.session_mut()))?;
    borrowed.answer_many(py, batch, until, seconds)
}

/// Seconds that Python gave; what is no time at all counts as none.
pub(crate) fn duration(seconds: f64) -> Duration {
    const LONGEST: Duration = Duration::from_hours(365 * 24);
    Duration::try_from_secs_f64(seconds).map_or(
        if seconds > 0.0 {
            LONGEST
        } else {
            Duration::ZERO
        },
        |duration| duration.min(LONGEST),
    )
}

/// Ends the sync call that has the socket, if one does: it sees the end of the stream.
pub(crate) fn cut(connection: &Connection) {
    let mut inner = connection.inner();
    if let Place::Lent(socket) = inner.link {
        // It fails if the peer was faster, which is as good. The descriptor is open as long as it
        // is lent, because the borrower needs the lock to give it back.
        let _ = shutdown(socket, Shutdown::Both);
        inner.link = Place::Gone;
    }
}

/// Has the sync call end as at its deadline, in the statement that waits, else in the next one;
/// until that is forgiven.
pub(crate) fn interrupt(connection: &Connection) {
    connection.interruption.ask();
}

/// A wait that is short does not see signals: every so often they are asked for, after some 2 MiB.
const READS_PER_SIGNAL_CHECK: u32 = 32;

/// A socket in the hands of one sync call; goes back when dropped, unless it was closed meanwhile.
struct Borrowed<'a> {
    home: &'a Connection,
    link: Option<Box<Link>>,
    drain_until: Option<Instant>,
    reads: u32,
    waker: Waker,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut inner = self.home.inner();
        inner.drain_until = self.drain_until;
        inner.link = match (self.link.take(), &inner.link) {
            (Some(link), Place::Lent(_)) => Place::Here(link),
            _ => Place::Gone,
        };
        if matches!(inner.link, Place::Gone) {
            self.home.interruption.close();
        }
    }
}

impl<'a> Borrowed<'a> {
    fn new(home: &'a Connection, py: Python<'_>) -> PyResult<Self> {
        let mut inner = home.inner();
        match std::mem::replace(&mut inner.link, Place::Gone) {
            Place::Here(link) => {
                let waker = home.interruption.begin();
                inner.link = Place::Lent(link.as_raw_fd());
                let drain_until = inner.drain_until;
                Ok(Self {
                    home,
                    link: Some(link),
                    drain_until,
                    reads: 0,
                    waker,
                })
            }
            Place::Lent(socket) => {
                inner.link = Place::Lent(socket);
                drop(inner);
                Err(errors::interface(
                    py,
                    "another operation is in progress on this connection",
                ))
            }
            Place::Gone => {
                drop(inner);
                Err(errors::not_sent(py, &home.address))
            }
        }
    }

    /// Queues a request. A session that takes none any more is dropped.
    fn queue<T>(
        &mut self,
        py: Python<'_>,
        queue: impl FnOnce(&mut Link) -> Result<T, Violation>,
    ) -> PyResult<T> {
        let Some(link) = self.link.as_deref_mut() else {
            return Err(errors::not_sent(py, &self.home.address));
        };
        match queue(link) {
            Ok(queued) => Ok(queued),
            Err(Violation::Lost) => {
                self.link = None;
                Err(errors::not_sent(py, &self.home.address))
            }
            Err(violation) => Err(errors::violation(py, &violation)),
        }
    }

    /// Reads what earlier calls abandoned; a session that does not end it in time is dropped. The
    /// caller's own time may be shorter.
    fn drain(&mut self, py: Python<'_>, late: Option<Instant>, seconds: f64) -> PyResult<()> {
        let Some(until) = self.drain_until else {
            return Ok(());
        };
        let sooner = late.filter(|late| *late < until);
        match self.next_event(py, sooner.or(Some(until)), None) {
            Err(Ended::TimedOut) if sooner.is_some() => {
                Err(errors::drained_too_long(py, &self.home.address, seconds))
            }
            Ok(_) => {
                self.drain_until = None;
                Ok(())
            }
            Err(Ended::Raised(error)) => Err(error),
            Err(Ended::Interrupted) => Err(errors::interrupted(py, Some(&self.home.address))),
            Err(Ended::Lost(_) | Ended::TimedOut) => {
                self.link = None;
                Err(errors::not_sent(py, &self.home.address))
            }
        }
    }

    /// Drops a session that its server ended while nobody looked: what is sent over it would be
    /// in doubt for no reason.
    fn notice_end(&mut self, py: Python<'_>) -> PyResult<()> {
        let alive = self.link.as_deref_mut().is_some_and(|link| {
            !link.session().is_idle() || matches!(link.fill(), Ok(Filled::WouldBlock))
        });
        if alive {
            return Ok(());
        }
        self.link = None;
        Err(errors::not_sent(py, &self.home.address))
    }

    /// Waits for the whole answer to the one request that is due.
    fn answer(
        &mut self,
        py: Python<'_>,
        mut call: Call,
        ticket: Ticket,
        until: Option<Instant>,
        seconds: f64,
    ) -> PyResult<Py<PyAny>> {
        loop {
            match self.next_event(py, until, None) {
                Ok(Some(Event::Rows { frame, done, .. })) => {
                    let mut known = self.home.inner().header.clone();
                    let taken = call.rows(py, &frame, &mut known);
                    self.home.inner().header = known;
                    let taken = taken.map_err(|error| Loss::Protocol(error.to_string()));
                    if let Err(why) = taken.and_then(|()| self.home.check_rows(call.seen())) {
                        return Err(self.lost(py, &call, ticket, &why));
                    }
                    if done {
                        self.home.succeeded(&call.statement);
                        return call.finish_rows(py);
                    }
                    if call.is_stream() {
                        let stream = Stream::of(py, &mut call, self.home.bounds.aside)?;
                        let home = stream.clone_ref(py);
                        self.home.inner().streams.push_back(Streaming {
                            ticket,
                            call,
                            stream: home,
                        });
                        return Ok(stream.into_any());
                    }
                }
                Ok(Some(Event::Reply { response, .. })) => {
                    self.home.succeeded(&call.statement);
                    return call.finish(py, &response);
                }
                Ok(Some(Event::Failed { failure, .. })) => {
                    let verdict = call.judge(&failure);
                    self.home.suspects.lived(&call.statement);
                    self.home
                        .inner()
                        .transaction
                        .failed(&call.statement, verdict.after);
                    if verdict.after == After::Lost {
                        self.link = None;
                    }
                    return Err(call.failure(py, &failure, verdict, &self.home.address));
                }
                Ok(None) => return Err(self.lost(py, &call, ticket, &Loss::Closed)),
                Err(Ended::Lost(why)) => return Err(self.lost(py, &call, ticket, &why)),
                Err(Ended::Raised(error)) => {
                    self.abandon(ticket);
                    return Err(error);
                }
                Err(Ended::TimedOut) => {
                    return Err(self.given_up(py, &call, ticket, &Loss::Deadline(seconds)));
                }
                Err(Ended::Interrupted) => {
                    return Err(self.given_up(py, &call, ticket, &Loss::Interrupted));
                }
            }
        }
    }

    /// Sends a batch as its window allows and waits for its end.
    fn answer_many(
        &mut self,
        py: Python<'_>,
        mut batch: Batch,
        until: Option<Instant>,
        seconds: f64,
    ) -> PyResult<Py<PyAny>> {
        let address = &self.home.address;
        let why = loop {
            if batch.is_hungry() {
                while let Some(link) = self.link.as_deref_mut().filter(|_| batch.pull(py)) {
                    if !batch.queue(py, link.session_mut()) {
                        break;
                    }
                }
            }
            if matches!(batch.step(), Step::Done) {
                if let Some(link) = self.link.as_deref_mut() {
                    batch.finalize(link.session_mut());
                }
                return batch.finish(py);
            }
            match self.next_event(py, until, None) {
                Ok(Some(Event::Reply { ticket, response })) => batch.reply(py, ticket, &response),
                Ok(Some(Event::Rows { frame, done, .. })) => {
                    let mut known = self.home.inner().header.clone();
                    let taken = batch.rows(py, &frame, done, &mut known);
                    self.home.inner().header = known;
                    if let Err(error) = taken {
                        break Loss::Protocol(error.to_string());
                    }
                }
                Ok(Some(Event::Failed { ticket, failure })) => {
                    let mut transaction = std::mem::take(&mut self.home.inner().transaction);
                    let after = batch.failed(py, ticket, &failure, &mut transaction, address);
                    self.home.inner().transaction = transaction;
                    if after == After::Lost {
                        break Loss::Closed;
                    }
                }
                Ok(None) => break Loss::Closed,
                Err(Ended::Lost(why)) => break why,
                Err(Ended::Raised(error)) => {
                    self.abandon_all(&batch);
                    return Err(error);
                }
                Err(Ended::TimedOut) => {
                    self.abandon_all(&batch);
                    return Err(batch.lost(py, &Loss::Deadline(seconds), self.home));
                }
                Err(Ended::Interrupted) => {
                    self.abandon_all(&batch);
                    return Err(batch.lost(py, &Loss::Interrupted, self.home));
                }
            }
        };
        let link = self.link.take();
        if why.must_park() {
            std::mem::forget(link);
        }
        Err(batch.lost(py, &why, self.home))
    }

    /// Abandons the request of a call and says what that means for it.
    fn given_up(&mut self, py: Python<'_>, call: &Call, ticket: Ticket, why: &Loss) -> PyErr {
        let progress = self.abandon(ticket);
        call.loss(py, progress, why, &self.home.address)
    }

    fn abandon_all(&mut self, batch: &Batch) {
        for ticket in batch.tickets() {
            self.abandon(ticket);
        }
    }

    /// Drops the socket and says what that means for the call.
    fn lost(&mut self, py: Python<'_>, call: &Call, ticket: Ticket, why: &Loss) -> PyErr {
        let link = self.link.take();
        let progress = link
            .as_ref()
            .and_then(|link| link.session().progress(ticket));
        if why.must_park() {
            std::mem::forget(link);
        }
        let progress = progress.unwrap_or(Progress::Sent);
        self.home.died(&call.statement, progress, why);
        call.loss(py, progress, why, &self.home.address)
    }

    /// Has a statement that succeeded a second time prepared, and waits for that: a sync session
    /// has nothing under way between its calls.
    fn prepare(
        &mut self,
        py: Python<'_>,
        statement: &Statement,
        until: Option<Instant>,
    ) -> PyResult<()> {
        let Some(link) = self.link.as_deref_mut() else {
            return Ok(());
        };
        let session = link.session_mut();
        let idle = session.pending() == 0;
        if !idle || !self.home.inner().prepared.succeeded(statement, session) {
            return Ok(());
        }
        match self.next_event(py, until, None) {
            Err(Ended::Raised(error)) => return Err(error),
            Err(Ended::Lost(_)) => self.link = None,
            Ok(_) | Err(Ended::TimedOut | Ended::Interrupted) => {}
        }
        Ok(())
    }

    /// Gives a request up; says how far it got.
    fn abandon(&mut self, ticket: Ticket) -> Progress {
        let Some(link) = self.link.as_deref_mut() else {
            return Progress::Sent;
        };
        let progress = link.session().progress(ticket).unwrap_or(Progress::Sent);
        let first = self.drain_until.is_none();
        match give_up(link.session_mut(), ticket, first) {
            Abandoned::Draining => {
                // What ends the statement should go out although nobody waits now.
                let _ = link.flush();
                self.drain_until = Some(Instant::now() + DRAIN_MAX);
                self.home.inner().transaction.doubt();
            }
            // The server waits for the rest of it, which never comes.
            Abandoned::Cut => self.link = None,
            Abandoned::NotSent | Abandoned::Gone => {}
        }
        progress
    }

    /// Waits for the next event with the GIL released; Ctrl-C is seen within a tenth of a second.
    /// `None` when nothing is due any more.
    fn next_event(
        &mut self,
        py: Python<'_>,
        until: Option<Instant>,
        wanted: Option<&Stream>,
    ) -> Result<Option<Event>, Ended> {
        let Some(link) = self.link.as_deref_mut() else {
            return Err(Ended::Lost(Loss::Closed));
        };
        let ending = (&self.home.interruption, &self.waker);
        loop {
            match link.session_mut().event() {
                Ok(Some(event)) => {
                    let (Event::Rows { ticket, .. }
                    | Event::Reply { ticket, .. }
                    | Event::Failed { ticket, .. }) = event;
                    let mut home = self.home.inner();
                    let event = home.prepared.event(ticket, event, link.session_mut());
                    drop(home);
                    let Some(event) = event else { continue };
                    match streaming::event(py, self.home, ticket, event) {
                        Took::Not(event) => return Ok(Some(event)),
                        Took::Yes => {}
                        Took::Broken(why) => return Err(Ended::Lost(why)),
                        Took::Over => return Err(Ended::Lost(Loss::Closed)),
                    }
                    if let Some(stream) = wanted
                        && stream.is_ready(py)
                    {
                        return Ok(None);
                    }
                    continue;
                }
                Ok(None) if link.session().pending() == 0 => return Ok(None),
                Ok(None) => {}
                Err(error) => return Err(Ended::Lost(Loss::of(&error))),
            }
            py.detach(|| exchange(link, until, ending))?;
            self.reads = self.reads.wrapping_add(1);
            if self.reads.is_multiple_of(READS_PER_SIGNAL_CHECK) {
                py.check_signals().map_err(Ended::Raised)?;
            }
        }
    }
}
