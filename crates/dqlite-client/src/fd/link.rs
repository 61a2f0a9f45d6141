//! One connection: a non-blocking socket and the session on it.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use dqlite_proto::{Event, ProtocolError, Session};
use socket2::{Domain, SockRef, Socket};

use super::wait::{Interrupt, wait};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Loss, Result};
use crate::exchange::{self, Drain, Exchange, Stop};
use crate::secure::Channel;
use crate::transport;

/// Bytes taken from the kernel in one call.
const READ_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// Where the kernel writes to, so that a session holds no more than what has arrived.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
}

/// A connection whose descriptor never blocks. See the [module page](super) for its loop.
#[derive(Debug)]
pub struct Link {
    socket: Arc<Socket>,
    is_tcp: bool,
    channel: Channel,
    session: Session,
    address: Address,
    /// A part of a reply has come, and more is due.
    mid_reply: bool,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet.
    WouldBlock,
    /// The server has closed the connection.
    Eof,
}

impl Link {
    pub(super) fn new(
        socket: Socket,
        channel: Channel,
        session: Session,
        address: Address,
    ) -> Self {
        let domain = socket.domain().unwrap_or(Domain::UNIX);
        Self {
            socket: Arc::new(socket),
            is_tcp: domain != Domain::UNIX,
            channel,
            session,
            address,
            mid_reply: false,
        }
    }

    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The session, to queue requests; [`flush`](Self::flush) afterwards.
    pub const fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Where it leads.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Hands the session's output to the kernel; `false` when some is left.
    ///
    /// An error means that the connection is lost. What the server said before may still be read.
    ///
    /// If half a request was given up the connection is closed instead: its rest will never come.
    pub fn flush(&mut self) -> Result<bool> {
        if self.session.is_cut() {
            // Fails where the server was faster.
            let _ = self.socket.shutdown(Shutdown::Both);
            return Ok(true);
        }
        // A single outstanding request that waits to be sent: nothing of a reply can be under way.
        if self.session.pending() <= 1 {
            self.mid_reply = false;
        }
        let (channel, session) = (&mut self.channel, &mut self.session);
        while channel.is_open() && !session.output().is_empty() {
            match channel.send(&self.socket, session.output()) {
                Ok(bytes) => session.sent(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::lost(self.address.as_str(), Loss::Io(error))),
            }
        }
        channel
            .flush(&self.socket)
            .map_err(|error| Error::lost(self.address.as_str(), Loss::Io(error)))
    }

