//! Searches played with a clock of their own.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::error::AttemptKind as Kind;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn member(n: u64, role: Role) -> NodeInfo {
    NodeInfo {
        id: n,
        address: format!("h{n}:1"),
        role,
    }
}

/// A search among `hosts`, in a time that only the test moves.
struct Stage {
    now: Instant,
    search: Search,
}

impl Stage {
    fn new(leader: Option<&str>, members: &[NodeInfo], hosts: &[&str]) -> Self {
        let now = Instant::now();
        let hosts: Vec<_> = hosts.iter().map(|host| address(host)).collect();
        let bounds = Bounds::until(Some(now + Duration::from_secs(10)), 7);
        let leader = leader.map(address);
        let search = Search::new(leader.as_ref(), members, &hosts, bounds, now);
        Self { now, search }
    }

    /// Everybody that is asked now.
    fn asked(&mut self) -> Vec<Probe> {
        let mut probes = Vec::new();
        while let Step::Probe(probe) = self.search.next(self.now) {
            probes.push(probe);
        }
        probes
    }

    fn names(&mut self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|probe| probe.address.to_string())
            .collect()
    }

    fn answer(&mut self, id: ProbeId, answer: Answer) {
        self.now += Duration::from_millis(3);
        self.search.answered(id, answer, self.now);
    }
}

#[test]
fn certificates_that_will_not_do_end_the_search_at_once() {
    let bad = || Answer::Failed(Kind::Tls, "tls: certificate expired 2 days ago".to_owned());
    let mut stage = Stage::new(Some("h1:1"), &[], &["h1:1", "h2:1"]);
    let first = stage.asked();
    stage.answer(first[0].id, bad());
    let second = stage.asked();
    assert_eq!(
        second[0].address.as_str(),
        "h2:1",
        "the others may do better"
    );
    stage.answer(second[0].id, bad());
    assert_eq!(stage.search.next(stage.now), Step::GiveUp);

    let mut stage = Stage::new(None, &[], &["h1:1", "h2:1"]);
    let asked = stage.asked();
    stage.answer(asked[0].id, bad());
    stage.answer(asked[1].id, refused());
    assert_ne!(
        stage.search.next(stage.now),
        Step::GiveUp,
        "a node may come back"
    );
}

fn refused() -> Answer {
    Answer::Failed(Kind::Refused, "connection refused".to_owned())
}

#[test]
fn voters_are_asked_first_then_the_others_then_the_hosts_given() {
    let members = [
        member(1, Role::Spare),
        member(2, Role::StandBy),
        member(3, Role::Voter),
    ];
    let mut stage = Stage::new(None, &members, &["extra:1", "h3:1"]);
    assert_eq!(stage.names(), ["h3:1", "h2:1", "h1:1", "extra:1"]);
}

#[test]
fn the_last_leader_is_asked_alone() {
    let mut stage = Stage::new(Some("b:1"), &[], &["a:1", "b:1", "c:1"]);
    let first = stage.asked();
    assert_eq!(first.len(), 1);
    stage.answer(first[0].id, refused());
    assert_eq!(stage.names(), ["a:1", "c:1"]);
}

#[test]
fn a_last_leader_that_does_not_answer_delays_the_others_only_shortly() {
    let mut stage = Stage::new(Some("b:1"), &[], &["a:1", "b:1", "c:1"]);
    assert_eq!(stage.names(), ["b:1"]);
    let Step::Wait(Some(until)) = stage.search.next(stage.now) else {
        panic!("no wait");
    };
    assert_eq!(until, stage.now + PATIENCE);
    stage.now = until;
    assert_eq!(stage.names(), ["a:1", "c:1"]);
}

#[test]
fn whoever_is_named_comes_first() {
    let mut stage = Stage::new(Some("a:1"), &[], &["a:1", "b:1", "c:1"]);
    let first = stage.asked();
    stage.answer(first[0].id, Answer::Redirect("new:1".to_owned()));
    assert_eq!(stage.names()[0], "new:1");
}

