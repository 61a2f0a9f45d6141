//! The gateway from the binding of its sockets to their end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dqlite_proto::ServerClass;
use dqlite_proto::guard::{Abilities, Policy};
use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::watch;

use super::counters::Counters;
use super::talk::{Limits, Rules};
use super::{Backend, Early, Gateway, Listeners, Register, Roll, Totals};
use crate::board::Board;
use crate::clerk::Clerk;
use crate::config::NodeConfig;
use crate::engine::Version;
use crate::engine::hooks::{in_force, limit_buffers, statements};
use crate::error::HostError;
use crate::event::Event;
use crate::in_flight::InFlight;
use crate::live::Live;
use crate::peers::Peers;
use crate::tls::Security;

/// Descriptors for everything that is no connection of a client.
const FDS_KEPT: u64 = 128;
/// The client's end, and both ends of the one to the engine.
const FDS_EACH: u64 = 3;
/// *Engine*: each database that was ever opened costs a descriptor for good.
const FDS_PER_DATABASE_SHARE: u64 = 4;

/// The gateway before and after it accepts.
#[derive(Debug)]
pub(crate) struct Door {
    board: Arc<Board>,
    security: Security,
    live: Arc<Live>,
    in_flight: Option<Arc<InFlight>>,
    roll: Arc<Roll>,
    register: Arc<Register>,
    pub(crate) backend: watch::Sender<Backend>,
    listeners: Option<Listeners>,
    gateway: Option<Gateway>,
}

impl Door {
    pub(crate) async fn bind(config: &NodeConfig, clerk: &Clerk) -> Result<Self, HostError> {
        let listeners = Some(Listeners::bind(config).await?);
        let backend = watch::Sender::new(Backend::Early(Early::default()));
        Ok(Self {
            board: Arc::clone(&clerk.board),
            security: clerk.security.clone(),
            live: Arc::clone(&clerk.live),
            in_flight: clerk.in_flight.clone(),
            roll: Arc::default(),
            register: Arc::default(),
            backend,
            listeners,
            gateway: None,
        })
    }

    /// Accepts connections from now on.
    pub(crate) fn open(&mut self, config: &NodeConfig) {
        let Some(listeners) = self.listeners.take() else {
            return;
        };
        let serving = Event::Serving {
            address: config.address.clone(),
            bind: listeners
                .bound()
                .map_or_else(String::new, |bound| bound.to_string()),
            unix: listeners.unix_path().map(PathBuf::from),
        };
        let most = self.connections_max(config);
        limit_buffers(buffer_bytes_max(config));
        let mut rules = rules(config);
        rules.security = self.security.clone();
        rules.live = Some(Arc::clone(&self.live));
        rules.in_flight.clone_from(&self.in_flight);
        rules.roll = Arc::clone(&self.roll);
        rules.register = Arc::clone(&self.register);
        let rules = Arc::new(rules);
        let backend = self.backend.subscribe();
        self.gateway = Some(Gateway::serve(listeners, config, most, rules, backend));
        self.board.serves(serving);
    }

    /// What was asked for, or what there are descriptors for.
    fn connections_max(&self, config: &NodeConfig) -> u32 {
        let room = (fds_max().saturating_sub(FDS_KEPT) / FDS_EACH).max(1);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        if room < config.max_connections {
            let asked = config.max_connections;
            let text = format!("max_connections = {asked}: the limit of descriptors allows {room}");
            self.board.warn("max_connections", text);
        }
        room.min(config.max_connections)
    }

    /// Leads every connection from now on to the engine.
    pub(crate) fn lead_to(&mut self, config: &NodeConfig, engine: &Path) {
        let peers = Peers::new(self.board.id(), &config.address, engine);
        let peers = peers.with_security(self.security.clone());
        self.backend.send_replace(Backend::Engine(Arc::new(peers)));
        self.open(config);
    }

    /// What is said of the members when the engine knows of none.
    pub(crate) fn register(&self) -> Arc<Register> {
        Arc::clone(&self.register)
    }

    /// The connections by database.
    pub(crate) fn roll(&self) -> Arc<Roll> {
        Arc::clone(&self.roll)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.gateway.as_ref().map_or(0, Gateway::connections)
    }

    /// The names of the databases that clients opened.
    pub(crate) fn databases(&self) -> Vec<String> {
        let gateway = self.gateway.as_ref();
        gateway.map_or_else(Vec::new, Gateway::databases)
    }

    /// What was counted since the start; nothing before the gateway is open.
    pub(crate) fn totals(&self) -> Option<Totals> {
        self.gateway.as_ref().map(Gateway::totals)
    }

    pub(crate) async fn drain(&mut self, limit: Duration) -> u64 {
        match &mut self.gateway {
            Some(gateway) => gateway.drain(limit).await,
            None => 0,
        }
    }

    pub(crate) async fn drained(&mut self) {
        if let Some(gateway) = &mut self.gateway {
            gateway.drained().await;
        }
    }
}

/// What holds for all connections.
fn rules(config: &NodeConfig) -> Rules {
    let seconds = |limit: f64| (limit > 0.0).then(|| Duration::from_secs_f64(limit));
    let databases = usize::try_from(fds_max() / FDS_PER_DATABASE_SHARE).unwrap_or(usize::MAX);
    let old = statements::engine_version().is_some_and(|version| version < Version::FLOOR);
    let policy = Policy {
        class: if old { ServerClass::C } else { ServerClass::D },
        request_bytes_max: config.max_frame_bytes.into(),
        abilities: abilities(),
        ..Policy::default()
    };
    let limits = Limits {
        idle: seconds(config.idle_timeout),
        idle_in_transaction: seconds(config.idle_in_transaction_timeout),
        statement: seconds(config.statement_timeout),
        progress: seconds(config.progress_timeout),
    };
    Rules::new(policy, limits, databases, Arc::new(Counters::default()))
}

/// What the hooks that are in force make possible.
fn abilities() -> Abilities {
    Abilities {
        exec_returning: in_force("sqlite3_step") && in_force("sqlite3_column_count"),
        query_optimize: in_force("sqlite3_stmt_readonly"),
    }
}

/// *Engine*: one size of buffers for requests and for replies.
fn buffer_bytes_max(config: &NodeConfig) -> usize {
    let request = config.max_frame_bytes.next_power_of_two();
    config.max_reply_bytes.max(request) as usize
}

fn fds_max() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}
