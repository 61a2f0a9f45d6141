//! What the engine owes a connection: requests handed to it whose replies are not complete.
//!
//! *Engine* (1.18.2 to 1.18.7): a socket closed in the middle of a result leaks the statement's
//! read transaction for ever, and a node with an unread result never stops. So the gateway has to
//! know when the last reply is complete, without holding any of it.

use dqlite_proto::frame::{FrameError, Piece, Scanner};
use dqlite_proto::{Header, RequestKind, ResponseKind, rows};

/// The largest body that the scanners believe; what the engine itself takes is less.
const BODY_BYTES_MAX: u64 = u32::MAX as u64 * 8;

/// Follows both directions of one connection.
#[derive(Debug)]
pub(super) struct Flight {
    requests: Scanner,
    replies: Scanner,
    request: Option<Header>,
    reply: Option<Header>,
    tail: [u8; 8],
    owed: u64,
    raft: bool,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            requests: Scanner::requests(BODY_BYTES_MAX),
            replies: Scanner::replies(BODY_BYTES_MAX),
            request: None,
            reply: None,
            tail: [0; 8],
            owed: 0,
            raft: false,
        }
    }

    /// Replies that are still to come, or to be completed.
    pub(super) fn owed(&self) -> u64 {
        self.owed
    }

    /// Whether the connection has become a stream between two engines.
    pub(super) fn is_raft(&self) -> bool {
        self.raft
    }

    /// Takes note of bytes that were handed to the engine.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while !self.raft {
            match self.requests.next(&mut bytes)? {
                None => break,
                Some(Piece::Handshake(_) | Piece::Body { last: false, .. }) => {}
                Some(Piece::Header(header)) => self.request = Some(header),
                Some(Piece::Body { last: true, .. }) => match self.request.take() {
                    Some(header) if header.kind == RequestKind::CONNECT.0 => self.raft = true,
                    _ => self.owed += 1,
                },
            }
        }
        Ok(())
    }

    /// Takes note of bytes that came from the engine.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while let Some(piece) = self.replies.next(&mut bytes)? {
            match piece {
                Piece::Handshake(_) => {}
                Piece::Header(header) => self.reply = Some(header),
                Piece::Body { bytes, last } => {
                    self.remember(bytes);
                    if last && !self.continues() {
                        self.owed = self.owed.saturating_sub(1);
                    }
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(8);
        self.tail.copy_within(kept.., 0);
        self.tail[8 - kept..].copy_from_slice(&bytes[bytes.len() - kept..]);
    }

    /// Whether the message that just ended is a part of a longer reply.
    fn continues(&self) -> bool {
        let rows = self
            .reply
            .is_some_and(|header| header.kind == ResponseKind::ROWS.0);
        rows && u64::from_le_bytes(self.tail) == rows::PART
    }
}
