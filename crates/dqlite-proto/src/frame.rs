//! The header in front of every message, the limits that guard against it, and a scanner for
//! streams that arrive in pieces.

use crate::wire::WORD;

/// The version that a client announces with its first word.
pub const HANDSHAKE: u64 = 1;
/// The version from before 1.0. It changes the answer to LEADER and nothing else.
pub const HANDSHAKE_LEGACY: u64 = 0x8610_4dd7_6043_3fe5;

/// The first word of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the body in words.
    pub words: u32,
    /// The number of the message, in a number space of its own for each direction.
    pub kind: u8,
    /// Which layout the body has.
    pub schema: u8,
}

impl Header {
    /// Reads a header; every eight bytes are one.
    pub const fn decode(bytes: [u8; WORD]) -> Self {
        let [w0, w1, w2, w3, kind, schema, _, _] = bytes;
        Self {
            words: u32::from_le_bytes([w0, w1, w2, w3]),
            kind,
            schema,
        }
    }

    /// The bytes of the header.
    pub const fn encode(self) -> [u8; WORD] {
        let [w0, w1, w2, w3] = self.words.to_le_bytes();
        [w0, w1, w2, w3, self.kind, self.schema, 0, 0]
    }

    /// Length of the body in bytes.
    pub const fn body_bytes(self) -> u64 {
        (self.words as u64) << 3
    }

    /// Refuses empty messages, and messages whose body exceeds `bytes_max`.
    pub const fn check(self, bytes_max: u64) -> Result<(), FrameError> {
        if self.words == 0 {
            return Err(FrameError::Empty { kind: self.kind });
        }
        if self.body_bytes() > bytes_max {
            let bytes = self.body_bytes();
            return Err(FrameError::TooLarge {
                kind: self.kind,
                bytes,
                max: bytes_max,
            });
        }
        Ok(())
    }
}

/// A header that no message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No message is empty.
    #[error("a message of type {kind} without a body")]
    Empty {
        /// The type number.
        kind: u8,
    },
    /// Larger than the limit; nothing has been allocated for it.
    #[error("a message of type {kind} with {bytes} bytes exceeds the limit of {max}")]
    TooLarge {
        /// The type number.
        kind: u8,
        /// What the header announces.
        bytes: u64,
        /// The limit in force.
        max: u64,
    },
    /// A type or schema that does not exist.
    #[error("a message of unknown type {kind}, schema {schema}")]
    Unknown {
        /// The type number.
        kind: u8,
        /// The schema number.
        schema: u8,
    },
    /// A first word that is no known version.
    #[error("unknown protocol version {0:#x}")]
    Handshake(u64),
}

/// What a session believes, at most, of what the network says. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body of a request. Servers die or hang at 2 GiB; [`Limits::REQUEST_BYTES_CEILING`] holds
    /// whatever is set here.
    pub request_bytes_max: usize,
    /// Body of a reply other than a dump.
    pub reply_bytes_max: usize,
    /// Body of the reply to DUMP, which holds the whole database.
    pub dump_bytes_max: usize,
    /// Requests without a complete reply. A server stops reading when its replies are not read.
    pub requests_in_flight_max: usize,
    /// Bytes of such requests; one larger request may go alone.
    pub bytes_in_flight_max: usize,
    /// Bytes of abandoned replies in a row that are read and thrown away.
    pub drain_bytes_max: u64,
    /// Prepared statements alive at once.
    pub statements_max: usize,
    /// Text kept of a failure.
    pub failure_text_max: usize,
    /// Members in the answer to CLUSTER.
    pub servers_max: usize,
    /// Text of an address.
    pub address_bytes_max: usize,
}

impl Limits {
    /// No setting allows larger requests.
    pub const REQUEST_BYTES_CEILING: usize = 1 << 30;
    /// No result has more columns.
    pub const COLUMNS_MAX: usize = 32_767;
    /// No server accepts a longer database name.
    pub const DATABASE_NAME_MAX: usize = 504;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 64 << 20,
            reply_bytes_max: 64 << 20,
            dump_bytes_max: 2 << 30,
            requests_in_flight_max: 512,
            bytes_in_flight_max: 256 << 10,
            drain_bytes_max: 256 << 20,
            statements_max: 1024,
            failure_text_max: 64 << 10,
            servers_max: 10_000,
            address_bytes_max: 256,
        }
    }
}

/// Follows a stream of messages in either direction without holding any of it.
///
/// Feed it whatever has arrived: [`next`](Self::next) takes one piece after another from the front
/// of the input. A header that is cut in two is put together inside the scanner.
#[derive(Clone, Debug)]
pub struct Scanner {
    state: Scan,
    word: [u8; WORD],
    filled: usize,
    bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scan {
    Handshake,
    Header,
    Body { left: u64 },
}

/// One piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The word with which a client starts.
    Handshake(u64),
    /// A message begins.
    Header(Header),
    /// Some bytes of its body.
    Body {
        /// The bytes, at least one.
        bytes: &'a [u8],
        /// Whether they complete the message.
        last: bool,
    },
}

impl Scanner {
    /// For what a client sends: a handshake word, then requests of at most `bytes_max`.
    pub const fn requests(bytes_max: u64) -> Self {
        Self {
            state: Scan::Handshake,
            word: [0; WORD],
            filled: 0,
            bytes_max,
        }
    }

    /// For what a server sends: replies of at most `bytes_max`.
    pub const fn replies(bytes_max: u64) -> Self {
        Self {
            state: Scan::Header,
            word: [0; WORD],
            filled: 0,
            bytes_max,
        }
    }

    /// Whether the stream could end here without cutting a message.
    pub fn is_between_messages(&self) -> bool {
        self.filled == 0 && self.state == Scan::Header
    }

    /// Takes the next piece from the front of `input`; `None` when more bytes are needed.
    ///
    /// After an error the stream cannot be followed any further.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        if let Scan::Body { left } = self.state {
            return Ok(self.body(left, input));
        }
        let Some(word) = self.whole_word(input) else {
            return Ok(None);
        };
        if self.state == Scan::Handshake {
            let version = u64::from_le_bytes(word);
            if version != HANDSHAKE && version != HANDSHAKE_LEGACY {
                return Err(FrameError::Handshake(version));
            }
            self.state = Scan::Header;
            return Ok(Some(Piece::Handshake(version)));
        }
        let header = Header::decode(word);
        header.check(self.bytes_max)?;
        self.state = Scan::Body {
            left: header.body_bytes(),
        };
        Ok(Some(Piece::Header(header)))
    }

    fn body<'a>(&mut self, left: u64, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if input.is_empty() {
            return None;
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at_checked(wanted)?;
        *input = rest;
        let left = left.saturating_sub(bytes.len() as u64);
        let last = left == 0;
        self.state = if last {
            Scan::Header
        } else {
            Scan::Body { left }
        };
        Some(Piece::Body { bytes, last })
    }

    fn whole_word(&mut self, input: &mut &[u8]) -> Option<[u8; WORD]> {
        let space = self.word.get_mut(self.filled..)?;
        let wanted = space.len().min(input.len());
        let (head, rest) = input.split_at_checked(wanted)?;
        space.get_mut(..wanted)?.copy_from_slice(head);
        *input = rest;
        self.filled = self.filled.saturating_add(wanted);
        if self.filled < WORD {
            return None;
        }
        self.filled = 0;
        Some(self.word)
    }
}
