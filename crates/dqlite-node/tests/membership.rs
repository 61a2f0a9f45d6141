//! Nodes that come, go, lose their disks and change roles while requests and replies get lost: a
//! model of one cluster in which the decisions are the real ones.

use std::collections::HashMap;
use std::time::Duration;

use dqlite_node::founder::{self, Founder, InitialState, Seen};
use dqlite_node::joining;
use dqlite_node::leave;
use dqlite_node::roles::{Health, Member, Targets, TwoNode, adjust, assume, handover};
use dqlite_proto::{NodeInfo, Role};
use proptest::prelude::*;

const PLACES: usize = 6;
const BOOTSTRAP_ID: u64 = 1;
/// Quiet rounds after which everything must have settled.
const ROUNDS: usize = 60;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    /// It never arrives.
    Lost,
    /// It is carried out, and nobody hears of it.
    Unheard,
    /// The same, and it arrives a second time right away.
    Twice,
}

#[derive(Clone, Debug)]
enum Request {
    Add(u64, String),
    Assign(u64, Role),
    Remove(u64),
    Transfer(u64),
}

/// What happens next, at which place.
#[derive(Clone, Debug)]
enum Event {
    Start,
    Crash,
    Recover,
    LoseDisk,
    Elect,
    Join,
    Assume,
    Keep,
    HandOver,
    Leave,
}

#[derive(Clone, Debug)]
struct Life {
    id: u64,
    online: bool,
    /// It crashed, and nobody is sure yet.
    suspect: bool,
    seat: Seat,
    leaving: Option<bool>,
}

/// What a node knows of its seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    /// It has no identity yet.
    Forming,
    /// The mark `join`: it has not seen its seat.
    Joining,
    Known,
}

struct World {
    targets: Targets,
    lives: Vec<Option<Life>>,
    members: Vec<NodeInfo>,
    leader: Option<u64>,
    next_id: u64,
    /// Which life an id belongs to: place, and count of disks there.
    owners: HashMap<u64, (usize, u32)>,
    disks: Vec<u32>,
    fates: Vec<Fate>,
}

fn place(index: usize) -> String {
    format!("n{index}:9001")
}

impl World {
    fn new(targets: Targets, fates: Vec<Fate>) -> Self {
        let founder = Life {
            id: BOOTSTRAP_ID,
            online: true,
            suspect: false,
            seat: Seat::Known,
            leaving: None,
        };
        let mut lives = vec![None; PLACES];
        lives[0] = Some(founder);
        Self {
            targets,
            lives,
            members: vec![NodeInfo {
                id: BOOTSTRAP_ID,
                address: place(0),
                role: Role::Voter,
            }],
            leader: Some(BOOTSTRAP_ID),
            next_id: 100,
            owners: HashMap::from([(BOOTSTRAP_ID, (0, 0))]),
            disks: vec![0; PLACES],
            fates,
        }
    }

    fn at(&self, id: u64) -> Option<&Life> {
        self.lives
            .iter()
            .flatten()
            .find(|life| life.id == id && life.seat != Seat::Forming)
    }

    fn is_online(&self, id: u64) -> bool {
        self.at(id).is_some_and(|life| life.online)
    }

    fn voters(&self) -> impl Iterator<Item = &NodeInfo> {
        self.members
            .iter()
            .filter(|member| member.role == Role::Voter)
    }

    fn has_majority(&self) -> bool {
        let online = self.voters().filter(|voter| self.is_online(voter.id));
        online.count() * 2 > self.voters().count()
    }

    /// The members as the probes of a node show them.
    fn view(&self) -> Vec<Member> {
        let health = |id| match self.at(id) {
            Some(life) if life.online => Health::Online {
                domain: id % 3,
                weight: 0,
            },
            Some(life) if life.suspect => Health::Suspect {
                domain: id % 3,
                weight: 0,
            },
            _ => Health::Offline,
        };
        let member = |info: &NodeInfo| Member {
            id: info.id,
            address: info.address.clone(),
            role: info.role,
            health: health(info.id),
            silent: Duration::ZERO,
        };
        self.members.iter().map(member).collect()
    }

