//! The options of a node: one table for names, types and defaults, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::address;
use crate::founder::InitialState;
use crate::roles::{Targets, TwoNode};
use crate::validate;

/// One option that will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The option.
    pub option: String,
    /// Its value, as given.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "option {} = {}: {}",
            self.option, self.value, self.reason
        )
    }
}

/// A second listener for programs on the same machine.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged)]
pub enum UnixSocket {
    /// `false`: none. `true`: the usual place.
    Wanted(bool),
    /// At this path.
    At(PathBuf),
}

/// When old log entries are dropped after a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrailingStrategy {
    /// `snapshot_trailing` entries are kept.
    Static,
    /// No more is kept than the snapshot weighs.
    Dynamic,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum TlsVersion {
    /// For old peers only.
    #[serde(rename = "1.2")]
    Tls12,
    /// The usual one.
    #[serde(rename = "1.3")]
    Tls13,
}

/// What a member of several voters does whose own data is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDamage {
    /// It moves the data aside and joins again, if the others have a leader.
    Rejoin,
    /// It does not start.
    Fail,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What went wrong for good.
    Error,
    /// What an operator should know.
    Warn,
    /// What changed.
    Info,
    /// What was decided, and why.
    Debug,
    /// Everything.
    Trace,
}

/// At which level statements are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceSql {
    /// At none.
    Off,
    /// As errors.
    Error,
    /// As warnings.
    Warn,
    /// As what changed.
    Info,
    /// As what was decided.
    Debug,
    /// As anything else.
    Trace,
}

impl TraceSql {
    pub(crate) const LEVELS: [(Self, tracing::Level); 5] = [
        (Self::Error, tracing::Level::ERROR),
        (Self::Warn, tracing::Level::WARN),
        (Self::Info, tracing::Level::INFO),
        (Self::Debug, tracing::Level::DEBUG),
        (Self::Trace, tracing::Level::TRACE),
    ];
}

/// Defines [`NodeConfig`] with its names and defaults; `null` means the default.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// Everything that a node process is told at its start.
        #[derive(Clone, Debug, PartialEq)]
        pub struct NodeConfig {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl NodeConfig {
            /// The names of all options.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            fn read(options: &Map<String, Value>, complaints: &mut Vec<Complaint>) -> Self {
                Self { $($name: field(options, stringify!($name), $default, complaints),)* }
            }
        }
    };
}

