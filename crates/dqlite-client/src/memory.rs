//! What clones of a configuration learn and share.
//!
//! ```text
//!   epoch   + 1 when another node leads, and when the leader may not lead any more
//! ```
//!
//! A connection made in an earlier epoch is not what it was: if another node leads it is useless,
//! else it must be asked. So the connections of a pool leave together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dqlite_proto::{Capabilities, ServerClass};

use crate::address::Address;
use crate::breaker::{Breaker, Fingerprint};
use crate::flight::Flights;

/// Members are asked again when the last answer is older.
const MEMBERS_FRESH: Duration = Duration::from_secs(30);
const CLASSES_MAX: usize = 1024;

/// What to think of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing was heard since it was made.
    Same,
    /// Its server may have stopped leading: it must be asked.
    Doubtful,
    /// Another node leads.
    Former,
}

/// The leader, the classes of servers, and when members were last asked.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    known: Mutex<Known>,
    pub(crate) flights: Flights,
    breaker: Mutex<Breaker>,
    /// Whether the breaker suspects anything.
    suspects: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    leader: Option<Address>,
    /// Who led before it was forgotten.
    former: Option<Address>,
    epoch: u64,
    classes: HashMap<String, (ServerClass, Capabilities)>,
    asked: Option<Instant>,
}

impl Memory {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether servers died under a statement, so that it must not be sent now.
    pub(crate) fn refuses(&self, statement: Fingerprint, now: Instant) -> bool {
        self.suspects.load(Ordering::Acquire) && self.breaker().refuses(statement, now)
    }

    /// A session that began at `opened` ended under a statement.
    pub(crate) fn died(&self, statement: Fingerprint, opened: Instant, now: Instant) {
        let mut breaker = self.breaker();
        breaker.died(statement, opened, now);
        self.suspects.store(true, Ordering::Release);
    }

    /// A statement was answered.
    pub(crate) fn lived(&self, statement: Fingerprint) {
        if self.suspects.load(Ordering::Acquire) {
            let mut breaker = self.breaker();
            breaker.lived(statement);
            self.suspects.store(!breaker.is_empty(), Ordering::Release);
        }
    }

    /// Who led when last seen.
    pub(crate) fn leader(&self) -> Option<Address> {
        self.known().leader.clone()
    }

    /// Remembers who leads.
    pub(crate) fn led_by(&self, leader: &Address) {
        let mut known = self.known();
        let before = known.leader.as_ref().or(known.former.as_ref());
        if before.is_some_and(|before| before != leader) {
            known.epoch += 1;
        }
        known.former = None;
        known.leader = Some(leader.clone());
    }

    /// Changes when connections that were made before must be looked at.
    pub(crate) fn epoch(&self) -> u64 {
        self.known().epoch
    }

    /// The epoch of a connection to that server: this one if it leads, as far as is known.
    pub(crate) fn epoch_of(&self, server: &Address) -> Option<u64> {
        let known = self.known();
        (known.leader.as_ref() == Some(server)).then_some(known.epoch)
    }

    /// What to think of a connection to that server, made in that epoch.
    pub(crate) fn trust(&self, server: &Address, epoch: Option<u64>) -> Trust {
        let known = self.known();
        match &known.leader {
            Some(leader) if leader != server => Trust::Former,
            Some(_) if epoch == Some(known.epoch) => Trust::Same,
            _ => Trust::Doubtful,
        }
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
        if let Some(former) = known.leader.take_if(|leader| leader == server) {
            known.former = Some(former);
            known.epoch += 1;
        }
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
    fn connections_of_an_earlier_epoch_are_asked_or_given_up() {
        let memory = Memory::default();
        let [a, b] = ["a:1", "b:1"].map(|text| Address::parse(text).unwrap());
        memory.led_by(&a);
        let epoch = memory.epoch_of(&a);
        assert_eq!(memory.trust(&a, epoch), Trust::Same);
        memory.led_by(&a);
        assert_eq!(memory.trust(&a, epoch), Trust::Same);
        memory.forget(&b);
        assert_eq!(memory.trust(&a, epoch), Trust::Same);
        memory.forget(&a);
        assert_eq!(memory.trust(&a, epoch), Trust::Doubtful);
        assert_eq!(memory.epoch_of(&a), None);
        memory.led_by(&a);
        assert_eq!(memory.trust(&a, epoch), Trust::Doubtful, "it led again");
        let again = memory.epoch_of(&a);
        assert_eq!(memory.trust(&a, again), Trust::Same);
        memory.led_by(&b);
        assert_eq!(memory.trust(&a, again), Trust::Former);
        memory.led_by(&a);
        assert_eq!(memory.trust(&a, again), Trust::Doubtful);
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
