//! Which member should have which role: pure decisions over what is known of the members.
//!
//! A voter replicates and votes, a stand-by replicates, a spare does neither. Everything here is
//! deterministic, whatever the order of the members; the keeper acts on the answers one change
//! at a time and asks again.
//!
//! [`assume`] is asked once by a starting node about itself, [`adjust`] by the leader about
//! everybody, [`handover`] by a node that is about to stop. [`explain`] says what each rule of
//! [`adjust`] finds, also where nothing is to be done.

mod rules;

use std::time::Duration;

use dqlite_proto::Role;

use rules::View;

/// How many members should have which role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// Voters wanted; odd.
    pub voters: usize,
    /// Stand-bys wanted.
    pub standbys: usize,
    /// What the second of exactly two members is.
    pub two_node: TwoNode,
}

/// The role of the member that does not lead, in a cluster of exactly two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TwoNode {
    /// It replicates without a vote: the data is on both disks, and the leader works alone.
    StandBy,
    /// It holds no data.
    Spare,
    /// It votes: no writes while either is down.
    Voters,
}

/// A member as the decisions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its address.
    pub address: String,
    /// Its role now.
    pub role: Role,
    /// Whether it answers.
    pub health: Health,
    /// How long ago it answered last. Only the reasons speak of it.
    pub silent: Duration,
}

/// Whether a member answers, and what it said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered the last probe.
    Online {
        /// Its failure domain.
        domain: u64,
        /// Its weight; lower is promoted first.
        weight: u64,
    },
    /// A probe failed, but not for long: it keeps its seat and gets no other.
    Suspect {
        /// Its failure domain.
        domain: u64,
        /// Its weight; lower is promoted first.
        weight: u64,
    },
    /// It has not answered for long.
    Offline,
}

/// A change that the leader should make: the first candidate that accepts gets the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The role to assign.
    pub role: Role,
    /// Ids to try, best first.
    pub candidates: Vec<u64>,
    /// The rule that asked for it.
    pub rule: &'static str,
    /// The reason, for people.
    pub why: String,
}

/// What a rule says of the members as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing to do by this rule; the next one is asked.
    Holds {
        /// The rule.
        rule: &'static str,
        /// What it looked at, in words.
        why: String,
    },
    /// Something is amiss that nobody can cure now; no further rule is asked.
    Waits {
        /// The rule.
        rule: &'static str,
        /// What is missing, in words.
        why: String,
    },
    /// Something is to be done.
    Asks(Change),
}

/// Who could take over from a node that stops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handover {
    /// The role to give away and who could take it, best first. `None`: keep the seat.
    pub seat: Option<(Role, Vec<u64>)>,
    /// Who could lead, best first.
    pub leadership: Vec<u64>,
}

/// The role that the member `me` should take by itself, before the leader looks.
///
/// `None` if it should stay what it is, also when `me` is not a member.
pub fn assume(targets: Targets, me: u64, members: &[Member]) -> Option<Role> {
    let view = View::new(targets, members);
    let own = members.iter().find(|member| member.id == me)?;
    if members.len() < 3 || own.role != Role::Spare {
        return None;
    }
    if view.seated(Role::Voter) < view.voters_wanted() {
        return Some(Role::Voter);
    }
    (view.seated(Role::StandBy) < targets.standbys).then_some(Role::StandBy)
}

/// The next change that the leader should make; `None` at rest, or if nobody can be changed.
pub fn adjust(targets: Targets, leader: u64, members: &[Member]) -> Option<Change> {
    match explain(targets, leader, members).pop() {
        Some(Finding::Asks(change)) => Some(change),
        _ => None,
    }
}

/// What the rules find, in their order, up to the first that asks for a change or waits.
///
/// ```
/// use dqlite_node::roles::{Targets, TwoNode, explain};
///
/// let targets = Targets { voters: 3, standbys: 3, two_node: TwoNode::StandBy };
/// let findings = explain(targets, 1, &[]);
/// assert_eq!(findings[0].to_string(), "A0: nobody to assign a role to");
/// ```
pub fn explain(targets: Targets, leader: u64, members: &[Member]) -> Vec<Finding> {
    View::new(targets, members).findings(leader)
}

/// Who takes the seat and the leadership of `me`.
pub fn handover(targets: Targets, me: u64, members: &[Member]) -> Handover {
    let view = View::new(targets, members);
    let others: Vec<Member> = members
        .iter()
        .filter(|member| member.id != me)
        .cloned()
        .collect();
    let remaining = View::new(targets, &others);
    let mut leaders =
        view.of(|member| member.id != me && member.role == Role::Voter && member.is_online());
    leaders.sort_by_key(|member| (member.weight(), member.id));
    let seat = members
        .iter()
        .find(|member| member.id == me)
        .and_then(|own| {
            let takes =
                |role| role == Role::Spare || role == Role::StandBy && own.role == Role::Voter;
            let able = remaining.of(|member| member.is_online() && takes(member.role));
            (own.role != Role::Spare && !able.is_empty()).then(|| {
                (
                    own.role,
                    rules::ids(&remaining.promotion_order(own.role, able)),
                )
            })
        });
    Handover {
        seat,
        leadership: rules::ids(&leaders),
    }
}

impl Member {
    /// Whether it answered the last probe.
    pub fn is_online(&self) -> bool {
        matches!(self.health, Health::Online { .. })
    }

    /// Whether its seat counts.
    fn is_seated(&self) -> bool {
        self.health != Health::Offline
    }

    fn domain(&self) -> Option<u64> {
        match self.health {
            Health::Online { domain, .. } | Health::Suspect { domain, .. } => Some(domain),
            Health::Offline => None,
        }
    }

    fn weight(&self) -> u64 {
        match self.health {
            Health::Online { weight, .. } | Health::Suspect { weight, .. } => weight,
            Health::Offline => 0,
        }
    }

    /// `10.0.0.4:9001 (stand-by, domain 2, weight 0)`.
    fn describe(&self) -> String {
        let (address, role, weight) = (&self.address, self.role, self.weight());
        match self.domain() {
            Some(domain) => format!("{address} ({role}, domain {domain}, weight {weight})"),
            None => format!("{address} ({role}, {})", self.absence()),
        }
    }

    /// `offline for 14 s`.
    fn absence(&self) -> String {
        match self.silent.as_secs() {
            0 => "offline".to_owned(),
            seconds => format!("offline for {seconds} s"),
        }
    }
}

impl Finding {
    /// The rule that was asked.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Holds { rule, .. } | Self::Waits { rule, .. } => rule,
            Self::Asks(change) => change.rule,
        }
    }

    /// What it found, in words.
    pub fn why(&self) -> &str {
        match self {
            Self::Holds { why, .. } | Self::Waits { why, .. } => why,
            Self::Asks(change) => &change.why,
        }
    }

    /// `holds`, `waits` or `asks`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Holds { .. } => "holds",
            Self::Waits { .. } => "waits",
            Self::Asks(_) => "asks",
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule(), self.why())
    }
}
