//! The client against engines as packaged, without anything of ours around them: the one of our
//! bundle, and the 1.11 of this machine's suite, which knows less of the protocol.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dqlite_client::blocking::{Admin, Connection, LocalCopies, Pool};
use dqlite_client::pool::Options;
use dqlite_client::proto::Value;
use dqlite_client::{
    Address, Config, ErrorKind, FailureKind, Lag, LocalCopy, Outcome, Retry, Role, params,
};
use dqlite_testkit::engine::unpack;
use dqlite_testkit::sqlite;
use dqlite_testkit::stock::{StockCluster, StockNode, StockOptions};
use tempfile::TempDir;

const LONG: Duration = Duration::from_mins(1);

/// An engine, and what its files live in.
struct Engine {
    options: StockOptions,
    is_old: bool,
    _unpacked: Option<TempDir>,
}

fn modern() -> Engine {
    let options = StockOptions {
        network_latency_ms: Some(20),
        ..StockOptions::default()
    };
    Engine {
        options,
        is_old: false,
        _unpacked: None,
    }
}

fn old() -> Engine {
    let unpacked = tempfile::tempdir().expect("a directory");
    let packages = ["libdqlite0", "libraft2", "libuv1"];
    let engine = unpack(&packages, unpacked.path()).expect("the packages of this suite");
    let options = StockOptions {
        engine,
        ..modern().options
    };
    Engine {
        options,
        is_old: true,
        _unpacked: Some(unpacked),
    }
}

fn config<'a>(addresses: impl IntoIterator<Item = &'a String>) -> Config {
    let hosts = addresses
        .into_iter()
        .map(|text| Address::parse(text).expect("an address"));
    Config::new(hosts)
        .with_database("app")
        .with_timeout(LONG)
        .with_connect_timeout(LONG)
}

/// Runs a test on a node of each engine.
fn on_both(test: impl Fn(&Engine, &StockNode, &mut Connection)) {
    for engine in [modern(), old()] {
        let node = StockNode::start(&engine.options).expect("a node");
        let mut connection = Connection::open(&config([&node.address])).expect("a connection");
        test(&engine, &node, &mut connection);
        assert!(node.is_alive(), "{}", node.words());
    }
}

#[test]
fn values_of_all_kinds_travel_both_ways() {
    on_both(|_, _, connection| {
        let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, i INTEGER, f REAL, s TEXT, b BLOB)";
        connection.execute(table, ()).unwrap();
        let insert = "INSERT INTO t (i, f, s, b) VALUES (?, ?, ?, ?)";
        let blob = vec![0_u8, 1, 255];
        for (id, number) in (1..).zip([i64::MIN, -1, 0, i64::MAX]) {
            let done = connection
                .execute(insert, params![number, 1.5, "smörgås", blob.clone()])
                .unwrap();
            assert_eq!((done.last_insert_id, done.rows_affected), (Some(id), 1));
        }
        let nulls: Option<i64> = None;
        connection
            .execute(insert, params![nulls, nulls, nulls, nulls])
            .unwrap();
        let rows = connection.query("SELECT * FROM t ORDER BY id", ()).unwrap();
        assert_eq!(rows.len(), 5);
        assert_eq!(rows[0].get::<i64>("i").unwrap(), i64::MIN);
        assert_eq!(
            rows[3].get::<f64>("f").unwrap().to_bits(),
            1.5_f64.to_bits()
        );
        assert_eq!(rows[1].get::<String>("s").unwrap(), "smörgås");
        assert_eq!(rows[2].get::<Vec<u8>>("b").unwrap(), blob);
        assert_eq!(rows[4].get::<Option<String>>("s").unwrap(), None);
        let done = connection.execute("DELETE FROM t WHERE i < 1", ()).unwrap();
        assert_eq!(done.rows_affected, 3);
        // More than one message, which stock servers hold back until the last one is acknowledged.
        let sql = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000) \
                    SELECT x FROM c";
        assert_eq!(connection.query(sql, ()).unwrap().len(), 20_000);
    });
}

#[test]
fn transactions_are_kept_or_undone() {
    on_both(|_, _, connection| {
        connection
            .execute("CREATE TABLE t (n INTEGER)", ())
            .unwrap();
        let mut kept = connection.transaction().unwrap();
        kept.execute("INSERT INTO t VALUES (1)", ()).unwrap();
        kept.commit().unwrap();
        let mut undone = connection.transaction().unwrap();
        undone.execute("INSERT INTO t VALUES (2)", ()).unwrap();
        drop(undone);
        let row = connection.query_one("SELECT sum(n) FROM t", ()).unwrap();
        assert_eq!(row.get::<i64>(0).unwrap(), 1);
    });
}

