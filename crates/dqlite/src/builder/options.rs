//! One method for each option of a node.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{NodeBuilder, milliseconds};
use crate::words::{InitialState, LogLevel, OnDamage, TlsVersion, TrailingStrategy, TwoNode};

/// Identity and membership.
impl NodeBuilder {
    /// The addresses of all nodes, the same list on each. The first entry founds the cluster once
    /// it has seen that there is none; the others join it.
    pub fn cluster<T: Into<String>>(self, addresses: impl IntoIterator<Item = T>) -> Self {
        self.list("cluster", addresses)
    }

    /// What an empty directory means. Default [`InitialState::Auto`].
    pub fn initial_state(self, state: InitialState) -> Self {
        self.option("initial_state", state.as_str())
    }

    /// What to listen on, `HOST:PORT`, where the advertised address is none of this machine's.
    pub fn bind_address(self, address: &str) -> Self {
        self.option("bind_address", address)
    }

    /// Where the listener for programs on this machine is. Default `node.sock` in the directory.
    pub fn unix_socket(self, path: impl AsRef<Path>) -> Self {
        self.path("unix_socket", path.as_ref())
    }

    /// No listener for programs on this machine.
    pub fn no_unix_socket(self) -> Self {
        self.option("unix_socket", false)
    }

    /// The id wanted on a first start. Without it the node finds its own.
    pub fn node_id(self, id: u64) -> Self {
        self.option("node_id", id)
    }

    /// Members of one failure domain are expected to fail together: voters are spread over as many
    /// as there are. Default 0.
    pub fn failure_domain(self, domain: u64) -> Self {
        self.option("failure_domain", domain)
    }

    /// Of several candidates for a role the lightest is taken. Default 0.
    pub fn weight(self, weight: u32) -> Self {
        self.option("weight", weight)
    }

    /// Whether this node assigns roles while it leads. Default true.
    pub fn manage_roles(self, manage: bool) -> Self {
        self.option("manage_roles", manage)
    }

    /// Voters wanted, an odd number. Default 3.
    pub fn voters(self, voters: u32) -> Self {
        self.option("voters", voters)
    }

    /// Stand-bys wanted: they have the data, and no vote. Default 3.
    pub fn standbys(self, standbys: u32) -> Self {
        self.option("standbys", standbys)
    }

    /// What the second of exactly two members is. Default [`TwoNode::StandBy`].
    pub fn two_node(self, policy: TwoNode) -> Self {
        self.option("two_node", policy.as_str())
    }

    /// Between two rounds of role decisions on the leader. Default 10 s.
    pub fn roles_interval(self, interval: Duration) -> Self {
        self.seconds("roles_interval", interval)
    }

    /// Without an answer for so long a member loses its seat to another. Default 10 s, and never
    /// less than two election timeouts.
    pub fn offline_after(self, silence: Duration) -> Self {
        self.seconds("offline_after", silence)
    }

    /// Nodes that this node asks for the leader at a time. Default 10.
    pub fn leader_probe_limit(self, nodes: u32) -> Self {
        self.option("leader_probe_limit", nodes)
    }
}

/// Time, storage and execution.
impl NodeBuilder {
    /// The time that a message takes between nodes, in whole milliseconds; elections follow after
    /// 15 to 30 times as much. All members must use the same. Default 20 ms.
    pub fn network_latency(self, latency: Duration) -> Self {
        self.option("network_latency_ms", milliseconds(latency))
    }

    /// How long a writer waits for another one, in whole milliseconds. Default 5 s.
    pub fn busy_timeout(self, timeout: Duration) -> Self {
        self.option("busy_timeout_ms", milliseconds(timeout))
    }

    /// Log entries between two snapshots, at most 130,000. Default 1024.
    pub fn snapshot_threshold(self, entries: u32) -> Self {
        self.option("snapshot_threshold", entries)
    }

    /// Log entries that stay behind a snapshot, for members that were away, at most 130,000.
    /// Default 8192.
    pub fn snapshot_trailing(self, entries: u32) -> Self {
        self.option("snapshot_trailing", entries)
    }

