//! Real nodes that come, go, lose their disks and are removed, while a client writes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and report what they measured, too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::control::{Stage, State};
use dqlite::{Config, Node, NodeBuilder, NodeError, Outcome};
use dqlite_client::cluster::blocking::Admin;
use dqlite_proto::{NodeInfo, Request, Role};
use dqlite_testkit::cluster::await_that;
use dqlite_testkit::{ask, engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const BOOTSTRAP_ID: u64 = 3_297_041_220_608_546_238;
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a node is watched that must not do something.
const WATCHED: Duration = Duration::from_secs(3);

/// Nodes of one test, by number; each has its address and directory for good.
struct Fleet {
    nodes: Vec<Node>,
    directory: TempDir,
}

impl Fleet {
    /// Running nodes that know all addresses; all vote.
    fn start(size: usize) -> Self {
        Self::start_with(size, |builder| builder)
    }

    fn start_with(size: usize, options: impl Fn(NodeBuilder) -> NodeBuilder) -> Self {
        let addresses = addresses(size);
        let mut fleet = Self::empty();
        for address in &addresses {
            fleet.add(address, |builder| options(builder.cluster(&addresses)));
        }
        for node in &fleet.nodes {
            node.start().unwrap();
        }
        fleet.wait_for_roles(&vec![Role::Voter; size]);
        fleet
    }

    fn empty() -> Self {
        Self {
            nodes: Vec::new(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Describes one more node; gives its number.
    fn add(&mut self, address: &str, options: impl Fn(NodeBuilder) -> NodeBuilder) -> usize {
        let index = self.nodes.len();
        let builder = Node::builder(address, self.path(index))
            .executable(EXECUTABLE)
            .engine(engine())
            .restart(false)
            .option("offline_after", 2.0)
            .option("roles_interval", 1.0)
            .ready_grace(Duration::ZERO);
        self.nodes.push(options(builder).build().unwrap());
        index
    }

    fn path(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("n{index}"))
    }

    fn addresses(&self) -> Vec<String> {
        let running = self.nodes.iter().filter(|node| node.is_running());
        running.map(|node| node.address().to_owned()).collect()
    }

    fn config(&self) -> Config {
        let mut config = Config::parse(&self.addresses().join(",")).unwrap();
        config = config
            .with_database("app")
            .with_timeout(Duration::from_secs(5));
        config.connect_timeout = Duration::from_secs(20);
        config
    }

    fn admin(&self) -> Admin {
        Admin::new(&self.config())
    }

    fn signal(&self, index: usize, signal: Signal) {
        let pid = i32::try_from(self.nodes[index].pid().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    fn kill(&self, index: usize) {
        self.signal(index, Signal::SIGKILL);
        self.wait_for_end(index);
    }

    fn wipe(&self, index: usize) {
        fs::remove_dir_all(self.path(index)).unwrap();
    }

    fn wait_for_end(&self, index: usize) {
        let node = &self.nodes[index];
        wait("the end of a node", || {
            if node.is_running() {
                Err(node.state())
            } else {
                Ok(())
            }
        });
    }

    /// What the leader says of the members.
    fn members(&self) -> Result<Vec<NodeInfo>, String> {
        let mut seen = Vec::new();
        for address in self.addresses() {
            match ask::leader(&address) {
                Ok(Some(leader)) if leader == address => {
                    return ask::members(&address).map_err(|error| error.to_string());
                }
                answer => seen.push(format!("{address}: {answer:?}")),
            }
        }
        Err(seen.join(", "))
    }

    /// Waits until the leader counts members of just these roles, in any order, and all running
    /// nodes are ready.
    fn wait_for_roles(&self, wanted: &[Role]) -> Vec<NodeInfo> {
        let mut wanted: Vec<u64> = wanted.iter().map(|role| role.to_wire()).collect();
        wanted.sort_unstable();
        let members = wait("settled roles", || {
            let members = self.members()?;
            let mut roles: Vec<u64> = members.iter().map(|one| one.role.to_wire()).collect();
            roles.sort_unstable();
            if roles == wanted {
                Ok(members)
            } else {
                Err(format!("{members:?}"))
            }
        });
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            node.wait_ready(PATIENCE).unwrap();
        }
        members
    }

    fn execute(&self, sql: &str) {
        let mut connection = Connection::open(&self.config()).unwrap();
        connection.execute(sql, ()).unwrap();
    }

    fn count(&self) -> i64 {
        let mut connection = Connection::open(&self.config()).unwrap();
        let row = connection.query_one("SELECT count(*) FROM numbers", ());
        row.and_then(|row| row.get(0)).unwrap()
    }

    /// Makes a table with some rows.
    fn fill(&self) {
        self.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)");
        self.execute(
            "INSERT INTO numbers WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c \
             WHERE n < 1000) SELECT n FROM c",
        );
    }

    fn wait_until_equal(&self) {
        wait("equal copies", || {
            let dump = |address: &String| ask::dump(address, "app").ok();
            let dumps: Vec<_> = self.addresses().iter().map(dump).collect();
            let equal = dumps.windows(2).all(|pair| pair[0] == pair[1]);
            if equal && dumps.iter().all(Option::is_some) {
                Ok(())
            } else {
                Err(dumps.iter().map(Option::is_some).collect::<Vec<_>>())
            }
        });
    }
}

fn wait<T, E: std::fmt::Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    await_that(what, look).unwrap()
}

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|_| ports::free_address().unwrap()).collect()
}

