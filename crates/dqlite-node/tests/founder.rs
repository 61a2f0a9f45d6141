//! Who may bootstrap: the decisions, and a search through all ways in which nodes can meet.

use std::collections::HashSet;

use dqlite_node::founder::{Founder, InitialState, Seen, Step, classify};
use dqlite_proto::{NodeInfo, Role};

fn seen(results: &[(&str, Seen)]) -> Vec<(String, Seen)> {
    results
        .iter()
        .map(|(address, seen)| ((*address).to_owned(), seen.clone()))
        .collect()
}

fn member(ids: &[u64], leads: bool) -> Seen {
    Seen::Member {
        ids: ids.to_vec(),
        leads,
    }
}

fn list() -> Vec<String> {
    ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec()
}

#[test]
fn a_founder_claims_before_it_bootstraps() {
    let mut founder = Founder::new("a:1", &list(), InitialState::Auto);
    let down = Seen::Down("refused".to_owned());
    assert_eq!(
        founder.round(&seen(&[("b:1", Seen::Fresh), ("c:1", down)])),
        Step::Wait
    );
    let fresh = seen(&[("b:1", Seen::Fresh), ("c:1", Seen::Fresh)]);
    assert_eq!(founder.round(&fresh), Step::Claim);
    assert!(founder.claims());
    assert_eq!(founder.round(&fresh), Step::Bootstrap);
}

#[test]
fn a_founder_that_stands_alone_bootstraps_at_once() {
    let mut founder = Founder::new("a:1", &["a:1".to_owned()], InitialState::Auto);
    assert_eq!(founder.round(&[]), Step::Bootstrap);
}

#[test]
fn a_founder_told_new_needs_nobody() {
    let mut founder = Founder::new("a:1", &list(), InitialState::New);
    let down = seen(&[
        ("b:1", Seen::Down(String::new())),
        ("c:1", Seen::Down(String::new())),
    ]);
    assert_eq!(founder.round(&down), Step::Claim);
    assert_eq!(founder.round(&down), Step::Bootstrap);
}

#[test]
fn everybody_joins_what_exists() {
    for own in ["a:1", "b:1", "elsewhere:1"] {
        let mut node = Founder::new(own, &list(), InitialState::Auto);
        let step = node.round(&seen(&[("c:1", member(&[7], true))]));
        assert_eq!(step, Step::Join, "{own}");
    }
}

#[test]
fn nobody_else_bootstraps() {
    let fresh = seen(&[("a:1", Seen::Fresh), ("c:1", Seen::Fresh)]);
    assert_eq!(
        Founder::new("b:1", &list(), InitialState::Auto).round(&fresh),
        Step::Wait
    );
    let fresh = seen(&[("b:1", Seen::Fresh), ("c:1", Seen::Fresh)]);
    assert_eq!(
        Founder::new("a:1", &list(), InitialState::Existing).round(&fresh),
        Step::Wait
    );
}

#[test]
fn two_clusters_in_one_list_are_an_error() {
    let mut node = Founder::new("a:1", &list(), InitialState::Auto);
    let step = node.round(&seen(&[
        ("b:1", member(&[1, 2], true)),
        ("c:1", member(&[3], true)),
    ]));
    assert_eq!(step, Step::Conflict("b:1".to_owned(), "c:1".to_owned()));
    let old = node.round(&seen(&[
        ("b:1", member(&[1, 2], true)),
        ("c:1", member(&[3], false)),
    ]));
    assert_eq!(old, Step::Join);
}

#[test]
fn answers_are_told_apart() {
    let info = |id, address: &str| NodeInfo {
        id,
        address: address.to_owned(),
        role: Role::Voter,
    };
    assert_eq!(classify("a:1", "", &[]), Seen::Fresh);
    assert_eq!(classify("a:1", "", &[info(1, "a:1")]), Seen::Claim);
    assert_eq!(
        classify("a:1", "a:1", &[info(1, "a:1")]),
        member(&[1], true)
    );
    assert_eq!(classify("a:1", "", &[info(1, "b:1")]), member(&[1], false));
    assert_eq!(
        classify("a:1", "b:1", &[info(1, "b:1"), info(2, "a:1")]),
        member(&[1, 2], false)
    );
}

