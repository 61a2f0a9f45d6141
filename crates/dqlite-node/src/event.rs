//! What a running node tells, and what it can be told.

use std::path::PathBuf;
use std::time::Duration;

use dqlite_proto::{NodeInfo, Role};
use serde_json::Value;

use crate::live::Change;
use crate::watchdog::Verdict;

/// The states of a node, as far as its own process knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sockets are bound, the directory is read.
    Starting,
    /// The founder of a new cluster waits for its proof that there is none.
    Forming,
    /// No seat in the cluster yet.
    Joining,
    /// A member whose role is not settled.
    CatchingUp,
    /// A member with a settled role that knows the leader.
    Ready,
    /// Was ready; no leader is known now.
    NoLeader,
    /// Others see a leader, the own engine does not.
    Detached,
    /// A stop is under way.
    Draining,
    /// No longer a member.
    Removed,
}

impl State {
    /// The name as the control channel spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Forming => "forming",
            Self::Joining => "joining",
            Self::CatchingUp => "catching-up",
            Self::Ready => "ready",
            Self::NoLeader => "no-leader",
            Self::Detached => "detached",
            Self::Draining => "draining",
            Self::Removed => "removed",
        }
    }
}

/// An address that does not answer as hoped, and why.
pub type Missing = (String, String);

/// What a running node tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The engine library is open and its hooks are proven.
    Engine {
        /// The library.
        path: PathBuf,
        /// Its version.
        version: String,
        /// The bundle directory it came from, if it came from one.
        bundle: Option<PathBuf>,
        /// Symbols that it lacks.
        missing: Vec<String>,
    },
    /// The gateway accepts connections.
    Serving {
        /// The advertised address.
        address: String,
        /// What the TCP listener is bound to.
        bind: String,
        /// The Unix socket, if there is one.
        unix: Option<PathBuf>,
    },
    /// The node changed its state, or the reason for it.
    State {
        /// The state left.
        from: State,
        /// The state entered.
        to: State,
        /// Why.
        why: String,
        /// Who is missing.
        missing: Vec<Missing>,
    },
    /// The node's id is decided.
    Identity {
        /// The id.
        id: u64,
        /// The advertised address.
        address: String,
        /// Whether the node bootstrapped a cluster of its own.
        bootstrapped: bool,
    },
    /// The engine sees another leader, or none.
    Leader {
        /// The leader's id and address.
        leader: Option<(u64, String)>,
        /// How long there was no leader before.
        since: Duration,
    },
    /// The cluster's members changed.
    Members {
        /// All members.
        list: Vec<NodeInfo>,
        /// Ids that came, went or got another role.
        changed: Vec<u64>,
    },
    /// The node's own role changed.
    Role {
        /// The new role.
        role: Role,
        /// Who decided it: `keeper` of this node, or the address of the leader.
        by: String,
    },
    /// This node leads and adjusted roles.
    RolesAdjusted {
        /// What was changed.
        changes: Vec<RoleChange>,
        /// Who did not take a role, and why.
        failed: Vec<Missing>,
    },
    /// The node is ready for the first time since its start.
    Ready {
        /// Time since the start of the process.
        after: Duration,
    },
    /// Something an operator should know.
    Warn {
        /// A stable name.
        code: &'static str,
        /// The sentence for people.
        text: String,
    },
    /// The watchdog is about to end the process.
    Watchdog(Verdict),
    /// Sent every second.
    Beat {
        /// The longest time without an answer of the engine since the last beat.
        pause_max: Duration,
        /// Connections at the gateway.
        connections: u64,
    },
    /// The answer to a command.
    Reply {
        /// The command's number.
        n: u32,
        /// Its result, or a stable name and a sentence.
        answer: Result<Value, (&'static str, String)>,
    },
}

/// One change of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The member.
    pub id: u64,
    /// Its role before.
    pub from: Role,
    /// Its role after.
    pub to: Role,
    /// The rule that asked for it.
    pub rule: &'static str,
    /// The reason in words.
    pub why: String,
}

/// What a running node can be told. `n` is echoed in the [`Reply`](Event::Reply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stop.
    Stop {
        /// Echoed; `None` if nobody waits for an answer.
        n: Option<u32>,
        /// Give leadership and seat away first.
        handover: bool,
        /// Bound of the whole stop.
        deadline: Duration,
    },
    /// Whoever started the node is gone: stop within three seconds.
    Orphaned,
    /// Give leadership away, and the seat with `roles`.
    Handover {
        /// Echoed.
        n: u32,
        /// The seat, too.
        roles: bool,
        /// Bound of the attempt.
        deadline: Duration,
    },
    /// The present status.
    Status {
        /// Echoed.
        n: u32,
    },
    /// Leave the cluster for good, and stop.
    Leave {
        /// Echoed.
        n: u32,
        /// Bound of the attempt.
        deadline: Duration,
    },
    /// Read certificates and keys again.
    ReloadTls {
        /// Echoed.
        n: u32,
    },
    /// The same, because of a signal: nobody waits for an answer.
    Hangup,
    /// Change what may change while the node runs.
    Set {
        /// Echoed.
        n: u32,
        /// What, and to which value.
        change: Change,
    },
    /// The last role decisions, with reasons.
    Explain {
        /// Echoed.
        n: u32,
    },
}

/// The end of a clean stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Whether leadership was given away.
    pub handed_over: bool,
    /// The leader afterwards, as far as known.
    pub leader: Option<String>,
    /// Connections that ended in peace.
    pub drained: u64,
    /// How long the stop took.
    pub took: Duration,
    /// The node has left its cluster for good.
    pub left: bool,
}
