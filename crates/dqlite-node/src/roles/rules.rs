//! The rules of [`adjust`](super::adjust), in their order, and what they count.

use std::cmp::Reverse;
use std::fmt::Write as _;

use dqlite_proto::Role;

use super::{Change, Finding, Member, Targets, TwoNode};

/// The members, seen by the targets.
pub(super) struct View<'a> {
    targets: Targets,
    members: &'a [Member],
}

pub(super) fn ids(members: &[&Member]) -> Vec<u64> {
    members.iter().map(|member| member.id).collect()
}

fn holds(rule: &'static str, why: impl Into<String>) -> Finding {
    let why = why.into();
    Finding::Holds { rule, why }
}

fn waits(rule: &'static str, why: impl Into<String>) -> Finding {
    let why = why.into();
    Finding::Waits { rule, why }
}

impl<'a> View<'a> {
    pub(super) fn new(targets: Targets, members: &'a [Member]) -> Self {
        Self { targets, members }
    }

    /// What the rules find, up to the first that asks for something or waits.
    pub(super) fn findings(&self, leader: u64) -> Vec<Finding> {
        match self.members.len() {
            0 => vec![holds("A0", "nobody to assign a role to")],
            1 => vec![holds("A0", "a lone member keeps its role")],
            2 => vec![self.pair(leader)],
            _ => self.many(leader),
        }
    }