fn wait_for_state(node: &Node, wanted: State) {
    wait(wanted.name(), || {
        let state = node.state();
        if state == wanted { Ok(()) } else { Err(state) }
    });
}

fn stage(error: &NodeError) -> Stage {
    match error {
        NodeError::Start { stage, .. } => *stage,
        other => panic!("{other:?}"),
    }
}

/// A client that writes numbers until it is told to end.
struct Load {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<(BTreeSet<i64>, BTreeSet<i64>)>,
}

impl Load {
    /// Writes to whoever leads; `config` names nodes that stay.
    fn start(config: Config) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let (mut acknowledged, mut unknown) = (BTreeSet::new(), BTreeSet::new());
            let mut connection = None;
            let mut n = 1_000_000;
            while !told.load(Ordering::Relaxed) {
                n += 1;
                let open = connection.take();
                let open = open.map_or_else(|| Connection::open(&config), Ok);
                let written = open.and_then(|mut open| {
                    open.execute("INSERT INTO numbers (n) VALUES (?)", (n,))?;
                    Ok(open)
                });
                match written {
                    Ok(open) => {
                        connection = Some(open);
                        acknowledged.insert(n);
                    }
                    Err(error) if error.outcome() == Outcome::Unknown => {
                        unknown.insert(n);
                    }
                    Err(_) => {}
                }
            }
            (acknowledged, unknown)
        });
        Self { ends, thread }
    }

    /// Everything that was acknowledged must be there, and nothing that was refused.
    fn check(self, fleet: &Fleet) {
        self.ends.store(true, Ordering::Relaxed);
        let (acknowledged, unknown) = self.thread.join().unwrap();
        let mut connection = Connection::open(&fleet.config()).unwrap();
        let rows = connection.query("SELECT n FROM numbers WHERE n > 1000000", ());
        let found: BTreeSet<i64> = rows
            .unwrap()
            .iter()
            .map(|row| row.get(0).unwrap())
            .collect();
        assert!(!acknowledged.is_empty(), "nothing was written");
        let missing: Vec<_> = acknowledged.difference(&found).collect();
        assert!(missing.is_empty(), "acknowledged and missing: {missing:?}");
        let ghosts: Vec<_> = found.difference(&acknowledged).collect();
        assert!(ghosts.iter().all(|n| unknown.contains(n)), "{ghosts:?}");
        let (written, unknown) = (acknowledged.len(), unknown.len());
        println!("{written} acknowledged, {unknown} unknown, none missing");
    }
}

