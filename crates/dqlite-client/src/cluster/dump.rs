//! The copy of a database as it arrives, piece by piece: PURE.
//!
//! ```text
//! loop {
//!     while let Some(piece) = dump.next(session)? { .. }      until Piece::End
//!     read more into session.input(), within a deadline
//! }
//! ```
//!
//! Nothing is stored but what has arrived and was not asked for. A reply that is not finished
//! cannot be followed by another one, so the connection is of no use afterwards: close it.

use bytes::{Buf, Bytes};
use dqlite_proto::outcome::{self, Call, Effect};
use dqlite_proto::{
    DecodeError, Event, Header, ProtocolError, Request, ResponseKind, Session, wire,
};

use crate::error::{Error, Loss, Result};
use crate::exchange::unexpected;

/// Longest name of a file: that of a database, and what is appended to it.
const NAME_BYTES_MAX: usize = 1024;
/// Files in a dump: the database and its log; some more for what may come.
const FILES_MAX: u64 = 16;

/// A part of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A file begins.
    File {
        /// The name of the database, or that with `-wal` behind it.
        name: String,
        /// Its length in bytes.
        size: u64,
    },
    /// The next bytes of the file that began last.
    Bytes(Bytes),
    /// All files are complete.
    End,
}

/// A dump under way.
#[derive(Debug)]
pub struct Dump {
    address: String,
    state: State,
    /// Bytes of the reply that have not been read.
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Count,
    /// So many files are still to come.
    Name(u64),
    Content {
        size: u64,
        later: u64,
    },
    End,
}

const CALL: Call = Call {
    effect: Effect::Read,
    in_transaction: false,
    one_query: false,
};

impl Dump {
    /// Asks for the files of a database on a session that has nothing else to do.
    pub fn start(session: &mut Session, database: &str, address: &str) -> Result<Self> {
        if !session.is_idle() {
            return Err(Error::usage("a dump needs a connection of its own"));
        }
        session.queue(&Request::Dump { name: database })?;
        Ok(Self {
            address: address.to_owned(),
            state: State::Header,
            left: 0,
        })
    }

    /// The next piece among what has been read; `None` when more bytes are needed. Errors of kind
    /// Rejected come from the server; after any other one, or [`Piece::End`], close the connection.
    pub fn next(&mut self, session: &mut Session) -> Result<Option<Piece>> {
        loop {
            match self.state {
                State::Header => {
                    let Some(word) = session.input().first_chunk() else {
                        return Ok(None);
                    };
                    let header = Header::decode(*word);
                    if ResponseKind(header.kind) != ResponseKind::FILES {
                        return self.other(session);
                    }
                    session.input().advance(word_size());
                    self.left = header.body_bytes();
                    self.state = State::Count;
                }
                State::Count => {
                    let Some(files) = self.word(session)? else {
                        return Ok(None);
                    };
                    if files > FILES_MAX {
                        return Err(self.malformed("more files than a database has"));
                    }
                    self.state = State::Name(files);
                }
                State::Name(0) if self.left > 0 => {
                    return Err(self.malformed("bytes behind the last file"));
                }
                State::Name(0) => self.state = State::End,
                State::Name(files) => return self.file(session, files),
                State::Content { size: 0, later } => self.state = State::Name(later),
                State::Content { size, later } => {
                    let input = session.input();
                    let bytes = input.len().min(usize::try_from(size).unwrap_or(usize::MAX));
                    if bytes == 0 {
                        return Ok(None);
                    }
                    let piece = input.split_to(bytes).freeze();
                    self.took(bytes as u64)?;
                    let size = size.saturating_sub(bytes as u64);
                    self.state = State::Content { size, later };
                    return Ok(Some(Piece::Bytes(piece)));
                }
                State::End => return Ok(Some(Piece::End)),
            }
        }
    }

    /// A failure, or something that is no answer.
    fn other(&self, session: &mut Session) -> Result<Option<Piece>> {
        let event = session
            .event()
            .map_err(|error| Error::lost(&self.address, Loss::Protocol(error)))?;
        match event {
            None => Ok(None),
            Some(Event::Failed { failure, .. }) => {
                let verdict = outcome::of_failure(&failure, CALL);
                Err(Error::rejected(&self.address, failure, verdict, CALL))
            }
            Some(_) => Err(unexpected(&self.address)),
        }
    }

