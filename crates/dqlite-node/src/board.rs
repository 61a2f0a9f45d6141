//! What is known of the node right now; every change of it is an event.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dqlite_proto::{NodeInfo, Role};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::engine::Library;
use crate::event::{Event, Missing, RoleChange, State};
use crate::health::Sight;

/// Decisions kept for `explain`.
const DECISIONS_MAX: usize = 100;

/// The one place where tasks of a node leave what they know.
#[derive(Debug)]
pub(crate) struct Board {
    events: mpsc::Sender<Event>,
    started: Instant,
    facts: Mutex<Facts>,
}

#[derive(Debug)]
struct Facts {
    state: State,
    why: String,
    missing: Vec<Missing>,
    id: u64,
    address: String,
    leader: Option<(u64, String)>,
    leader_seen: Instant,
    members: Vec<NodeInfo>,
    role: Option<Role>,
    was_ready: bool,
    decisions: VecDeque<String>,
    /// The grounds of the last round of role decisions.
    grounds: Value,
    pause_max: Duration,
    since: Instant,
    engine: Value,
    bind: Option<String>,
    unix: Option<String>,
    /// How the members were seen last; known while this node leads.
    health: HashMap<u64, Sight>,
}

impl Board {
    /// `started` is when the process began.
    pub(crate) fn new(events: mpsc::Sender<Event>, address: &str, started: Instant) -> Self {
        let facts = Facts {
            state: State::Starting,
            why: String::new(),
            missing: Vec::new(),
            id: 0,
            address: address.to_owned(),
            leader: None,
            leader_seen: started,
            members: Vec::new(),
            role: None,
            was_ready: false,
            decisions: VecDeque::new(),
            grounds: Value::Null,
            pause_max: Duration::ZERO,
            since: started,
            engine: Value::Null,
            bind: None,
            unix: None,
            health: HashMap::new(),
        };
        Self {
            events,
            started,
            facts: Mutex::new(facts),
        }
    }