options! {
    /// Advertised `HOST:PORT`: recorded in the log, dialled by the others as it is written.
    address: String = String::new();
    /// Where everything is stored.
    data_dir: PathBuf = PathBuf::new();
    /// The id wanted on a first start; decimal text or a number. Else it is drawn.
    node_id: Option<Id> = None;
    /// Where the gateway listens; the advertised address if absent.
    bind_address: Option<String> = None;
    /// The listener for programs on the same machine.
    unix_socket: UnixSocket = UnixSocket::Wanted(true);
    /// Addresses of all nodes; the first may found the cluster.
    cluster: Vec<String> = Vec::new();
    /// What an empty directory means.
    initial_state: InitialState = InitialState::Auto;
    /// Members of one failure domain are expected to fail together.
    failure_domain: Id = Id(0);
    /// Lower is promoted first.
    weight: u32 = 0;
    /// The time a message takes; elections follow after 15 to 30 times as much.
    network_latency_ms: u32 = 20;
    /// How long a writer waits for another one.
    busy_timeout_ms: u32 = 5000;
    /// Log entries between two snapshots.
    snapshot_threshold: u32 = 1024;
    /// Log entries kept behind a snapshot.
    snapshot_trailing: u32 = 8192;
    /// Whether fewer may be kept.
    snapshot_trailing_strategy: TrailingStrategy = TrailingStrategy::Static;
    /// Whether snapshots are compressed; the engine's own default if absent.
    snapshot_compression: Option<bool> = None;
    /// Size of the log's writes; probed if absent.
    block_size_bytes: Option<u32> = None;
    /// Whether the engine may put damaged segments aside; decided by the membership if absent.
    auto_recovery: Option<bool> = None;
    /// Threads that execute statements.
    worker_threads: u32 = 16;
    /// What becomes of damaged data while the other members have a leader.
    on_damage: OnDamage = OnDamage::Rejoin;
    /// Whether this node assigns roles when it leads.
    manage_roles: bool = true;
    /// Voters wanted.
    voters: u32 = 3;
    /// Stand-bys wanted.
    standbys: u32 = 3;
    /// What the second of exactly two members is.
    two_node: TwoNode = TwoNode::StandBy;
    /// Seconds between two rounds of role decisions.
    roles_interval: f64 = 10.0;
    /// Seconds without an answer after which a member loses its seat; by default never less than
    /// two election timeouts.
    offline_after: f64 = 10.0;
    /// Whether leadership and seat are given away before a stop.
    handover_on_stop: bool = true;
    /// Seconds that giving them away may take.
    handover_timeout: f64 = 3.0;
    /// The certificate shown to clients and other nodes, PEM; with its key and the signers of the
    /// others it turns TLS on.
    tls_cert: Option<PathBuf> = None;
    /// The key to the certificate.
    tls_key: Option<PathBuf> = None;
    /// Who may sign certificates of clients and other nodes.
    tls_ca: Option<PathBuf> = None;
    /// The name in the certificates of all nodes; the host that is dialled if absent.
    tls_server_name: Option<String> = None;
    /// The oldest version that is spoken.
    tls_min_version: TlsVersion = TlsVersion::Tls13;
    /// Names in certificates whose owners may change members and roles and take dumps; every good
    /// certificate if empty.
    tls_admin: Vec<String> = Vec::new();
    /// Seconds between two looks at the files.
    tls_reload_interval: f64 = 10.0;
    /// Seconds after which streams between nodes are opened anew; 0 = never.
    tls_max_stream_age: f64 = 86_400.0;
    /// Seconds without an answer of the engine after which the process is ended; 0 = never. By
    /// default never less than two election timeouts.
    watchdog_timeout: f64 = 5.0;
    /// Client connections at a time.
    max_connections: u32 = 1024;
    /// Bytes of one request.
    max_frame_bytes: u32 = 128 << 20;
    /// Bytes of one message of a reply, which the engine builds in memory: of a row, or of a
    /// database that is dumped. In effect a power of two, and never less than for a request.
    max_reply_bytes: u32 = 1 << 30;
    /// Seconds until the first word of a connection must have come.
    handshake_timeout: f64 = 5.0;
    /// Seconds without a request after which a client's connection is closed; 0 = never.
    idle_timeout: f64 = 0.0;
    /// The same while a transaction is open, which holds others up; 0 = never.
    idle_in_transaction_timeout: f64 = 300.0;
    /// Seconds that a client may take to send the rest of a request, or to read any of a reply;
    /// 0 = for ever.
    progress_timeout: f64 = 30.0;
    /// Seconds after which a statement is ended; 0 = never.
    statement_timeout: f64 = 0.0;
    /// TCP keepalive: seconds idle, seconds between probes, probes.
    keepalive: (u32, u32, u32) = (3, 3, 3);
    /// Milliseconds after which unacknowledged bytes end a client's connection; 0 = the kernel's.
    user_timeout_ms: u32 = 30_000;
    /// What is logged.
    log_level: LogLevel = LogLevel::Info;
    /// At which level each statement is logged with its time, and never with its parameters.
    trace_sql: TraceSql = TraceSql::Off;
    /// Milliseconds after which a statement is logged as a slow one; 0 = never.
    slow_statement_ms: u32 = 0;
    /// Nodes that are asked for the leader at a time.
    leader_probe_limit: u32 = 10;
}

/// A node's id: JSON carries it as decimal text, because many readers lose integers above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub u64);

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let written = <Written as serde::Deserialize>::deserialize(from);
        let id = match written {
            Ok(Written::Number(id)) => Some(id),
            Ok(Written::Text(text)) => text.parse().ok(),
            Err(_) => None,
        };
        id.map(Self)
            .ok_or_else(|| serde::de::Error::custom("not an integer of 0 to 2^64-1"))
    }
}

