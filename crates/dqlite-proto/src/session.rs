//! One client connection as a state machine: no I/O, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::code::Code;
use crate::error::{Failure, ProtocolError, Violation};
use crate::frame::{FrameError, HANDSHAKE, Header, Limits};
use crate::message::{Asked, Request, RequestKind, Response, ResponseKind};
use crate::name;
use crate::outbox::Outbox;
use crate::outcome::FailureKind;
use crate::params::ParamsRef;
use crate::reply::{self, ServerClass};
use crate::rows::{Columns, RowsFrame};
use crate::wire::WORD;

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
    drained: u64,
    columns: Option<Arc<Columns>>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    /// Over on the server; what is outstanding is still answered.
    Lost,
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

    /// Gives up a request: it is taken back if none of it was sent, else its reply is read and
    /// thrown away when it comes.
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
        // The statement of a FINALIZE is gone from our books already; let it go there, too.
        if kind == RequestKind::FINALIZE || !self.outbox.take_back(end, size) {
            return Abandoned::Draining;
        }
        self.queue.remove(at);
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
        lost.map(|pending| (pending.ticket, pending.progress(unsent)))
            .collect()
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

    /// Whether a database is open.
    pub fn is_open(&self) -> bool {
        self.database == Database::Open && !self.is_lost()
    }

    /// How many parameters a live statement takes.
    pub fn statement(&self, id: u32) -> Option<u64> {
        self.statements.get(&id).copied()
    }

    /// What this session believes at most.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Sending.
impl Session {
    fn check(&self, request: &Request<'_>) -> Result<(), Violation> {
        if self.state != State::Live {
            return Err(Violation::Lost);
        }
        match *request {
            Request::Open { name, .. } => {
                if self.database != Database::Closed {
                    return Err(Violation::AlreadyOpen);
                }
                name::check_database(name)
            }
            Request::Dump { name } => name::check_database(name),
            Request::Prepare { .. } => {
                let statements = self.statements.len().saturating_add(self.preparing);
                if statements >= self.limits.statements_max {
                    return Err(Violation::TooManyStatements(statements));
                }
                self.check_open()
            }
            Request::Exec { statement, params } | Request::Query { statement, params } => {
                let expected = self.check_statement(statement)?;
                if expected != params.len() as u64 {
                    return Err(Violation::ParameterCount {
                        expected,
                        given: params.len(),
                    });
                }
                Ok(())
            }
            Request::Finalize { statement } => self.check_statement(statement).map(|_| ()),
            Request::ExecSql { .. } | Request::QuerySql { .. } => self.check_open(),
            Request::Heartbeat { .. } => Err(Violation::Harmful("HEARTBEAT")),
            Request::Connect { .. } => Err(Violation::Harmful("CONNECT")),
            Request::Cluster { format: 2.. } | Request::Describe { format: 1.. } => {
                Err(Violation::Harmful("an unknown format"))
            }
            Request::Add { address, .. } if address.len() > self.limits.address_bytes_max => {
                let max = self.limits.address_bytes_max;
                Err(Violation::AddressTooLong {
                    bytes: address.len(),
                    max,
                })
            }
            _ => Ok(()),
        }
    }

    fn check_open(&self) -> Result<(), Violation> {
        if self.database == Database::Closed {
            Err(Violation::NotOpen)
        } else {
            Ok(())
        }
    }

    fn check_statement(&self, id: u32) -> Result<u64, Violation> {
        self.check_open()?;
        self.statement(id).ok_or(Violation::DeadStatement(id))
    }

    fn enqueue(
        &mut self,
        request: &Request<'_>,
        schema: u8,
        purpose: Purpose,
    ) -> Result<Ticket, Violation> {
        let bytes = request.body_size(schema);
        if bytes > self.limits.request_bytes_max {
            let max = self.limits.request_bytes_max;
            return Err(Violation::RequestTooLarge { bytes, max });
        }
        let size = bytes.saturating_add(WORD);
        let in_flight = self.bytes_in_flight.saturating_add(size);
        let full = self.queue.len() >= self.limits.requests_in_flight_max
            || (in_flight > self.limits.bytes_in_flight_max && !self.queue.is_empty());
        if full && purpose != Purpose::Unwanted {
            return Err(Violation::WindowFull);
        }
        request.encode(schema, self.outbox.buffer())?;
        self.bytes_in_flight = in_flight;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.queue.push_back(Pending {
            ticket,
            kind: request.kind(),
            purpose,
            end: self.outbox.end(),
            size,
            roles: !matches!(request, Request::Cluster { format: 0 }),
            columns: None,
        });
        Ok(ticket)
    }
}

