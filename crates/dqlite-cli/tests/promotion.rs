//! A member that is to become a voter and dies before it is one: nobody else suffers from it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::{Config, Node, NodeBuilder};
use dqlite_client::cluster::blocking::Admin;
use dqlite_proto::{RequestKind, Role};
use dqlite_testkit::cluster::await_that;
use dqlite_testkit::{Cluster, ask, engine, ports};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const PATIENCE: Duration = Duration::from_secs(20);
/// *Engine*: it would refuse every other change for so long.
const SLOT: Duration = Duration::from_secs(50);

/// A way to a node on which streams between nodes get stuck: their bytes are taken and lead
/// nowhere. Everything else passes.
struct StuckWay {
    address: String,
    _stuck: Arc<Mutex<Vec<TcpStream>>>,
}

impl StuckWay {
    fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stuck = Arc::<Mutex<Vec<TcpStream>>>::default();
        let held = Arc::clone(&stuck);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, held) = (target.clone(), Arc::clone(&held));
                thread::spawn(move || {
                    if is_between_nodes(&client) {
                        held.lock().unwrap().push(client);
                    } else if let Ok(server) = TcpStream::connect(&target) {
                        join(client, server);
                    }
                });
            }
        });
        Self {
            address,
            _stuck: stuck,
        }
    }
}

/// Whether the first message, behind the handshake, says so.
fn is_between_nodes(client: &TcpStream) -> bool {
    let mut begin = [0; 13];
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        match client.peek(&mut begin) {
            Ok(13) => return begin[12] == RequestKind::CONNECT.0,
            Ok(0) | Err(_) => return false,
            Ok(_) => thread::yield_now(),
        }
    }
}

fn join(client: TcpStream, server: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        // However it ends, both ends hear of it.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn options(builder: NodeBuilder) -> NodeBuilder {
    builder
        .option("network_latency_ms", 100)
        .option("offline_after", 4.0)
        .option("roles_interval", 1.0)
        .option("standbys", 0)
}

fn config(cluster: &Cluster) -> Config {
    let config = Config::parse(&cluster.addresses().join(",")).unwrap();
    let mut config = config
        .with_database("app")
        .with_timeout(Duration::from_secs(5));
    config.connect_timeout = PATIENCE;
    config
}

/// Whether the leader is promoting the member at `address`; else its grounds.
fn promotes(leader: &Node, address: &str) -> Result<(), String> {
    let grounds = leader
        .explain(PATIENCE)
        .map_err(|error| error.to_string())?;
    if grounds["now"]["promotion"]["address"] == address {
        Ok(())
    } else {
        Err(grounds.to_string())
    }
}

fn insert(client: &mut Connection, rows: usize) {
    for _ in 0..rows {
        client.execute("INSERT INTO t VALUES (1)", ()).unwrap();
    }
}

#[test]
fn a_member_that_dies_while_it_becomes_a_voter_holds_nobody_up() {
    let cluster = Cluster::start_with(Path::new(EXECUTABLE), 3, options).unwrap();
    let target = ports::free_address().unwrap();
    let way = StuckWay::to(target.clone());
    let directory = cluster.directory().join("spare");
    let spare = Node::builder(&way.address, directory)
        .executable(EXECUTABLE)
        .engine(engine())
        .bind_address(&target)
        .cluster(cluster.addresses())
        .restart(false);
    let spare = options(spare).start().unwrap();
    spare.wait_ready(PATIENCE).unwrap();
    let mut client = Connection::open(&config(&cluster)).unwrap();
    client.execute("CREATE TABLE t(v)", ()).unwrap();

    // A voter is lost, and the leader gives its seat to the spare, who never gets a byte.
    let leader = cluster.wait_for_leader().unwrap();
    let (lost, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(lost).unwrap();
    await_that("a promotion", || {
        let leader = cluster.wait_for_leader().unwrap();
        promotes(cluster.node(leader), &way.address)
    })
    .unwrap();
    let begun = Instant::now();
    kill(
        Pid::from_raw(i32::try_from(spare.pid().unwrap()).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();

    // Clients do not notice.
    let mut client = Connection::open(&config(&cluster)).unwrap();
    insert(&mut client, 20);
    // The lost voter comes back to the seat that nobody took.
    cluster.start_node(lost).unwrap();
    // Whoever leads next is free to act.
    await_that("another leader", || {
        let now = cluster.wait_for_leader().unwrap();
        if now != leader {
            return Ok(());
        }
        promotes(cluster.node(now), &way.address)?;
        let given = cluster.node(now).handover(PATIENCE, false);
        given.map_or_else(|error| Err(error.to_string()), |_| Ok(()))
    })
    .unwrap();
    let mut admin = Admin::new(&config(&cluster));
    admin.remove(spare.id()).unwrap();
    let took = begun.elapsed();
    println!("the seat of the dead one was free again after {took:?}");
    assert!(took < SLOT / 2, "{took:?}");
    let members = ask::members(&cluster.address(other)).unwrap();
    assert_eq!(members.len(), 3, "{members:?}");
    assert!(members.iter().all(|member| member.role == Role::Voter));
    let mut client = Connection::open(&config(&cluster)).unwrap();
    insert(&mut client, 1);
    let row = client.query_one("SELECT count(*) FROM t", ());
    assert_eq!(row.and_then(|row| row.get::<i64>(0)).unwrap(), 21);
}
