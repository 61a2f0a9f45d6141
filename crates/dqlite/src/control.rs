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

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::lines::{Received, Unreadable, read, write};

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

/// The application at the other end of the channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its process id.
    pub pid: u32,
    /// Its name, or the name of the library that speaks for it.
    pub name: String,
    /// The version of what `name` names.
    pub version: String,
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

/// What came of a request: `"ok": value`, or `"error": {code, text}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done; the value depends on the request.
    Ok(Value),
    /// Refused or failed.
    Error(Refusal),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable name.
    pub code: String,
    /// The sentence for people.
    pub text: String,
}

/// The answer to [`ToNode::Handover`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// False if there was nothing to give away: another node leads.
    pub moved: bool,
    /// The leader afterwards.
    #[serde(default)]
    pub leader: Option<String>,
}

/// A node that did not answer as hoped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its address.
    pub address: String,
    /// Why it does not count.
    pub reason: String,
}

/// A place that was searched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The place.
    pub place: String,
    /// Why it would not do.
    pub reason: String,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    #[serde(with = "decimal")]
    pub id: u64,
    /// Its address.
    pub address: String,
    /// Its role.
    pub role: Role,
}

/// One change of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChange {
    /// The member.
    #[serde(with = "decimal")]
    pub id: u64,
    /// Its role before.
    pub from: Role,
    /// Its role after.
    pub to: Role,
    /// The rule that asked for it.
    #[serde(default)]
    pub rule: String,
    /// The reason in words.
    #[serde(default)]
    pub why: String,
}

/// A member's role, as the channel spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Replicates and votes.
    Voter,
    /// Replicates without a vote.
    StandBy,
    /// Neither.
    Spare,
}

/// The states of a node. `stopped`, `restarting` and `failed` are the supervisor's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Process spawned, engine searched, sockets bound.
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
    /// Others see a leader, this engine does not.
    Detached,
    /// A stop is under way.
    Draining,
    /// The process ended on request, or was never started.
    Stopped,
    /// Crashed or shot by the watchdog; the next start is due.
    Restarting,
    /// A crash loop, or an error that no restart can cure.
    Failed,
    /// No longer a member.
    Removed,
}

impl State {
    /// The name as the channel and Python spell it.
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
            Self::Stopped => "stopped",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }
}

/// The step of a start that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The options.
    Config,
    /// The search for the engine.
    Locate,
    /// Opening the engine's library and proving its hooks.
    Load,
    /// The lock of the data directory.
    Lock,
    /// Reading or writing the data directory.
    DataDir,
    /// Binding the listeners.
    Bind,
    /// Certificates.
    Tls,
    /// Creating the engine.
    Create,
    /// Starting the engine.
    Start,
    /// The node's identity.
    Identity,
    /// The node is no longer a member.
    Removed,
    /// A step that this release does not know.
    #[serde(other)]
    Other,
}

impl Stage {
    /// The name as the channel and Python spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Locate => "locate",
            Self::Load => "load",
            Self::Lock => "lock",
            Self::DataDir => "data_dir",
            Self::Bind => "bind",
            Self::Tls => "tls",
            Self::Create => "create",
            Self::Start => "start",
            Self::Identity => "identity",
            Self::Removed => "removed",
            Self::Other => "other",
        }
    }
}

/// Exit statuses of a node process. After a signal, and after [`DISK_FULL`](exit::DISK_FULL),
/// [`BUG`](exit::BUG) and [`WATCHDOG`](exit::WATCHDOG), a restart may help; after the others not.
pub mod exit {
    /// After [`FromNode::Bye`](super::FromNode::Bye).
    pub const CLEAN: i32 = 0;
    /// Wrong options.
    pub const CONFIG: i32 = 10;
    /// No engine, or one that will not do.
    pub const NO_ENGINE: i32 = 11;
    /// The data directory is in use.
    pub const LOCKED: i32 = 12;
    /// An address to listen on is taken.
    pub const ADDRESS_TAKEN: i32 = 13;
    /// The data directory is damaged.
    pub const DAMAGED: i32 = 14;
    /// The data directory belongs to another id or address.
    pub const IDENTITY: i32 = 15;
    /// The node was removed from the cluster, or left it.
    pub const REMOVED: i32 = 16;
    /// Certificate files.
    pub const TLS: i32 = 17;
    /// No space at the start.
    pub const DISK_FULL: i32 = 18;
    /// A bug of ours.
    pub const BUG: i32 = 70;
    /// The watchdog ended a wedged engine.
    pub const WATCHDOG: i32 = 75;
}

mod decimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(id: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

mod decimal_opt {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    #[derive(Deserialize)]
    struct Decimal(#[serde(with = "super::decimal")] u64);

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(id: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        id.map(|id| id.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Decimal>::deserialize(from)?.map(|Decimal(id)| id))
    }
}

mod decimal_vec {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Decimal(#[serde(with = "super::decimal")] u64);

    pub(super) fn serialize<S: Serializer>(ids: &[u64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(u64::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let ids = Vec::<Decimal>::deserialize(from)?;
        Ok(ids.into_iter().map(|Decimal(id)| id).collect())
    }
}
