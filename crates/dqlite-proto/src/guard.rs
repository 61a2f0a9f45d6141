//! What must not reach an engine, and what its replies really mean: decisions of a gateway.
//!
//! One [`Guard`] stands between one client and one engine connection. It holds no stream: the
//! gateway shows it the head of each request and each short reply, and acts on what it says.
//!
//! ```text
//! client ─► header, head ─► Guard::request ─► Pass | Refuse | Hold | ...
//! engine ─► header, body ─► Guard::reply   ─► Forward | Replace
//! ```
//!
//! Refusals carry the engine's own text where it has one; else one that begins with "refused" and
//! says what to do instead.

mod judge;

use std::collections::BTreeMap;

use crate::code::Code;
use crate::error::Failure;
use crate::frame::Header;
use crate::message::{RequestKind, ResponseKind};
use crate::outcome::{self, FailureKind};
use crate::reply::{self, ServerClass};
use crate::slots::Slots;
use crate::wire::{WORD, text_size};

/// What an engine and its owner allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Class of the engine.
    pub class: ServerClass,
    /// Body of a request.
    pub request_bytes_max: u64,
    /// SQL text of a request: it is parsed on the engine's loop thread.
    pub sql_bytes_max: usize,
    /// Statements alive on one connection.
    pub statements_max: usize,
    /// Whether members, roles, weights and dumps may be asked for.
    pub membership: bool,
    /// What need not be refused.
    pub abilities: Abilities,
}

/// What an engine can do only because its host stands in front of its libraries. By default
/// nothing: then the guard refuses what such an engine does not survive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// RETURNING works in EXEC and `EXEC_SQL`.
    pub exec_returning: bool,
    /// PRAGMA optimize works in QUERY and `QUERY_SQL`.
    pub query_optimize: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            class: ServerClass::D,
            request_bytes_max: 64 << 20,
            sql_bytes_max: 4 << 20,
            statements_max: 1024,
            membership: true,
            abilities: Abilities::default(),
        }
    }
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Show more of the body: the head ends before what has to be judged.
    More,
    /// Pass it on. The first `judged` bytes of the body are in order; the rest is a parameter tuple
    /// to be followed with [`TupleCheck`](crate::tuple::TupleCheck), or nothing.
    Pass {
        /// Bytes of the body that need no further look.
        judged: usize,
    },
    /// Pass nothing on until the engine has answered what it was asked before.
    Hold,
    /// Leave the body out and answer this when its turn comes.
    Refuse(Failure),
    /// The same, and close behind that answer: the stream cannot be trusted.
    Close(Failure),
    /// ADD, ASSIGN, REMOVE or TRANSFER, well-formed. *Engine*: to be asked on a connection without
    /// a database, and not if it takes the last voter away. Leave it out, and answer for it.
    Change,
    /// The first message asks to become a stream between nodes; who asks must be a member.
    Connect {
        /// Raft id.
        id: u64,
        /// Address, as the peer gives it.
        address: String,
    },
}

/// What to do with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Send it on as it is.
    Forward,
    /// Send this failure in its place.
    Replace(Failure),
    /// The engine was asked for the members with their roles, and knows of none: send on what is
    /// known otherwise.
    NoMembers,
    /// The client did not ask: it is no business of his.
    Drop,
    /// The engine does not follow the protocol.
    Broken,
}

/// How a frame of rows goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// More frames follow.
    Part,
    /// The reply is complete.
    Done,
    /// It will never end: see protocol 9.4.
    EmptyPart,
    /// The engine does not follow the protocol.
    Broken,
}

/// The decisions for one connection.
#[derive(Debug)]
pub struct Guard {
    policy: Policy,
    database: Database,
    statements: BTreeMap<u32, Traits>,
    preparing: usize,
    first: bool,
    slots: Slots<Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Database {
    /// None, or none any more: the engine answers for itself.
    Closed,
    Opening,
    Open,
}

/// What the lexer found in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traits {
    returning: bool,
    optimize: bool,
    single: bool,
}

/// A request that the engine will answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    kind: RequestKind,
    traits: Traits,
    /// Asked by the gateway itself.
    own: bool,
    /// Wants members with their roles.
    roles: bool,
}