    fn many(&self, leader: u64) -> Vec<Finding> {
        type Rule<'a> = fn(&View<'a>, u64) -> Finding;
        let rules: [Rule<'a>; 7] = [
            Self::too_few_voters,
            Self::uncovered_domain,
            Self::too_many_voters,
            Self::offline_voter,
            Self::too_few_standbys,
            Self::too_many_standbys,
            Self::offline_standby,
        ];
        let mut findings = Vec::new();
        for rule in rules {
            let finding = rule(self, leader);
            let goes_on = matches!(finding, Finding::Holds { .. });
            findings.push(finding);
            if !goes_on {
                break;
            }
        }
        findings
    }

    pub(super) fn of(&self, wanted: impl Fn(&Member) -> bool) -> Vec<&'a Member> {
        let all = self.members.iter();
        all.filter(|member| wanted(member)).collect()
    }

    fn online(&self, role: Role) -> Vec<&'a Member> {
        self.of(|member| member.role == role && member.is_online())
    }

    /// By id.
    fn offline(&self, role: Role) -> Vec<&'a Member> {
        let mut offline = self.of(|member| member.role == role && !member.is_seated());
        offline.sort_by_key(|member| member.id);
        offline
    }

    pub(super) fn seated(&self, role: Role) -> usize {
        self.of(|member| member.role == role && member.is_seated())
            .len()
    }

    fn seated_in(&self, role: Role, domain: Option<u64>) -> usize {
        self.of(|member| member.role == role && domain.is_some() && member.domain() == domain)
            .len()
    }

    /// A fourth voter of four adds nothing: an even cluster has one voter less than members.
    pub(super) fn voters_wanted(&self) -> usize {
        let odd = self.members.len() - (self.members.len() + 1) % 2;
        self.targets.voters.min(odd)
    }

    /// Best first: a domain without the role, low weight, data at hand, low id.
    pub(super) fn promotion_order(&self, role: Role, mut able: Vec<&'a Member>) -> Vec<&'a Member> {
        able.sort_by_key(|member| {
            let crowd = self.seated_in(role, member.domain());
            let empty = member.role == Role::Spare;
            (crowd, member.weight(), empty, member.id)
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

    fn pair(&self, leader: u64) -> Finding {
        let Some(other) = self.members.iter().find(|member| member.id != leader) else {
            return waits("A1", "two members of one id");
        };
        let (from, online) = (other.role, other.is_online());
        let (to, reason) = match self.targets.two_node {
            TwoNode::StandBy => (
                Role::StandBy,
                "of two members one votes and the other keeps a copy",
            ),
            TwoNode::Spare => (Role::Spare, "of two members one votes"),
            TwoNode::Voters => (Role::Voter, "both of two members vote, as configured"),
        };
        if from == Role::Voter && to != Role::Voter || online && is_promotion(from, to) {
            return self.ask(to, &[other], "A1", reason);
        }
        let other = other.describe();
        if is_promotion(from, to) {
            return waits(
                "A1",
                format!("{other} should be a {to} and does not answer"),
            );
        }
        holds("A1", format!("{other} keeps its role: {reason}"))
    }

    fn too_few_voters(&self, _: u64) -> Finding {
        let (seated, wanted) = (self.seated(Role::Voter), self.voters_wanted());
        let reason = format!("{seated} of {wanted} voters seated");
        if seated >= wanted {
            return holds("A2", reason);
        }
        let able = self.of(|member| member.role != Role::Voter && member.is_online());
        if able.is_empty() {
            return waits("A2", format!("{reason}, and no other member answers"));
        }
        let able = self.promotion_order(Role::Voter, able);
        self.ask(Role::Voter, &able, "A2", &reason)
    }

    fn uncovered_domain(&self, leader: u64) -> Finding {
        let mut bare = self.of(|member| {
            member.role != Role::Voter
                && member.is_online()
                && self.seated_in(Role::Voter, member.domain()) == 0
        });
        if bare.is_empty() {
            return holds("A3", "no domain lacks a voter that it could have");
        }
        if self.seated(Role::Voter) > self.voters_wanted() || !self.is_crowded(leader) {
            return holds("A3", "no other domain has a voter to spare");
        }
        bare = self.promotion_order(Role::Voter, bare);
        let reason = "its domain has no voter, another has several";
        self.ask(Role::Voter, &bare, "A3", reason)
    }

    fn too_many_voters(&self, leader: u64) -> Finding {
        let wanted = self.voters_wanted();
        let online = self.online(Role::Voter);
        let reason = format!("{} voters online, {wanted} wanted", online.len());
        if online.len() <= wanted {
            return holds("A4", reason);
        }
        let all = self.of(|member| member.role == Role::Voter).len();
        if online.len() - 1 <= (all - 1) / 2 {
            return holds(
                "A4",
                format!("{reason}, and {all} must not lose their majority"),
            );
        }
        let able = online.into_iter().filter(|member| member.id != leader);
        let to = if self.seated(Role::StandBy) < self.targets.standbys {
            Role::StandBy
        } else {
            Role::Spare
        };
        let able = self.demotion_order(Role::Voter, able.collect());
        self.ask(to, &able, "A4", &reason)
    }

    fn offline_voter(&self, _: u64) -> Finding {
        let (online, wanted) = (self.online(Role::Voter).len(), self.voters_wanted());
        let gone = self.offline(Role::Voter);
        match gone.first() {
            None => holds("A5", "no voter is offline"),
            Some(first) if online < wanted => {
                let why = format!(
                    "{} keeps its seat until {wanted} others answer",
                    first.describe()
                );
                holds("A5", why)
            }
            Some(first) => {
                let reason = "offline, and enough others vote";
                self.ask(Role::Spare, &[first], "A5", reason)
            }
        }
    }

    fn too_few_standbys(&self, _: u64) -> Finding {
        let reason = self.standbys();
        if self.seated(Role::StandBy) >= self.targets.standbys {
            return holds("A6", reason);
        }
        let able = self.online(Role::Spare);
        if able.is_empty() {
            return waits("A6", format!("{reason}, and no spare answers"));
        }
        let able = self.promotion_order(Role::StandBy, able);
        self.ask(Role::StandBy, &able, "A6", &reason)
    }

    fn too_many_standbys(&self, _: u64) -> Finding {
        let reason = self.standbys();
        let able = self.demotion_order(Role::StandBy, self.online(Role::StandBy));
        if self.seated(Role::StandBy) <= self.targets.standbys || able.is_empty() {
            return holds("A7", reason);
        }
        self.ask(Role::Spare, &able, "A7", &reason)
    }

    fn offline_standby(&self, _: u64) -> Finding {
        match self.offline(Role::StandBy).first() {
            None => holds("A8", "no stand-by is offline"),
            Some(first) => {
                let reason = "offline, and enough others stand by";
                self.ask(Role::Spare, &[first], "A8", reason)
            }
        }
    }

    fn standbys(&self) -> String {
        let (seated, wanted) = (self.seated(Role::StandBy), self.targets.standbys);
        format!("{seated} of {wanted} stand-bys seated")
    }

    /// Whether some domain could give up a voter.
    fn is_crowded(&self, leader: u64) -> bool {
        let gives = |member: &&Member| {
            member.id != leader && self.seated_in(Role::Voter, member.domain()) >= 2
        };
        self.online(Role::Voter).iter().any(gives)
    }

    /// A change with its reason: who, why, who is missing, and what the domains lack.
    fn ask(&self, role: Role, candidates: &[&Member], rule: &'static str, reason: &str) -> Finding {
        let Some(first) = candidates.first() else {
            return waits(rule, reason);
        };
        let promotes = is_promotion(first.role, role);
        let verb = if promotes { "promote" } else { "demote" };
        let mut why = format!("{verb} {} to {role}: {reason}", first.describe());
        if promotes {
            for gone in self.offline(role) {
                // Writing to a String cannot fail.
                let _ = write!(why, "; {} {}", gone.address, gone.absence());
            }
            if let Some(domain) = first.domain()
                && self.seated_in(role, Some(domain)) == 0
                && self.seated(role) > 0
            {
                let _ = write!(why, "; domain {domain} has no {role}");
            }
        }
        Finding::Asks(Change {
            role,
            candidates: ids(candidates),
            rule,
            why,
        })
    }
}

/// Whether the role gains something; roles are ordered so on the wire.
fn is_promotion(from: Role, to: Role) -> bool {
    to.to_wire() < from.to_wire()
}
