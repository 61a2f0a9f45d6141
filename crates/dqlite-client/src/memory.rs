//! What clones of a configuration learn and share.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dqlite_proto::{Capabilities, ServerClass};

use crate::address::Address;

/// Members are asked again when the last answer is older.
const MEMBERS_FRESH: Duration = Duration::from_secs(30);
const CLASSES_MAX: usize = 1024;

/// The leader, the classes of servers, and when members were last asked.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    leader: Option<Address>,
    classes: HashMap<String, (ServerClass, Capabilities)>,
    asked: Option<Instant>,
}

impl Memory {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who led when last seen.
    pub(crate) fn leader(&self) -> Option<Address> {
        self.known().leader.clone()
    }

    /// Remembers who leads.
    pub(crate) fn led_by(&self, leader: &Address) {
        self.known().leader = Some(leader.clone());
    }

    /// What earlier questions to that server found.
    pub(crate) fn class(&self, server: &Address) -> Option<(ServerClass, Capabilities)> {
        self.known().classes.get(&server.canonical()).copied()
    }

    /// Remembers what a server can do.
    pub(crate) fn learn_class(
        &self,
        server: &Address,
        class: ServerClass,
        capabilities: Capabilities,
    ) {
        let mut known = self.known();
        if known.classes.len() >= CLASSES_MAX {
            known.classes.clear();
        }
        known
            .classes
            .insert(server.canonical(), (class, capabilities));
    }

    /// A connection to that server was lost: it may come back as another version, and may no
    /// longer lead.
    pub(crate) fn forget(&self, server: &Address) {
        let mut known = self.known();
        known.classes.remove(&server.canonical());
        known.leader.take_if(|leader| leader == server);
    }

    /// Whether it is time to ask for the members.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        let asked = self.known().asked;
        asked.is_none_or(|at| now.saturating_duration_since(at) > MEMBERS_FRESH)
    }

    /// The members are known.
    pub(crate) fn refreshed(&self, now: Instant) {
        self.known().asked = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_server_is_probed_anew_and_does_not_lead() {
        let memory = Memory::default();
        let server = Address::parse("h:1").unwrap();
        memory.led_by(&server);
        let known = (ServerClass::D, Capabilities::OURS);
        memory.learn_class(&server, known.0, known.1);
        assert_eq!(memory.class(&server), Some(known));
        memory.forget(&Address::parse("other:1").unwrap());
        assert_eq!(memory.leader().as_ref(), Some(&server));
        memory.forget(&server);
        assert_eq!((memory.leader(), memory.class(&server)), (None, None));
    }

    #[test]
    fn members_are_asked_once_per_interval() {
        let memory = Memory::default();
        let now = Instant::now();
        assert!(memory.is_stale(now));
        memory.refreshed(now);
        assert!(!memory.is_stale(now + MEMBERS_FRESH));
        assert!(memory.is_stale(now + MEMBERS_FRESH + Duration::from_millis(1)));
    }
}
