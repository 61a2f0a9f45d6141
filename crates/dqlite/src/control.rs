//! The control channel between an application and its node process: version 1.
//!
//! One JSON object per line, UTF-8, at most [`LINE_BYTES_MAX`] bytes. Ids travel as decimal
//! strings, because many JSON readers lose integers above 2^53. Unknown *fields* are ignored;
//! unknown *types* are answered with an error (node side) or logged (application side), so both
//! ends may be of different releases as long as [`VERSION`] agrees.
//!
//! ```text
//! application ── ToNode ──►  stdin   node        first line: config; EOF = the application died
//! application ◄─ FromNode ── stdout  node        last line: bye, or fatal
//! ```

pub mod exit;
mod ids;
mod lines;
mod parts;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use ids::{decimal, decimal_opt, decimal_vec};

pub(crate) use lines::{Lines, decode, encode};
pub use lines::{Received, Unreadable, read, write};
pub use parts::{
    Answer, App, HandedOver, Member, Missing, Refusal, Role, RoleChange, Stage, State, Tried,
};

/// The version of the channel that this crate speaks.
pub const VERSION: u32 = 1;

/// The longest line either side accepts, the line feed included.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Options by name, as the node reads them: see the option table of the node.
pub type Options = Map<String, Value>;

/// What an application says to its node. `n` is echoed in the [`Reply`](FromNode::Reply).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToNode {
    /// The first line, and only the first. Answered by events, or by [`FromNode::Fatal`].
    Config {
        /// [`VERSION`] of the sender.
        v: u32,
        /// Option names and values; the node validates them again.
        options: Options,
        /// Who asks, for logs.
        app: App,
    },
    /// Stop; answered by a reply and then [`FromNode::Bye`].
    Stop {
        /// Echoed in the reply.
        n: u32,
        /// Give leadership away first.
        handover: bool,
        /// Bound of the whole stop.
        deadline_ms: u64,
    },
    /// Give leadership away; answered by a [`HandedOver`].
    Handover {
        /// Echoed in the reply.
        n: u32,
        /// Give the voter's seat away, too.
        #[serde(default)]
        roles: bool,
        /// Bound of the attempt.
        deadline_ms: u64,
    },
    /// Leave the cluster for good.
    Leave {
        /// Echoed in the reply.
        n: u32,
        /// Bound of the attempt.
        deadline_ms: u64,
    },
    /// Asks for the status document.
    Status {
        /// Echoed in the reply.
        n: u32,
    },
    /// Asks for the last role decisions and their reasons.
    Explain {
        /// Echoed in the reply.
        n: u32,
    },
    /// Changes what may change while the node runs; absent fields stay as they are.
    Set {
        /// Echoed in the reply.
        n: u32,
        /// `error`, `warn`, `info`, `debug` or `trace`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log_level: Option<String>,
        /// `off`, or the level at which statements are logged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace_sql: Option<String>,
        /// Statements slower than this are logged; 0 = none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slow_statement_ms: Option<u64>,
        /// Parallel probes of the leader search.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leader_probe_limit: Option<u32>,
    },
    /// Reads the certificates again.
    ReloadTls {
        /// Echoed in the reply.
        n: u32,
    },
    /// Answered at once with the node's monotonic milliseconds.
    Ping {
        /// Echoed in the reply.
        n: u32,
    },
}