#[test]
fn a_lone_node_grows_to_five_and_shrinks_to_one_under_load() {
    let mut fleet = Fleet::empty();
    let five = |builder: NodeBuilder| builder.option("voters", 5);
    let places = addresses(5);
    fleet.add(&places[0], five);
    fleet.nodes[0].start().unwrap();
    fleet.wait_for_roles(&[Role::Voter]);
    fleet.fill();
    let load = Load::start(fleet.config());
    for size in [3, 5] {
        for index in size - 2..size {
            let first = &places[..1];
            fleet.add(&places[index], |builder| five(builder.cluster(first)));
            fleet.nodes[index].start().unwrap();
        }
        let members = fleet.wait_for_roles(&vec![Role::Voter; size]);
        let drawn = members.iter().filter(|member| member.id != BOOTSTRAP_ID);
        assert_eq!(drawn.count(), size - 1, "{members:?}");
    }
    fleet.wait_until_equal_but_for_load();
    for (index, left) in [
        (
            4,
            vec![Role::Voter, Role::Voter, Role::Voter, Role::StandBy],
        ),
        (3, vec![Role::Voter; 3]),
        (2, vec![Role::Voter, Role::StandBy]),
        (1, vec![Role::Voter]),
    ] {
        fleet.admin().remove(fleet.nodes[index].id()).unwrap();
        fleet.wait_for_end(index);
        assert!(fleet.path(index).join("left").exists());
        fleet.wait_for_roles(&left);
    }
    load.check(&fleet);
}

impl Fleet {
    /// Under load no two copies are equal; but every member must have the table.
    fn wait_until_equal_but_for_load(&self) {
        for address in self.addresses() {
            wait("a copy", || {
                let dump = ask::dump(&address, "app").map_err(|error| error.to_string())?;
                let bytes: usize = dump.iter().map(|(_, bytes)| bytes.len()).sum();
                if bytes >= 8192 {
                    Ok(())
                } else {
                    Err(bytes.to_string())
                }
            });
        }
    }
}

#[test]
fn a_lost_disk_gets_a_fresh_id_and_the_old_seat() {
    let fleet = Fleet::start(3);
    fleet.fill();
    // The founder's disk, too: nobody may bootstrap beside the others.
    for index in [2, 0] {
        let before = fleet.nodes[index].id();
        fleet.kill(index);
        fleet.wipe(index);
        fleet.nodes[index].start().unwrap();
        let begun = Instant::now();
        let members = wait("the seat taken over", || {
            let members = fleet.members()?;
            let stale = members.iter().any(|member| member.id == before);
            let voters = members.iter().filter(|one| one.role == Role::Voter).count();
            if stale || voters != 3 {
                return Err(format!("{members:?}"));
            }
            Ok(members)
        });
        println!("a voter again after {:?}", begun.elapsed());
        assert_eq!(members.len(), 3, "{members:?}");
        fleet.wait_for_roles(&[Role::Voter; 3]);
        let id = fleet.nodes[index].id();
        assert!(id != before && id != BOOTSTRAP_ID && id > 1, "{id}");
        fleet.wait_until_equal();
        assert_eq!(fleet.count(), 1000);
    }
}

#[test]
fn the_founder_without_its_disk_waits_for_the_others() {
    let fleet = Fleet::start(3);
    fleet.fill();
    for index in 0..3 {
        fleet.kill(index);
    }
    fleet.wipe(0);
    let founder = &fleet.nodes[0];
    founder.start().unwrap();
    wait_for_state(founder, State::Forming);
    let end = Instant::now() + WATCHED;
    while Instant::now() < end {
        assert_eq!(founder.state(), State::Forming, "{}", founder.why());
        assert_eq!(ask::members(founder.address()).unwrap(), []);
        assert_eq!(ask::leader(founder.address()).unwrap(), None);
        std::thread::sleep(Duration::from_millis(100));
    }
    let missing = founder.wait_ready(Duration::from_millis(100)).unwrap_err();
    let text = missing.to_string();
    for other in &fleet.nodes[1..] {
        assert!(text.contains(other.address()), "{text}");
        other.start().unwrap();
    }
    fleet.wait_for_roles(&[Role::Voter; 3]);
    assert_ne!(founder.id(), BOOTSTRAP_ID);
    fleet.wait_until_equal();
    assert_eq!(fleet.count(), 1000);
}

