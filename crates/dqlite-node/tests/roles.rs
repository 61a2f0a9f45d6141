//! Role decisions over random clusters.

use std::time::Duration;

use dqlite_node::roles::{
    Finding, Health, Member, Targets, TwoNode, adjust, assume, explain, handover,
};
use dqlite_proto::Role;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Cluster {
    targets: Targets,
    leader: u64,
    members: Vec<Member>,
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Voter), Just(Role::StandBy), Just(Role::Spare)]
}

fn health(domains: u64, weights: u64) -> impl Strategy<Value = Health> {
    (0..4_u8, 1..=domains, 0..weights).prop_map(|(state, domain, weight)| match state {
        0 | 1 => Health::Online { domain, weight },
        2 => Health::Suspect { domain, weight },
        _ => Health::Offline,
    })
}

fn targets() -> impl Strategy<Value = Targets> {
    let two_node = prop_oneof![
        Just(TwoNode::StandBy),
        Just(TwoNode::Spare),
        Just(TwoNode::Voters),
    ];
    (prop_oneof![Just(1), Just(3), Just(5)], 0..4_usize, two_node).prop_map(
        |(voters, standbys, two_node)| Targets {
            voters,
            standbys,
            two_node,
        },
    )
}

/// Member 1 leads: an online voter.
fn cluster(sizes: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Cluster> {
    let members = (1..=4_u64).prop_flat_map(move |domains| {
        prop::collection::vec((role(), health(domains, 3)), sizes.clone())
    });
    (targets(), members).prop_map(|(targets, drawn)| {
        let mut members: Vec<Member> = drawn
            .into_iter()
            .zip(1..)
            .map(|((role, health), id)| Member {
                id,
                address: format!("n{id}:9001"),
                role,
                health,
                silent: Duration::ZERO,
            })
            .collect();
        members[0].role = Role::Voter;
        if let Health::Offline = members[0].health {
            members[0].health = Health::Online {
                domain: 1,
                weight: 0,
            };
        }
        if let Health::Suspect { domain, weight } = members[0].health {
            members[0].health = Health::Online { domain, weight };
        }
        Cluster {
            targets,
            leader: 1,
            members,
        }
    })
}

impl Cluster {
    fn of(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(move |member| member.role == role)
    }

    fn seated(&self, role: Role) -> usize {
        self.of(role)
            .filter(|member| member.health != Health::Offline)
            .count()
    }

    fn online(&self, role: Role) -> usize {
        self.of(role).filter(|member| is_online(member)).count()
    }

    fn wanted(&self) -> usize {
        let members = self.members.len();
        self.targets.voters.min(if members % 2 == 1 {
            members
        } else {
            members - 1
        })
    }

    fn has_majority(&self) -> bool {
        self.online(Role::Voter) > self.of(Role::Voter).count() / 2
    }

    fn assign(&mut self, id: u64, role: Role) {
        self.members
            .iter_mut()
            .find(|member| member.id == id)
            .expect("a member")
            .role = role;
    }

    /// Applies what the leader decides until nothing is left; `refuse` rejects candidates.
    fn settle(&mut self, mut refuse: impl FnMut(u64) -> bool) -> usize {
        let mut changes = 0;
        while let Some(change) = adjust(self.targets, self.leader, &self.members) {
            let Some(id) = change.candidates.iter().copied().find(|id| !refuse(*id)) else {
                break;
            };
            self.assign(id, change.role);
            changes += 1;
            assert!(
                changes <= 2 * self.members.len() + 2,
                "does not settle: {self:?}"
            );
        }
        changes
    }
}

fn is_online(member: &Member) -> bool {
    matches!(member.health, Health::Online { .. })
}

fn domain(member: &Member) -> Option<u64> {
    match member.health {
        Health::Online { domain, .. } | Health::Suspect { domain, .. } => Some(domain),
        Health::Offline => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // More with PROPTEST_CASES.
        cases: ProptestConfig::default().cases.max(5000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn order_of_the_input_does_not_matter(cluster in cluster(1..=9), by in any::<usize>()) {
        let mut turned = cluster.clone();
        turned.members.rotate_left(by % cluster.members.len());
        prop_assert_eq!(
            adjust(cluster.targets, 1, &cluster.members),
            adjust(cluster.targets, 1, &turned.members)
        );
        turned.members.reverse();
        prop_assert_eq!(
            handover(cluster.targets, 1, &cluster.members),
            handover(cluster.targets, 1, &turned.members)
        );
    }

    #[test]
    fn decisions_come_to_rest(mut cluster in cluster(1..=9)) {
        cluster.settle(|_| false);
        prop_assert_eq!(adjust(cluster.targets, 1, &cluster.members), None);
    }

    #[test]
    fn decisions_come_to_rest_when_candidates_refuse(
        mut cluster in cluster(1..=9),
        moods in prop::collection::vec(any::<bool>(), 64),
    ) {
        let mut moods = moods.into_iter().cycle();
        cluster.settle(|_| moods.next().unwrap_or_default());
    }

    #[test]
    fn every_change_is_sane(mut cluster in cluster(1..=9)) {
        let at_least = cluster.wanted().min(cluster.online(Role::Voter));
        while let Some(change) = adjust(cluster.targets, 1, &cluster.members) {
            prop_assert!(!change.candidates.contains(&1) || change.role == Role::Voter);
            for id in &change.candidates {
                let member = cluster.members.iter().find(|member| member.id == *id).unwrap();
                let promoted = (change.role as u8) < (member.role as u8);
                prop_assert!(!promoted || is_online(member), "{:?}", change);
            }
            let first = change.candidates[0];
            prop_assert!(change.why.contains(&format!("n{first}:9001")), "{}", change.why);
            cluster.assign(first, change.role);
            if cluster.members.len() > 2 {
                prop_assert!(cluster.online(Role::Voter) >= at_least, "{:?}", change);
            }
        }
    }

    #[test]
    fn no_change_costs_the_majority(mut cluster in cluster(1..=9)) {
        while let Some(change) = adjust(cluster.targets, 1, &cluster.members) {
            let before = cluster.has_majority();
            cluster.assign(change.candidates[0], change.role);
            // A promotion in a cluster without a majority cannot be committed anyway.
            prop_assert!(!before || cluster.has_majority(), "{:?}: {:?}", change, cluster);
        }
    }

    #[test]
    fn what_is_explained_is_what_is_done(mut cluster in cluster(1..=9)) {
        loop {
            let findings = explain(cluster.targets, 1, &cluster.members);
            prop_assert!(findings.iter().all(|finding| !finding.why().is_empty()));
            prop_assert!(findings.windows(2).all(|pair| pair[0].rule() < pair[1].rule()));
            let (last, before) = findings.split_last().expect("at least one rule");
            let hold = |finding: &Finding| matches!(finding, Finding::Holds { .. });
            prop_assert!(before.iter().all(hold), "{:?}", findings);
            let Finding::Asks(change) = last else {
                prop_assert_eq!(adjust(cluster.targets, 1, &cluster.members), None);
                break;
            };
            let asked = adjust(cluster.targets, 1, &cluster.members);
            prop_assert_eq!(asked.as_ref(), Some(change));
            cluster.assign(change.candidates[0], change.role);
        }
    }

    #[test]
    fn at_rest_enough_vote_and_domains_are_covered(mut cluster in cluster(3..=9)) {
        cluster.settle(|_| false);
        let online = cluster.members.iter().filter(|member| is_online(member)).count();
        if online >= cluster.wanted() {
            prop_assert!(cluster.seated(Role::Voter) >= cluster.wanted(), "{:?}", cluster);
        }
        let voters: Vec<&Member> = cluster.of(Role::Voter).collect();
        let covered = |wanted| voters.iter().any(|voter| domain(voter) == wanted);
        let uncovered = cluster
            .members
            .iter()
            .any(|member| is_online(member) && !covered(domain(member)));
        let crowded = voters.iter().any(|one| {
            let twin = |two: &&&Member| two.id != one.id && domain(two) == domain(one);
            let movable = is_online(one) && one.id != 1 && domain(one).is_some();
            movable && voters.iter().any(|voter| twin(&voter))
        });
        let settled = cluster.seated(Role::Voter) == cluster.wanted();
        prop_assert!(!(settled && uncovered && crowded), "{:?}", cluster);
    }

    #[test]
    fn a_moment_of_silence_costs_nothing_at_rest(mut cluster in cluster(1..=9), who in 1..9_usize) {
        cluster.settle(|_| false);
        if who < cluster.members.len()
            && let Health::Online { domain, weight } = cluster.members[who].health
        {
            cluster.members[who].health = Health::Suspect { domain, weight };
            let before = cluster.members.clone();
            cluster.settle(|_| false);
            let kept = |member: &Member| before[who].role == member.role;
            prop_assert!(kept(&cluster.members[who]), "{:?}", cluster);
            cluster.members = before;
            cluster.members[who].health = Health::Online { domain, weight };
            prop_assert_eq!(adjust(cluster.targets, 1, &cluster.members), None);
        }
    }

    #[test]
    fn who_assumed_is_not_demoted_at_once(mut cluster in cluster(3..=9)) {
        let me = cluster.members.len() as u64;
        cluster.assign(me, Role::Spare);
        let last = cluster.members.len() - 1;
        cluster.members[last].health = Health::Online { domain: 1, weight: 0 };
        if let Some(role) = assume(cluster.targets, me, &cluster.members) {
            cluster.assign(me, role);
            let next = adjust(cluster.targets, 1, &cluster.members);
            let demoted = next.is_some_and(|change| {
                change.candidates[0] == me && change.role as u8 > role as u8
            });
            // Only a domain that lacks a voter may cost the newcomer its new seat.
            prop_assert!(!demoted, "{:?}", cluster);
        }
    }

    #[test]
    fn who_left_gets_nothing_back_while_it_is_away(
        mut cluster in cluster(3..=9),
        drawn in any::<u64>(),
    ) {
        let who = 2 + drawn % (cluster.members.len() as u64 - 1);
        let plan = handover(cluster.targets, who, &cluster.members);
        prop_assert!(!plan.leadership.contains(&who));
        if let Some((role, candidates)) = plan.seat {
            prop_assert!(!candidates.contains(&who));
            cluster.assign(candidates[0], role);
            cluster.assign(who, Role::Spare);
        }
        let index = cluster.members.iter().position(|member| member.id == who).unwrap();
        cluster.members[index].health = Health::Offline;
        let before = cluster.members[index].role;
        cluster.settle(|_| false);
        prop_assert!(cluster.members[index].role as u8 >= before as u8);
    }

    #[test]
    fn counts_equal_those_of_go_dqlite(mut cluster in cluster(3..=9)) {
        cluster.targets.voters = cluster.wanted();
        for (weight, member) in (1..).zip(&mut cluster.members) {
            if member.health != Health::Offline {
                member.health = Health::Online { domain: 0, weight };
            }
        }
        let mut theirs = cluster.clone();
        cluster.settle(|_| false);
        for _ in 0..100 {
            let Some((role, id)) = go_adjust(&theirs) else { break };
            theirs.assign(id, role);
        }
        let voters = |cluster: &Cluster| cluster.online(Role::Voter);
        prop_assert_eq!(voters(&cluster), voters(&theirs));
        let standbys = |cluster: &Cluster| cluster.online(Role::StandBy);
        prop_assert_eq!(standbys(&cluster), standbys(&theirs));
    }
}

/// go-dqlite's algorithm for three and more members of one domain, without its random ties.
fn go_adjust(cluster: &Cluster) -> Option<(Role, u64)> {
    let list = |role: Role, online: bool| -> Vec<u64> {
        cluster
            .of(role)
            .filter(|member| is_online(member) == online)
            .map(|m| m.id)
            .collect()
    };
    let (voters, standbys) = (list(Role::Voter, true), list(Role::StandBy, true));
    let Targets {
        voters: voters_wanted,
        standbys: standbys_wanted,
        ..
    } = cluster.targets;
    let followers = voters.iter().copied().find(|id| *id != cluster.leader);
    if voters.len() < voters_wanted {
        let able = standbys.into_iter().chain(list(Role::Spare, true)).next();
        return able.map(|id| (Role::Voter, id));
    }
    if voters.len() > voters_wanted {
        return followers.map(|id| (Role::Spare, id));
    }
    if let Some(gone) = list(Role::Voter, false).first() {
        return Some((Role::Spare, *gone));
    }
    if standbys.len() < standbys_wanted {
        return list(Role::Spare, true)
            .first()
            .map(|id| (Role::StandBy, *id));
    }
    if standbys.len() > standbys_wanted {
        return standbys.first().map(|id| (Role::Spare, *id));
    }
    list(Role::StandBy, false)
        .first()
        .map(|gone| (Role::Spare, *gone))
}

#[test]
fn the_issue_of_crowded_leader_domains_takes_two_changes() {
    let member = |id, role, domain| Member {
        id,
        address: format!("n{id}:9001"),
        role,
        health: Health::Online { domain, weight: 0 },
        silent: Duration::ZERO,
    };
    let members = vec![
        member(1, Role::Voter, 1),
        member(2, Role::Voter, 1),
        member(3, Role::Voter, 2),
        member(4, Role::Spare, 3),
    ];
    let targets = Targets {
        voters: 3,
        standbys: 3,
        two_node: TwoNode::StandBy,
    };
    let mut cluster = Cluster {
        targets,
        leader: 1,
        members,
    };
    assert_eq!(cluster.settle(|_| false), 2);
    let roles: Vec<Role> = cluster.members.iter().map(|member| member.role).collect();
    assert_eq!(
        roles,
        [Role::Voter, Role::StandBy, Role::Voter, Role::Voter]
    );
}

fn three_of_two() -> (Targets, impl Fn(u64, Role, Health) -> Member) {
    let targets = Targets {
        voters: 3,
        standbys: 3,
        two_node: TwoNode::StandBy,
    };
    let member = |id, role, health| Member {
        id,
        address: format!("10.0.0.{id}:9001"),
        role,
        health,
        silent: Duration::from_secs(if health == Health::Offline { 14 } else { 0 }),
    };
    (targets, member)
}

fn online(domain: u64) -> Health {
    Health::Online { domain, weight: 0 }
}

#[test]
fn reasons_are_sentences() {
    let (targets, member) = three_of_two();
    let members = [
        member(1, Role::Voter, online(1)),
        member(2, Role::Voter, online(1)),
        member(3, Role::Voter, Health::Offline),
        member(4, Role::StandBy, online(2)),
    ];
    let change = adjust(targets, 1, &members).expect("a change");
    assert_eq!(change.rule, "A2");
    assert_eq!(
        change.why,
        "promote 10.0.0.4:9001 (stand-by, domain 2, weight 0) to voter: 2 of 3 voters seated; \
         10.0.0.3:9001 offline for 14 s; domain 2 has no voter"
    );
}

#[test]
fn what_holds_and_what_is_missing_is_said_rule_by_rule() {
    let (targets, member) = three_of_two();
    let text = |members: &[Member]| -> Vec<String> {
        let findings = explain(targets, 1, members);
        findings.iter().map(ToString::to_string).collect()
    };
    let voter = |id| member(id, Role::Voter, online(1));
    assert_eq!(
        text(&[
            voter(1),
            voter(2),
            voter(3),
            member(4, Role::StandBy, online(1))
        ]),
        [
            "A2: 3 of 3 voters seated",
            "A3: no domain lacks a voter that it could have",
            "A4: 3 voters online, 3 wanted",
            "A5: no voter is offline",
            "A6: 1 of 3 stand-bys seated, and no spare answers",
        ]
    );
    assert_eq!(
        text(&[voter(1), voter(2), member(3, Role::Voter, Health::Offline)]),
        ["A2: 2 of 3 voters seated, and no other member answers"]
    );
    assert_eq!(
        text(&[voter(1), member(2, Role::Spare, Health::Offline)]),
        ["A1: 10.0.0.2:9001 (spare, offline for 14 s) should be a stand-by and does not answer"]
    );
    assert_eq!(text(&[voter(1)]), ["A0: a lone member keeps its role"]);
}

/// Policy, role of the member that does not lead, whether it answers, the role it gets.
const PAIRS: &[(TwoNode, Role, bool, Option<Role>)] = &[
    (TwoNode::StandBy, Role::Voter, true, Some(Role::StandBy)),
    (TwoNode::StandBy, Role::Voter, false, Some(Role::StandBy)),
    (TwoNode::StandBy, Role::StandBy, true, None),
    (TwoNode::StandBy, Role::Spare, true, Some(Role::StandBy)),
    (TwoNode::StandBy, Role::Spare, false, None),
    (TwoNode::Spare, Role::Voter, true, Some(Role::Spare)),
    (TwoNode::Spare, Role::StandBy, true, None),
    (TwoNode::Spare, Role::Spare, true, None),
    (TwoNode::Voters, Role::Voter, true, None),
    (TwoNode::Voters, Role::StandBy, true, Some(Role::Voter)),
    (TwoNode::Voters, Role::Spare, true, Some(Role::Voter)),
    (TwoNode::Voters, Role::Spare, false, None),
];

#[test]
fn two_members_follow_their_policy() {
    let (targets, member) = three_of_two();
    for (two_node, role, answers, wanted) in PAIRS {
        let targets = Targets {
            two_node: *two_node,
            ..targets
        };
        let health = if *answers { online(1) } else { Health::Offline };
        let members = [member(1, Role::Voter, online(1)), member(2, *role, health)];
        let change = adjust(targets, 1, &members).map(|change| change.role);
        assert_eq!(change, *wanted, "{two_node:?}, {role:?}, {answers}");
    }
}