    /// Whether fewer may stay. Default [`TrailingStrategy::Static`].
    pub fn snapshot_trailing_strategy(self, strategy: TrailingStrategy) -> Self {
        self.option("snapshot_trailing_strategy", strategy.as_str())
    }

    /// Whether snapshots are compressed. Default: as the engine does.
    pub fn snapshot_compression(self, compress: bool) -> Self {
        self.option("snapshot_compression", compress)
    }

    /// The size of the log's writes, a power of two. Default: probed.
    pub fn block_size_bytes(self, bytes: u32) -> Self {
        self.option("block_size_bytes", bytes)
    }

    /// Whether the engine may put damaged segments of its log aside. Default: only a lone voter's.
    pub fn auto_recovery(self, recover: bool) -> Self {
        self.option("auto_recovery", recover)
    }

    /// What becomes of damaged data while the other members have a leader. Default
    /// [`OnDamage::Rejoin`].
    pub fn on_damage(self, policy: OnDamage) -> Self {
        self.option("on_damage", policy.as_str())
    }

    /// Threads that execute statements. Default 16.
    pub fn worker_threads(self, threads: u32) -> Self {
        self.option("worker_threads", threads)
    }
}

/// TLS.
impl NodeBuilder {
    /// Encrypts everything on TCP: the certificate, its key, and who may sign those of clients and
    /// other nodes, a PEM file each. The certificate must cover the host of the address, and be
    /// good for servers and clients.
    pub fn tls(self, cert: impl AsRef<Path>, key: impl AsRef<Path>, ca: impl AsRef<Path>) -> Self {
        self.tls_cert(cert).tls_key(key).tls_ca(ca)
    }

    /// The certificate alone; see [`tls`](Self::tls).
    pub fn tls_cert(self, path: impl AsRef<Path>) -> Self {
        self.path("tls_cert", path.as_ref())
    }

    /// The key alone; see [`tls`](Self::tls).
    pub fn tls_key(self, path: impl AsRef<Path>) -> Self {
        self.path("tls_key", path.as_ref())
    }

    /// The signers alone; see [`tls`](Self::tls).
    pub fn tls_ca(self, path: impl AsRef<Path>) -> Self {
        self.path("tls_ca", path.as_ref())
    }

    /// The name in the certificates of all nodes. Default: the host that is dialled.
    pub fn tls_server_name(self, name: &str) -> Self {
        self.option("tls_server_name", name)
    }

    /// The oldest version that is spoken. Default [`TlsVersion::Tls13`].
    pub fn tls_min_version(self, version: TlsVersion) -> Self {
        self.option("tls_min_version", version.as_str())
    }

    /// Names in certificates whose owners may change members and roles and take dumps; `*.` stands
    /// for one label. Default: every good certificate.
    pub fn tls_admin<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Self {
        self.list("tls_admin", names)
    }

    /// Between two looks at the files. Default 10 s.
    pub fn tls_reload_interval(self, interval: Duration) -> Self {
        self.seconds("tls_reload_interval", interval)
    }

    /// Streams between nodes are opened anew after this, so that certificates are judged again; 0
    /// is never. Default one day.
    pub fn tls_max_stream_age(self, age: Duration) -> Self {
        self.seconds("tls_max_stream_age", age)
    }
}

/// What clients may do.
impl NodeBuilder {
    /// Client connections at a time. Default 1024.
    pub fn max_connections(self, connections: u32) -> Self {
        self.option("max_connections", connections)
    }

    /// The size of one request. Default 128 MiB.
    pub fn max_frame_bytes(self, bytes: u32) -> Self {
        self.option("max_frame_bytes", bytes)
    }

    /// The size of one message of a reply: of a row, or of a database that is dumped. In effect a
    /// power of two. Default 1 GiB.
    pub fn max_reply_bytes(self, bytes: u32) -> Self {
        self.option("max_reply_bytes", bytes)
    }

    /// Until the first word of a connection must have come. Default 5 s.
    pub fn handshake_timeout(self, timeout: Duration) -> Self {
        self.seconds("handshake_timeout", timeout)
    }