#[test]
fn a_founder_that_alone_had_the_data_founds_nothing_in_its_place() {
    // A spare knows of the cluster, and its engine does not.
    let spare = |builder: NodeBuilder| builder.option("two_node", "spare");
    let places = addresses(2);
    let mut fleet = Fleet::empty();
    for place in &places {
        fleet.add(place, |builder| spare(builder.cluster(&places)));
    }
    for node in &fleet.nodes {
        node.start().unwrap();
    }
    let before = fleet.wait_for_roles(&[Role::Voter, Role::Spare]);
    let listed = || match ask::members(&places[1]) {
        Ok(members) if members.len() == 2 => Ok(()),
        other => Err(format!("{other:?}")),
    };
    wait("both members, told by the spare", listed);
    fleet.kill(0);
    fleet.wipe(0);
    fleet.nodes[0].start().unwrap();
    wait_for_state(&fleet.nodes[0], State::Joining);
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        assert_eq!(fleet.nodes[0].state(), State::Joining);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(before.iter().all(|member| member.id != fleet.nodes[0].id()));
    // The same holds when the spare itself was started again.
    fleet.nodes[1].stop().unwrap();
    fleet.nodes[1].start().unwrap();
    wait("both members, told by a spare without a leader", listed);
}

#[test]
fn a_removed_node_ends_and_does_not_come_back() {
    let fleet = Fleet::start(3);
    fleet.fill();
    // One is removed while it runs, the other while it is down.
    let id = fleet.nodes[2].id();
    fleet.admin().remove(id).unwrap();
    fleet.wait_for_end(2);
    fleet.wait_for_roles(&[Role::Voter, Role::StandBy]);
    let away = (0..2)
        .find(|index| !fleet.nodes[*index].is_leader())
        .unwrap();
    let id = fleet.nodes[away].id();
    fleet.kill(away);
    fleet.admin().remove(id).unwrap();
    fleet.nodes[away].start().ok();
    fleet.wait_for_end(away);
    for index in [2, away] {
        let mark = fs::read_to_string(fleet.path(index).join("left")).unwrap();
        assert!(mark.contains("\"cause\":\"removed\""), "{mark}");
        let error = fleet.nodes[index].start().unwrap_err();
        assert_eq!(stage(&error), Stage::Removed, "{error}");
        assert!(
            error.to_string().contains("move the directory aside"),
            "{error}"
        );
        assert_eq!(exit_status(&fleet.nodes[index], &fleet.path(index)), 16);
    }
    fleet.wait_for_roles(&[Role::Voter]);
    // With the directory moved aside, it joins like a new one.
    fs::rename(fleet.path(2), fleet.directory.path().join("aside")).unwrap();
    fleet.nodes[2].start().unwrap();
    fleet.wait_for_roles(&[Role::Voter, Role::StandBy]);
    assert_eq!(fleet.count(), 1000);
}

#[test]
fn a_node_leaves_when_the_others_can_do_without_it() {
    let fleet = Fleet::start(3);
    fleet.fill();
    let leader = (0..3)
        .find(|index| fleet.nodes[*index].is_leader())
        .unwrap();
    let load = Load::start(fleet.config());
    fleet.nodes[leader].leave(Duration::from_secs(20)).unwrap();
    fleet.wait_for_end(leader);
    let mark = fs::read_to_string(fleet.path(leader).join("left")).unwrap();
    assert!(mark.contains("\"cause\":\"left\""), "{mark}");
    let error = fleet.nodes[leader].start().unwrap_err();
    assert_eq!(stage(&error), Stage::Removed, "{error}");
    fleet.wait_for_roles(&[Role::Voter, Role::StandBy]);
    load.check(&fleet);
    // The stand-by is no voter to be missed; the last one is.
    let rest = (0..3).filter(|index| *index != leader);
    let (last, standby): (Vec<usize>, Vec<usize>) =
        rest.partition(|index| fleet.nodes[*index].is_leader());
    fleet.nodes[standby[0]]
        .leave(Duration::from_secs(20))
        .unwrap();
    fleet.wait_for_end(standby[0]);
    fleet.wait_for_roles(&[Role::Voter]);
    let error = fleet.nodes[last[0]]
        .leave(Duration::from_secs(5))
        .unwrap_err();
    assert!(error.to_string().contains("the only member"), "{error}");
    assert!(fleet.count() >= 1000);
}

