//! What a failure means: may it have happened, may it be tried again, is the connection any good.
//!
//! Pure functions over data. [`of_failure`] judges an answer, [`of_loss`] the lack of one.

use crate::code::Code;
use crate::error::Failure;
use crate::session::Progress;

/// May the request have taken effect?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No complete request ever left.
    NotSent,
    /// The server said no: nothing of this statement happened.
    Refused,
    /// Sent, and no answer that can be trusted.
    Unknown,
}

/// What may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Nothing, or nothing that this crate could vouch for.
    No,
    /// The same request, on the same server.
    Here,
    /// The same request, on the server that leads now.
    Elsewhere,
    /// The whole transaction; after `NotLeader` on the server that leads now.
    Transaction,
}

/// What sort of failure a server reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// This server does not lead, or has not led for a moment and forgot the session.
    NotLeader,
    /// Leadership ended while the request was being replicated.
    LeadershipLost,
    /// A raft status without a code of its own.
    Raft,
    /// The write lock is taken.
    Busy,
    /// The read transaction is too old to become a write.
    BusySnapshot,
    /// Another membership change, or a checkpoint, is going on.
    InProgress,
    /// A second OPEN on one connection.
    AlreadyOpen,
    /// A constraint of the schema.
    Constraint,
    /// No such statement id on this connection.
    NoStatement,
    /// No such thing: a database to dump.
    NotFound,
    /// The running statement was ended.
    Interrupted,
    /// Read only.
    ReadOnly,
    /// The database is full.
    Full,
    /// Out of memory.
    NoMemory,
    /// A value or statement is too large.
    TooBig,
    /// A value of the wrong type.
    Mismatch,
    /// Not authorized.
    Denied,
    /// The database file is damaged.
    Corrupt,
    /// Reading or writing failed on the server.
    Storage,
    /// Blanks or comments only.
    EmptyStatement,
    /// A statement that yields rows, sent as one that does not.
    Rows,
    /// The server could not read the request.
    Protocol,
    /// The server is shutting down.
    Aborted,
    /// Everything else that SQLite reports: syntax, missing tables, ...
    Sql,
}

impl FailureKind {
    /// The kind of a failure. dqlite's own codes go by number; where one code has several
    /// meanings the exact text decides, and an unknown text falls to the safer one.
    pub fn of(failure: &Failure) -> Self {
        match failure.code {
            Code::OK => Self::EmptyStatement,
            Code::NOT_LEADER | Code::NOT_LEADER_OLD => Self::NotLeader,
            Code::LEADERSHIP_LOST | Code::LEADERSHIP_LOST_OLD => Self::LeadershipLost,
            Code::BUSY_SNAPSHOT => Self::BusySnapshot,
            Code::DQLITE_PROTO | Code::DQLITE_PARSE => Self::Protocol,
            Code::DQLITE_NOTFOUND => Self::NotFound,
            Code::ROW => Self::Rows,
            code => Self::of_primary(code, &failure.message),
        }
    }

    fn of_primary(code: Code, text: &str) -> Self {
        match code.primary() {
            Code::ERROR if text == ROWS_IN_EXEC => Self::Rows,
            Code::ABORT => Self::Aborted,
            Code::BUSY if text == ALREADY_OPEN => Self::AlreadyOpen,
            Code::BUSY if text == CHECKPOINT => Self::InProgress,
            Code::BUSY | Code::LOCKED => Self::Busy,
            Code::NOMEM => Self::NoMemory,
            Code::READONLY | Code::PERM => Self::ReadOnly,
            Code::INTERRUPT => Self::Interrupted,
            Code::IOERR if REFUSED_PRAGMAS.contains(&text) => Self::Denied,
            Code::IOERR if text == EXEC_FAILED => Self::Raft,
            Code::IOERR => Self::Storage,
            Code::CORRUPT | Code::NOTADB => Self::Corrupt,
            Code::NOTFOUND if text == NO_STATEMENT => Self::NoStatement,
            Code::NOTFOUND if text == NO_DATABASE => Self::NotLeader,
            Code::FULL => Self::Full,
            Code::PROTOCOL => Self::Protocol,
            Code::TOOBIG => Self::TooBig,
            Code::CONSTRAINT => Self::Constraint,
            Code::MISMATCH => Self::Mismatch,
            Code::AUTH => Self::Denied,
            _ => Self::Sql,
        }
    }
}