impl NodeConfig {
    /// Reads options by name and validates them, giving all complaints at once.
    pub fn from_options(options: &Map<String, Value>) -> Result<Self, Vec<Complaint>> {
        let mut complaints = Vec::new();
        for (name, value) in options {
            if !Self::NAMES.contains(&name.as_str()) {
                let nearest = nearest(name);
                let reason = format!("no such option; the nearest is {nearest}");
                complaints.push(Complaint::new(name, value, reason));
            }
        }
        let mut config = Self::read(options, &mut complaints);
        config.widen(|name| options.get(name).is_some_and(|value| !value.is_null()));
        let unread: Vec<String> = complaints.iter().map(|one| one.option.clone()).collect();
        if let Err(more) = config.validate() {
            complaints.extend(more.into_iter().filter(|one| !unread.contains(&one.option)));
        }
        if complaints.is_empty() {
            Ok(config)
        } else {
            Err(complaints)
        }
    }

    /// Waits that nobody chose are never shorter than two election timeouts.
    fn widen(&mut self, is_given: impl Fn(&str) -> bool) {
        let least = 2.0 * self.election_timeout().as_secs_f64();
        if !is_given("offline_after") {
            self.offline_after = self.offline_after.max(least);
        }
        if !is_given("watchdog_timeout") {
            self.watchdog_timeout = self.watchdog_timeout.max(least);
        }
    }

    /// Everything that is wrong with the values, without a look at the machine.
    pub fn validate(&self) -> Result<(), Vec<Complaint>> {
        let complaints = validate::complaints(self);
        if complaints.is_empty() {
            Ok(())
        } else {
            Err(complaints)
        }
    }

    /// The least time after which a follower misses its leader.
    pub fn election_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.network_latency_ms) * 15)
    }

    /// The targets of the role decisions.
    pub fn targets(&self) -> Targets {
        Targets {
            voters: self.voters as usize,
            standbys: self.standbys as usize,
            two_node: self.two_node,
        }
    }

    /// The list of all nodes in canonical form.
    pub(crate) fn canonical_cluster(&self) -> Vec<String> {
        self.cluster
            .iter()
            .map(|entry| address::canonical(entry))
            .collect()
    }

    /// Where the gateway listens, in canonical form.
    pub(crate) fn bind_text(&self) -> String {
        let text = self.bind_address.as_deref().unwrap_or(&self.address);
        address::bindable(text).unwrap_or_else(|_| text.to_owned())
    }

    /// The path of the second listener, if one is wanted.
    pub(crate) fn unix_path(&self) -> Option<PathBuf> {
        match &self.unix_socket {
            UnixSocket::Wanted(false) => None,
            UnixSocket::Wanted(true) => Some(self.data_dir.join("node.sock")),
            UnixSocket::At(path) => Some(path.clone()),
        }
    }
}

impl Complaint {
    pub(crate) fn new(
        option: &str,
        value: &dyn std::fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            option: option.to_owned(),
            value: value.to_string(),
            reason: reason.into(),
        }
    }
}

fn field<T: serde::de::DeserializeOwned>(
    options: &Map<String, Value>,
    name: &str,
    default: T,
    complaints: &mut Vec<Complaint>,
) -> T {
    match options.get(name) {
        None | Some(Value::Null) => default,
        Some(value) => serde_json::from_value(value.clone()).unwrap_or_else(|reason| {
            complaints.push(Complaint::new(name, value, reason.to_string()));
            default
        }),
    }
}

fn nearest(name: &str) -> &'static str {
    let distance = |known: &str| edit_distance(name.as_bytes(), known.as_bytes());
    NodeConfig::NAMES
        .iter()
        .min_by_key(|known| distance(known))
        .copied()
        .unwrap_or_default()
}

fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = std::mem::replace(&mut row[j + 1], 0);
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