#[test]
fn a_node_behind_a_socket_is_not_dialled_in_another_way() {
    let now = Instant::now();
    let hosts = [
        Address::unix("/run/a", Some(address("a:1"))),
        Address::unix("/run/b", Some(address("b:1"))),
    ];
    let bounds = Bounds::until(Some(now + Duration::from_secs(10)), 7);
    let last = address("b:1");
    let search = Search::new(Some(&last), &[member(1, Role::Voter)], &hosts, bounds, now);
    let mut stage = Stage { now, search };
    let first = stage.asked();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].address.path(), hosts[1].path());
    stage.answer(first[0].id, Answer::Redirect("a:1".to_owned()));
    assert_eq!(stage.names(), ["/run/a"]);
}

#[test]
fn a_chain_of_redirects_ends() {
    let mut stage = Stage::new(None, &[], &["h0:1"]);
    for hop in 1..=3 {
        let probes = stage.asked();
        assert_eq!(probes.len(), 1, "hop {hop}");
        stage.answer(probes[0].id, Answer::Redirect(format!("h{hop}:1")));
    }
    let last = stage.asked();
    stage.answer(last[0].id, Answer::Redirect("h4:1".to_owned()));
    assert!(stage.asked().is_empty());
    let error = stage.search.error(stage.now).to_string();
    assert!(
        error.contains("says h4:1 leads, one redirect too many"),
        "{error}"
    );
}

#[test]
fn members_named_by_a_node_without_a_vote_are_asked() {
    let mut stage = Stage::new(None, &[], &["h9:1"]);
    let first = stage.asked();
    assert!(first[0].ask_members);
    let members = vec![member(9, Role::Spare), member(1, Role::Voter)];
    stage.answer(first[0].id, Answer::NoLeader(Some(members)));
    assert_eq!(stage.names(), ["h1:1"]);
    let attempts = stage.search.attempts(stage.now);
    assert_eq!(
        (&attempts[0].kind, attempts[0].text.as_str()),
        (&Kind::NotVoter, "knows no leader (spare)")
    );
}

#[test]
fn an_address_that_cannot_be_dialled_is_not_followed() {
    let mut stage = Stage::new(None, &[], &["a:1"]);
    let first = stage.asked();
    stage.answer(first[0].id, Answer::Redirect("0.0.0.0:1".to_owned()));
    assert!(stage.asked().is_empty());
    assert_eq!(stage.search.attempts(stage.now)[0].kind, Kind::NotDqlite);
}

#[test]
fn elections_are_waited_for_with_short_pauses() {
    let mut stage = Stage::new(None, &[member(1, Role::Voter)], &[]);
    for _ in 0..20 {
        let probes = stage.asked();
        assert_eq!(probes.len(), 1);
        stage.answer(probes[0].id, Answer::NoLeader(None));
        let Step::Wait(Some(until)) = stage.search.next(stage.now) else {
            panic!("no pause");
        };
        assert!(until - stage.now <= PAUSE_ELECTION);
        stage.now = until;
    }
}

#[test]
fn a_silent_server_does_not_hold_up_the_next_round() {
    let mut stage = Stage::new(None, &[], &["silent:1", "b:1"]);
    let probes = stage.asked();
    stage.answer(probes[1].id, Answer::NoLeader(None));
    for _ in 0..20 {
        let Step::Wait(Some(until)) = stage.search.next(stage.now) else {
            panic!("no wait");
        };
        stage.now = until;
        for probe in stage.asked() {
            assert_eq!(probe.address, address("b:1"));
            stage.answer(probe.id, Answer::NoLeader(None));
        }
    }
    assert!(stage.search.rounds >= 10);
    assert!(stage.now < probes[0].until);
}

#[test]
fn followers_of_a_dead_leader_are_asked_again_soon() {
    let mut stage = Stage::new(None, &[], &["dead:1", "b:1"]);
    for _ in 0..20 {
        for probe in stage.asked() {
            let answer = match probe.address.host() {
                Some("dead") => refused(),
                _ => Answer::Redirect("dead:1".to_owned()),
            };
            stage.answer(probe.id, answer);
        }
        let Step::Wait(Some(until)) = stage.search.next(stage.now) else {
            panic!("no pause");
        };
        assert!(until - stage.now <= PAUSE_ELECTION);
        stage.now = until;
    }
}