    fn file(&mut self, session: &mut Session, files: u64) -> Result<Option<Piece>> {
        let input = session.input();
        let within = input.len().min(NAME_BYTES_MAX);
        let end = input.iter().take(within).position(|byte| *byte == 0);
        let Some(end) = end else {
            if within == NAME_BYTES_MAX {
                return Err(self.malformed("a file name without an end"));
            }
            return Ok(None);
        };
        let size = wire::text_size(end);
        if input.len() < size + word_size() {
            return Ok(None);
        }
        let name = input.split_to(size);
        let name = String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned();
        self.took(size as u64)?;
        let size = self.word(session)?.unwrap_or_default();
        if size > self.left {
            return Err(self.malformed("a file larger than the reply"));
        }
        let later = files.saturating_sub(1);
        self.state = State::Content { size, later };
        Ok(Some(Piece::File { name, size }))
    }

    fn word(&mut self, session: &mut Session) -> Result<Option<u64>> {
        let Some(word) = session.input().first_chunk() else {
            return Ok(None);
        };
        let word = u64::from_le_bytes(*word);
        session.input().advance(word_size());
        self.took(word_size() as u64)?;
        Ok(Some(word))
    }

    /// Counts what was read.
    fn took(&mut self, bytes: u64) -> Result<()> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| self.malformed("a reply longer than it says"))?;
        Ok(())
    }

    fn malformed(&self, what: &'static str) -> Error {
        let kind = ResponseKind::FILES;
        let error = DecodeError { what, at: 0 };
        let error = ProtocolError::Malformed { kind, error };
        Error::lost(&self.address, Loss::Protocol(error))
    }
}

const fn word_size() -> usize {
    size_of::<u64>()
}

#[cfg(test)]
mod tests {
    use dqlite_proto::{File, Limits, Response};

    use super::*;

    fn session() -> Session {
        let mut session = Session::new(Limits::default());
        let handshake = session.output().len();
        session.sent(handshake);
        session
    }

    fn files() -> Vec<File> {
        let file = |name: &str, len: usize| File {
            name: name.to_owned(),
            content: (0..len)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect::<Vec<_>>()
                .into(),
        };
        vec![file("app", 8192), file("app-wal", 0), file("x", 24)]
    }

    /// Reads a reply that comes in steps of that many bytes.
    fn read(bytes: &[u8], step: usize) -> Result<Vec<File>> {
        let mut session = session();
        let mut dump = Dump::start(&mut session, "app", "h:1")?;
        let mut read: Vec<(String, Vec<u8>)> = Vec::new();
        for part in bytes.chunks(step) {
            session.input().extend_from_slice(part);
            while let Some(piece) = dump.next(&mut session)? {
                match piece {
                    Piece::File { name, .. } => read.push((name, Vec::new())),
                    Piece::Bytes(bytes) => read.last_mut().unwrap().1.extend_from_slice(&bytes),
                    Piece::End => {
                        let file = |(name, content): (String, Vec<u8>)| File {
                            name,
                            content: content.into(),
                        };
                        return Ok(read.into_iter().map(file).collect());
                    }
                }
            }
            assert!(session.input().len() <= NAME_BYTES_MAX);
        }
        Err(Error::usage("the end did not come"))
    }

    #[test]
    fn a_dump_may_come_in_any_pieces() {
        let mut bytes = Vec::new();
        Response::Files(files()).encode(&mut bytes);
        for step in [1, 3, 8, 100, 4096, bytes.len()] {
            assert_eq!(read(&bytes, step).unwrap(), files(), "{step}");
        }
        for cut in 0..bytes.len() {
            let error = read(&bytes[..cut], 4096).unwrap_err();
            assert_eq!(error.to_string(), "the end did not come", "{cut}");
        }
    }

    #[test]
    fn lies_about_sizes_are_seen() {
        let mut good = Vec::new();
        Response::Files(files()).encode(&mut good);
        for (at, what) in [(0, "header"), (8, "count"), (24, "size")] {
            for wrong in [0_u64, 1, 2, u64::from(u32::MAX), u64::MAX] {
                let mut bytes = good.clone();
                let old = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                // Only the size in the header, not its kind.
                let new = if at == 0 {
                    old & 0xffff_ffff_0000_0000 | wrong & 0xffff_ffff
                } else {
                    wrong
                };
                bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
                assert!(new == old || read(&bytes, 64).is_err(), "{what} {wrong}");
            }
        }
    }

    #[test]
    fn a_refusal_is_the_servers() {
        let failure = dqlite_proto::Failure {
            code: dqlite_proto::Code(1002),
            message: "database does not exists".to_owned(),
        };
        let mut bytes = Vec::new();
        Response::Failure(failure).encode(&mut bytes);
        let error = read(&bytes, 5).unwrap_err();
        assert_eq!(error.code(), Some(dqlite_proto::Code(1002)));
    }
}