/// How the executable itself ends on this directory.
fn exit_status(node: &Node, path: &Path) -> i32 {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(EXECUTABLE)
        .args(["node", "--control", "stdio", "--engine"])
        .arg(engine())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let options = serde_json::json!({
        "type": "config", "v": 1, "app": {"pid": std::process::id(), "name": "t", "version": "0"},
        "options": {"address": node.address(), "data_dir": path},
    });
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{options}").unwrap();
    child.wait().unwrap().code().unwrap()
}

#[test]
fn an_unconfirmed_seat_is_confirmed_at_the_next_start() {
    let fleet = Fleet::start(3);
    let id = fleet.nodes[2].id();
    fleet.kill(2);
    // As after a crash between the leader's ADD and the end of the join.
    let mark = fleet.path(2).join("join");
    fs::write(&mark, "").unwrap();
    fleet.nodes[2].start().unwrap();
    fleet.wait_for_roles(&[Role::Voter; 3]);
    assert_eq!(fleet.nodes[2].id(), id);
    wait("the end of the mark", || {
        if mark.exists() { Err(()) } else { Ok(()) }
    });
}

#[test]
fn a_dead_member_is_replaced_by_a_node_elsewhere() {
    let mut fleet = Fleet::start(3);
    fleet.fill();
    let dead = fleet.nodes[2].id();
    fleet.kill(2);
    let others = fleet.addresses();
    let place = ports::free_address().unwrap();
    let new = fleet.add(&place, |builder| builder.cluster(&others));
    fleet.nodes[new].start().unwrap();
    // The new one votes as soon as the dead one counts as offline; that one keeps a spare's seat.
    fleet.wait_for_roles(&[Role::Voter, Role::Voter, Role::Voter, Role::Spare]);
    fleet.admin().remove(dead).unwrap();
    let members = fleet.wait_for_roles(&[Role::Voter; 3]);
    assert!(members.iter().any(|member| member.address == place));
    fleet.wait_until_equal();
    // The old directory under another address is refused, with the way out.
    let moved = Node::builder(ports::free_address().unwrap(), fleet.path(2))
        .executable(EXECUTABLE)
        .engine(engine());
    let error = moved.build().unwrap().start().unwrap_err();
    assert_eq!(stage(&error), Stage::Identity, "{error}");
    assert!(
        error.to_string().contains("keep the old address"),
        "{error}"
    );
}

#[test]
fn the_first_start_obeys_initial_state() {
    let places = addresses(2);
    let mut fleet = Fleet::empty();
    let with = |state: &'static str| {
        let places = places.clone();
        move |builder: NodeBuilder| builder.cluster(&places).option("initial_state", state)
    };
    fleet.add(&places[0], with("new"));
    fleet.add(&places[1], with("existing"));
    let (new, existing) = (&fleet.nodes[0], &fleet.nodes[1]);
    existing.start().unwrap();
    wait_for_state(existing, State::Joining);
    let end = Instant::now() + WATCHED / 3;
    while Instant::now() < end {
        assert_eq!(existing.state(), State::Joining, "{}", existing.why());
        std::thread::sleep(Duration::from_millis(50));
    }
    existing.stop().unwrap();
    // Nobody else is up, and it founds all the same.
    new.start().unwrap();
    fleet.wait_for_roles(&[Role::Voter]);
    assert_eq!(new.id(), BOOTSTRAP_ID);
    existing.start().unwrap();
    fleet.wait_for_roles(&[Role::Voter, Role::StandBy]);
    // On a directory that is not empty the option means nothing.
    new.stop().unwrap();
    new.start().unwrap();
    fleet.wait_for_roles(&[Role::Voter, Role::StandBy]);
}