impl Asked {
    /// Whether a statement runs until this is answered.
    pub const fn runs(&self) -> bool {
        carries_tuple(self.kind)
    }
}

/// Whether what a guard leaves unjudged of such a request, when it lets it pass, is a parameter
/// tuple: to be followed with [`TupleCheck`](crate::tuple::TupleCheck) unless its schema is
/// unknown, which the engine answers for.
pub const fn carries_tuple(kind: RequestKind) -> bool {
    matches!(
        kind,
        RequestKind::EXEC | RequestKind::QUERY | RequestKind::EXEC_SQL | RequestKind::QUERY_SQL
    )
}

impl Guard {
    /// For a new connection.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            database: Database::Closed,
            statements: BTreeMap::new(),
            preparing: 0,
            first: true,
            slots: Slots::default(),
        }
    }

    /// Replies owed to the client. The gateway puts its refusals in and takes what is due out;
    /// requests that pass and replies that are complete are booked by the guard.
    pub const fn slots(&mut self) -> &mut Slots<Asked> {
        &mut self.slots
    }

    /// Judges a request by its header and as much of its body as is at hand. A body of up to 64 KiB
    /// should be whole; of a larger one at least the SQL text must come.
    ///
    /// With [`Verdict::Pass`] the request is taken as passed on.
    pub fn request(&mut self, header: Header, head: &[u8]) -> Verdict {
        if header.words == 0 {
            return Verdict::Close(parse("empty message"));
        }
        if header.body_bytes() > self.policy.request_bytes_max {
            return Verdict::Close(error("request too large"));
        }
        let kind = RequestKind(header.kind);
        let streams = carries_tuple(kind) || kind == RequestKind::PREPARE;
        if header.body_bytes() > WHOLE_BYTES_MAX && !streams {
            self.first = false;
            return Verdict::Refuse(error("request too large"));
        }
        let whole = head.len() as u64 >= header.body_bytes();
        let first = self.first;
        let mut traits = Traits::default();
        let judgement = self.judge(header, head, whole, first, &mut traits);
        let verdict = match judgement {
            Ok(verdict) => verdict,
            // What is missing may still be on its way.
            Err(_) if !whole => Verdict::More,
            Err(malformed) => Verdict::Close(parse(malformed.what)),
        };
        if let Verdict::Pass { .. } = verdict {
            self.passed(kind, head, traits);
        }
        if !matches!(verdict, Verdict::More | Verdict::Hold) {
            self.first = false;
        }
        verdict
    }

    fn passed(&mut self, kind: RequestKind, head: &[u8], traits: Traits) {
        match kind {
            RequestKind::OPEN => self.database = Database::Opening,
            RequestKind::PREPARE => self.preparing = self.preparing.saturating_add(1),
            RequestKind::FINALIZE => {
                let id = head.get(4..).and_then(<[u8]>::first_chunk).copied();
                let id = u32::from_le_bytes(id.unwrap_or_default());
                self.statements.remove(&id);
            }
            _ => {}
        }
        self.slots.expect(Asked {
            kind,
            traits,
            own: false,
            roles: kind == RequestKind::CLUSTER && head.starts_with(&WITH_ROLES),
        });
    }

    /// Books a PREPARE that the gateway itself sends, of a text without a statement: its answer,
    /// whatever it is, is for nobody else.
    pub fn asks_itself(&mut self) {
        self.slots.expect(Asked {
            kind: RequestKind::PREPARE,
            traits: Traits::default(),
            own: true,
            roles: false,
        });
    }

    /// Takes the last request that passed back: it could not be completed, and with it ends what
    /// the engine is sent. True if there was one.
    pub fn revoke(&mut self) -> bool {
        self.slots.revoke()
    }

    /// Judges a whole reply other than rows and books it. Of replies above 64 KiB only the header
    /// need be shown, with an empty body.
    pub fn reply(&mut self, header: Header, body: &[u8]) -> Reply {
        let kind = ResponseKind(header.kind);
        let Some(asked) = self.slots.settle() else {
            return Reply::Broken;
        };
        if !reply::answers(asked.kind, kind) {
            return Reply::Broken;
        }
        if asked.own {
            return Reply::Drop;
        }
        if asked.kind == RequestKind::PREPARE {
            self.preparing = self.preparing.saturating_sub(1);
        }
        match kind {
            ResponseKind::DB => {
                self.statements.clear();
                self.database = Database::Open;
            }
            ResponseKind::STMT => {
                let id = body.get(4..).and_then(<[u8]>::first_chunk).copied();
                let Some(id) = id else {
                    return Reply::Broken;
                };
                self.statements.insert(u32::from_le_bytes(id), asked.traits);
            }
            ResponseKind::SERVERS if asked.roles && body == NOBODY => return Reply::NoMembers,
            ResponseKind::FAILURE => return self.failure(asked, body),
            _ => {}
        }
        Reply::Forward
    }

    fn failure(&mut self, asked: Asked, body: &[u8]) -> Reply {
        let Ok(failure) = reply::failure(body, FAILURE_TEXT_MAX) else {
            return Reply::Broken;
        };
        if asked.kind == RequestKind::OPEN && failure.kind() != FailureKind::AlreadyOpen {
            self.database = Database::Closed;
        }
        if matches!(
            failure.kind(),
            FailureKind::NotLeader | FailureKind::LeadershipLost
        ) {
            self.database = Database::Closed;
            self.statements.clear();
        }
        if asked.kind == RequestKind::DUMP && failure.code == DUMP_OUT_OF_MEMORY {
            return Reply::Replace(Failure {
                code: Code::TOOBIG,
                message: DUMP_TOO_LARGE.to_owned(),
            });
        }
        let masked = asked.kind == RequestKind::QUERY_SQL
            && asked.traits.single
            && failure.code == Code::ERROR
            && failure.message == outcome::TAIL;
        if masked {
            return Reply::Replace(Failure {
                code: Code::BUSY,
                message: "database is locked".to_owned(),
            });
        }
        // Something stands in front of the code: make it plain for clients that look there.
        let plain = WORD.saturating_add(text_size(failure.message.len()));
        if body.len() == plain {
            Reply::Forward
        } else {
            Reply::Replace(failure)
        }
    }

    /// Judges a frame of rows by its last word, and books it if it ends the result. `empty` says
    /// that nothing but the column header stands before that word.
    pub fn rows(&mut self, last_word: u64, empty: bool) -> Rows {
        let rows = [RequestKind::QUERY, RequestKind::QUERY_SQL];
        if !self
            .slots
            .asked()
            .is_some_and(|asked| rows.contains(&asked.kind))
        {
            return Rows::Broken;
        }
        match last_word {
            crate::rows::PART if empty => Rows::EmptyPart,
            crate::rows::PART => Rows::Part,
            crate::rows::DONE => {
                self.slots.settle();
                Rows::Done
            }
            _ => Rows::Broken,
        }
    }
}

