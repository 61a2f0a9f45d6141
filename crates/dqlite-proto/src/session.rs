//! One client connection as a state machine: no I/O, no clock.
//!
//! ```text
//!                queue                  whole reply, DONE, FAILURE
//!   (unsent) ──────────► outstanding ───────────────────────────────► answered
//!       ▲                    │  ▲ rows
//!       │ abandon            │  └──┘
//!       ▼                    ▼ abandon
//!   taken back            draining ─── its reply, read and dropped ──► gone
//!
//!   Live ── leadership lost ──► Lost ── malformed bytes, lose() ──► Broken
//!     └──── abandon, partly sent ──► Cut ────────────────────────────┘
//! ```
//!
//! Requests are answered in the order in which they were queued, each by exactly one last event,
//! unless it was abandoned or the connection broke. A *lost* session is over on the server: its
//! statements and its transaction are gone, nothing more may be asked, and what was asked before is
//! still answered. A *cut* one is lost because half a request is on its way, and the rest of it
//! will never be sent. A *broken* one cannot be read any more.

mod receive;
mod send;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;

use crate::capability::Capabilities;
use crate::code::Code;
use crate::error::{Failure, ProtocolError, Violation};
use crate::frame::{HANDSHAKE, Limits};
use crate::message::{Request, RequestKind, Response};
use crate::outbox::Outbox;
use crate::params::ParamsRef;
use crate::reply::ServerClass;
use crate::rows::{Columns, RowsFrame};

/// Names one request of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The whole answer.
    Reply {
        /// To which request.
        ticket: Ticket,
        /// Never a failure, never rows.
        response: Response,
    },
    /// A part of the answer; the last one if `done`.
    Rows {
        /// To which request.
        ticket: Ticket,
        /// The rows.
        frame: RowsFrame,
        /// Whether the answer is complete. For a write with RETURNING only this commits it.
        done: bool,
    },
    /// The server said no; rows that came before stay what they were.
    Failed {
        /// To which request.
        ticket: Ticket,
        /// What it said.
        failure: Failure,
    },
}

/// How far a request got before the connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Not a byte was handed to the kernel.
    Unsent,
    /// Some bytes were, not the last one; a server drops what is incomplete.
    Partial,
    /// All of it was.
    Sent,
    /// All of it was, and rows have come back.
    Streaming,
}

/// What became of a request that nobody wants any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abandoned {
    /// It was taken out of the output; it never happened.
    NotSent,
    /// A part of it was sent, and the rest never will be, so it never happens. The session is over:
    /// close the connection.
    Cut,
    /// It is on its way; its reply will be read and thrown away.
    Draining,
    /// It is not outstanding: answered, abandoned before, or not of this session.
    Gone,
}

/// One connection, without the connection. See the [crate page](crate) for the loop that drives it.
///
/// It knows which reply belongs to which request, what the server must not be asked, which
/// statements are alive, and when the session on the server is over.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    outbox: Outbox,
    inbox: BytesMut,
    queue: VecDeque<Pending>,
    bytes_in_flight: usize,
    next_ticket: u64,
    database: Database,
    statements: BTreeMap<u32, u64>,
    preparing: usize,
    class: Option<ServerClass>,
    capabilities: Capabilities,
    drained: u64,
    columns: Option<Arc<Columns>>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// Over on the server; what is outstanding is still answered.
    Lost,
    /// The last message that left is not whole; what was asked before it is still answered.
    Cut,
    /// Nothing more can be read.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Database {
    Closed,
    Opening,
    Open,
}

/// A request whose reply is not complete.
#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    kind: RequestKind,
    purpose: Purpose,
    /// Where it ends in the stream of output.
    end: u64,
    size: usize,
    roles: bool,
    columns: Option<Arc<Columns>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Wanted,
    Unwanted,
    /// The first probe, and the second with the answer to the first.
    ProbePrepare,
    ProbeQuery(Code),
}

