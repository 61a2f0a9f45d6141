//! Engine to client: results pass as they come; failures are put right, and what never ends is
//! ended.

use bytes::{Buf as _, BytesMut};
use dqlite_proto::guard::{DUMP_TOO_LARGE, Reply, Rows};
use dqlite_proto::{Capabilities, Failure, Header, Response, ResponseKind, rows};

use super::counters::{Reason, add};
use super::talk::{Talk, message, refused};

/// When so much waits for the client to take it, the engine has to wait.
pub(super) const WAITING_MAX: usize = 64 << 10;
/// Replies up to this size are held until they are whole; only results and files are larger.
const WHOLE_BYTES: u64 = 64 << 10;
/// What is kept of a failure behind a large half-written reply; its code and text are at the end.
const TAIL_BYTES: usize = 128 << 10;
const HEADER: usize = 8;
const WORD: usize = 8;

/// Where the stream of replies stands.
#[derive(Debug)]
pub(super) struct Replies {
    state: State,
    /// Size of the column header of the running result, once it is known.
    columns: Option<usize>,
    /// What the client is told in place of the running result.
    cut: Option<Failure>,
}

#[derive(Debug)]
enum State {
    Header,
    Head(Header),
    /// The rest of a frame of rows.
    Rows {
        left: u64,
    },
    /// The rest of a large reply that is no result.
    Large {
        header: Header,
        left: u64,
    },
    /// The rest of a large failure, and its end as far as it has come.
    Failing {
        header: Header,
        left: u64,
        tail: Vec<u8>,
    },
}

/// What has to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More bytes of the engine.
    Starved,
    /// Room.
    Held,
}

