//! What can be wrong, and whose fault it is.
//!
//! * [`DecodeError`]: bytes that are not the protocol. The sender is broken; close the connection.
//! * [`Violation`]: a request that may not be sent, or not now. The caller is wrong; nothing was
//!   queued and the connection is as good as before.
//! * [`Failure`]: the server understood and said no.
//! * [`ProtocolError`]: why a [`Session`](crate::Session) had to give its connection up.

use std::fmt::{self, Write as _};

use crate::code::Code;
use crate::message::{RequestKind, ResponseKind};
use crate::outcome::FailureKind;

/// Bytes that do not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at byte {at} of the message body")]
pub struct DecodeError {
    /// What is wrong with them.
    pub what: &'static str,
    /// Where in the body (or region) that was being decoded.
    pub at: usize,
}

/// A request that must not be sent, or not in this state. Nothing was queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A text ends at its first NUL on the wire; the rest would be read as something else.
    #[error("text with a NUL character cannot be sent; send it as a blob")]
    Nul,
    /// A text parameter is not UTF-8.
    #[error("text is not valid UTF-8")]
    NotUtf8,
    /// No server accepts this kind of value as a parameter.
    #[error("a Unix time cannot be a parameter; send an integer or a text")]
    UnixTime,
    /// More parameters than the protocol or this server can carry.
    #[error("{count} parameters, but at most {max} can be sent to this server")]
    TooManyParameters {
        /// How many were given.
        count: usize,
        /// How many are possible.
        max: usize,
    },
    /// The statement has another number of parameters.
    #[error("the statement needs {expected} parameters, {given} were given")]
    ParameterCount {
        /// What PREPARE reported.
        expected: u64,
        /// What the call brought along.
        given: usize,
    },
    /// The message is larger than the limit.
    #[error("a request of {bytes} bytes exceeds the limit of {max}")]
    RequestTooLarge {
        /// Size of the body.
        bytes: usize,
        /// The limit in force.
        max: usize,
    },
    /// The database name is one that no server takes, or that would harm it.
    #[error("invalid database name: {0}")]
    DatabaseName(&'static str),
    /// An address that is too long to be one.
    #[error("an address of {bytes} bytes exceeds the limit of {max}")]
    AddressTooLong {
        /// Length of the text.
        bytes: usize,
        /// The limit in force.
        max: usize,
    },
    /// The request is known to harm servers or to hang for ever.
    #[error("{0} must not be sent to a server")]
    Harmful(&'static str),
    /// One database per connection.
    #[error("a database is already open on this connection")]
    AlreadyOpen,
    /// The request needs a database.
    #[error("no database is open on this connection")]
    NotOpen,
    /// The statement id is not, or no longer, one of this connection.
    #[error("statement {0} is not prepared on this connection")]
    DeadStatement(u32),
    /// As many statements are prepared as the limit allows.
    #[error("{0} statements are prepared on this connection already")]
    TooManyStatements(usize),
    /// The flight is full: read replies first.
    #[error("too many requests are unanswered on this connection")]
    WindowFull,
    /// The connection can take no more requests.
    #[error("the connection is lost")]
    Lost,
}

/// A server's answer "no".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// SQLite's extended result code, or one of dqlite's own.
    pub code: Code,
    /// The server's text, unchanged. [`Display`](fmt::Display) escapes control characters.
    pub message: String,
}

impl Failure {
    /// What sort of failure it is; code and text decide.
    pub fn kind(&self) -> FailureKind {
        FailureKind::of(self)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.message.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        write!(f, " ({})", self.code)
    }
}

impl std::error::Error for Failure {}

/// Why a connection cannot go on. Close it; do not drain it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The body of a message is malformed.
    #[error("malformed {kind} message: {error}")]
    Malformed {
        /// Which message.
        kind: ResponseKind,
        /// What is wrong in it.
        error: DecodeError,
    },
    /// A message without a body, or larger than its limit, or of a type nobody knows.
    #[error(transparent)]
    Frame(#[from] crate::frame::FrameError),
    /// A reply that does not answer the request at the head of the queue.
    #[error("{reply} is no answer to {request}")]
    Unexpected {
        /// The request that was next.
        request: RequestKind,
        /// What came instead of its answer.
        reply: ResponseKind,
    },
    /// A reply although nothing was asked.
    #[error("{0} came although nothing was asked")]
    Unsolicited(ResponseKind),
    /// The column names fill a page of the server, which now sends empty messages for ever.
    /// Stop reading and park the socket: keep it open, unread, until the process ends.
    #[error("column names too long for the server; use shorter aliases")]
    EmptyPart,
    /// An unwanted result is larger than the limit for draining.
    #[error("gave up draining an abandoned result after {0} bytes")]
    DrainLimit(u64),
    /// The connection was given up before.
    #[error("the connection is lost")]
    Lost,
}