impl Session {
    /// A new connection. [`output`](Self::output) starts with the handshake.
    pub fn new(limits: Limits) -> Self {
        let mut outbox = Outbox::default();
        outbox.buffer().extend_from_slice(&HANDSHAKE.to_le_bytes());
        Self {
            limits,
            outbox,
            inbox: BytesMut::new(),
            queue: VecDeque::new(),
            bytes_in_flight: 0,
            next_ticket: 0,
            database: Database::Closed,
            statements: BTreeMap::new(),
            preparing: 0,
            class: None,
            capabilities: Capabilities::default(),
            drained: 0,
            columns: None,
            state: State::Live,
        }
    }

    /// Appends a request to the output and expects its reply after all earlier ones.
    ///
    /// An error is the caller's: nothing was queued, nothing has changed.
    pub fn queue(&mut self, request: &Request<'_>) -> Result<Ticket, Violation> {
        self.check(request)?;
        let schema = request.schema(self.class.unwrap_or_default())?;
        let ticket = self.enqueue(request, schema, Purpose::Wanted)?;
        match *request {
            Request::Open { .. } => self.database = Database::Opening,
            Request::Prepare { .. } => self.preparing = self.preparing.saturating_add(1),
            Request::Finalize { statement } => {
                self.statements.remove(&statement);
            }
            _ => {}
        }
        Ok(ticket)
    }

    /// Asks the server what it can do. The two answers are kept from the caller; once those of
    /// later requests come, [`class`](Self::class) knows. Legal before and after OPEN.
    pub fn probe(&mut self) -> Result<(), Violation> {
        if self.state != State::Live {
            return Err(Violation::Lost);
        }
        let prepare = Request::Prepare { sql: "" };
        let query = Request::QuerySql {
            sql: "",
            params: ParamsRef::NONE,
        };
        self.enqueue(&prepare, 2, Purpose::ProbePrepare)?;
        self.enqueue(&query, 2, Purpose::ProbeQuery(Code::OK))?;
        Ok(())
    }

    /// What the server can do; `None` until a probe has been answered.
    pub const fn class(&self) -> Option<ServerClass> {
        self.class
    }

    /// Tells the session what an earlier probe of the same address found.
    pub const fn assume(&mut self, class: ServerClass) {
        self.class = Some(class);
    }

    /// What the server offers beyond the stock protocol; nothing until CLIENT has been answered.
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Tells the session what an earlier CLIENT at the same address was answered.
    pub const fn assume_capabilities(&mut self, capabilities: Capabilities) {
        self.capabilities = capabilities;
    }

    /// Bytes to hand to the kernel, at best in one call.
    pub fn output(&self) -> &[u8] {
        self.outbox.unsent()
    }

    /// The kernel took the first `bytes` of [`output`](Self::output).
    pub fn sent(&mut self, bytes: usize) {
        self.outbox.sent(bytes);
    }