#[test]
fn the_error_says_what_each_address_answered() {
    let members = [
        member(1, Role::Voter),
        member(2, Role::Voter),
        member(3, Role::Voter),
    ];
    let mut stage = Stage::new(None, &members, &["db.example"]);
    let probes = stage.asked();
    stage.answer(probes[0].id, refused());
    stage.answer(probes[1].id, Answer::NoLeader(None));
    stage.answer(probes[3].id, Answer::Redirect("h1:1".to_owned()));
    stage.now += Duration::from_secs(10);
    assert_eq!(stage.search.next(stage.now), Step::GiveUp);
    let error = stage.search.error(stage.now);
    assert_eq!(
        error.to_string(),
        "no leader found within 10.0 s (1 round)\n  \
         h1:1  connection refused\n  \
         h2:1  knows no leader (voter, election under way)\n  \
         h3:1  no answer in time\n  \
         db.example:9001  says h1:1 leads: connection refused\n  \
         2 of 3 voters unreachable: no quorum"
    );
    assert_eq!(error.attempts().len(), 4);
    assert!(error.is_retryable());
}

/// What a server of the model does.
#[derive(Clone, Debug)]
enum Habit {
    Leads,
    Names(usize),
    Waits,
    Lists(Vec<usize>),
    Refuses,
    Sleeps,
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        1 => Just(Habit::Leads),
        3 => (0..8_usize).prop_map(Habit::Names),
        2 => Just(Habit::Waits),
        2 => prop::collection::vec(0..8_usize, 0..5).prop_map(Habit::Lists),
        2 => Just(Habit::Refuses),
        1 => Just(Habit::Sleeps),
    ]
}

proptest! {
    /// Whatever the servers do: bounded at any time, over at the deadline, and a leader whose
    /// address is among those given is found.
    #[test]
    fn a_search_is_bounded_and_ends(
        habits in prop::collection::vec(habit(), 8),
        hosts in prop::collection::vec(0..8_usize, 0..8),
        last in prop::option::of(0..8_usize),
        probes_max in 1..5_usize,
        seed in any::<u64>(),
    ) {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(20);
        let name = |n: &usize| address(&format!("h{n}:1"));
        let given: Vec<_> = hosts.iter().map(name).collect();
        let leader = last.as_ref().map(name);
        let bounds = Bounds { probes_max, ..Bounds::until(Some(deadline), seed) };
        let mut search = Search::new(leader.as_ref(), &[], &given, bounds, start);
        let mut running: HashMap<ProbeId, Probe> = HashMap::new();
        let mut now = start;
        let mut found = false;
        for step in 0.. {
            prop_assert!(step < 100_000, "the search spins");
            match search.next(now) {
                Step::GiveUp => break,
                Step::Probe(probe) => {
                    prop_assert!(probe.until <= deadline);
                    let twice = running.values().any(|other| other.address == probe.address);
                    prop_assert!(!twice, "{} is asked twice at once", probe.address);
                    running.insert(probe.id, probe);
                    prop_assert!(running.len() <= probes_max);
                }
                Step::Wait(until) => {
                    prop_assert!(until <= Some(deadline));
                    let next = running.values().next().cloned();
                    let Some(probe) = next else {
                        prop_assert!(until > Some(now), "a pause that does not pass");
                        now = until.unwrap_or(deadline);
                        continue;
                    };
                    let n: usize = probe.address.host().unwrap()[1..].parse().unwrap();
                    now += Duration::from_millis(2);
                    let answer = match &habits[n] {
                        Habit::Leads => { found = true; break }
                        Habit::Names(other) => Answer::Redirect(format!("h{other}:1")),
                        Habit::Waits => Answer::NoLeader(None),
                        Habit::Lists(others) => Answer::NoLeader(Some(
                            others.iter().map(|n| member(*n as u64, Role::Voter)).collect(),
                        )),
                        Habit::Refuses => refused(),
                        Habit::Sleeps => {
                            now = now.max(probe.until);
                            Answer::Failed(Kind::Timeout, "no answer in time".to_owned())
                        }
                    };
                    running.remove(&probe.id);
                    search.answered(probe.id, answer, now);
                }
            }
        }
        let reachable = hosts.iter().chain(&last).any(|n| matches!(habits[*n], Habit::Leads));
        prop_assert!(found || !reachable, "a leader among the hosts was not found");
        prop_assert!(found || now >= deadline);
        prop_assert!(!search.error(now).to_string().is_empty());
    }
}
