//! A capture of one direction of a connection, taken apart message by message.
//!
//! Unlike a [`Session`](crate::Session), which gives a connection up at the first wrong byte, this
//! reports what is wrong and goes on where the next message must begin.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::ProtocolError;
use crate::frame::{FrameError, HANDSHAKE, HANDSHAKE_LEGACY, Header, Limits};
use crate::message::{Asked, Request, RequestKind, Response, ResponseKind};
use crate::rows::Columns;
use crate::wire::WORD;

/// Which way the bytes of a capture went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client: a handshake word, then requests.
    Requests,
    /// From the server: replies.
    Replies,
}

impl Direction {
    /// Tells by the first word: no reply that can be read begins like a handshake.
    pub fn guess(capture: &[u8]) -> Self {
        match word(capture).map(u64::from_le_bytes) {
            Some(HANDSHAKE | HANDSHAKE_LEGACY) => Self::Requests,
            _ => Self::Replies,
        }
    }
}

/// What stands at one place of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The word with which a client starts.
    Handshake(u64),
    /// A request.
    Request(Header, Request<'a>),
    /// A reply; its rows have not been looked at.
    Reply(Header, Response),
    /// A whole message that cannot be read.
    Malformed {
        /// Its name, as far as it has one.
        name: String,
        /// Its header.
        header: Header,
        /// What is wrong with it.
        error: String,
    },
    /// The capture ends inside a message.
    Cut {
        /// Name and schema of the message, if its header is there.
        message: Option<(String, u8)>,
        /// How many of its bytes are there.
        bytes: usize,
        /// How many bytes it has.
        whole: usize,
    },
    /// A header that no message can have. What follows cannot be found.
    Stopped(FrameError),
}

/// A position in a capture.
#[derive(Clone, Debug)]
pub struct Walk {
    direction: Direction,
    at: usize,
    columns: Option<Arc<Columns>>,
}

impl Walk {
    /// In front of the first byte.
    pub const fn new(direction: Direction) -> Self {
        Self {
            direction,
            at: 0,
            columns: None,
        }
    }

    /// What comes next, and at which byte it begins; `None` at the end. `capture` must be the same
    /// each time.
    pub fn next<'a>(&mut self, capture: &'a Bytes) -> Option<(usize, Found<'a>)> {
        let at = self.at;
        let rest = capture.get(at..).filter(|rest| !rest.is_empty())?;
        let (bytes, found) = self.found(capture, rest);
        self.at = at.saturating_add(bytes);
        Some((at, found))
    }

    /// What `rest` begins with, and how many bytes that takes.
    fn found<'a>(&mut self, capture: &Bytes, rest: &'a [u8]) -> (usize, Found<'a>) {
        let cut = |message, whole| {
            let bytes = rest.len();
            let found = Found::Cut {
                message,
                bytes,
                whole,
            };
            (bytes, found)
        };
        let Some(first) = word(rest) else {
            return cut(None, WORD);
        };
        if self.at == 0
            && self.direction == Direction::Requests
            && let Some(version) = handshake(rest)
        {
            return (WORD, Found::Handshake(version));
        }
        let header = Header::decode(first);
        if let Err(error) = header.check(u64::from(u32::MAX)) {
            return (rest.len(), Found::Stopped(error));
        }
        let name = match self.direction {
            Direction::Requests => RequestKind(header.kind).to_string(),
            Direction::Replies => ResponseKind(header.kind).to_string(),
        };
        let whole = usize::try_from(header.body_bytes())
            .unwrap_or(usize::MAX)
            .saturating_add(WORD);
        let Some(body) = rest.get(WORD..whole) else {
            return cut(Some((name, header.schema)), whole);
        };
        let read = match self.direction {
            Direction::Requests => Request::decode(header, body)
                .map(|request| Found::Request(header, request))
                .map_err(|error| error.to_string()),
            Direction::Replies => self
                .reply(header, &capture.slice_ref(body))
                .map(|response| Found::Reply(header, response))
                .map_err(|error| match error {
                    ProtocolError::Malformed { error, .. } => error.to_string(),
                    error => error.to_string(),
                }),
        };
        let found = read.unwrap_or_else(|error| Found::Malformed {
            name,
            header,
            error,
        });
        (whole, found)
    }

    fn reply(&mut self, header: Header, body: &Bytes) -> Result<Response, ProtocolError> {
        let limits = Limits {
            reply_bytes_max: usize::MAX,
            dump_bytes_max: usize::MAX,
            ..Limits::default()
        };
        let usual = Asked {
            known: self.columns.as_ref(),
            ..Asked::new(&limits)
        };
        // Two replies cannot be told apart without their request: try what is usual first.
        let other = Asked {
            legacy: true,
            roles: false,
            ..usual
        };
        let response = Response::decode(header, body, &usual)
            .or_else(|error| Response::decode(header, body, &other).map_err(|_| error))?;
        if let Response::Rows(frame) = &response {
            self.columns = Some(Arc::clone(frame.columns()));
        }
        Ok(response)
    }
}

/// The version, unless the capture begins with LEADER: its header reads as version 1, but a zero
/// word behind it cannot be the header of a next message.
fn handshake(capture: &[u8]) -> Option<u64> {
    let version = u64::from_le_bytes(word(capture)?);
    let next = capture.get(WORD..).and_then(word);
    let is_leader = version == HANDSHAKE && next == Some([0; WORD]);
    (matches!(version, HANDSHAKE | HANDSHAKE_LEGACY) && !is_leader).then_some(version)
}

fn word(bytes: &[u8]) -> Option<[u8; WORD]> {
    bytes.first_chunk::<WORD>().copied()
}
