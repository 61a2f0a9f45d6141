//! What both directions of one connection know of each other.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dqlite_proto::guard::{Guard, Policy};
use dqlite_proto::{Code, Failure, Response};
use tokio::time::Instant;

use super::counters::{Counters, Reason, add};
use super::register::Register;
use super::roll::{Entry, Roll};
use super::trail::Trail;
use crate::engine::hooks::statements::Handle;
use crate::in_flight::InFlight;
use crate::live::Live;
use crate::tls::Security;

/// Replies that may be owed on one connection.
const OWED_MAX: usize = 1024;

/// What is the same for all connections.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(super) policy: Policy,
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
    pub(super) security: Security,
    /// What is logged of statements.
    pub(super) live: Option<Arc<Live>>,
    /// Where it is noted what the engine is at.
    pub(super) in_flight: Option<Arc<InFlight>>,
    /// Who has opened what.
    pub(super) roll: Arc<Roll>,
    pub(super) register: Arc<Register>,
    databases_max: usize,
    databases: Mutex<HashSet<Vec<u8>>>,
    /// Bounded as `databases` is.
    opened: Mutex<BTreeSet<String>>,
    /// Connections on which the engine owes a reply.
    talking: AtomicUsize,
    /// A thread that stays awake takes no processor from the engine.
    pub(super) may_stay_awake: bool,
}

impl Rules {
    pub(super) fn new(
        policy: Policy,
        limits: Limits,
        databases_max: usize,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            policy,
            limits,
            counters,
            security: Security::default(),
            live: None,
            in_flight: None,
            roll: Arc::default(),
            register: Arc::default(),
            databases_max,
            databases: Mutex::default(),
            opened: Mutex::default(),
            talking: AtomicUsize::new(0),
            may_stay_awake: available_parallelism().is_ok_and(|cpus| cpus.get() > 1),
        }
    }

    /// The names of the databases that were opened here, in order.
    pub(super) fn opened(&self) -> Vec<String> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.iter().cloned().collect()
    }

    /// The engine has opened a database of this name.
    pub(super) fn note_opened(&self, name: &str) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if !opened.contains(name) {
            opened.insert(name.to_owned());
        }
    }

    /// Whether a database of this name may be opened: *engine*, it costs a descriptor for good.
    pub(super) fn has_room_for(&self, name: &[u8]) -> bool {
        let mut known = self
            .databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.contains(name) || known.len() < self.databases_max && known.insert(name.to_owned())
    }
}

/// How long things may take; `None` is for ever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Without a request, while nothing is owed.
    pub(super) idle: Option<Duration>,
    /// The same with a transaction open.
    pub(super) idle_in_transaction: Option<Duration>,
    /// A statement.
    pub(super) statement: Option<Duration>,
    /// Without a byte of half a message, or without one taken of a reply.
    pub(super) progress: Option<Duration>,
}

/// Why statements are being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// INTERRUPT.
    Asked,
    /// Nobody waits for them.
    Abandoned,
    /// The limit of a statement's time.
    TimedOut(Duration),
}

/// One connection, between its two directions.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) rules: Arc<Rules>,
    pub(super) guard: Guard,
    pub(super) handle: Handle,
    pub(super) ending: Option<Ending>,
    /// Nothing more goes to the engine until it owes nothing.
    pub(super) barred: bool,
    /// An INTERRUPT was seen behind requests that have to wait.
    pub(super) interrupt_ahead: bool,
    /// Replies that were completed.
    pub(super) settled: u64,
    pub(super) trail: Trail,
    /// Counted among those that talk.
    talks: bool,
    /// This connection among those that have opened a database.
    entry: Option<Arc<Entry>>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.note(false, Instant::now());
        self.rules.roll.leave(self.handle.number());
    }
}

