//! Which member should have which role: pure decisions over what is known of the members.
//!
//! A voter replicates and votes, a stand-by replicates, a spare does neither. Everything here is
//! deterministic, whatever the order of the members; the keeper acts on the answers one change
//! at a time and asks again.
//!
//! [`assume`] is asked once by a starting node about itself, [`adjust`] by the leader about
//! everybody, [`handover`] by a node that is about to stop.

use std::cmp::Reverse;
use std::fmt::Write as _;

use dqlite_proto::Role;

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
    let view = View::new(targets, members);
    match members.len() {
        0 | 1 => None,
        2 => view.pair(leader),
        _ => view.adjust(leader),
    }
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
            (own.role != Role::Spare && !able.is_empty())
                .then(|| (own.role, ids(&remaining.promotion_order(own.role, able))))
        });
    Handover {
        seat,
        leadership: ids(&leaders),
    }
}

impl Member {
    fn is_online(&self) -> bool {
        matches!(self.health, Health::Online { .. })
    }

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
        let mut text = format!("{} ({}", self.address, self.role);
        match self.domain() {
            // Writing to a String cannot fail.
            Some(domain) => {
                let _ = write!(text, ", domain {domain}, weight {})", self.weight());
            }
            None => text.push_str(", offline)"),
        }
        text
    }
}

fn ids(members: &[&Member]) -> Vec<u64> {
    members.iter().map(|member| member.id).collect()
}

fn change(role: Role, candidates: &[&Member], rule: &'static str, reason: &str) -> Option<Change> {
    let first = candidates.first()?;
    let verb = if role == Role::Spare || first.role == Role::Voter {
        "demote"
    } else {
        "promote"
    };
    let why = format!("{verb} {} to {}: {reason}", first.describe(), role);
    Some(Change {
        role,
        candidates: ids(candidates),
        rule,
        why,
    })
}

struct View<'a> {
    targets: Targets,
    members: &'a [Member],
}

impl<'a> View<'a> {
    fn new(targets: Targets, members: &'a [Member]) -> Self {
        Self { targets, members }
    }

    fn of(&self, wanted: impl Fn(&Member) -> bool) -> Vec<&'a Member> {
        self.members
            .iter()
            .filter(|member| wanted(member))
            .collect()
    }

    fn online(&self, role: Role) -> Vec<&'a Member> {
        self.of(|member| member.role == role && member.is_online())
    }

    fn offline(&self, role: Role) -> Vec<&'a Member> {
        let mut offline = self.of(|member| member.role == role && !member.is_seated());
        offline.sort_by_key(|member| member.id);
        offline.truncate(1);
        offline
    }

    fn seated(&self, role: Role) -> usize {
        self.of(|member| member.role == role && member.is_seated())
            .len()
    }

    fn seated_in(&self, role: Role, domain: Option<u64>) -> usize {
        self.of(|member| member.role == role && domain.is_some() && member.domain() == domain)
            .len()
    }

    /// A fourth voter of four adds nothing: an even cluster has one voter less than members.
    fn voters_wanted(&self) -> usize {
        let odd = self.members.len() - (self.members.len() + 1) % 2;
        self.targets.voters.min(odd)
    }

    fn promotion_order(&self, role: Role, mut able: Vec<&'a Member>) -> Vec<&'a Member> {
        able.sort_by_key(|member| {
            let crowd = self.seated_in(role, member.domain());
            (
                crowd,
                member.weight(),
                member.role == Role::Spare,
                member.id,
            )
        });
        able
    }

    fn demotion_order(&self, role: Role, mut able: Vec<&'a Member>) -> Vec<&'a Member> {
        able.sort_by_key(|member| {
            let crowd = self.seated_in(role, member.domain());
            Reverse((crowd, member.weight(), member.id))
        });
        able
    }

    fn pair(&self, leader: u64) -> Option<Change> {
        let other = self.members.iter().find(|member| member.id != leader)?;
        let (from, online) = (other.role, other.is_online());
        let (to, reason) = match self.targets.two_node {
            TwoNode::StandBy if from == Role::Voter || from == Role::Spare && online => (
                Role::StandBy,
                "of two members one votes and the other keeps a copy",
            ),
            TwoNode::Spare if from == Role::Voter => (Role::Spare, "of two members one votes"),
            TwoNode::Voters if from != Role::Voter && online => {
                (Role::Voter, "both of two members vote, as configured")
            }
            _ => return None,
        };
        change(to, &[other], "A1", reason)
    }

    fn adjust(&self, leader: u64) -> Option<Change> {
        let wanted = self.voters_wanted();
        let (seated, online) = (self.seated(Role::Voter), self.online(Role::Voter).len());
        if seated < wanted {
            let reason = format!("{seated} of {wanted} voters seated");
            let able = self.of(|member| member.role != Role::Voter && member.is_online());
            return change(
                Role::Voter,
                &self.promotion_order(Role::Voter, able),
                "A2",
                &reason,
            );
        }
        if seated == wanted && self.crowded(leader) {
            let able = self.uncovered();
            if !able.is_empty() {
                let reason = "its domain has no voter, another has several";
                return change(
                    Role::Voter,
                    &self.promotion_order(Role::Voter, able),
                    "A3",
                    reason,
                );
            }
        }
        if online > wanted {
            let reason = format!("{online} voters online, {wanted} wanted");
            let able = self.of(|member| {
                member.role == Role::Voter && member.is_online() && member.id != leader
            });
            let lacks_standby = self.seated(Role::StandBy) < self.targets.standbys;
            let to = if lacks_standby {
                Role::StandBy
            } else {
                Role::Spare
            };
            return change(to, &self.demotion_order(Role::Voter, able), "A4", &reason);
        }
        let gone = self.offline(Role::Voter);
        if online >= wanted && !gone.is_empty() {
            return change(Role::Spare, &gone, "A5", "offline, and enough others vote");
        }
        self.adjust_standbys()
    }

    fn adjust_standbys(&self) -> Option<Change> {
        let (seated, wanted) = (self.seated(Role::StandBy), self.targets.standbys);
        let reason = format!("{seated} of {wanted} stand-bys seated");
        if seated < wanted {
            let able = self.promotion_order(Role::StandBy, self.online(Role::Spare));
            return change(Role::StandBy, &able, "A6", &reason);
        }
        if seated > wanted {
            let able = self.demotion_order(Role::StandBy, self.online(Role::StandBy));
            if !able.is_empty() {
                return change(Role::Spare, &able, "A7", &reason);
            }
        }
        let gone = self.offline(Role::StandBy);
        change(
            Role::Spare,
            &gone,
            "A8",
            "offline, and enough others stand by",
        )
    }

    /// Whether some domain could give up a voter.
    fn crowded(&self, leader: u64) -> bool {
        self.online(Role::Voter)
            .iter()
            .any(|member| member.id != leader && self.seated_in(Role::Voter, member.domain()) >= 2)
    }

    /// Online members without a vote, in domains without a voter.
    fn uncovered(&self) -> Vec<&'a Member> {
        self.of(|member| {
            member.role != Role::Voter
                && member.is_online()
                && self.seated_in(Role::Voter, member.domain()) == 0
        })
    }
}
