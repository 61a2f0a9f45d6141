//! What the gateway counts, for whoever watches the node.

use std::sync::atomic::{AtomicU64, Ordering};

use dqlite_proto::{Code, Failure, RequestKind};

/// Why something was not let through, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// More connections than allowed.
    Connections,
    /// No first word in time, or one that is no version.
    Handshake,
    /// No good certificate, or no TLS at all.
    Tls,
    /// A name that no database may have, or too many databases.
    DatabaseName,
    /// A second OPEN.
    SecondOpen,
    /// A statement id that is not alive.
    DeadStatement,
    /// SQL that the engine does not survive, or too much of it.
    Sql,
    /// A message that is none.
    Malformed,
    /// A message that is too large.
    FrameSize,
    /// A change of membership that would do harm.
    Membership,
    /// A dump that would do harm.
    Dump,
    /// What this node's owner forbids.
    Denied,
    /// A stream between nodes, from somebody who is no member.
    Peer,
    /// Nothing was asked for too long.
    Idle,
    /// A transaction was left open for too long.
    IdleInTransaction,
    /// Half a message, and no more.
    Stalled,
    /// Replies that nobody reads.
    SlowReader,
}

const REASONS: [(Reason, &str); 17] = [
    (Reason::Connections, "connections"),
    (Reason::Handshake, "handshake"),
    (Reason::Tls, "tls"),
    (Reason::DatabaseName, "database_name"),
    (Reason::SecondOpen, "second_open"),
    (Reason::DeadStatement, "dead_statement"),
    (Reason::Sql, "sql"),
    (Reason::Malformed, "malformed"),
    (Reason::FrameSize, "frame_size"),
    (Reason::Membership, "membership"),
    (Reason::Dump, "dump"),
    (Reason::Denied, "denied"),
    (Reason::Peer, "peer"),
    (Reason::Idle, "idle"),
    (Reason::IdleInTransaction, "idle_in_transaction"),
    (Reason::Stalled, "stalled"),
    (Reason::SlowReader, "slow_reader"),
];

impl Reason {
    /// Why a guard refused a request of this kind.
    pub(super) fn of_refusal(kind: RequestKind, failure: &Failure) -> Self {
        match (failure.code, kind) {
            (Code::DQLITE_PARSE, _) => Self::Malformed,
            (Code::AUTH, _) => Self::Denied,
            (_, RequestKind::ADD | RequestKind::ASSIGN) => Self::Membership,
            (Code::BUSY, _) => Self::SecondOpen,
            (Code::NOTFOUND, _) => Self::DeadStatement,
            (_, RequestKind::OPEN) => Self::DatabaseName,
            (Code::DQLITE_NOTFOUND, _) => Self::Dump,
            _ if failure.message == "request too large" => Self::FrameSize,
            _ => Self::Sql,
        }
    }
}

/// The running totals of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) replies: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) interrupts: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) slow_drains: AtomicU64,
    refused: [AtomicU64; REASONS.len()],
}

/// Totals since the node's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connections taken in, those between nodes included.
    pub(crate) accepted: u64,
    /// Requests that the engine was given.
    pub(crate) requests: u64,
    /// Messages that it answered with.
    pub(crate) replies: u64,
    /// Bytes that clients sent.
    pub(crate) bytes_in: u64,
    /// Bytes that they were sent.
    pub(crate) bytes_out: u64,
    /// Times that a client had its statements ended.
    pub(crate) interrupts: u64,
    /// Times that the limit of a statement's time did.
    pub(crate) timeouts: u64,
    /// Clients that left while their statements ran.
    pub(crate) abandoned: u64,
    /// Connections on which the engine took longer than a minute to end what nobody waits for.
    pub(crate) slow_drains: u64,
    /// How often each reason to refuse or to close arose.
    pub(crate) refused: Vec<(&'static str, u64)>,
}

impl Counters {
    /// The totals by now.
    pub(crate) fn snapshot(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = REASONS.iter().zip(&self.refused);
        Totals {
            accepted: read(&self.accepted),
            requests: read(&self.requests),
            replies: read(&self.replies),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            interrupts: read(&self.interrupts),
            timeouts: read(&self.timeouts),
            abandoned: read(&self.abandoned),
            slow_drains: read(&self.slow_drains),
            refused: refused
                .map(|((_, name), count)| (*name, read(count)))
                .collect(),
        }
    }

    pub(super) fn refuse(&self, reason: Reason) {
        let index = REASONS.iter().position(|(known, _)| *known == reason);
        if let Some(counter) = index.and_then(|index| self.refused.get(index)) {
            add(counter, 1);
        }
    }
}

pub(super) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_and_a_count() {
        let counters = Counters::default();
        for (reason, _) in REASONS {
            counters.refuse(reason);
        }
        counters.refuse(Reason::Peer);
        let refused = counters.snapshot().refused;
        assert_eq!(refused.len(), REASONS.len());
        for (name, count) in refused {
            assert_eq!(count, 1 + u64::from(name == "peer"), "{name}");
        }
    }
}