/// Code 12: the connection has no database, or has none any more.
pub const NO_DATABASE: &str = "no database opened";
/// Code 12: the statement id is unknown.
pub const NO_STATEMENT: &str = "no statement with the given id";
/// Code 5: the connection has a database already.
pub const ALREADY_OPEN: &str = "a database for this connection is already open";
/// Code 1: more than one statement; on class D also the mask of every failure before the start.
pub const TAIL: &str = "nonempty statement tail";
const EXEC_FAILED: &str = "leader exec failed";
const CHECKPOINT: &str = "checkpoint in progress";
const ROWS_IN_EXEC: &str = "rows yielded when none expected for EXEC request";
const REFUSED_PRAGMAS: [&str; 2] = [
    "only WAL mode is supported",
    "custom checkpoint not allowed",
];

/// What the caller knows about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it can do. Text that nobody has classified counts as writing.
    pub effect: Effect,
    /// Whether a transaction was open, or may have been.
    pub in_transaction: bool,
    /// `QUERY_SQL` of a text that is known to be one statement: undoes the mask of class D.
    pub one_query: bool,
}

/// What a request can do to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing.
    Read,
    /// It may write.
    Write,
    /// It makes a transaction durable.
    Commit,
}

/// What is left of the session afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum After {
    /// It goes on; an open transaction is still open.
    Ok,
    /// It goes on, but whether a transaction is open must be found out with a ROLLBACK.
    TransactionUnknown,
    /// It is over: statements and transaction are gone.
    Lost,
}

/// The answer to the caller's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What sort of failure.
    pub kind: FailureKind,
    /// May it have happened?
    pub outcome: Outcome,
    /// What may be tried again.
    pub retry: Retry,
    /// What is left of the session.
    pub after: After,
}

/// Judges the failure that answered a request.
pub fn of_failure(failure: &Failure, call: Call) -> Verdict {
    let masked = call.one_query && failure.code == Code::ERROR && failure.message == TAIL;
    let kind = if masked {
        FailureKind::Busy
    } else {
        failure.kind()
    };
    let (outcome, retry) = match kind {
        FailureKind::NotLeader | FailureKind::Interrupted => {
            (Outcome::Refused, whole(Retry::Elsewhere, call))
        }
        FailureKind::LeadershipLost | FailureKind::Aborted => {
            (unknown(call), reads(Retry::Elsewhere, call))
        }
        FailureKind::Raft | FailureKind::Storage => (unknown(call), reads(Retry::Here, call)),
        // A refused COMMIT leaves the transaction open and can be sent again by itself.
        FailureKind::Busy if call.effect == Effect::Commit => (Outcome::Refused, Retry::Here),
        FailureKind::Busy => (Outcome::Refused, whole(Retry::Here, call)),
        FailureKind::InProgress | FailureKind::NoStatement => (Outcome::Refused, Retry::Here),
        FailureKind::BusySnapshot => (Outcome::Refused, Retry::Transaction),
        _ => (Outcome::Refused, Retry::No),
    };
    Verdict {
        kind,
        outcome,
        retry,
        after: after(kind, call),
    }
}

fn after(kind: FailureKind, call: Call) -> After {
    match kind {
        FailureKind::NotLeader
        | FailureKind::LeadershipLost
        | FailureKind::Interrupted
        | FailureKind::Aborted
        | FailureKind::NoStatement
        | FailureKind::Protocol => After::Lost,
        FailureKind::NoMemory
        | FailureKind::Raft
        | FailureKind::Storage
        | FailureKind::Corrupt
        | FailureKind::Full
            if call.in_transaction =>
        {
            After::TransactionUnknown
        }
        _ => After::Ok,
    }
}

const fn whole(outside: Retry, call: Call) -> Retry {
    if call.in_transaction {
        Retry::Transaction
    } else {
        outside
    }
}

const fn reads(retry: Retry, call: Call) -> Retry {
    match call.effect {
        Effect::Read => whole(retry, call),
        Effect::Write | Effect::Commit => Retry::No,
    }
}

/// The outcome where the server could not tell: a read has no effect that could be in doubt.
const fn unknown(call: Call) -> Outcome {
    match call.effect {
        Effect::Read => Outcome::Refused,
        Effect::Write | Effect::Commit => Outcome::Unknown,
    }
}

/// Judges a request whose answer never came: connection lost or deadline passed.
pub const fn of_loss(progress: Progress, call: Call) -> (Outcome, Retry) {
    match (progress, call.effect) {
        (Progress::Unsent | Progress::Partial, _) => {
            (Outcome::NotSent, whole(Retry::Elsewhere, call))
        }
        (Progress::Sent | Progress::Streaming, Effect::Read) => {
            (Outcome::Refused, whole(Retry::Elsewhere, call))
        }
        // A lost connection rolls an open transaction back, so only COMMIT leaves doubt.
        (Progress::Sent | Progress::Streaming, Effect::Write) if call.in_transaction => {
            (Outcome::Refused, Retry::Transaction)
        }
        (Progress::Sent | Progress::Streaming, Effect::Write | Effect::Commit) => {
            (Outcome::Unknown, Retry::No)
        }
    }
}