    /// Reads once. Poll [`event`](Self::event) afterwards until it yields nothing.
    ///
    /// An error means that the connection is lost.
    pub fn fill(&mut self) -> Result<Filled> {
        if self.mid_reply && self.is_tcp && self.session.pending() > 0 {
            transport::hurry(&SockRef::from(&*self.socket));
        }
        let (socket, session) = (&*self.socket, &mut self.session);
        let channel = &mut self.channel;
        let read =
            SCRATCH.with_borrow_mut(|scratch| channel.fill(socket, scratch, session.input()));
        match read {
            Ok(0) => Ok(Filled::Eof),
            Ok(bytes) => {
                self.mid_reply = true;
                Ok(Filled::Bytes(bytes))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Filled::WouldBlock),
                _ => Err(Error::lost(self.address.as_str(), Loss::Io(error))),
            },
        }
    }

    /// The next event among what has been read. An error means that the connection is useless.
    pub fn event(&mut self) -> Result<Option<Event>> {
        self.session.event().map_err(|error| {
            if error == ProtocolError::EmptyPart {
                // The server writes for ever. Kept open and unread it stands still; closed, it
                // would hold the read transaction and a thread until it restarts.
                std::mem::forget(Arc::clone(&self.socket));
            }
            Error::lost(self.address.as_str(), Loss::Protocol(error))
        })
    }

    /// Whether requests can leave: the server is verified, or need not be.
    pub(super) fn is_open(&self) -> bool {
        self.channel.is_open()
    }

    /// The error for a connection that the server has closed.
    pub fn closed(&self) -> Error {
        Error::lost(self.address.as_str(), Loss::Closed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.channel.close(&self.socket);
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a request would be the first thing that happens. Nothing is sent.
pub(crate) fn is_quiet(link: &Link) -> bool {
    let idle = link.session.is_idle() && !link.session.is_lost();
    idle && transport::is_quiet(&SockRef::from(&*link.socket))
}

/// Makes sure that a request would reach somebody: reads what is left of abandoned replies, and
/// notices when the server has closed the connection meanwhile. Nothing of the caller is sent.
pub(crate) fn ready(link: &mut Link, deadline: Instant, interrupt: Interrupt<'_>) -> Result<()> {
    cut(link);
    if link.session.is_lost() {
        return Err(Error::ended(link.address.as_str()));
    }
    if !link.session.is_idle() {
        drive(link, &mut Drain, Instant::now(), deadline, interrupt)
            .map_err(|stop| stop.plain(&mut link.session, link.address.as_str()))?;
    } else if !transport::is_quiet(&SockRef::from(&*link.socket)) {
        link.session.lose();
    }
    if link.session.is_lost() {
        return Err(Error::ended(link.address.as_str()));
    }
    Ok(())
}

/// Drives an exchange to its end, at most until `deadline`.
pub(crate) fn run<X: Exchange>(
    link: &mut Link,
    exchange: &mut X,
    deadline: Instant,
    interrupt: Interrupt<'_>,
) -> Result<X::Output> {
    let started = Instant::now();
    let result = match drive(link, exchange, started, deadline, interrupt) {
        Err(Stop::Late(after)) if exchange.stop() && exchange::end(&mut link.session) => {
            let until = Instant::now() + exchange::GRACE;
            Stop::ended(after, drive(link, exchange, started, until, interrupt))
        }
        result => result,
    };
    let result =
        result.map_err(|stop| stop.settle(exchange, &mut link.session, link.address.as_str()));
    if link.session.is_cut() {
        cut(link);
    }
    result
}

/// Gives up what is under way, without waiting; a server that can is told to end it.
pub(crate) fn cut(link: &mut Link) {
    if exchange::cut(&mut link.session) || link.session.is_cut() {
        // What the kernel does not take now is sent with the next call.
        let _ = link.flush();
    }
}

fn drive<X: Exchange>(
    link: &mut Link,
    exchange: &mut X,
    started: Instant,
    deadline: Instant,
    interrupt: Interrupt<'_>,
) -> Result<X::Output, Stop> {
    loop {
        while let Some(event) = link.event().map_err(Stop::Broken)? {
            let output = exchange
                .event(link.session_mut(), event)
                .map_err(Stop::of)?;
            if let Some(output) = output {
                return Ok(output);
            }
        }
        if let Some(output) = exchange.rest(link.session()) {
            return Ok(output);
        }
        read(link, started, deadline, interrupt)?;
    }
}

/// Reads once, for a reply that is taken from the session as it comes.
pub(crate) fn more(link: &mut Link, deadline: Instant, interrupt: Interrupt<'_>) -> Result<()> {
    read(link, Instant::now(), deadline, interrupt)
        .map_err(|stop| stop.plain(&mut link.session, link.address.as_str()))
}

/// Sends what there is to send, waits, and reads.
fn read(
    link: &mut Link,
    started: Instant,
    deadline: Instant,
    interrupt: Interrupt<'_>,
) -> Result<(), Stop> {
    // A server that refuses may close at once: what it said must be read all the same.
    let flushed = link.flush();
    if let Ok(done) = flushed {
        let ready = match wait(link, true, !done, deadline, interrupt) {
            Err(error) if error.kind() == ErrorKind::Usage => return Err(Stop::Interrupted),
            ready => ready.map_err(Stop::Broken)?,
        };
        if ready.is_late() {
            return Err(Stop::Late(deadline.saturating_duration_since(started)));
        }
        if !ready.readable {
            return Ok(());
        }
    }
    match (link.fill().map_err(Stop::Broken)?, flushed) {
        (Filled::Eof, _) => return Err(Stop::Broken(link.closed())),
        (Filled::WouldBlock, Err(error)) => return Err(Stop::Broken(error)),
        _ => {}
    }
    Ok(())
}