    /// Without a request for so long a connection is closed; 0 is never, the default.
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        self.seconds("idle_timeout", timeout)
    }

    /// The same while a transaction is open; 0 is never. Default 300 s.
    pub fn idle_in_transaction_timeout(self, timeout: Duration) -> Self {
        self.seconds("idle_in_transaction_timeout", timeout)
    }

    /// For half a request, or for a reply that is not read; 0 is for ever. Default 30 s.
    pub fn progress_timeout(self, timeout: Duration) -> Self {
        self.seconds("progress_timeout", timeout)
    }

    /// After this a statement is ended; 0 is never, the default.
    pub fn statement_timeout(self, timeout: Duration) -> Self {
        self.seconds("statement_timeout", timeout)
    }

    /// TCP keepalive in whole seconds: idle, and between probes; and so many of them. Default
    /// 3 s, 3 s, 3.
    pub fn keepalive(self, idle: Duration, interval: Duration, probes: u32) -> Self {
        let parts = [idle.as_secs(), interval.as_secs(), probes.into()];
        self.option("keepalive", parts.to_vec())
    }

    /// Bytes that a client has not acknowledged for so many milliseconds end its connection; 0 is
    /// the kernel's time. Default 30 s.
    pub fn user_timeout(self, timeout: Duration) -> Self {
        self.option("user_timeout_ms", milliseconds(timeout))
    }
}

/// The process, and what it tells.
impl NodeBuilder {
    /// The engine: a bundle directory or a library. Without it `DQLITE_ENGINE`, a bundle beside
    /// the executable, the user's cache directory and the system's library are tried.
    pub fn engine(self, path: impl AsRef<Path>) -> Self {
        self.path("engine", path.as_ref())
    }

    /// The executable `dqlite`. Without it `DQLITE_EXECUTABLE`, the directory of the running
    /// executable and `PATH` are tried.
    pub fn executable(self, path: impl AsRef<Path>) -> Self {
        self.path("executable", path.as_ref())
    }

    /// A variable of the process's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let known = self
            .options
            .entry("env")
            .or_insert_with(|| Value::Object(Map::default()));
        // The check refuses anything else that `option` put there.
        if let Value::Object(variables) = known {
            variables.insert(name.to_owned(), value.into());
        }
        self
    }

    /// How long a start may take until the node serves. Default 30 s.
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.seconds("start_timeout", timeout)
    }

    /// How long a start waits for a node that serves to be ready. Default 1 s.
    pub fn ready_grace(self, grace: Duration) -> Self {
        self.seconds("ready_grace", grace)
    }

    /// How long a stop may take before the process is killed. Default 10 s.
    pub fn stop_timeout(self, timeout: Duration) -> Self {
        self.seconds("stop_timeout", timeout)
    }

    /// Whether leadership and seat are given away before a stop. Default true.
    pub fn handover_on_stop(self, handover: bool) -> Self {
        self.option("handover_on_stop", handover)
    }

    /// How long that may take. Default 3 s.
    pub fn handover_timeout(self, timeout: Duration) -> Self {
        self.seconds("handover_timeout", timeout)
    }

    /// Whether a process that crashed is started again. Default true.
    pub fn restart(self, restart: bool) -> Self {
        self.option("restart", if restart { "on-crash" } else { "never" })
    }

    /// More than `crashes` within `window` are a crash loop, after which the node stays down.
    /// Default 5 in 60 s.
    pub fn restart_limit(self, crashes: u32, window: Duration) -> Self {
        let pair = vec![Value::from(crashes), Value::from(window.as_secs_f64())];
        self.option("restart_limit", pair)
    }

    /// Without an answer of the engine for so long the process is ended and started again; 0 is
    /// never. Default 5 s, and never less than two election timeouts.
    pub fn watchdog_timeout(self, timeout: Duration) -> Self {
        self.seconds("watchdog_timeout", timeout)
    }

    /// What is logged. Default [`LogLevel::Info`].
    pub fn log_level(self, level: LogLevel) -> Self {
        self.option("log_level", level.as_str())
    }

    /// The level at which each statement is logged with its time, and never with its parameters.
    /// Default: at none.
    pub fn trace_sql(self, level: LogLevel) -> Self {
        self.option("trace_sql", level.as_str())
    }

    /// Statements that take longer are logged, in whole milliseconds; 0 is never, the default.
    pub fn slow_statement(self, limit: Duration) -> Self {
        self.option("slow_statement_ms", milliseconds(limit))
    }
}

