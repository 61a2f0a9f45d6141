//! Which replies answer which request, the failure that comes behind half a reply, and what the
//! four classes of servers can do.

use crate::code::Code;
use crate::error::{DecodeError, Failure};
use crate::message::{RequestKind, ResponseKind};
use crate::wire::{self, Reader, WORD, zero_bytes};

/// What a server can do. There is no version on the wire; two harmless probes tell the classes
/// apart, see [`Session::probe`](crate::Session::probe).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum ServerClass {
    /// Up to 1.11: ignores schemas. Also what an unknown server is taken for.
    #[default]
    A,
    /// 1.12 to 1.14: large parameter tuples.
    B,
    /// 1.15 to 1.18.1: also statement tails.
    C,
    /// 1.18.2 and later: also RETURNING and a fair queue of writers.
    D,
}

impl ServerClass {
    /// Whether more than 255 parameters can be sent. Class A would run the statement with garbage.
    pub const fn has_large_params(self) -> bool {
        !matches!(self, Self::A)
    }

    /// Whether PREPARE reports where a statement ends.
    pub const fn has_tail(self) -> bool {
        matches!(self, Self::C | Self::D)
    }

    /// Whether RETURNING works outside a transaction. On the others it aborts the node.
    pub const fn has_returning(self) -> bool {
        matches!(self, Self::D)
    }

    /// Whether QUERY takes statements without columns.
    pub const fn queries_writes(self) -> bool {
        matches!(self, Self::C | Self::D)
    }

    /// The class behind the answers to the two probes; anything unexpected is class A.
    pub const fn of_probes(prepare: Code, query: Code) -> Self {
        match (prepare, query) {
            (Code::DQLITE_PARSE, Code::DQLITE_PARSE) => Self::B,
            (Code::ERROR, Code::DQLITE_PARSE) => Self::C,
            (Code::ERROR, Code::ERROR) => Self::D,
            _ => Self::A,
        }
    }
}

/// The reply that answers a request when nothing goes wrong; `None` for requests without a reply.
pub const fn expected(request: RequestKind) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::LEADER => ResponseKind::SERVER,
        RequestKind::CLIENT => ResponseKind::WELCOME,
        RequestKind::OPEN => ResponseKind::DB,
        RequestKind::PREPARE => ResponseKind::STMT,
        RequestKind::EXEC | RequestKind::EXEC_SQL => ResponseKind::RESULT,
        RequestKind::QUERY | RequestKind::QUERY_SQL => ResponseKind::ROWS,
        RequestKind::FINALIZE
        | RequestKind::INTERRUPT
        | RequestKind::ADD
        | RequestKind::ASSIGN
        | RequestKind::REMOVE
        | RequestKind::TRANSFER
        | RequestKind::WEIGHT => ResponseKind::EMPTY,
        RequestKind::DUMP => ResponseKind::FILES,
        RequestKind::CLUSTER => ResponseKind::SERVERS,
        RequestKind::DESCRIBE => ResponseKind::METADATA,
        _ => return None,
    })
}

/// Whether `reply` may answer `request`.
pub fn answers(request: RequestKind, reply: ResponseKind) -> bool {
    match expected(request) {
        None => false,
        // A class D server that is closing ends a query with EMPTY.
        Some(ResponseKind::ROWS) if reply == ResponseKind::EMPTY => true,
        Some(expected) => reply == ResponseKind::FAILURE || reply == expected,
    }
}

/// Decodes the body of FAILURE, whatever half-written reply stands in front of it.
///
/// A request that fails while its reply is being encoded leaves what was written before the code.
/// No word of the text but the last holds a zero byte, and the code always does: going backwards,
/// the first word with a zero byte is the code.
pub fn failure(body: &[u8], text_max: usize) -> Result<Failure, DecodeError> {
    let whole = Reader::new(body);
    let (words, []) = body.as_chunks::<WORD>() else {
        return Err(whole.error("a failure that is not whole words"));
    };
    let Some((last, before)) = words.split_last() else {
        return Err(whole.error("an empty failure"));
    };
    let text_end = last.iter().position(|byte| *byte == 0);
    let Some(text_end) = text_end.filter(|end| last.iter().skip(*end).all(|byte| *byte == 0))
    else {
        return Err(whole.error("a failure whose text does not end"));
    };
    let code_at = before
        .iter()
        .rposition(|word| zero_bytes(u64::from_le_bytes(*word)) != 0);
    let tail = code_at
        .and_then(|at| before.get(at..))
        .and_then(<[_]>::split_first);
    let Some((code, text)) = tail else {
        return Err(whole.error("a failure without a code"));
    };
    let code = u64::from_le_bytes(*code);
    if code > Code::MAX {
        return Err(whole.error("a failure with an impossible code"));
    }
    let ending = last.iter().take(text_end);
    let bytes: Vec<u8> = text
        .as_flattened()
        .iter()
        .chain(ending)
        .copied()
        .take(text_max)
        .collect();
    Ok(Failure {
        code: Code(code),
        message: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// Appends the body of a plain FAILURE.
pub(crate) fn put_failure(failure: &Failure, out: &mut Vec<u8>) {
    wire::put_u64(out, failure.code.0);
    wire::put_text(out, failure.message.as_bytes());
}
