//! Three real nodes: the leader dies, freezes or is stopped, and writes go on.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and report what they measured, too"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::{Config, Outcome};
use dqlite_testkit::Cluster;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const DATABASE: &str = "app";
/// The longest time without an acknowledged write, on a machine that is busy with other tests.
const OUTAGE_MAX: Duration = Duration::from_secs(5);

/// A client that writes numbers, and what it was told about each.
struct Writer {
    config: Config,
    connection: Option<Connection>,
    next: i64,
    acknowledged: BTreeSet<i64>,
    refused: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
}

fn config(addresses: &[String]) -> Config {
    let config = Config::parse(&addresses.join(",")).unwrap();
    let mut config = config
        .with_database(DATABASE)
        .with_timeout(Duration::from_secs(2));
    config.connect_timeout = Duration::from_secs(10);
    config
}

impl Writer {
    fn new(cluster: &Cluster) -> Self {
        let config = config(&cluster.addresses());
        let mut connection = Connection::open(&config).unwrap();
        connection
            .execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)", ())
            .unwrap();
        Self {
            config,
            connection: Some(connection),
            next: 0,
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            unknown: BTreeSet::new(),
        }
    }

    /// Writes one number; true if that was acknowledged. Nothing is sent twice.
    fn write(&mut self) -> bool {
        let n = self.next;
        self.next += 1;
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.config),
        };
        let written = connection.and_then(|mut connection| {
            connection.execute("INSERT INTO numbers (n) VALUES (?)", (n,))?;
            Ok(connection)
        });
        match written {
            Ok(connection) => {
                self.connection = Some(connection);
                self.acknowledged.insert(n)
            }
            Err(error) if error.outcome() == Outcome::Unknown => !self.unknown.insert(n),
            Err(_) => !self.refused.insert(n),
        }
    }

    fn write_many(&mut self, count: usize) {
        let wanted = self.acknowledged.len() + count;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.acknowledged.len() < wanted {
            assert!(
                Instant::now() < deadline,
                "{} of {wanted}",
                self.acknowledged.len()
            );
            self.write();
        }
    }

    /// Writes until one write is acknowledged; how long that took.
    fn outage(&mut self) -> Duration {
        let begun = Instant::now();
        while !self.write() {}
        let took = begun.elapsed();
        assert!(took < OUTAGE_MAX, "no write for {took:?}");
        took
    }

    /// Nothing that was acknowledged is missing, and nothing that was refused is there.
    fn check(&self) {
        let mut connection = Connection::open(&self.config).unwrap();
        let rows = connection.query("SELECT n FROM numbers", ()).unwrap();
        let found: BTreeSet<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        assert_eq!(found.len(), rows.len());
        let missing: Vec<_> = self.acknowledged.difference(&found).collect();
        assert!(missing.is_empty(), "acknowledged and missing: {missing:?}");
        let ghosts: Vec<_> = self.refused.intersection(&found).collect();
        assert!(ghosts.is_empty(), "refused and there: {ghosts:?}");
        let possible = self.acknowledged.len() + self.unknown.len();
        assert!(
            found.len() <= possible,
            "{} rows, at most {possible} expected",
            found.len()
        );
    }
}

fn cluster() -> (Cluster, Writer) {
    let begun = Instant::now();
    let cluster = Cluster::start(Path::new(EXECUTABLE), 3).unwrap();
    println!("three voters after {:?}", begun.elapsed());
    let writer = Writer::new(&cluster);
    (cluster, writer)
}

#[test]
fn a_killed_leader_is_replaced_and_catches_up() {
    let (cluster, mut writer) = cluster();
    let mut outages = Vec::new();
    for _ in 0..3 {
        writer.write_many(50);
        let leader = cluster.wait_for_leader().unwrap();
        cluster.kill(leader).unwrap();
        outages.push(writer.outage());
        writer.write_many(50);
        let successor = cluster.wait_for_leader_but(Some(leader)).unwrap();
        assert_ne!(successor, leader);
        cluster.start_node(leader).unwrap();
        cluster.wait_for_voters(3).unwrap();
        cluster.wait_until_caught_up(DATABASE).unwrap();
    }
    writer.check();
    outages.sort_unstable();
    let unknown = writer.unknown.len();
    println!("killed leader: outages {outages:?}, {unknown} unknown");
}

#[test]
fn a_frozen_leader_is_replaced_and_steps_down_when_it_wakes() {
    let (cluster, mut writer) = cluster();
    writer.write_many(50);
    let leader = cluster.wait_for_leader().unwrap();
    cluster.pause(leader).unwrap();
    let begun = Instant::now();
    let successor = cluster.wait_for_leader_but(Some(leader)).unwrap();
    let outage = begun.elapsed();
    assert!(outage < OUTAGE_MAX, "no leader for {outage:?}");
    writer.connection = None;
    let before = std::mem::replace(&mut writer.config, config(&[cluster.address(successor)]));
    writer.write_many(50);
    writer.config = before;
    cluster.resume(leader).unwrap();
    cluster.wait_for_voters(3).unwrap();
    cluster.wait_until_caught_up(DATABASE).unwrap();
    writer.check();
    println!("frozen leader: outage {outage:?}");
}

#[test]
fn leadership_moves_before_a_planned_stop() {
    let (cluster, mut writer) = cluster();
    writer.write_many(50);
    let leader = cluster.wait_for_leader().unwrap();
    let stopped = cluster.stop_node(leader).unwrap();
    assert!(stopped.handed_over && !stopped.killed, "{stopped:?}");
    let outage = writer.outage();
    writer.write_many(50);
    cluster.start_node(leader).unwrap();
    cluster.wait_for_voters(3).unwrap();
    cluster.wait_until_caught_up(DATABASE).unwrap();
    writer.check();
    println!("planned stop in {:?}: outage {outage:?}", stopped.took);
}

#[test]
fn leadership_can_be_given_away() {
    let (cluster, mut writer) = cluster();
    writer.write_many(20);
    let former = cluster.wait_for_leader().unwrap();
    let successor = cluster.flip_leader().unwrap();
    assert_ne!(successor, former);
    let outage = writer.outage();
    writer.write_many(20);
    writer.check();
    println!("hand-over: outage {outage:?}");
}

#[test]
fn without_a_majority_nothing_is_acknowledged() {
    let (cluster, mut writer) = cluster();
    writer.write_many(20);
    let leader = cluster.wait_for_leader().unwrap();
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    for other in &others {
        cluster.kill(*other).unwrap();
    }
    let acknowledged = writer.acknowledged.len();
    writer.config.connect_timeout = Duration::from_millis(500);
    for _ in 0..3 {
        assert!(!writer.write());
    }
    assert_eq!(writer.acknowledged.len(), acknowledged);
    writer.config.connect_timeout = Duration::from_secs(10);
    for other in others {
        cluster.start_node(other).unwrap();
    }
    writer.write_many(20);
    cluster.wait_until_caught_up(DATABASE).unwrap();
    writer.check();
}

#[test]
fn every_node_leads_its_clients_to_the_leader() {
    let (cluster, mut writer) = cluster();
    writer.write_many(10);
    for node in cluster.nodes() {
        let mut connection = node.connect_blocking(DATABASE).unwrap();
        let count: i64 = connection
            .query_one("SELECT count(*) FROM numbers", ())
            .and_then(|row| row.get(0))
            .unwrap();
        assert_eq!(count, 10);
    }
}