/// The engine does not follow the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Replies {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Header,
            columns: None,
            cut: None,
        }
    }

    /// Moves what may pass from `input` to `out`, with local answers where they are due.
    pub(super) fn advance(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        talk: &mut Talk,
    ) -> Result<Next, Broken> {
        loop {
            talk.take_due(out);
            if out.len() >= WAITING_MAX {
                return Ok(Next::Held);
            }
            match &mut self.state {
                State::Header => {
                    let Some(header) = input.first_chunk() else {
                        return Ok(Next::Starved);
                    };
                    let header = Header::decode(*header);
                    if header.words == 0 {
                        return Err(Broken);
                    }
                    self.state = State::Head(header);
                }
                State::Head(header) => {
                    let header = *header;
                    if !self.head(header, input, out, talk)? {
                        return Ok(Next::Starved);
                    }
                }
                State::Rows { left } => {
                    let left = *left;
                    if !self.rows(left, input, out, talk)? {
                        return Ok(Next::Starved);
                    }
                }
                State::Large { header, left } => {
                    let here = available(*left, input);
                    if here == 0 {
                        return Ok(Next::Starved);
                    }
                    out.extend_from_slice(&input[..here]);
                    input.advance(here);
                    *left -= here as u64;
                    if *left == 0 {
                        let header = *header;
                        // Judged at the end, as it settles what was asked.
                        if talk.guard.reply(header, &[]) == Reply::Broken {
                            return Err(Broken);
                        }
                        self.done(talk);
                    }
                }
                State::Failing { header, left, tail } => {
                    let here = available(*left, input);
                    if here == 0 {
                        return Ok(Next::Starved);
                    }
                    tail.extend_from_slice(&input[..here]);
                    input.advance(here);
                    let surplus = tail.len().saturating_sub(TAIL_BYTES);
                    tail.drain(..surplus);
                    *left -= here as u64;
                    if *left == 0 {
                        let (header, tail) = (*header, std::mem::take(tail));
                        self.settle(header, &tail, out, talk)?;
                    }
                }
            }
        }
    }

    /// A reply whose header is at hand; false if more of it is needed.
    fn head(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        out: &mut BytesMut,
        talk: &mut Talk,
    ) -> Result<bool, Broken> {
        let left = header.body_bytes();
        match ResponseKind(header.kind) {
            ResponseKind::ROWS => return self.begin_rows(header, input, out, talk),
            ResponseKind::FAILURE if left > WHOLE_BYTES => {
                input.advance(HEADER);
                let tail = Vec::new();
                self.state = State::Failing { header, left, tail };
            }
            ResponseKind::FILES | ResponseKind::SERVERS if left > WHOLE_BYTES => {
                add(&talk.rules.counters.replies, 1);
                out.extend_from_slice(&input[..HEADER]);
                input.advance(HEADER);
                self.state = State::Large { header, left };
            }
            _ if left > WHOLE_BYTES => return Err(Broken),
            _ => {
                let here = available(left, &input[HEADER..]);
                if (here as u64) < left {
                    return Ok(false);
                }
                self.settle(header, &input[HEADER..HEADER + here], out, talk)?;
                input.advance(HEADER + here);
            }
        }
        Ok(true)
    }

    /// A reply that is whole and no result.
    fn settle(
        &mut self,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
        talk: &mut Talk,
    ) -> Result<(), Broken> {
        let kind = ResponseKind(header.kind);
        add(&talk.rules.counters.replies, 1);
        let reply = talk.guard.reply(header, body);
        let failed = |failure| message(&Response::Failure(failure));
        if reply == Reply::Broken {
            return Err(Broken);
        }
        if let Some(failure) = self.cut.take() {
            talk.handle.uncut();
            out.extend_from_slice(&failed(failure));
        } else {
            match reply {
                Reply::Forward if kind == ResponseKind::WELCOME => {
                    let heartbeat_timeout_ms = Capabilities::OURS.to_welcome();
                    let welcome = Response::Welcome {
                        heartbeat_timeout_ms,
                    };
                    out.extend_from_slice(&message(&welcome));
                }
                Reply::Forward if kind == ResponseKind::FAILURE => {
                    let failure = dqlite_proto::reply::failure(body, TAIL_BYTES);
                    let failure = failure.map_err(|_| Broken)?;
                    talk.fails(&failure);
                    out.extend_from_slice(&failed(talk.explain(failure)));
                }
                Reply::Forward => {
                    match kind {
                        ResponseKind::STMT => talk.trail.name(body),
                        ResponseKind::DB => talk.enter(),
                        _ => {}
                    }
                    out.extend_from_slice(&header.encode());
                    out.extend_from_slice(body);
                }
                Reply::NoMembers => {
                    let members = talk.rules.register.members();
                    out.extend_from_slice(&message(&Response::Servers(members)));
                }
                Reply::Replace(failure) => {
                    if failure.message == DUMP_TOO_LARGE {
                        talk.rules.counters.refuse(Reason::Dump);
                    }
                    out.extend_from_slice(&failed(talk.explain(failure)));
                }
                Reply::Drop | Reply::Broken => {}
            }
        }
        self.done(talk);
        Ok(())
    }

    fn done(&mut self, talk: &mut Talk) {
        self.state = State::Header;
        self.columns = None;
        talk.settle();
    }

    /// A frame of rows, of which nothing has been passed on; false if more of it is needed.
    fn begin_rows(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        out: &mut BytesMut,
        talk: &mut Talk,
    ) -> Result<bool, Broken> {
        let left = header.body_bytes();
        let here = available(left, &input[HEADER..]);
        let body = &input[HEADER..HEADER + here];
        if self.columns.is_none() {
            self.columns = columns(body);
        }
        let Some(columns) = self.columns else {
            return if here as u64 == left {
                Err(Broken)
            } else {
                Ok(false)
            };
        };
        let rowless = left <= (columns + WORD) as u64;
        if rowless && (here as u64) < left {
            return Ok(false);
        }
        if rowless && last_word(body) == rows::PART {
            if talk.guard.rows(rows::PART, true) != Rows::EmptyPart {
                return Err(Broken);
            }
            // It repeats for ever, and never comes to a step at which it could be interrupted.
            talk.handle.cut();
            self.cut.get_or_insert_with(|| {
                refused(
                    "refused: the names of the columns exceed a message of the engine; \
                     give the columns shorter names with AS",
                )
            });
            input.advance(HEADER + here);
            self.state = State::Header;
            return Ok(true);
        }
        add(&talk.rules.counters.replies, 1);
        if self.cut.is_none() {
            out.extend_from_slice(&input[..HEADER]);
        }
        input.advance(HEADER);
        self.state = State::Rows { left };
        Ok(true)
    }

    /// The rest of a frame of rows; false if more of it is needed.
    fn rows(
        &mut self,
        left: u64,
        input: &mut BytesMut,
        out: &mut BytesMut,
        talk: &mut Talk,
    ) -> Result<bool, Broken> {
        let ends = input.len() as u64 >= left;
        // The last word is looked at in one piece.
        let here = if ends {
            available(left, input)
        } else {
            available(left - WORD as u64, input)
        };
        if here == 0 {
            return Ok(false);
        }
        let last = last_word(&input[..here]);
        if self.cut.is_none() {
            out.extend_from_slice(&input[..here]);
        }
        input.advance(here);
        if !ends {
            self.state = State::Rows {
                left: left - here as u64,
            };
            return Ok(true);
        }
        let verdict = talk.guard.rows(last, false);
        if matches!(verdict, Rows::EmptyPart | Rows::Broken) {
            return Err(Broken);
        }
        self.state = State::Header;
        if verdict == Rows::Done {
            if let Some(failure) = self.cut.take() {
                talk.handle.uncut();
                out.extend_from_slice(&message(&Response::Failure(failure)));
            }
            self.done(talk);
        }
        Ok(true)
    }
}

/// The size of the column header at the start of a frame; `None` if it does not end there.
fn columns(body: &[u8]) -> Option<usize> {
    let (words, _) = body.as_chunks::<WORD>();
    let (count, names) = words.split_first()?;
    let count = u64::from_le_bytes(*count);
    let mut ended = 0;
    if count == 0 {
        return Some(WORD);
    }
    // Each name ends in a word with a zero byte, and in no other.
    for (index, word) in names.iter().enumerate() {
        ended += u64::from(word.contains(&0));
        if ended == count {
            return Some((index + 2) * WORD);
        }
    }
    None
}

fn last_word(bytes: &[u8]) -> u64 {
    bytes
        .last_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}

fn available(left: u64, input: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(input.len())
}
