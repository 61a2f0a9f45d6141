//! What is true in a simulation, and what each node believes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dqlite_client::proto::Capabilities;

/// Nodes of the cluster.
pub(crate) const NODES: usize = 3;

/// Where a node listens.
pub(crate) fn address(node: usize) -> String {
    format!("{}:9001", host(node))
}

/// The name of its machine.
pub(crate) fn host(node: usize) -> String {
    format!("n{node}")
}

/// One write of a client.
pub(crate) type Op = u64;

/// What a node believes, and what is wrong with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Node {
    /// Whom it takes for the leader.
    pub(crate) leader: Option<usize>,
    /// In which term; sessions of earlier ones are over.
    pub(crate) term: u64,
    /// Other nodes do not hear it: what it proposes is not decided.
    pub(crate) is_cut: bool,
    /// How long it thinks about each request.
    pub(crate) pause: Duration,
    /// Whether it ends statements when told to.
    pub(crate) capabilities: Capabilities,
}

/// What is wrong on purpose, to see that it would be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// A client repeats what may have happened.
    Repeats,
    /// A client takes what may have happened for what has not.
    Denies,
    /// A client takes what may have happened for what has.
    Believes,
    /// A node says that it has ended a write, and has done it.
    EndedAndDone,
    /// A client waits on behind its deadline.
    Dawdles,
}

/// The truth.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) random: fastrand::Rng,
    /// Who leads, if anybody does.
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    pub(crate) nodes: [Node; NODES],
    /// How often each write was applied.
    pub(crate) applied: BTreeMap<Op, u32>,
    /// Everything that happened, folded into one number.
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) flaw: Flaw,
}

/// The world as its inhabitants hold it.
pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            random: fastrand::Rng::with_seed(seed),
            leader: None,
            term: 0,
            nodes: [Node::default(); NODES],
            applied: BTreeMap::new(),
            trace: seed,
            events: 0,
            flaw: Flaw::None,
        };
        for node in &mut world.nodes {
            if world.random.bool() {
                node.capabilities = Capabilities::OURS;
            }
        }
        let leader = world.random.usize(..NODES);
        world.elect(leader);
        world.tell();
        world
    }

    /// Remembers that something happened.
    pub(crate) fn note(&mut self, what: &str, number: u64) {
        for byte in what.bytes().chain(number.to_le_bytes()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events += 1;
    }

    /// Nobody leads; those who hear of it know.
    pub(crate) fn depose(&mut self) {
        self.leader = None;
        for node in self.nodes.iter_mut().filter(|node| !node.is_cut) {
            node.leader = None;
        }
    }

    /// A node begins to lead, and knows it; those who are not cut off stop following another one.
    pub(crate) fn elect(&mut self, leader: usize) {
        self.depose();
        self.term += 1;
        self.leader = Some(leader);
        self.nodes[leader].leader = Some(leader);
        self.nodes[leader].term = self.term;
    }

    /// Whoever can hear who leads knows it now.
    pub(crate) fn tell(&mut self) {
        let (leader, term) = (self.leader, self.term);
        for node in self.nodes.iter_mut().filter(|node| !node.is_cut) {
            (node.leader, node.term) = (leader, term);
        }
    }

    /// Whether a node may decide a write of a session of that term.
    pub(crate) fn decides(&self, node: usize, term: u64) -> bool {
        self.leader == Some(node) && self.term == term && !self.nodes[node].is_cut
    }

    pub(crate) fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            *self.applied.entry(*op).or_default() += 1;
        }
    }
}