    /// The leader's answer, or nothing if it got lost: then the caller knows nothing.
    fn ask(&mut self, request: &Request) -> Option<Result<(), &'static str>> {
        match self.fates.pop().unwrap_or(Fate::Answered) {
            Fate::Lost => None,
            Fate::Answered => Some(self.carry_out(request)),
            Fate::Unheard => {
                let _unheard = self.carry_out(request);
                None
            }
            Fate::Twice => {
                let _unheard = (self.carry_out(request), self.carry_out(request));
                None
            }
        }
    }

    /// What an engine does that leads, behind its gateway.
    fn carry_out(&mut self, request: &Request) -> Result<(), &'static str> {
        if self.leader.is_none() || !self.has_majority() {
            return Err("not leader");
        }
        match request {
            Request::Add(id, address) => {
                let known = |one: &NodeInfo| one.id == *id || one.address == *address;
                if self.members.iter().any(known) {
                    return Err("already in use");
                }
                self.members.push(NodeInfo {
                    id: *id,
                    address: address.clone(),
                    role: Role::Spare,
                });
            }
            Request::Assign(id, role) => {
                let online = self.is_online(*id);
                let lone = self.voters().count() == 1;
                let found = self.members.iter_mut().find(|member| member.id == *id);
                let member = found.ok_or("not a member")?;
                if member.role == *role {
                    return Err("role is not valid");
                }
                if *role == Role::Voter && !online {
                    return Err("does not answer");
                }
                if member.role == Role::Voter && lone {
                    return Err("the last voter");
                }
                member.role = *role;
            }
            Request::Remove(id) => {
                let lone = self.voters().count() == 1;
                let found = self.members.iter().position(|member| member.id == *id);
                let found = found.ok_or("not a member")?;
                if self.members[found].role == Role::Voter && lone {
                    return Err("the last voter");
                }
                self.members.remove(found);
            }
            Request::Transfer(id) => {
                let can = self.voters().any(|voter| voter.id == *id) && self.is_online(*id);
                if !can || self.leader == Some(*id) {
                    return Err("not a voter");
                }
                self.leader = Some(*id);
            }
        }
        self.check(request);
        Ok(())
    }

    /// What must hold after every change that we asked for.
    fn check(&self, request: &Request) {
        let doing = || format!("{request:?}\n{:#?}", self.members);
        assert!(self.has_majority(), "no majority after {}", doing());
        for (index, member) in self.members.iter().enumerate() {
            let rest = &self.members[index + 1..];
            let clash =
                |other: &&NodeInfo| other.id == member.id || other.address == member.address;
            assert!(rest.iter().find(clash).is_none(), "twice: {}", doing());
            let owner = self.owners.get(&member.id);
            let owner = owner.map(|(index, _)| place(*index));
            assert_eq!(owner.as_ref(), Some(&member.address), "{}", doing());
        }
    }

    fn happens(&mut self, event: &Event, at: usize) {
        match event {
            Event::Start if self.lives[at].is_none() => self.begin(at),
            Event::Crash | Event::LoseDisk => self.crash(at, matches!(event, Event::LoseDisk)),
            Event::Recover => {
                if let Some(life) = &mut self.lives[at] {
                    (life.online, life.suspect) = (true, false);
                }
                self.elect(at);
            }
            Event::Elect => self.elect(at),
            Event::Join => self.join(at),
            Event::Assume => self.assume(at),
            Event::Keep => {
                self.keep();
            }
            Event::HandOver => self.hand_over(at),
            Event::Leave => {
                let life = self.lives[at].as_mut();
                if let Some(life) = life.filter(|life| life.online && life.seat == Seat::Known) {
                    life.leaving.get_or_insert(false);
                }
                self.leave(at);
            }
            Event::Start => {}
        }
    }

    /// A node on an empty disk: it finds out who it is.
    fn begin(&mut self, at: usize) {
        self.lives[at] = Some(Life {
            id: 0,
            online: true,
            suspect: false,
            seat: Seat::Forming,
            leaving: None,
        });
        self.identify(at);
    }

    fn identify(&mut self, at: usize) {
        let list: Vec<String> = (0..PLACES).map(place).collect();
        let mut founder = Founder::new(&place(at), &list, InitialState::Auto);
        let others = (0..PLACES).filter(|other| *other != at);
        let seen: Vec<(String, Seen)> = others
            .map(|other| (place(other), self.probe(other)))
            .collect();
        match founder.round(&seen) {
            founder::Step::Join => {
                let id = self.next_id;
                self.next_id += 1;
                self.owners.insert(id, (at, self.disks[at]));
                let life = self.lives[at].as_mut().expect("it lives");
                (life.id, life.seat) = (id, Seat::Joining);
            }
            founder::Step::Wait => {}
            other => panic!("{other:?} beside a cluster: {seen:?}"),
        }
    }

    /// What the node at a place answers.
    fn probe(&self, at: usize) -> Seen {
        match &self.lives[at] {
            Some(life) if life.online && life.seat == Seat::Forming => Seen::Fresh,
            Some(life) if life.online => {
                // A spare is not sent the log, and so knows of no members.
                let holds = |member: &&NodeInfo| member.id == life.id && member.role != Role::Spare;
                if self.members.iter().any(|member| holds(&member)) {
                    Seen::Member {
                        ids: self.members.iter().map(|member| member.id).collect(),
                        leads: self.leader == Some(life.id),
                    }
                } else {
                    Seen::Fresh
                }
            }
            _ => Seen::Down("refused".to_owned()),
        }
    }

    /// Never so many that the others lose their majority: that would not be our doing.
    fn crash(&mut self, at: usize, disk: bool) {
        let Some(life) = self.lives[at].clone().filter(|life| life.online) else {
            return;
        };
        self.lives[at].as_mut().expect("it lives").online = false;
        if !self.has_majority() {
            self.lives[at] = Some(life);
            return;
        }
        if disk {
            self.disks[at] += 1;
            self.begin(at);
        } else if let Some(life) = &mut self.lives[at] {
            life.suspect = true;
        }
        if self.leader == Some(life.id) {
            self.leader = None;
            self.elect(at);
        }
    }

    fn elect(&mut self, at: usize) {
        if self.leader.is_some_and(|leader| self.is_online(leader)) || !self.has_majority() {
            return;
        }
        let able: Vec<u64> = self
            .voters()
            .map(|voter| voter.id)
            .filter(|id| self.is_online(*id))
            .collect();
        self.leader = able.get(at % able.len().max(1)).copied();
    }

    fn join(&mut self, at: usize) {
        if self.lives[at]
            .as_ref()
            .is_some_and(|life| life.seat == Seat::Forming)
        {
            self.identify(at);
        }
        let wants = |life: &&Life| life.online && life.seat == Seat::Joining;
        let Some(id) = self.lives[at].as_ref().filter(wants).map(|life| life.id) else {
            return;
        };
        match joining::step(&self.members, (id, &place(at)), true) {
            joining::Step::Seated => self.lives[at].as_mut().expect("it lives").seat = Seat::Known,
            joining::Step::Add => {
                self.ask(&Request::Add(id, place(at)));
            }
            joining::Step::Replace(stale) => {
                if self.ask(&Request::Remove(stale)) == Some(Ok(())) {
                    self.ask(&Request::Add(id, place(at)));
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn assume(&mut self, at: usize) {
        let settled =
            |life: &&Life| life.online && life.seat == Seat::Known && life.leaving.is_none();
        let Some(id) = self.lives[at].as_ref().filter(settled).map(|life| life.id) else {
            return;
        };
        if let Some(role) = assume(self.targets, id, &self.view()) {
            self.ask(&Request::Assign(id, role));
        }
    }

    /// A round of the leader; true if there is nothing to do.
    fn keep(&mut self) -> bool {
        for _ in 0..4 + 2 * PLACES {
            let Some(leader) = self.leader else {
                return false;
            };
            for life in self.lives.iter_mut().flatten() {
                // Nobody is in doubt for ever.
                life.suspect = false;
            }
            let Some(change) = adjust(self.targets, leader, &self.view()) else {
                return true;
            };
            let mut heard = false;
            for id in change.candidates {
                match self.ask(&Request::Assign(id, change.role)) {
                    Some(Ok(())) => {
                        heard = true;
                        break;
                    }
                    Some(Err(_)) => {}
                    None => return false,
                }
            }
            if !heard {
                return false;
            }
        }
        panic!("roles do not settle: {:#?}", self.members);
    }

    /// Gives seat and leadership away, as a node that stops.
    fn hand_over(&mut self, at: usize) {
        let Some(life) = self.lives[at]
            .clone()
            .filter(|life| life.online && life.seat == Seat::Known)
        else {
            return;
        };
        let plan = handover(self.targets, life.id, &self.view());
        let mut taken = false;
        if let Some((role, candidates)) = plan.seat {
            taken = candidates
                .iter()
                .any(|id| self.ask(&Request::Assign(*id, role)) == Some(Ok(())));
        }
        if self.leader == Some(life.id) {
            let moved = plan
                .leadership
                .iter()
                .any(|id| self.ask(&Request::Transfer(*id)) == Some(Ok(())));
            if !moved {
                return;
            }
        }
        if taken && self.leader != Some(life.id) {
            self.ask(&Request::Assign(life.id, Role::Spare));
        }
    }

    fn leave(&mut self, at: usize) {
        let Some(life) = self.lives[at].clone().filter(|life| life.online) else {
            return;
        };
        let (Some(tried), Some(leader)) = (life.leaving, self.leader) else {
            return;
        };
        match leave::step(self.targets, life.id, leader, &self.view(), tried) {
            Ok(leave::Step::Gone) => self.lives[at] = None,
            Ok(leave::Step::Remove) => {
                self.ask(&Request::Remove(life.id));
            }
            Ok(leave::Step::HandOver) => {
                self.hand_over(at);
                self.lives[at].as_mut().expect("it lives").leaving = Some(true);
            }
            // It stays, and its application hears why.
            Err(_) => self.lives[at].as_mut().expect("it lives").leaving = None,
        }
    }

    /// Everybody is up and every answer arrives: soon nothing is left to do.
    fn settle(&mut self) {
        self.fates.clear();
        for at in 0..PLACES {
            self.happens(&Event::Recover, at);
        }
        for _ in 0..ROUNDS {
            for at in 0..PLACES {
                self.join(at);
                self.leave(at);
            }
            self.keep();
        }
        assert!(self.keep(), "restless: {:#?}", self.members);
        let mut seated: Vec<u64> = self.members.iter().map(|member| member.id).collect();
        let mut living: Vec<u64> = self.lives.iter().flatten().map(|life| life.id).collect();
        seated.sort_unstable();
        living.sort_unstable();
        assert_eq!(seated, living, "{:#?}\n{:#?}", self.members, self.lives);
        assert!(
            self.lives
                .iter()
                .flatten()
                .all(|life| life.seat == Seat::Known)
        );
        let size = self.members.len();
        let most = if size % 2 == 1 { size } else { size - 1 };
        let voters = self.targets.voters.min(most);
        assert_eq!(self.voters().count(), voters, "{:#?}", self.members);
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Answered),
        1 => Just(Fate::Lost),
        2 => Just(Fate::Unheard),
        1 => Just(Fate::Twice),
    ]
}

fn event() -> impl Strategy<Value = (Event, usize)> {
    let event = prop_oneof![
        3 => Just(Event::Start),
        2 => Just(Event::Crash),
        2 => Just(Event::Recover),
        1 => Just(Event::LoseDisk),
        1 => Just(Event::Elect),
        5 => Just(Event::Join),
        2 => Just(Event::Assume),
        4 => Just(Event::Keep),
        2 => Just(Event::HandOver),
        2 => Just(Event::Leave),
    ];
    (event, 0..PLACES)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_cluster_remains_and_settles_whatever_gets_lost(
        voters in prop_oneof![Just(1_usize), Just(3), Just(5)],
        standbys in 0..3_usize,
        fates in prop::collection::vec(fate(), 0..120),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let two_node = TwoNode::StandBy;
        let mut world = World::new(Targets { voters, standbys, two_node }, fates);
        for (event, at) in &events {
            world.happens(event, *at);
        }
        world.settle();
    }
}