impl NodeBuilder {
    fn seconds(self, name: &str, duration: Duration) -> Self {
        self.option(name, duration.as_secs_f64())
    }

    fn list<T: Into<String>>(self, name: &str, texts: impl IntoIterator<Item = T>) -> Self {
        let texts = texts.into_iter().map(|text| Value::from(text.into()));
        self.option(name, texts.collect::<Value>())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::options::KNOWN;

    const SECOND: Duration = Duration::from_secs(1);

    /// A builder on which every method was called, with values that are taken.
    fn everything() -> NodeBuilder {
        NodeBuilder::new("h:1".into(), Path::new("/n"))
            .cluster(["h:1", "i:1"])
            .initial_state(InitialState::New)
            .bind_address("*:1")
            .unix_socket("/s")
            .node_id(7)
            .failure_domain(1)
            .weight(1)
            .manage_roles(false)
            .voters(5)
            .standbys(0)
            .two_node(TwoNode::Voters)
            .roles_interval(SECOND)
            .offline_after(SECOND)
            .leader_probe_limit(1)
            .network_latency(Duration::from_millis(5))
            .busy_timeout(SECOND)
            .snapshot_threshold(8)
            .snapshot_trailing(8)
            .snapshot_trailing_strategy(TrailingStrategy::Dynamic)
            .snapshot_compression(false)
            .block_size_bytes(4096)
            .auto_recovery(false)
            .on_damage(OnDamage::Fail)
            .worker_threads(4)
            .tls("/c", "/k", "/a")
            .tls_server_name("db")
            .tls_min_version(TlsVersion::Tls12)
            .tls_admin(["*.ops"])
            .tls_reload_interval(SECOND)
            .tls_max_stream_age(SECOND)
            .max_connections(1)
            .max_frame_bytes(65_536)
            .max_reply_bytes(1 << 30)
            .handshake_timeout(SECOND)
            .idle_timeout(SECOND)
            .idle_in_transaction_timeout(SECOND)
            .progress_timeout(SECOND)
            .statement_timeout(SECOND)
            .keepalive(SECOND, SECOND, 1)
            .user_timeout(SECOND)
            .engine("/e")
            .executable("/x")
            .env("A", "1")
            .env("B", "2")
            .start_timeout(SECOND)
            .ready_grace(SECOND)
            .stop_timeout(SECOND)
            .handover_on_stop(false)
            .handover_timeout(SECOND)
            .restart(false)
            .restart_limit(1, SECOND)
            .watchdog_timeout(SECOND)
            .log_level(LogLevel::Debug)
            .trace_sql(LogLevel::Debug)
            .slow_statement(SECOND)
    }

    #[test]
    fn every_option_has_its_method() {
        let builder = everything();
        let set: BTreeSet<&str> = builder.options.keys().map(String::as_str).collect();
        let known: BTreeSet<&str> = KNOWN.iter().map(|known| known.name).collect();
        assert_eq!(set, known);
        assert_eq!(builder.options["env"]["B"], "2");
        builder.build().unwrap();
    }

    #[test]
    fn every_word_is_taken() {
        let judge = |name: &str, word: &str| {
            let one = NodeBuilder::new("h:1".into(), Path::new("/n")).cluster(["h:1", "i:1"]);
            one.option(name, word).build().unwrap();
        };
        for word in InitialState::ALL {
            judge("initial_state", word.as_str());
        }
        for word in TwoNode::ALL {
            judge("two_node", word.as_str());
        }
        for word in OnDamage::ALL {
            judge("on_damage", word.as_str());
        }
        for word in TrailingStrategy::ALL {
            judge("snapshot_trailing_strategy", word.as_str());
        }
        for word in TlsVersion::ALL {
            judge("tls_min_version", word.as_str());
        }
        for word in LogLevel::ALL {
            judge("log_level", word.as_str());
            judge("trace_sql", word.as_str());
        }
    }
}