    /// Where received bytes are appended. Poll [`event`](Self::event) afterwards.
    pub const fn input(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    /// The next event; `None` when more bytes are needed. Poll until `None`, then
    /// [`output`](Self::output), which may have grown.
    ///
    /// After an error the connection must be closed, or, for [`ProtocolError::EmptyPart`], parked;
    /// [`lose`](Self::lose) tells what is left unanswered.
    pub fn event(&mut self) -> Result<Option<Event>, ProtocolError> {
        if self.state == State::Broken {
            return Err(ProtocolError::Lost);
        }
        let result = self.next_event();
        if result.is_err() {
            self.state = State::Broken;
        }
        result
    }

    /// Gives up a request: it is taken back if none of it was sent. If all of it was, its reply is
    /// read and thrown away when it comes. Anything between ends the session: completed later, a
    /// request would happen of which the caller believes that it never will.
    pub fn abandon(&mut self, ticket: Ticket) -> Abandoned {
        let found = self.queue.iter().position(|p| p.ticket == ticket);
        let Some((at, pending)) = found.and_then(|at| Some((at, self.queue.get_mut(at)?))) else {
            return Abandoned::Gone;
        };
        if pending.purpose != Purpose::Wanted {
            return Abandoned::Gone;
        }
        pending.purpose = Purpose::Unwanted;
        let (end, size, kind) = (pending.end, pending.size, pending.kind);
        // The statement of a FINALIZE is gone from our books already; let it go there, too. Nobody
        // ever waits for the answer to an INTERRUPT.
        let stays = kind == RequestKind::FINALIZE || kind == RequestKind::INTERRUPT;
        if stays {
            return Abandoned::Draining;
        }
        let taken_back = self.outbox.take_back(end, size);
        if !taken_back && self.outbox.position() >= end {
            return Abandoned::Draining;
        }
        self.queue.remove(at);
        if !taken_back {
            self.outbox.close();
            self.state = State::Cut;
            return Abandoned::Cut;
        }
        for later in self.queue.iter_mut().skip(at) {
            later.end = later.end.saturating_sub(size as u64);
        }
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(size);
        match kind {
            RequestKind::OPEN => self.database = Database::Closed,
            RequestKind::PREPARE => self.preparing = self.preparing.saturating_sub(1),
            _ => {}
        }
        Abandoned::NotSent
    }

    /// Gives up every request that is wanted; `true` if the reply of any of them must be drained.
    pub fn abandon_all(&mut self) -> bool {
        let mut draining = false;
        // The newest first: taking back moves what is behind.
        while let Some(pending) = self.queue.iter().rfind(|p| p.purpose == Purpose::Wanted) {
            draining |= self.abandon(pending.ticket) == Abandoned::Draining;
        }
        draining
    }

    /// The connection is gone, or its deadline has passed: ends the session and returns every
    /// request that will get no answer, in order, with how far it got.
    pub fn lose(&mut self) -> Vec<(Ticket, Progress)> {
        self.state = State::Broken;
        self.statements.clear();
        self.bytes_in_flight = 0;
        let unsent = self.outbox.position();
        let lost = self
            .queue
            .drain(..)
            .filter(|pending| pending.purpose == Purpose::Wanted);
        let lost = lost
            .map(|pending| (pending.ticket, pending.progress(unsent)))
            .collect();
        self.outbox.close();
        lost
    }

    /// How far a request got; `None` if it is not outstanding or not wanted.
    pub fn progress(&self, ticket: Ticket) -> Option<Progress> {
        let pending = self.queue.iter().find(|pending| pending.ticket == ticket)?;
        (pending.purpose == Purpose::Wanted).then(|| pending.progress(self.outbox.position()))
    }

    /// Whether no reply is outstanding and nothing waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.output().is_empty()
    }

    /// How many replies are outstanding, unwanted ones included.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// The request whose answer is next of all that are wanted.
    pub fn first_wanted(&self) -> Option<Ticket> {
        let wanted = |pending: &&Pending| pending.purpose == Purpose::Wanted;
        self.queue.iter().find(wanted).map(|pending| pending.ticket)
    }

    /// Whether the reply that is next belongs to an abandoned request.
    pub fn is_draining(&self) -> bool {
        self.queue
            .front()
            .is_some_and(|pending| pending.purpose == Purpose::Unwanted)
    }

    /// Whether the session on the server is over. Close the connection once nothing is
    /// outstanding, and never open the database again on it.
    pub fn is_lost(&self) -> bool {
        self.state != State::Live
    }

    /// Whether it is lost because a request was given up of which a part had been sent. The server
    /// waits for the rest, so close the connection at once.
    pub fn is_cut(&self) -> bool {
        self.state == State::Cut
    }

    /// Whether a database is open.
    pub fn is_open(&self) -> bool {
        self.database == Database::Open && !self.is_lost()
    }

    /// How many parameters a live statement takes.
    pub fn statement(&self, id: u32) -> Option<u64> {
        self.statements.get(&id).copied()
    }

    /// The ids of all live statements.
    pub fn statements(&self) -> impl ExactSizeIterator<Item = u32> {
        self.statements.keys().copied()
    }

    /// What this session believes at most.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Believes replies of at most so many bytes from now on.
    pub const fn set_reply_bytes_max(&mut self, bytes: usize) {
        self.limits.reply_bytes_max = bytes;
    }
}

impl Purpose {
    const fn is_probe(self) -> bool {
        matches!(self, Self::ProbePrepare | Self::ProbeQuery(_))
    }
}

impl Pending {
    fn progress(&self, unsent: u64) -> Progress {
        let start = self.end.saturating_sub(self.size as u64);
        if self.columns.is_some() {
            Progress::Streaming
        } else if self.end <= unsent {
            Progress::Sent
        } else if start < unsent {
            Progress::Partial
        } else {
            Progress::Unsent
        }
    }
}
