//! The books of a pool against a model that remembers who holds what.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    min: 1,
    max: 3,
    waiting_max: 4,
    idle_timeout: Duration::from_mins(1),
    lifetime: Duration::from_mins(5),
    check_after: Duration::from_secs(5),
};

/// A connection of the model: its number and the leader that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Wire {
    number: u64,
    leader: u64,
}

struct Stage {
    state: State<Wire>,
    now: Instant,
    leader: u64,
    doubt: bool,
    numbers: u64,
    out: HashMap<u64, Slot<Wire>>,
    leaves: usize,
    line: Vec<Ticket>,
    closed: HashSet<u64>,
}

fn judge(leader: u64, doubt: bool) -> impl Fn(&Slot<Wire>) -> Trust {
    move |slot| {
        if slot.connection.leader != leader {
            Trust::Former
        } else if doubt {
            Trust::Doubtful
        } else {
            Trust::Same
        }
    }
}

impl Stage {
    fn new() -> Self {
        Self {
            state: State::new(RULES),
            now: Instant::now(),
            leader: 0,
            doubt: false,
            numbers: 0,
            out: HashMap::new(),
            leaves: 0,
            line: Vec::new(),
            closed: HashSet::new(),
        }
    }

    fn judge(&self) -> impl Fn(&Slot<Wire>) -> Trust + use<> {
        judge(self.leader, self.doubt)
    }

    fn chores(&mut self, chores: Chores<Wire>) {
        for wire in chores.run() {
            assert!(!self.out.contains_key(&wire.number), "closed while lent");
            assert!(self.closed.insert(wire.number), "closed twice");
        }
    }

    fn granted(&mut self, grant: Grant<Wire>) {
        let slot = match grant {
            Grant::Open => {
                self.leaves += 1;
                return;
            }
            Grant::Lend(slot) => {
                assert_eq!(slot.connection.leader, self.leader, "of a former leader");
                slot
            }
            Grant::Check(slot) => slot,
        };
        let number = slot.connection.number;
        assert!(!self.closed.contains(&number), "lent after its end");
        assert!(self.out.insert(number, slot).is_none(), "lent twice");
    }

    fn ask(&mut self) {
        let (ask, chores) = self.state.ask(Waker::noop(), self.now, self.judge());
        self.chores(chores);
        match ask {
            Ask::Granted(grant) => {
                assert!(self.line.is_empty(), "served before who waits");
                self.granted(grant);
            }
            Ask::Wait(ticket) => self.line.push(ticket),
            Ask::Full => assert!(self.line.len() >= RULES.waiting_max),
            Ask::Closed => assert!(self.state.status().is_closed),
        }
    }

    /// Everybody in line looks, in any order; only those who came first may be served.
    fn look(&mut self, from: usize) {
        let mut served = vec![false; self.line.len()];
        let tickets = self.line.clone();
        for at in (0..tickets.len()).map(|at| (at + from) % tickets.len()) {
            match self.state.poll(tickets[at], Waker::noop()) {
                Poll::Pending => {}
                Poll::Ready(grant) => {
                    served[at] = true;
                    if let Some(grant) = grant {
                        self.granted(grant);
                    }
                }
            }
        }
        let first = served.iter().position(|served| !served);
        let later = served.iter().skip(first.unwrap_or(served.len()));
        assert_eq!(later.filter(|served| **served).count(), 0, "out of turn");
        let mut served = served.iter();
        self.line.retain(|_| !served.next().expect("as many"));
    }

    fn slot(&mut self) -> Slot<Wire> {
        self.numbers += 1;
        let wire = Wire {
            number: self.numbers,
            leader: self.leader,
        };
        Slot::new(wire, Some(0), self.now, self.now + RULES.lifetime)
    }

    fn take_out(&mut self, at: usize) -> Option<Slot<Wire>> {
        let mut numbers: Vec<_> = self.out.keys().copied().collect();
        numbers.sort_unstable();
        let number = numbers.get(at % numbers.len().max(1))?;
        self.out.remove(number)
    }

    fn act(&mut self, act: &Act) {
        let (now, judge) = (self.now, self.judge());
        match *act {
            Act::Ask => self.ask(),
            Act::Look(from) => self.look(from),
            Act::Cancel(at) if !self.line.is_empty() => {
                let ticket = self.line.remove(at % self.line.len());
                let chores = self.state.cancel(ticket, now, judge);
                self.chores(chores);
            }
            Act::GiveBack(at) => {
                if let Some(slot) = self.take_out(at) {
                    let chores = self.state.give_back(slot, now, judge);
                    self.chores(chores);
                }
            }
            Act::Lose(at) => {
                if let Some(slot) = self.take_out(at) {
                    self.closed.insert(slot.connection.number);
                    let chores = self.state.lost(now, judge);
                    self.chores(chores);
                }
            }
            Act::Replace(at) => {
                if let Some(slot) = self.take_out(at) {
                    self.closed.insert(slot.connection.number);
                    self.state.reopen();
                    self.leaves += 1;
                }
            }
            Act::Opened(stock) if self.leaves > 0 => {
                self.leaves -= 1;
                let slot = self.slot();
                if stock {
                    let chores = self.state.stock(slot, now, judge);
                    self.chores(chores);
                } else {
                    self.state.opened();
                    self.out.insert(slot.connection.number, slot);
                }
            }
            Act::NotOpened if self.leaves > 0 => {
                self.leaves -= 1;
                let chores = self.state.not_opened(now, judge);
                self.chores(chores);
            }
            Act::Tend => {
                let (missing, chores) = self.state.tend(now, judge);
                self.leaves += missing;
                self.chores(chores);
            }
            Act::NewLeader => self.leader += 1,
            Act::Doubt(doubt) => self.doubt = doubt,
            Act::Pass(seconds) => self.now += Duration::from_secs(seconds),
            Act::Shut => {
                let chores = self.state.shut();
                self.chores(chores);
            }
            _ => {}
        }
    }