    /// Sends an event. A reader that does not keep up loses events, never the node its pace.
    pub(crate) fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            tracing::debug!("an event was dropped: nobody reads them");
        }
    }

    pub(crate) fn warn(&self, code: &'static str, text: String) {
        tracing::warn!("{text}");
        self.tell(Event::Warn { code, text });
    }

    /// Enters a state. Once draining or removed, a node stays so.
    pub(crate) fn enter(&self, to: State, why: &str, missing: Vec<Missing>) {
        let mut facts = self.facts();
        let from = facts.state;
        let ended = matches!(from, State::Draining | State::Removed);
        if ended && to != State::Removed {
            return;
        }
        if from == to && facts.why == why && facts.missing == missing {
            return;
        }
        if from != to {
            facts.since = Instant::now();
        }
        (facts.state, facts.why, facts.missing) = (to, why.to_owned(), missing.clone());
        let first = to == State::Ready && !std::mem::replace(&mut facts.was_ready, true);
        drop(facts);
        if from != to {
            tracing::info!("state {} -> {}: {why}", from.name(), to.name());
        }
        self.tell(Event::State {
            from,
            to,
            why: why.to_owned(),
            missing,
        });
        if first {
            self.tell(Event::Ready {
                after: self.started.elapsed(),
            });
        }
    }

    pub(crate) fn state(&self) -> State {
        self.facts().state
    }

    /// The engine that the node runs on.
    pub(crate) fn runs_on(&self, library: &Library) {
        self.facts().engine = json!({
            "version": library.version().to_string(),
            "path": library.path(),
            "missing": library.missing(),
        });
    }

    /// The gateway accepts connections, as this event says.
    pub(crate) fn serves(&self, serving: Event) {
        if let Event::Serving { bind, unix, .. } = &serving {
            let mut facts = self.facts();
            facts.bind = Some(bind.clone());
            facts.unix = unix.as_ref().map(|path| path.display().to_string());
        }
        self.tell(serving);
    }

    /// How the members answer, as far as this node asks them.
    pub(crate) fn see_health(&self, health: HashMap<u64, Sight>) {
        self.facts().health = health;
    }

    /// The node's own id; 0 before it is known.
    pub(crate) fn id(&self) -> u64 {
        self.facts().id
    }

    pub(crate) fn identify(&self, id: u64, address: &str, bootstrapped: bool) {
        self.facts().id = id;
        self.tell(Event::Identity {
            id,
            address: address.to_owned(),
            bootstrapped,
        });
    }

    /// The leader that the own engine sees. *Engine*: only a voter's engine knows one.
    pub(crate) fn engine_sees(&self, leader: Option<(u64, String)>) {
        let knows = self.facts().role.is_none_or(|role| role == Role::Voter);
        if leader.is_some() || knows {
            self.see_leader(leader);
        }
    }

    /// The leader that was asked itself, or none that could be found.
    pub(crate) fn see_leader(&self, leader: Option<(u64, String)>) {
        let mut facts = self.facts();
        let now = Instant::now();
        let since = if facts.leader.is_none() {
            now - facts.leader_seen
        } else {
            Duration::ZERO
        };
        if leader.is_some() || facts.leader.is_some() {
            facts.leader_seen = now;
        }
        if facts.leader == leader {
            return;
        }
        facts.leader.clone_from(&leader);
        drop(facts);
        self.tell(Event::Leader { leader, since });
    }

    pub(crate) fn leader(&self) -> Option<(u64, String)> {
        self.facts().leader.clone()
    }

    /// The members that the leader named. True if they differ from those known.
    pub(crate) fn see_members(&self, list: &[NodeInfo], by: &str) -> bool {
        let mut facts = self.facts();
        let known = std::mem::replace(&mut facts.members, list.to_vec());
        let own = list
            .iter()
            .find(|member| member.id == facts.id)
            .map(|member| member.role);
        let role = own.filter(|own| facts.role != Some(*own));
        facts.role = own;
        drop(facts);
        let came = list.iter().filter(|member| !known.contains(member));
        let went = known
            .iter()
            .filter(|old| !list.iter().any(|member| member.id == old.id));
        let changed: Vec<u64> = came.chain(went).map(|member| member.id).collect();
        if let Some(role) = role {
            self.tell(Event::Role {
                role,
                by: by.to_owned(),
            });
        }
        if changed.is_empty() {
            return false;
        }
        self.tell(Event::Members {
            list: list.to_vec(),
            changed,
        });
        true
    }

    pub(crate) fn members(&self) -> Vec<NodeInfo> {
        self.facts().members.clone()
    }

    pub(crate) fn adjusted(&self, changes: Vec<RoleChange>, failed: Vec<Missing>) {
        let mut facts = self.facts();
        for change in &changes {
            tracing::info!("roles: {}: {}", change.rule, change.why);
            facts
                .decisions
                .push_back(format!("{}: {}", change.rule, change.why));
        }
        let surplus = facts.decisions.len().saturating_sub(DECISIONS_MAX);
        facts.decisions.drain(..surplus);
        drop(facts);
        self.tell(Event::RolesAdjusted { changes, failed });
    }

    /// Takes the grounds of role decisions; see [`explain`](crate::explain).
    pub(crate) fn explain(&self, grounds: Value) {
        self.facts().grounds = grounds;
    }

    /// The last role decisions of this node, oldest first, and what the rules say now.
    pub(crate) fn decisions(&self) -> Value {
        let facts = self.facts();
        json!({ "last": facts.decisions, "now": facts.grounds })
    }

    /// A question to the engine took this long.
    pub(crate) fn see_pause(&self, pause: Duration) {
        let mut facts = self.facts();
        facts.pause_max = facts.pause_max.max(pause);
    }

    pub(crate) fn beat(&self, connections: u64) {
        let pause_max = std::mem::take(&mut self.facts().pause_max);
        self.tell(Event::Beat {
            pause_max,
            connections,
        });
    }

    /// What is known, by the names of the status document.
    pub(crate) fn known(&self) -> Map<String, Value> {
        let facts = self.facts();
        let sight = |member: &NodeInfo| facts.health.get(&member.id);
        let members = facts.members.iter();
        let members: Vec<Value> = members.map(|one| member(one, sight(one))).collect();
        let missing: Vec<Value> = facts.missing.iter().map(absent).collect();
        let leader =
            |(id, address): &(u64, String)| json!({ "id": id.to_string(), "address": address });
        let node = json!({
            "id": facts.id.to_string(),
            "id_hex": format!("{:#x}", facts.id),
            "address": facts.address,
            "bind": facts.bind,
            "unix_socket": facts.unix,
            "version": env!("CARGO_PKG_VERSION"),
            "state": facts.state.name(),
            "since_s": facts.since.elapsed().as_secs_f64(),
            "why": facts.why,
            "missing": missing,
            "role": facts.role.map(Role::name),
            "pid": std::process::id(),
            "uptime_s": self.started.elapsed().as_secs_f64(),
        });
        let mut known = Map::new();
        known.insert("node".to_owned(), node);
        known.insert("engine".to_owned(), facts.engine.clone());
        known.insert(
            "leader".to_owned(),
            facts.leader.as_ref().map(leader).into(),
        );
        known.insert("members".to_owned(), members.into());
        known
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn absent((address, reason): &Missing) -> Value {
    json!({ "address": address, "reason": reason })
}

/// Without a sight of it, what only the leader knows is null.
fn member(member: &NodeInfo, sight: Option<&Sight>) -> Value {
    json!({
        "id": member.id.to_string(),
        "address": member.address,
        "role": member.role.name(),
        "online": sight.map(|sight| sight.is_online),
        "last_contact_s": sight.map(|sight| sight.answered.elapsed().as_secs_f64()),
        "failure_domain": sight.map(|sight| sight.metadata.failure_domain.to_string()),
        "weight": sight.map(|sight| sight.metadata.weight),
    })
}