impl Talk {
    pub(super) fn new(rules: Arc<Rules>, may_administrate: bool) -> Self {
        let policy = Policy {
            membership: rules.policy.membership && may_administrate,
            ..rules.policy.clone()
        };
        Self {
            guard: Guard::new(policy),
            trail: Trail::new(rules.live.clone(), rules.in_flight.clone()),
            rules,
            handle: Handle::new(),
            ending: None,
            barred: false,
            interrupt_ahead: false,
            settled: 0,
            talks: false,
            entry: None,
        }
    }

    /// Takes note of whether the engine owes a reply; gives the number of connections on which it
    /// does.
    pub(super) fn note(&mut self, owes: bool, now: Instant) -> usize {
        let Rules { talking, roll, .. } = &*self.rules;
        let before = std::mem::replace(&mut self.talks, owes);
        if let Some(entry) = self.entry.as_ref().filter(|_| owes != before) {
            roll.runs(entry, owes.then_some(now));
        }
        match (before, owes) {
            (false, true) => talking.fetch_add(1, Ordering::Relaxed) + 1,
            (true, false) => talking.fetch_sub(1, Ordering::Relaxed) - 1,
            _ => talking.load(Ordering::Relaxed),
        }
    }

    /// The client is told that its database is open.
    pub(super) fn enter(&mut self) {
        let database = self.trail.database();
        self.rules.note_opened(database);
        self.entry = Some(self.rules.roll.enter(self.handle.number(), database));
    }

    /// The client is told of a failure of the engine.
    pub(super) fn fails(&self, failure: &Failure) {
        if failure.code == Code::BUSY
            && let Some(entry) = &self.entry
        {
            entry.refused();
        }
    }

    /// Ends what runs, and what was asked for and has not begun.
    pub(super) fn end(&mut self, why: Ending) {
        self.ending = Some(why);
        self.handle.end();
    }

    /// An INTERRUPT has come, or can be seen coming.
    pub(super) fn interrupt(&mut self) {
        if self.guard.slots().owed_by_engine() > 0 && self.ending.is_none() {
            add(&self.rules.counters.interrupts, 1);
            self.end(Ending::Asked);
        }
    }

    /// Another reply is complete.
    pub(super) fn settle(&mut self) {
        self.settled += 1;
        self.trail.settle();
        if self.guard.slots().owed_by_engine() == 0 {
            self.barred = false;
            if let Some(entry) = &self.entry {
                entry.rests(self.handle.in_transaction());
            }
            if !self.interrupt_ahead && self.ending.take().is_some() {
                self.handle.spare();
            }
        }
    }

    /// Whether the engine must not be given another request yet.
    pub(super) fn must_wait(&mut self) -> bool {
        self.barred || self.guard.slots().len() >= OWED_MAX
    }

    /// The last request is not completed after all: the engine drops it.
    pub(super) fn revoke(&mut self) {
        self.guard.revoke();
        self.trail.revoke();
    }

    /// Answers a request in the engine's place, when its turn comes.
    pub(super) fn refuse(&mut self, reason: Reason, failure: Failure) {
        self.rules.counters.refuse(reason);
        self.guard
            .slots()
            .answer(message(&Response::Failure(failure)));
    }

    /// Takes the answers that are due.
    pub(super) fn take_due(&mut self, out: &mut BytesMut) {
        while let Some(answer) = self.guard.slots().due() {
            out.extend_from_slice(&answer);
        }
    }

    /// What the client is told of a statement that was ended.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        match self.ending {
            Some(Ending::TimedOut(limit)) if failure.code == Code::INTERRUPT => Failure {
                message: format!(
                    "interrupted: over statement_timeout, which is {} s here",
                    limit.as_secs_f64()
                ),
                ..failure
            },
            _ => failure,
        }
    }
}

/// The bytes of a reply.
pub(super) fn message(response: &Response) -> Bytes {
    let mut bytes = Vec::new();
    response.encode(&mut bytes);
    bytes.into()
}

/// A failure in words of ours.
pub(super) fn refused(message: impl Into<String>) -> Failure {
    Failure {
        code: Code::ERROR,
        message: message.into(),
    }
}
