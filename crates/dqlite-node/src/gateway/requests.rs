//! Client to engine: each request is judged before its first byte is passed on, and what is too
//! large to be held is followed while it passes.

use bytes::{Buf as _, Bytes, BytesMut};
use dqlite_proto::guard::{Verdict, carries_tuple};
use dqlite_proto::tuple::TupleCheck;
use dqlite_proto::wire::Reader;
use dqlite_proto::{Code, DecodeError, Failure, Header, Request, RequestKind};

use super::counters::{Reason, add};
use super::talk::{Talk, refused};

/// A request of this size is judged as a whole.
const WHOLE_BYTES: usize = 64 << 10;
/// When so much waits for the engine to take it, the client has to wait.
pub(super) const WAITING_MAX: usize = 64 << 10;
/// So much is read ahead, and looked through for an INTERRUPT.
const WANTED: usize = 128 << 10;
const HEADER: usize = 8;

/// Where the stream of requests stands.
#[derive(Debug)]
pub(super) struct Requests {
    state: State,
    /// Bytes of the input in which there is no INTERRUPT.
    looked: usize,
}

#[derive(Debug)]
enum State {
    Header,
    /// The guard looks again when there is this much of the body.
    Head {
        header: Header,
        enough: usize,
    },
    /// The rest of a request that passes.
    Body {
        left: u64,
        tuple: Option<TupleCheck>,
    },
    /// The rest of a request that was refused.
    Skip {
        left: u64,
    },
    End,
}

/// What has to happen next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More bytes of the client.
    Starved,
    /// Replies, or room.
    Held,
    /// A change of membership is to be made, and answered for.
    Change(Bytes),
    /// Somebody wants to open a stream between nodes, with this message.
    Connect {
        /// Raft id.
        id: u64,
        /// Address.
        address: String,
        /// To be passed on if he may.
        message: Bytes,
    },
    /// No more requests are taken.
    End,
}