#[test]
fn a_member_that_does_not_answer_cannot_stall_the_cluster() {
    let spares = |builder: NodeBuilder| builder.option("standbys", 0);
    let mut fleet = Fleet::start_with(3, spares);
    fleet.fill();
    let others = fleet.addresses();
    let place = ports::free_address().unwrap();
    let spare = fleet.add(&place, |builder| spares(builder.cluster(&others)));
    fleet.nodes[spare].start().unwrap();
    fleet.wait_for_roles(&[Role::Voter, Role::Voter, Role::Voter, Role::Spare]);
    let id = fleet.nodes[spare].id();
    let leader = (0..3)
        .find(|index| fleet.nodes[*index].is_leader())
        .unwrap();
    // It accepts connections and says nothing. The engine alone would wait 50 s for it, and refuse
    // every other change meanwhile.
    fleet.signal(spare, Signal::SIGSTOP);
    let (at, begun) = (fleet.nodes[leader].address(), Instant::now());
    let role = Role::Voter;
    let promoted = ask::ask(at, &Request::Assign { id, role });
    let error = promoted.expect_err("a frozen member was promoted");
    assert!(error.to_string().contains("does not answer"), "{error}");
    println!("refused after {:?}: {error}", begun.elapsed());
    fleet.admin().remove(id).unwrap();
    assert_eq!(fleet.count(), 1000);
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
    fleet.wait_for_roles(&[Role::Voter; 3]);
    fleet.signal(spare, Signal::SIGCONT);
    fleet.wait_for_end(spare);
}

#[test]
fn an_offline_voter_is_replaced_and_comes_back_without_a_vote() {
    let mut fleet = Fleet::start(3);
    let others = fleet.addresses();
    let place = ports::free_address().unwrap();
    let fourth = fleet.add(&place, |builder| builder.cluster(&others));
    fleet.nodes[fourth].start().unwrap();
    fleet.wait_for_roles(&[Role::Voter, Role::Voter, Role::Voter, Role::StandBy]);
    let lost = (0..3)
        .find(|index| !fleet.nodes[*index].is_leader())
        .unwrap();
    let begun = Instant::now();
    fleet.signal(lost, Signal::SIGSTOP);
    let id = fleet.nodes[lost].id();
    wait("the seat given to another", || {
        let members = fleet.members()?;
        let role = |id| members.iter().find(|one| one.id == id).map(|one| one.role);
        let seated = role(fleet.nodes[fourth].id()) == Some(Role::Voter);
        if seated && role(id) == Some(Role::Spare) {
            Ok(())
        } else {
            Err(format!("{members:?}"))
        }
    });
    println!(
        "replaced after {:?}, of which 2 s are offline_after",
        begun.elapsed()
    );
    fleet.signal(lost, Signal::SIGCONT);
    let members = fleet.wait_for_roles(&[Role::Voter, Role::Voter, Role::Voter, Role::StandBy]);
    let role = members.iter().find(|one| one.id == id).map(|one| one.role);
    assert_eq!(role, Some(Role::StandBy));
}

#[test]
fn two_nodes_with_one_address_or_one_id_do_not_disturb_the_cluster() {
    let mut fleet = Fleet::start(3);
    let places = fleet.addresses();
    let before = fleet.members().unwrap();
    // The address of another node, who answers there.
    let elsewhere = ports::free_address().unwrap();
    let twin = fleet.add(&places[2], |builder| {
        builder.bind_address(&elsewhere).cluster(&places)
    });
    fleet.nodes[twin].start().unwrap();
    let node = &fleet.nodes[twin];
    wait("the refusal of the twin", || {
        let why = node.why();
        if why.contains("it is not this node") {
            Ok(())
        } else {
            Err(why)
        }
    });
    assert_eq!(fleet.members().unwrap(), before);
    node.stop().unwrap();
    // The id of another node.
    let id = fleet.nodes[1].id();
    let place = ports::free_address().unwrap();
    let double = fleet.add(&place, |builder| builder.node_id(id).cluster(&places));
    fleet.nodes[double].start().unwrap();
    let node = &fleet.nodes[double];
    wait("the refusal of the double", || {
        let why = node.why();
        if why.contains(&places[1]) && why.contains(&id.to_string()) {
            Ok(())
        } else {
            Err(why)
        }
    });
    node.stop().unwrap();
    assert_eq!(fleet.members().unwrap(), before);
}
