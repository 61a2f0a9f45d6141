//! Who may bootstrap a cluster: pure decisions on what a round of probes has shown.
//!
//! All nodes of a new cluster get the same list of addresses. Only the first of the list, the
//! *founder*, may bootstrap, and only with proof that nobody else has a cluster. Two nodes can
//! both believe to be founder when their lists differ, so a founder with its proof first
//! *claims* (its gateway shows the claim to whoever asks) and then probes everybody once more:
//! of two claimers at least one sees the other.
//!
//! ```text
//!  Probing ──every other node fresh──► Claiming ──still fresh──► Bootstrap
//!     ▲  └──────a member seen──► Join ◄──a member seen──┘ │
//!     └──────────────────somebody down, or a smaller claim┘
//! ```

use dqlite_proto::NodeInfo;

/// What a node may do about an empty directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitialState {
    /// The founder bootstraps when every other node of the list is fresh.
    Auto,
    /// The founder bootstraps although some nodes of the list do not answer.
    New,
    /// Never bootstrap.
    Existing,
}

/// What the probe of one address has shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A node with a configuration.
    Member {
        /// All members it knows.
        ids: Vec<u64>,
        /// Whether it says that it leads.
        leads: bool,
    },
    /// A node that is about to bootstrap, and says so.
    Claim,
    /// A node without a configuration.
    Fresh,
    /// Nobody answered.
    Down(String),
    /// Somebody answered who is not a node.
    Stranger(String),
}

/// What to do after a round of probes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Probe again after a pause.
    Wait,
    /// Show the claim, then probe everybody from the beginning.
    Claim,
    /// Hide the claim, then probe again after a pause.
    Withdraw,
    /// Create the engine with the bootstrap id.
    Bootstrap,
    /// Create the engine with a fresh id and join the members seen. Hides a claim.
    Join,
    /// Two of these addresses lead clusters that have no member in common.
    Conflict(String, String),
}

/// The state machine of one first start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Founder {
    own: String,
    founds: bool,
    mode: InitialState,
    claiming: bool,
}

impl Founder {
    /// `own` and `list` in canonical form; `list` is the whole list, in the order given.
    pub fn new(own: &str, list: &[String], mode: InitialState) -> Self {
        let founds = list.first().is_none_or(|first| first == own);
        Self {
            own: own.to_owned(),
            founds: founds && mode != InitialState::Existing,
            mode,
            claiming: false,
        }
    }

    /// Whether this node may bootstrap at all.
    pub fn founds(&self) -> bool {
        self.founds
    }

    /// Whether the claim is to be shown to whoever asks.
    pub fn claims(&self) -> bool {
        self.claiming
    }

    /// Takes the results of a whole round: one for each *other* address of the list.
    ///
    /// After [`Step::Claim`] the round must have begun after the claim was shown.
    pub fn round(&mut self, seen: &[(String, Seen)]) -> Step {
        if let Some(conflict) = conflict(seen) {
            return conflict;
        }
        if seen
            .iter()
            .any(|(_, seen)| matches!(seen, Seen::Member { .. }))
        {
            self.claiming = false;
            return Step::Join;
        }
        if !self.founds {
            return Step::Wait;
        }
        if seen.is_empty() {
            return Step::Bootstrap;
        }
        let proven = seen.iter().all(|(_, seen)| match seen {
            Seen::Fresh => true,
            Seen::Down(_) | Seen::Stranger(_) => self.mode == InitialState::New,
            Seen::Claim | Seen::Member { .. } => false,
        });
        match (self.claiming, proven) {
            (true, true) => Step::Bootstrap,
            (false, true) => {
                self.claiming = true;
                Step::Claim
            }
            (true, false) if self.outranks(seen) => Step::Wait,
            (true, false) => {
                self.claiming = false;
                Step::Withdraw
            }
            (false, false) => Step::Wait,
        }
    }

    /// Whether only claims stand in the way, and all of them must give way to this one.
    fn outranks(&self, seen: &[(String, Seen)]) -> bool {
        seen.iter().all(|(address, seen)| match seen {
            Seen::Claim => self.own < *address,
            Seen::Fresh => true,
            Seen::Down(_) | Seen::Stranger(_) => self.mode == InitialState::New,
            Seen::Member { .. } => false,
        })
    }
}

fn conflict(seen: &[(String, Seen)]) -> Option<Step> {
    let mut leaders = seen.iter().filter_map(|(address, seen)| match seen {
        Seen::Member { ids, leads: true } => Some((address, ids)),
        _ => None,
    });
    let (first, known) = leaders.next()?;
    leaders
        .find(|(_, ids)| ids.iter().all(|id| !known.contains(id)))
        .map(|(second, _)| Step::Conflict(first.clone(), second.clone()))
}

/// What a node that answered at `dialled` is: `leader` and `members` are its replies to LEADER
/// and CLUSTER.
pub fn classify(dialled: &str, leader: &str, members: &[NodeInfo]) -> Seen {
    match members {
        [] => Seen::Fresh,
        [only] if leader.is_empty() && only.address == dialled => Seen::Claim,
        _ => Seen::Member {
            ids: members.iter().map(|member| member.id).collect(),
            leads: leader == dialled,
        },
    }
}