/// What a node says to its application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromNode {
    /// The first line, before the configuration is read.
    Hello {
        /// [`VERSION`] of the sender.
        v: u32,
        /// Process id of the node.
        pid: u32,
        /// Version of the executable.
        version: String,
        /// Every channel version the executable speaks.
        control: Vec<u32>,
        /// The node's descriptor of the memory in which it notes what its engine is at; see
        /// `dqlite_proto::suspects`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_flight: Option<i32>,
    },
    /// The engine library is open and its hooks are proven.
    Engine {
        /// The library.
        path: String,
        /// Its version.
        version: String,
        /// The bundle directory it came from, if it came from one.
        #[serde(default)]
        bundle: Option<String>,
        /// Symbols that this library lacks.
        #[serde(default)]
        missing: Vec<String>,
    },
    /// The gateway accepts connections.
    Serving {
        /// The advertised address.
        address: String,
        /// What the TCP listener is bound to.
        bind: String,
        /// The Unix socket, if there is one.
        #[serde(default)]
        unix: Option<String>,
        /// The admin listener, if there is one.
        #[serde(default)]
        admin: Option<String>,
    },
    /// The node changed its state.
    State {
        /// The state left.
        from: State,
        /// The state entered.
        to: State,
        /// Why.
        #[serde(default)]
        why: String,
        /// Who is missing, and why.
        #[serde(default)]
        missing: Vec<Missing>,
    },
    /// The node's id is decided.
    Identity {
        /// The id.
        #[serde(with = "decimal")]
        id: u64,
        /// The advertised address.
        address: String,
        /// Whether the node bootstrapped a cluster of its own.
        #[serde(default)]
        bootstrapped: bool,
        /// The id of the stale seat that this id takes over.
        #[serde(default, with = "decimal_opt", skip_serializing_if = "Option::is_none")]
        replaced: Option<u64>,
    },
    /// The node's engine sees another leader, or none.
    Leader {
        /// The leader's id; 0 = no leader.
        #[serde(with = "decimal")]
        id: u64,
        /// The leader's address; empty = no leader.
        address: String,
        /// How long there was no leader before.
        #[serde(default)]
        since_ms: u64,
    },
    /// The cluster's members changed.
    Members {
        /// All members.
        list: Vec<Member>,
        /// Ids that came, went or got another role.
        #[serde(default, with = "decimal_vec")]
        changed: Vec<u64>,
    },
    /// The node's own role changed.
    Role {
        /// The new role.
        role: Role,
        /// Who decided it: `keeper` of this node, or the address of the leader that did.
        #[serde(default)]
        by: String,
    },
    /// This node leads and adjusted roles.
    RolesAdjusted {
        /// What was changed.
        changes: Vec<RoleChange>,
        /// What could not be changed, by address.
        #[serde(default)]
        failed: Vec<Missing>,
    },
    /// The node became ready for the first time since its start.
    Ready {
        /// Milliseconds since the start of the process.
        ms: u64,
    },
    /// Something an operator should know.
    Warn {
        /// A stable name, such as `unreachable_self`.
        code: String,
        /// The sentence for people.
        text: String,
        /// Facts that belong to the code.
        #[serde(flatten)]
        fields: Map<String, Value>,
    },
    /// The watchdog is about to end the process.
    Watchdog {
        /// `mute`, `writers-stuck` or `detached`.
        verdict: String,
        /// What was observed.
        evidence: String,
    },
    /// Sent every second by a node that lives.
    Beat {
        /// Unix time in milliseconds.
        at: u64,
        /// The longest time without an answer of the engine since the last beat.
        #[serde(default)]
        pause_max_ms: u64,
        /// Connections at the gateway.
        #[serde(default)]
        conns: u64,
        /// Resident memory in bytes.
        #[serde(default)]
        rss: u64,
        /// Open descriptors.
        #[serde(default)]
        fds: u64,
    },
    /// The answer to a request.
    Reply {
        /// `n` of the request.
        n: u32,
        /// What came of it.
        #[serde(flatten)]
        answer: Answer,
    },
    /// The last line of a failed start, or of a node that cannot go on.
    Fatal {
        /// The step that failed.
        stage: Stage,
        /// A stable name of the reason.
        #[serde(default)]
        code: String,
        /// The sentence for people.
        text: String,
        /// Every place that was tried, with the reason it would not do.
        #[serde(default)]
        tried: Vec<Tried>,
        /// Whether a restart may cure it.
        #[serde(default)]
        restart: bool,
    },
    /// The last line of a clean stop.
    Bye {
        /// Whether leadership was given away.
        #[serde(default)]
        handed_over: bool,
        /// The leader afterwards, as far as known.
        #[serde(default)]
        leader: Option<String>,
        /// Connections that ended in peace.
        #[serde(default)]
        drained: u64,
        /// How long the stop took.
        #[serde(default)]
        ms: u64,
    },
}