    /// What must be true at any time, for everybody in line has looked.
    fn check(&self) {
        let status = self.state.status();
        assert!(status.size <= RULES.max);
        assert_eq!(status.size, status.idle + status.lent + status.opening);
        assert_eq!((status.lent, status.opening), (self.out.len(), self.leaves));
        assert_eq!(status.waiting, self.line.len());
        assert!(status.waiting <= RULES.waiting_max);
        let free = status.idle > 0 || status.size < RULES.max;
        assert!(
            !(free && status.waiting > 0),
            "waits for nothing: {status:?}"
        );
        let alive = self.numbers - status.closed_total;
        assert_eq!(alive, (status.idle + status.lent) as u64, "{status:?}");
        assert!(!status.is_closed || status.idle == 0);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ask,
    Look(usize),
    Cancel(usize),
    GiveBack(usize),
    Lose(usize),
    Replace(usize),
    Opened(bool),
    NotOpened,
    Tend,
    NewLeader,
    Doubt(bool),
    Pass(u64),
    Shut,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Ask),
        4 => (0..8_usize).prop_map(Act::Look),
        2 => (0..8_usize).prop_map(Act::Cancel),
        6 => (0..8_usize).prop_map(Act::GiveBack),
        2 => (0..8_usize).prop_map(Act::Lose),
        1 => (0..8_usize).prop_map(Act::Replace),
        6 => any::<bool>().prop_map(Act::Opened),
        1 => Just(Act::NotOpened),
        2 => Just(Act::Tend),
        1 => Just(Act::NewLeader),
        1 => any::<bool>().prop_map(Act::Doubt),
        2 => (0..200_u64).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in whatever order: nothing is lent twice, after its end or out of turn,
    /// nothing leaks, and nobody waits while there is room.
    #[test]
    fn a_pool_never_lends_twice(
        acts in prop::collection::vec(act(), 1..80),
        shut in prop::option::of(0..80_usize),
    ) {
        let mut stage = Stage::new();
        for (at, act) in acts.iter().enumerate() {
            if shut == Some(at) {
                stage.act(&Act::Shut);
            }
            stage.act(act);
            stage.look(0);
            stage.check();
        }
        stage.act(&Act::Shut);
        stage.look(0);
        while !stage.out.is_empty() || stage.leaves > 0 {
            stage.act(&Act::GiveBack(0));
            stage.act(&Act::NotOpened);
        }
        prop_assert_eq!(stage.state.status().size, 0);
        prop_assert_eq!(stage.closed.len() as u64, stage.numbers);
        prop_assert!(stage.state.drained(Waker::noop()).is_ready());
    }
}

#[test]
fn the_line_is_served_in_its_order_and_has_an_end() {
    let mut stage = Stage::new();
    for _ in 0..RULES.max {
        stage.ask();
        stage.act(&Act::Opened(false));
    }
    for _ in 0..RULES.waiting_max {
        stage.ask();
    }
    assert_eq!(stage.line.len(), RULES.waiting_max);
    stage.ask();
    assert_eq!(stage.line.len(), RULES.waiting_max, "turned away");
    let second = stage.line[1];
    stage.act(&Act::GiveBack(0));
    assert!(stage.state.poll(second, Waker::noop()).is_pending());
    stage.look(3);
    assert_eq!(stage.line[0], second);
    stage.act(&Act::Lose(0));
    stage.look(0);
    assert_eq!((stage.leaves, stage.line.len()), (1, RULES.waiting_max - 2));
}

#[test]
fn rest_and_doubt_ask_for_a_check_and_age_ends_a_connection() {
    let mut stage = Stage::new();
    stage.ask();
    stage.act(&Act::Opened(false));
    let grant = |stage: &mut Stage| {
        let (ask, chores) = stage.state.ask(Waker::noop(), stage.now, stage.judge());
        stage.chores(chores);
        match ask {
            Ask::Granted(grant) => grant,
            other => panic!("{other:?}"),
        }
    };
    stage.act(&Act::GiveBack(0));
    stage.now += RULES.check_after;
    let Grant::Check(slot) = grant(&mut stage) else {
        panic!("it rested");
    };
    stage.out.insert(slot.connection.number, slot);
    stage.act(&Act::GiveBack(0));
    stage.doubt = true;
    let Grant::Check(slot) = grant(&mut stage) else {
        panic!("it is in doubt");
    };
    stage.doubt = false;
    stage.out.insert(slot.connection.number, slot);
    stage.act(&Act::GiveBack(0));
    stage.now += RULES.lifetime;
    let Grant::Open = grant(&mut stage) else {
        panic!("it is too old");
    };
    assert_eq!(stage.closed.len(), 1);
}

#[test]
fn idle_connections_above_the_smallest_number_are_closed() {
    let mut stage = Stage::new();
    for _ in 0..RULES.max {
        stage.ask();
        stage.act(&Act::Opened(false));
    }
    for _ in 0..RULES.max {
        stage.act(&Act::GiveBack(0));
    }
    stage.now += RULES.idle_timeout;
    stage.act(&Act::Tend);
    assert_eq!(stage.state.status().size, RULES.min);
    stage.leader += 1;
    stage.act(&Act::Tend);
    let status = stage.state.status();
    assert_eq!((status.idle, status.opening), (0, RULES.min), "replaced");
    assert_eq!(status.retired_total, 1);
}