/// Receiving.
impl Session {
    fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        while let Some((header, body)) = self.frame()? {
            if let Some(event) = self.reply(header, &body)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> Result<Option<(Header, Bytes)>, ProtocolError> {
        let Some(word) = self.inbox.first_chunk::<WORD>() else {
            return Ok(None);
        };
        let header = Header::decode(*word);
        let max = match ResponseKind(header.kind) {
            ResponseKind::FILES => self.limits.dump_bytes_max,
            _ => self.limits.reply_bytes_max,
        };
        header.check(max as u64)?;
        let body = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
        let whole = body.saturating_add(WORD);
        if self.inbox.len() < whole {
            return Ok(None);
        }
        let mut frame = self.inbox.split_to(whole).freeze();
        frame.advance(WORD);
        Ok(Some((header, frame)))
    }

    fn reply(&mut self, header: Header, body: &Bytes) -> Result<Option<Event>, ProtocolError> {
        let kind = ResponseKind(header.kind);
        if kind.name().is_none() {
            let unknown = FrameError::Unknown {
                kind: header.kind,
                schema: header.schema,
            };
            return Err(unknown.into());
        }
        let Some(head) = self.queue.front_mut() else {
            return Err(ProtocolError::Unsolicited(kind));
        };
        if !reply::answers(head.kind, kind) {
            return Err(ProtocolError::Unexpected {
                request: head.kind,
                reply: kind,
            });
        }
        let asked = Asked {
            legacy: false,
            roles: head.roles,
            first: head.columns.as_ref(),
            known: self.columns.as_ref(),
            limits: &self.limits,
        };
        let response = Response::decode(header, body, &asked)?;
        if head.purpose == Purpose::Unwanted {
            self.drained = self.drained.saturating_add(header.body_bytes());
            if self.drained > self.limits.drain_bytes_max {
                return Err(ProtocolError::DrainLimit(self.drained));
            }
        } else {
            self.drained = 0;
        }
        if let Response::Rows(frame) = response {
            let (ticket, done) = (head.ticket, frame.is_done());
            let wanted = head.purpose == Purpose::Wanted;
            head.columns = Some(Arc::clone(frame.columns()));
            self.columns = Some(Arc::clone(frame.columns()));
            if done {
                self.settle();
            }
            return Ok(wanted.then_some(Event::Rows {
                ticket,
                frame,
                done,
            }));
        }
        self.complete(response)
    }

    /// Takes the request whose reply is complete from the queue.
    fn settle(&mut self) -> Option<Pending> {
        let head = self.queue.pop_front()?;
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(head.size);
        if head.kind == RequestKind::PREPARE && !head.purpose.is_probe() {
            self.preparing = self.preparing.saturating_sub(1);
        }
        Some(head)
    }

    fn complete(&mut self, response: Response) -> Result<Option<Event>, ProtocolError> {
        let Some(head) = self.settle() else {
            return Ok(None);
        };
        let ticket = head.ticket;
        let ended = (head.kind == RequestKind::QUERY || head.kind == RequestKind::QUERY_SQL)
            && response == Response::Empty;
        let response = if ended {
            Response::Failure(interrupted())
        } else {
            response
        };
        match head.purpose {
            Purpose::ProbePrepare => self.first_probe(&response),
            Purpose::ProbeQuery(first) => {
                self.class = Some(ServerClass::of_probes(first, probe_code(&response)));
            }
            Purpose::Wanted | Purpose::Unwanted => self.follow(&head, &response)?,
        }
        if head.purpose != Purpose::Wanted {
            return Ok(None);
        }
        Ok(Some(match response {
            Response::Failure(failure) => Event::Failed { ticket, failure },
            response => Event::Reply { ticket, response },
        }))
    }

    fn first_probe(&mut self, response: &Response) {
        let code = probe_code(response);
        let second = self
            .queue
            .iter_mut()
            .find(|p| p.purpose == Purpose::ProbeQuery(Code::OK));
        if let Some(second) = second {
            second.purpose = Purpose::ProbeQuery(code);
        }
    }

    /// What a reply changes in the session.
    fn follow(&mut self, head: &Pending, response: &Response) -> Result<(), ProtocolError> {
        match *response {
            Response::Db { .. } => self.database = Database::Open,
            Response::Stmt { id, params, .. } => {
                if self.statements.insert(id, params).is_some() {
                    let error = crate::DecodeError {
                        what: "a statement id that is in use",
                        at: 4,
                    };
                    return Err(ProtocolError::Malformed {
                        kind: ResponseKind::STMT,
                        error,
                    });
                }
                if head.purpose == Purpose::Unwanted {
                    self.statements.remove(&id);
                    let finalize = Request::Finalize { statement: id };
                    // Cannot fail: it is small, and the window is not asked.
                    let _ = self.enqueue(&finalize, 0, Purpose::Unwanted);
                }
            }
            Response::Failure(ref failure) => self.follow_failure(head, failure),
            _ => {}
        }
        Ok(())
    }

    fn follow_failure(&mut self, head: &Pending, failure: &Failure) {
        let kind = failure.kind();
        let with_database = self.database != Database::Closed;
        if head.kind == RequestKind::OPEN && kind != FailureKind::AlreadyOpen {
            self.database = Database::Closed;
        }
        let over = match kind {
            FailureKind::NotLeader | FailureKind::LeadershipLost | FailureKind::NoStatement => true,
            // An INTERRUPT of ours ends one statement, anything else ends the session.
            FailureKind::Interrupted => !self
                .queue
                .iter()
                .any(|later| later.kind == RequestKind::INTERRUPT),
            _ => false,
        };
        if over && with_database {
            self.state = State::Lost;
            self.statements.clear();
        }
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

/// How a class D server that is closing answers a query: EMPTY, which stands for this.
fn interrupted() -> Failure {
    Failure {
        code: Code::INTERRUPT,
        message: "interrupted".to_owned(),
    }
}

const fn probe_code(response: &Response) -> Code {
    match response {
        Response::Failure(failure) => failure.code,
        _ => Code::OK,
    }
}