/// The body of a CLUSTER that asks for roles, too.
const WITH_ROLES: [u8; WORD] = 1_u64.to_le_bytes();
/// The body of a list without members.
const NOBODY: [u8; WORD] = [0; WORD];
/// *Engine*: its own code, in a place where codes of SQLite are expected.
const DUMP_OUT_OF_MEMORY: Code = Code(3);
/// What is said of a database that cannot be dumped.
pub const DUMP_TOO_LARGE: &str = "refused: the database is larger than a dump may be, which is \
     built in memory as a whole (the node's option max_reply_bytes); copy it row by row, or copy \
     the data directory of a stopped node";
/// Text kept of a failure that is rewritten.
const FAILURE_TEXT_MAX: usize = 64 << 10;
/// Requests without large text or parameters; what is longer is judged while it passes.
const WHOLE_BYTES_MAX: u64 = 64 << 10;

fn error(message: &str) -> Failure {
    Failure {
        code: Code::ERROR,
        message: message.to_owned(),
    }
}

fn parse(message: &str) -> Failure {
    Failure {
        code: Code::DQLITE_PARSE,
        message: message.to_owned(),
    }
}

fn denied() -> Failure {
    Failure {
        code: Code::AUTH,
        message: "not authorized".to_owned(),
    }
}