/// Some nodes, each in the middle of a round: who has been asked, and what they said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    nodes: Vec<Node>,
    crashes_left: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    founder: Founder,
    results: Vec<(String, Seen)>,
    established: bool,
}

struct Search {
    lists: Vec<Vec<String>>,
    visited: HashSet<World>,
    established: usize,
}

impl Search {
    fn fresh(&self, index: usize) -> Node {
        let list = &self.lists[index];
        let founder = Founder::new(&address(index), list, InitialState::Auto);
        Node {
            founder,
            results: Vec::new(),
            established: false,
        }
    }

    /// What `asked` shows now. Establishing a cluster is one step with bootstrapping.
    fn answer(world: &World, asked: usize) -> Seen {
        let node = &world.nodes[asked];
        match (node.established, node.founder.claims()) {
            (true, _) => member(&[asked as u64], true),
            (false, true) => Seen::Claim,
            (false, false) => Seen::Fresh,
        }
    }

    fn visit(&mut self, world: &World) {
        let founded = world.nodes.iter().filter(|node| node.established).count();
        assert!(founded <= 1, "two clusters: {world:?}");
        self.established = self.established.max(founded);
        if !self.visited.insert(world.clone()) {
            return;
        }
        for index in 0..world.nodes.len() {
            if world.nodes[index].established {
                continue;
            }
            let next = self.next(world, index);
            self.visit(&next);
            if world.crashes_left > 0 {
                let mut crashed = world.clone();
                crashed.crashes_left -= 1;
                crashed.nodes[index] = self.fresh(index);
                self.visit(&crashed);
            }
        }
    }

    /// Node `index` asks the next address of its list, or judges its finished round.
    fn next(&self, world: &World, index: usize) -> World {
        let mut next = world.clone();
        let own = address(index);
        let others: Vec<&String> = self.lists[index]
            .iter()
            .filter(|other| **other != own)
            .collect();
        let node = &mut next.nodes[index];
        if node.results.len() < others.len() {
            let asked = others[node.results.len()];
            let target = (0..world.nodes.len()).find(|other| address(*other) == *asked);
            let answer = Self::answer(world, target.expect("in the world"));
            node.results.push((asked.clone(), answer));
            return next;
        }
        let results = std::mem::take(&mut node.results);
        node.established = node.founder.round(&results) == Step::Bootstrap;
        next
    }
}

fn address(index: usize) -> String {
    format!(
        "{}:1",
        char::from(b'a' + u8::try_from(index).expect("few nodes"))
    )
}

/// Every node of `orders` has these nodes in its list, in this order.
fn search(orders: &[&[usize]], crashes: u8) {
    let lists = orders
        .iter()
        .map(|order| order.iter().map(|at| address(*at)).collect())
        .collect();
    let mut search = Search {
        lists,
        visited: HashSet::new(),
        established: 0,
    };
    let nodes = (0..orders.len()).map(|index| search.fresh(index)).collect();
    search.visit(&World {
        nodes,
        crashes_left: crashes,
    });
    assert_eq!(search.established, 1, "nobody ever founds a cluster");
}

#[test]
fn never_two_clusters_when_lists_agree() {
    search(&[&[0, 1], &[0, 1]], 2);
    search(&[&[0, 1, 2], &[0, 1, 2], &[0, 1, 2]], 1);
}

#[test]
fn never_two_clusters_when_each_is_first_in_its_own_list() {
    search(&[&[0, 1], &[1, 0]], 2);
    search(&[&[0, 1, 2], &[1, 0, 2], &[2, 1, 0]], 1);
}