impl Requests {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Header,
            looked: 0,
        }
    }

    /// How much of the stream may have to be held.
    pub(super) fn wanted(&self) -> usize {
        match self.state {
            State::Head { enough, .. } => WANTED.max(HEADER + enough),
            _ => WANTED,
        }
    }

    /// Whether no message has begun.
    pub(super) fn is_between(&self, input: &BytesMut) -> bool {
        match self.state {
            State::Header => input.is_empty(),
            State::Head { .. } | State::Body { .. } | State::Skip { .. } => false,
            State::End => true,
        }
    }

    /// The client will send no more. A message that was passed on in part is never completed: the
    /// engine drops it.
    pub(super) fn close(&mut self, talk: &mut Talk) {
        if matches!(self.state, State::Body { .. }) {
            talk.revoke();
        }
        self.state = State::End;
    }

    /// Moves what may pass from `input` to `out`.
    pub(super) fn advance(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        talk: &mut Talk,
    ) -> Next {
        loop {
            let before = input.len();
            let next = self.step(input, out, talk);
            self.looked = self.looked.saturating_sub(before - input.len());
            match next {
                None => {}
                Some(Next::Held) => {
                    self.look_ahead(input, talk);
                    return Next::Held;
                }
                Some(next) => return next,
            }
        }
    }

    fn step(&mut self, input: &mut BytesMut, out: &mut BytesMut, talk: &mut Talk) -> Option<Next> {
        if out.len() >= WAITING_MAX {
            return Some(Next::Held);
        }
        match &mut self.state {
            State::Header => {
                let Some(header) = input.first_chunk() else {
                    return Some(Next::Starved);
                };
                let header = Header::decode(*header);
                self.state = State::Head { header, enough: 0 };
                None
            }
            State::Head { header, enough } => {
                let (header, enough) = (*header, *enough);
                self.head(header, enough, input, out, talk)
            }
            State::Body { left, tuple } => {
                let here = available(*left, input);
                if here == 0 {
                    return Some(Next::Starved);
                }
                let ends = here as u64 == *left;
                if let Err(malformed) = follow(tuple.as_mut(), &input[..here], ends) {
                    talk.revoke();
                    talk.refuse(Reason::Malformed, parse(&malformed));
                    self.state = State::End;
                    return Some(Next::End);
                }
                out.extend_from_slice(&input[..here]);
                input.advance(here);
                *left -= here as u64;
                if ends {
                    self.state = State::Header;
                }
                None
            }
            State::Skip { left } => {
                let here = available(*left, input);
                input.advance(here);
                *left -= here as u64;
                if *left > 0 {
                    return Some(Next::Starved);
                }
                self.state = State::Header;
                None
            }
            State::End => Some(Next::End),
        }
    }

    /// A request whose header is at hand.
    fn head(
        &mut self,
        header: Header,
        enough: usize,
        input: &mut BytesMut,
        out: &mut BytesMut,
        talk: &mut Talk,
    ) -> Option<Next> {
        if talk.must_wait() {
            return Some(Next::Held);
        }
        let here = available(header.body_bytes(), &input[HEADER..]);
        let whole = here as u64 == header.body_bytes();
        if !whole && here < enough {
            return Some(Next::Starved);
        }
        // What is impossible is refused before anything is held for it.
        let shown = if whole || here >= WHOLE_BYTES {
            here
        } else {
            0
        };
        let kind = RequestKind(header.kind);
        let body = &input[HEADER..HEADER + shown];
        let size = HEADER + here;
        if kind == RequestKind::OPEN && whole && !has_room(body, talk) {
            let why = refused("refused: too many databases");
            self.refuse(header, Reason::DatabaseName, why, input, talk);
            return None;
        }
        match talk.guard.request(header, body) {
            Verdict::More => {
                let enough = (here * 2).max(WHOLE_BYTES);
                self.state = State::Head { header, enough };
                return Some(Next::Starved);
            }
            Verdict::Hold => return Some(Next::Held),
            Verdict::Pass { judged } => self.pass(header, judged, here, input, out, talk),
            Verdict::Refuse(failure) => {
                let reason = Reason::of_refusal(kind, &failure);
                self.refuse(header, reason, failure, input, talk);
            }
            Verdict::Close(failure) => {
                talk.refuse(Reason::of_refusal(kind, &failure), failure);
                self.state = State::End;
                return Some(Next::End);
            }
            Verdict::Change => {
                self.state = State::Header;
                return Some(Next::Change(input.split_to(size).freeze()));
            }
            Verdict::Connect { id, address } => {
                self.state = State::Header;
                let message = input.split_to(size).freeze();
                return Some(Next::Connect {
                    id,
                    address,
                    message,
                });
            }
        }
        None
    }

    /// Passes on what is `here` of a request of which so much was judged.
    fn pass(
        &mut self,
        header: Header,
        judged: usize,
        here: usize,
        input: &mut BytesMut,
        out: &mut BytesMut,
        talk: &mut Talk,
    ) {
        let kind = RequestKind(header.kind);
        let size = HEADER + here;
        let left = header.body_bytes() - here as u64;
        let mut tuple = (left > 0 && carries_tuple(kind) && header.schema <= 1)
            .then(|| TupleCheck::new(header.schema, header.body_bytes() - judged as u64));
        if let Err(malformed) = follow(tuple.as_mut(), &input[HEADER + judged..size], false) {
            talk.guard.revoke();
            self.refuse(header, Reason::Malformed, parse(&malformed), input, talk);
            return;
        }
        add(&talk.rules.counters.requests, 1);
        talk.trail.pass(kind, &input[HEADER..HEADER + judged]);
        if kind == RequestKind::INTERRUPT {
            talk.interrupt_ahead = false;
            // Its own reply is owed, too.
            if talk.guard.slots().owed_by_engine() > 1 {
                talk.interrupt();
                talk.barred = true;
            }
        }
        self.state = if left > 0 {
            State::Body { left, tuple }
        } else {
            State::Header
        };
        out.extend_from_slice(&input[..size]);
        input.advance(size);
        if kind == RequestKind::OPEN {
            tag(out, talk);
        }
    }

    fn refuse(
        &mut self,
        header: Header,
        reason: Reason,
        failure: Failure,
        input: &mut BytesMut,
        talk: &mut Talk,
    ) {
        talk.refuse(reason, failure);
        input.advance(HEADER);
        self.state = State::Skip {
            left: header.body_bytes(),
        };
    }

    /// Ends what runs if an INTERRUPT waits behind requests that have to wait themselves.
    fn look_ahead(&mut self, input: &BytesMut, talk: &mut Talk) {
        let starts = matches!(self.state, State::Header | State::Head { .. });
        if talk.interrupt_ahead || !starts {
            return;
        }
        while let Some(header) = input
            .get(self.looked..)
            .and_then(<[u8]>::first_chunk)
            .copied()
        {
            let header = Header::decode(header);
            if RequestKind(header.kind) == RequestKind::INTERRUPT {
                talk.interrupt_ahead = true;
                talk.interrupt();
                return;
            }
            let size = usize::try_from(header.body_bytes()).unwrap_or(usize::MAX);
            self.looked = self.looked.saturating_add(HEADER).saturating_add(size);
        }
    }
}

/// Tells the hooks whose database has just been opened.
fn tag(out: &mut BytesMut, talk: &mut Talk) {
    let mut message = Vec::new();
    let sql = talk.handle.tag();
    let encoded = Request::Prepare { sql: &sql }.encode(0, &mut message);
    debug_assert!(encoded.is_ok(), "a short text");
    talk.guard.asks_itself();
    talk.trail.pass_own();
    out.extend_from_slice(&message);
}

fn has_room(open: &[u8], talk: &Talk) -> bool {
    Reader::new(open)
        .text()
        .map_or(true, |name| talk.rules.has_room_for(name))
}

fn available(left: u64, input: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(input.len())
}

fn follow(tuple: Option<&mut TupleCheck>, bytes: &[u8], ends: bool) -> Result<(), DecodeError> {
    let Some(tuple) = tuple else {
        return Ok(());
    };
    tuple.feed(bytes)?;
    if ends { tuple.finish() } else { Ok(()) }
}

fn parse(malformed: &DecodeError) -> Failure {
    Failure {
        code: Code::DQLITE_PARSE,
        message: malformed.what.to_owned(),
    }
}