#[test]
fn more_parameters_than_a_byte_counts_travel_or_are_refused_here() {
    on_both(|engine, _, connection| {
        let marks = vec!["(?)"; 300].join(", ");
        let values: Vec<Value> = (0..300).map(Value::Integer).collect();
        let sql = format!("SELECT sum(column1) FROM (VALUES {marks})");
        let result = connection.query_one(&sql, values.as_slice());
        if engine.is_old {
            let error = result.unwrap_err();
            assert_eq!(error.outcome(), Outcome::NotSent, "{error}");
        } else {
            assert_eq!(result.unwrap().get::<i64>(0).unwrap(), 299 * 300 / 2);
        }
        connection.query_one("SELECT 1", ()).unwrap();
    });
}

#[test]
fn failures_behind_rows_are_read() {
    on_both(|_, _, connection| {
        // The second row cannot be computed.
        let sql = "SELECT abs(x) FROM (SELECT 1 AS x UNION ALL SELECT -9223372036854775808)";
        let error = connection.query(sql, ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(error.to_string().contains("integer overflow"), "{error}");
        for _ in 0..3 {
            connection.query_one("SELECT 1", ()).unwrap();
        }
    });
}

#[test]
fn refusals_are_told_apart() {
    on_both(|_, _, connection| {
        connection
            .execute("CREATE TABLE t (n INTEGER UNIQUE NOT NULL)", ())
            .unwrap();
        connection.execute("INSERT INTO t VALUES (1)", ()).unwrap();
        for (sql, kind) in [
            ("INSERT INTO t VALUES (1)", FailureKind::Constraint),
            ("INSERT INTO t VALUES (NULL)", FailureKind::Constraint),
            ("INSERT INTO nowhere VALUES (1)", FailureKind::Sql),
        ] {
            let error = connection.execute(sql, ()).unwrap_err();
            assert_eq!(error.failure_kind(), Some(kind), "{error}");
            assert_eq!(
                (error.outcome(), error.retry()),
                (Outcome::Refused, Retry::No)
            );
        }
        let error = connection.query("SELEC", ()).unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        let row = connection.query_one("SELECT count(*) FROM t", ()).unwrap();
        assert_eq!(row.get::<i64>(0).unwrap(), 1);
    });
}

#[test]
fn returning_works_or_is_not_sent() {
    on_both(|engine, _, connection| {
        connection
            .execute("CREATE TABLE t (n INTEGER UNIQUE)", ())
            .unwrap();
        let insert = "INSERT INTO t VALUES (7) RETURNING n";
        if engine.is_old {
            let error = connection.query(insert, ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        } else {
            let row = connection.query_one(insert, ()).unwrap();
            assert_eq!(row.get::<i64>("n").unwrap(), 7);
            let error = connection.query_one(insert, ()).unwrap_err();
            assert_eq!(
                error.failure_kind(),
                Some(FailureKind::Constraint),
                "{error}"
            );
            assert_eq!(error.outcome(), Outcome::Refused);
        }
        // Neither the node nor its write lock came to harm.
        connection.execute("INSERT INTO t VALUES (8)", ()).unwrap();
    });
}

#[test]
fn a_call_that_takes_too_long_is_drained_before_the_next() {
    on_both(|_, _, connection| {
        let slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c \
                    WHERE x < 4000000) SELECT count(*) FROM c";
        let started = Instant::now();
        let error = connection
            .within(Duration::from_millis(50))
            .query(slow, ())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(started.elapsed() < LONG / 2);
        let row = connection.query_one("SELECT 17", ()).unwrap();
        assert_eq!(row.get::<i64>(0).unwrap(), 17);
    });
}

#[test]
fn administration_and_dumps_work() {
    on_both(|_, node, connection| {
        connection
            .execute("CREATE TABLE t (n INTEGER)", ())
            .unwrap();
        connection.execute("INSERT INTO t VALUES (1)", ()).unwrap();
        let mut admin = Admin::new(&config([&node.address]));
        assert_eq!(admin.leader().unwrap().address, node.address);
        let members = admin.cluster().unwrap();
        assert_eq!((members.len(), members[0].role), (1, Role::Voter));
        admin.weight(&node.address, 3).unwrap();
        assert_eq!(admin.describe(&node.address).unwrap().weight, 3);
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str, _| std::fs::File::create(folder.path().join(name));
        let copied = admin.dump_to("app", create).unwrap();
        let main = std::fs::read(folder.path().join("app")).unwrap();
        assert!(main.is_empty() || main.starts_with(b"SQLite format 3\0"));
        assert!(copied >= 4096 && copied >= main.len() as u64);
    });
}

#[test]
fn local_copies_are_databases_of_their_own() {
    on_both(|engine, node, connection| {
        let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)";
        connection.execute(table, ()).unwrap();
        let sets = (0..3000).map(|n| (n, format!("row {n}")));
        connection
            .execute_many("INSERT INTO t VALUES (?, ?)", sets)
            .unwrap();
        connection
            .execute("DELETE FROM t WHERE id % 2", ())
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = config([&node.address]);
        let copies = LocalCopies::new(&config, folder.path());
        let copy = copies.refresh().unwrap();
        let stamp = copy.stamp();
        assert_eq!((&stamp.address, &stamp.lag), (&node.address, &Lag::Led));
        assert_eq!(stamp.role, Some(Role::Voter));
        let count =
            |copy: &LocalCopy| sqlite::query(copy.path(), "SELECT count(*), sum(id) FROM t");
        assert_eq!(
            count(&copy).unwrap(),
            "1500|2248500",
            "old engine: {}",
            engine.is_old
        );

        connection.execute("DELETE FROM t", ()).unwrap();
        let kept = copies.no_older_than(LONG * 1000).unwrap();
        assert_eq!(kept.path(), copy.path());
        assert_eq!(count(&kept).unwrap(), "1500|2248500");
        let fresh = copies.no_older_than(Duration::ZERO).unwrap();
        assert_eq!(count(&fresh).unwrap(), "0|None");
        assert_eq!(copies.latest().unwrap().path(), fresh.path());
        drop((copy, kept));
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1, "the one that is in use");
        drop((fresh, copies));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let missing = LocalCopies::new(&config.with_database("none"), folder.path());
        let error = missing.refresh().unwrap_err();
        assert_ne!(error.outcome(), Outcome::Unknown, "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    });
}

/// Writes through a pool while leaders change; every acknowledged write must be there.
fn counts_exactly(engine: &Engine, change: impl Fn(&StockCluster)) {
    let cluster = StockCluster::start(3, &engine.options).expect("a cluster");
    let config = config(&cluster.addresses());
    let pool = Pool::new(&config, Options::default().with_max(4)).expect("a pool");
    let table = "CREATE TABLE t (n INTEGER)";
    pool.execute(table, ()).expect("a table");
    let stop = AtomicBool::new(false);
    let [acknowledged, unknown] = [AtomicU64::new(0), AtomicU64::new(0)];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    match pool.execute("INSERT INTO t VALUES (1)", ()) {
                        Ok(_) => acknowledged.fetch_add(1, Ordering::SeqCst),
                        Err(error) if error.outcome() == Outcome::Unknown => {
                            unknown.fetch_add(1, Ordering::SeqCst)
                        }
                        Err(_) => 0,
                    };
                }
            });
        }
        let more = |than: u64| {
            let deadline = Instant::now() + LONG;
            while acknowledged.load(Ordering::SeqCst) < than + 20 {
                assert!(Instant::now() < deadline, "writes do not go on");
                thread::sleep(Duration::from_millis(5));
            }
        };
        more(0);
        change(&cluster);
        more(acknowledged.load(Ordering::SeqCst));
        stop.store(true, Ordering::SeqCst);
    });
    let row = pool.query_one("SELECT count(*) FROM t", ()).expect("a row");
    let stored = row.get::<i64>(0).expect("a number").unsigned_abs();
    let (acknowledged, unknown) = (acknowledged.into_inner(), unknown.into_inner());
    assert!(
        (acknowledged..=acknowledged + unknown).contains(&stored),
        "{acknowledged} acknowledged, {unknown} unknown, {stored} stored"
    );
}

#[test]
fn writes_are_counted_exactly_when_the_leader_dies() {
    counts_exactly(&modern(), |cluster| {
        let leader = cluster.wait_for_leader().unwrap();
        cluster.node(leader).kill().unwrap();
    });
}

#[test]
fn writes_are_counted_exactly_when_leadership_is_handed_over() {
    for engine in [modern(), old()] {
        counts_exactly(&engine, |cluster| {
            let mut admin = Admin::new(&config(&cluster.addresses()));
            admin.transfer(None).unwrap();
        });
    }
}
