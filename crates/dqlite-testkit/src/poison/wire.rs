//! A client without manners: it sends what it is told, and waits for no longer than its patience.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dqlite_proto::frame::HANDSHAKE;
use dqlite_proto::rows::RowsError;
use dqlite_proto::{Bytes, Columns, Failure, Header, ResponseKind, RowsFrame, Value, ValueRef};

/// How long an ordinary answer may take.
pub const PATIENCE: Duration = Duration::from_secs(15);
const DIAL_PATIENCE: Duration = Duration::from_secs(5);
/// This many messages of a result without a row: it will never end.
const EMPTY_MAX: usize = 8;
const TEXT_MAX: usize = 4096;
/// Nothing more for so long means that the sender is stuck.
const SETTLED: Duration = Duration::from_millis(300);

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// FAILURE.
    Failure(Failure),
    /// The rows of a result.
    Rows(Vec<Vec<Value>>),
    /// Any other reply.
    Reply(ResponseKind, Bytes),
    /// Messages without rows, one after the other.
    Endless,
    /// The connection was closed, or broke.
    Closed,
    /// Nothing, as long as patience lasted.
    Silent,
}

impl Answer {
    /// The code of a failure.
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Failure(failure) => Some(failure.code.0),
            _ => None,
        }
    }

    /// Whether it is neither a failure nor the want of an answer.
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Rows(_) | Self::Reply(..))
    }

    /// The first cell of a result.
    pub fn cell(&self) -> Option<&Value> {
        match self {
            Self::Rows(rows) => rows.first()?.first(),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failure(failure) => {
                let text: String = failure.message.chars().take(60).collect();
                write!(f, "FAIL {} {text:?}", failure.code.0)
            }
            Self::Rows(rows) => write!(f, "{} rows", rows.len()),
            Self::Reply(kind, _) => write!(f, "{kind}"),
            Self::Endless => f.write_str("endless empty messages"),
            Self::Closed => f.write_str("closed"),
            Self::Silent => f.write_str("no answer"),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    /// None of a server that could not be reached.
    socket: Option<TcpStream>,
    patience: Duration,
}

impl Wire {
    /// Connects and says nothing.
    pub fn mute(address: &str) -> io::Result<Self> {
        let place = address.parse().map_err(io::Error::other)?;
        let socket = TcpStream::connect_timeout(&place, DIAL_PATIENCE)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket: Some(socket),
            patience: PATIENCE,
        })
    }

    /// A connection that is closed already.
    pub const fn dead() -> Self {
        Self {
            socket: None,
            patience: PATIENCE,
        }
    }

    /// Connects and shakes hands.
    pub fn dial(address: &str) -> io::Result<Self> {
        let mut wire = Self::mute(address)?;
        wire.bytes(&HANDSHAKE.to_le_bytes());
        Ok(wire)
    }

    /// Waits for that long from now on.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends any bytes. A broken connection shows when the answer is read.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Some(socket) = &mut self.socket {
            drop(socket.write_all(bytes));
        }
    }

    /// Sends a header that says what it is told to say.
    pub fn raw(&mut self, words: u32, kind: u8, schema: u8) {
        let header = Header {
            words,
            kind,
            schema,
        };
        self.bytes(&header.encode());
    }

    /// Sends a request with this body.
    pub fn send(&mut self, kind: u8, schema: u8, body: &[u8]) {
        let words = u32::try_from(body.len() / 8).unwrap_or(u32::MAX);
        let mut message = Header {
            words,
            kind,
            schema,
        }
        .encode()
        .to_vec();
        message.extend_from_slice(body);
        self.bytes(&message);
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, kind: u8, schema: u8, body: &[u8]) -> Answer {
        self.send(kind, schema, body);
        self.answer()
    }

    /// OPEN.
    pub fn open(&mut self, name: &str) -> Answer {
        self.ask(3, 0, &[text(name), word(0), text("")].concat())
    }

    /// PREPARE.
    pub fn prepare(&mut self, sql: &str) -> Answer {
        self.ask(4, 0, &[word(0), text(sql)].concat())
    }

    /// EXEC, QUERY or FINALIZE of a prepared statement.
    pub fn statement(&mut self, kind: u8, id: u32) -> Answer {
        let params = if kind == 7 { Vec::new() } else { word(0) };
        self.ask(kind, 0, &[word(u64::from(id) << 32), params].concat())
    }

    /// `EXEC_SQL`.
    pub fn exec(&mut self, sql: &str) -> Answer {
        self.ask(8, 0, &sql_body(sql))
    }

    /// `QUERY_SQL`.
    pub fn query(&mut self, sql: &str) -> Answer {
        self.ask(9, 0, &sql_body(sql))
    }

    /// `QUERY_SQL`, without waiting for its answer.
    pub fn send_query(&mut self, sql: &str) {
        self.send(9, 0, &sql_body(sql));
    }

    /// DUMP.
    pub fn dump(&mut self, name: &str) -> Answer {
        self.ask(15, 0, &text(name))
    }

    /// Reads one whole answer.
    pub fn answer(&mut self) -> Answer {
        let deadline = Instant::now() + self.patience;
        self.read(deadline)
            .unwrap_or_else(|error| match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Answer::Silent,
                _ => Answer::Closed,
            })
    }

    /// Reads one message, whatever it is, and no more.
    pub fn message(&mut self) -> io::Result<(Header, Bytes)> {
        self.frame(Instant::now() + self.patience)
    }

    /// Waits until no more arrives for a while, without reading any of it.
    pub fn settle(&self) {
        let mut bytes = vec![0; 16 << 20];
        let mut last = 0;
        let deadline = Instant::now() + self.patience;
        while let Some(socket) = self.socket.as_ref().filter(|_| Instant::now() < deadline) {
            let arrived = socket.peek(&mut bytes).unwrap_or_default();
            if arrived > 0 && arrived == last {
                return;
            }
            last = arrived;
            thread::sleep(SETTLED);
        }
    }

    fn read(&mut self, deadline: Instant) -> io::Result<Answer> {
        let (mut rows, mut empty) = (Vec::new(), 0);
        let mut columns: Option<Arc<Columns>> = None;
        loop {
            let (header, body) = self.frame(deadline)?;
            match ResponseKind(header.kind) {
                ResponseKind::FAILURE => {
                    let failure = dqlite_proto::reply::failure(&body, TEXT_MAX);
                    return Ok(Answer::Failure(failure.map_err(io::Error::other)?));
                }
                ResponseKind::ROWS => {}
                kind => return Ok(Answer::Reply(kind, body)),
            }
            let frame = match RowsFrame::decode(&body, columns.as_ref(), None) {
                Ok(frame) => frame,
                Err(RowsError::EmptyPart) if empty < EMPTY_MAX => {
                    empty += 1;
                    continue;
                }
                Err(RowsError::EmptyPart) => return Ok(Answer::Endless),
                Err(other) => return Err(io::Error::other(other)),
            };
            let mut cursor = frame.rows();
            let mut values = Vec::new();
            while cursor.next_into(&mut values).map_err(io::Error::other)? {
                rows.push(values.iter().copied().map(ValueRef::to_owned).collect());
            }
            if frame.is_done() {
                return Ok(Answer::Rows(rows));
            }
            columns = Some(Arc::clone(frame.columns()));
        }
    }

    fn frame(&mut self, deadline: Instant) -> io::Result<(Header, Bytes)> {
        let mut head = [0; 8];
        self.fill(&mut head, deadline)?;
        let header = Header::decode(head);
        let bytes = usize::try_from(header.body_bytes()).map_err(io::Error::other)?;
        let mut body = vec![0; bytes];
        self.fill(&mut body, deadline)?;
        Ok((header, body.into()))
    }

    fn fill(&mut self, mut into: &mut [u8], deadline: Instant) -> io::Result<()> {
        let socket = self.socket.as_mut().ok_or(ErrorKind::NotConnected)?;
        while !into.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match socket.read(into) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => into = &mut into[read..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A word of a body.
pub fn word(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// A text of a body: NUL at its end, filled up to a whole word.
pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize((text.len() / 8 + 1) * 8, 0);
    bytes
}

/// Database 0, a text, no parameters.
fn sql_body(sql: &str) -> Vec<u8> {
    [word(0), text(sql), word(0)].concat()
}
