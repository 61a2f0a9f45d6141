//! The Rust client on real nodes: what is kept prepared, given up, pipelined, run again.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dqlite::blocking::Connection;
use dqlite::{Config, ErrorKind, Outcome, Policy, Token};
use dqlite_testkit::Cluster;
use dqlite_testkit::cluster::await_that;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
const ENDLESS: &str = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                       SELECT count(*) FROM c";

fn config(cluster: &Cluster) -> Config {
    let config = Config::parse(&cluster.addresses().join(",")).unwrap();
    config.with_database("app").with_timeout(LONG)
}

/// A node, and a connection to it with a table.
fn one() -> (Cluster, Connection) {
    let cluster = Cluster::start(EXECUTABLE.as_ref(), 1).unwrap();
    let mut connection = Connection::open(&config(&cluster)).unwrap();
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)";
    connection.execute(table, ()).unwrap();
    (cluster, connection)
}

fn count(connection: &mut Connection) -> i64 {
    let row = connection.query_one("SELECT count(*) FROM t", ()).unwrap();
    row.get(0).unwrap()
}

#[test]
fn kept_statements_see_what_others_do_to_the_schema() {
    let (cluster, mut connection) = one();
    let mut other = Connection::open(&config(&cluster)).unwrap();
    connection
        .execute("INSERT INTO t VALUES (1, 'one')", ())
        .unwrap();
    let mut columns = || {
        let row = connection.query_one("SELECT * FROM t", ()).unwrap();
        row.columns().to_vec()
    };
    for _ in 0..3 {
        assert_eq!(columns(), ["id", "name"]);
    }
    other
        .execute("ALTER TABLE t ADD COLUMN age INTEGER DEFAULT 7", ())
        .unwrap();
    assert_eq!(columns(), ["id", "name", "age"]);
    other.execute("ALTER TABLE t DROP COLUMN name", ()).unwrap();
    assert_eq!(columns(), ["id", "age"]);
    other.execute("DROP TABLE t", ()).unwrap();
    other.execute("CREATE TABLE t (x)", ()).unwrap();
    other.execute("INSERT INTO t VALUES (1)", ()).unwrap();
    assert_eq!(columns(), ["x"]);
}

#[test]
fn many_rows_are_written_at_once_or_not_at_all() {
    let (_cluster, mut connection) = one();
    let insert = "INSERT INTO t VALUES (?, ?)";
    let sets = (0..10_000).map(|id| (id, format!("name {id}")));
    let many = connection.execute_many(insert, sets).unwrap();
    assert_eq!((many.executions, many.rows_affected), (10_000, 10_000));
    let sets = (0..5_000).map(|n| (if n == 3_000 { 1 } else { 20_000 + n }, "again"));
    let error = connection.execute_many(insert, sets).unwrap_err();
    assert_eq!(
        (error.index(), error.outcome()),
        (Some(3_000), Outcome::Refused)
    );
    assert_eq!(count(&mut connection), 10_000);

    let mut transaction = connection.transaction().unwrap();
    transaction
        .execute("DELETE FROM t WHERE id >= 100", ())
        .unwrap();
    let sets = [(200, "new"), (1, "taken"), (201, "new")];
    transaction.execute_many(insert, sets).unwrap_err();
    transaction.execute_many(insert, [(300, "new")]).unwrap();
    transaction.commit().unwrap();
    assert_eq!(count(&mut connection), 101);
}

#[test]
fn savepoints_are_undone_alone() {
    let (_cluster, mut connection) = one();
    let mut outer = connection.transaction().unwrap();
    outer
        .execute("INSERT INTO t VALUES (1, 'outer')", ())
        .unwrap();
    let mut inner = outer.transaction().unwrap();
    inner
        .execute("INSERT INTO t VALUES (2, 'undone')", ())
        .unwrap();
    drop(inner);
    let mut inner = outer.transaction().unwrap();
    inner
        .execute("INSERT INTO t VALUES (3, 'kept')", ())
        .unwrap();
    inner.commit().unwrap();
    outer.commit().unwrap();
    let ids: Vec<(i64,)> = connection
        .query_as("SELECT id FROM t ORDER BY id", ())
        .unwrap();
    assert_eq!(ids, [(1,), (3,)]);
    drop(connection.transaction().unwrap());
    assert_eq!(count(&mut connection), 2);
}

#[test]
fn rows_stream_and_may_be_left() {
    let (_cluster, mut connection) = one();
    let numbers = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 200000) \
                   SELECT n FROM c";
    let stream = connection.query_stream(numbers, ()).unwrap();
    let sum: i64 = stream.map(|row| row.unwrap().get::<i64>(0).unwrap()).sum();
    assert_eq!(sum, 200_000 * 200_001 / 2);
    let endless = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) \
                   SELECT n FROM c";
    let begun = Instant::now();
    let mut stream = connection.query_stream(endless, ()).unwrap();
    assert_eq!(stream.next().unwrap().unwrap().get::<i64>(0).unwrap(), 1);
    drop(stream);
    assert_eq!(count(&mut connection), 0);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[test]
fn a_statement_past_its_deadline_is_ended() {
    let (cluster, mut connection) = one();
    let begun = Instant::now();
    let error = connection.within(SHORT).query(ENDLESS, ()).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Refused)
    );
    assert!(!connection.is_lost(), "{error}");
    assert_eq!(count(&mut connection), 0);

    // A write: it did not happen, and the error says so.
    let write = format!("INSERT INTO t (name) {ENDLESS}");
    let error = connection.within(SHORT).execute(&write, ()).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Timeout, Outcome::Refused)
    );
    assert_eq!(count(&mut connection), 0);

    // In a transaction nothing of it is left, and nobody is kept waiting for its lock.
    let mut transaction = connection.transaction().unwrap();
    transaction
        .execute("INSERT INTO t VALUES (1, 'undone')", ())
        .unwrap();
    transaction.within(SHORT).execute(&write, ()).unwrap_err();
    assert_eq!(
        transaction.execute("DELETE FROM t", ()).unwrap_err().kind(),
        ErrorKind::Usage
    );
    drop(transaction);
    assert_eq!(count(&mut connection), 0);
    let mut other = Connection::open(&config(&cluster)).unwrap();
    other
        .execute("INSERT INTO t VALUES (2, 'two')", ())
        .unwrap();
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[test]
fn a_dropped_future_ends_its_statement() {
    let (cluster, _) = one();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let begun = Instant::now();
    runtime.block_on(async {
        let mut connection = dqlite::connect(&config(&cluster)).await.unwrap();
        for _ in 0..10 {
            let query = connection.query(ENDLESS, ());
            assert!(tokio::time::timeout(SHORT / 10, query).await.is_err());
            connection.query_one("SELECT 1", ()).await.unwrap();
        }
        assert!(!connection.is_lost());
    });
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}

#[test]
fn a_token_is_good_for_one_transaction() {
    let (_cluster, mut connection) = one();
    let token = Token::from("order 1");
    let mut order = || {
        connection.with_transaction_once(&token, |transaction| {
            transaction.execute("INSERT INTO t (name) VALUES ('order')", ())
        })
    };
    assert_eq!(order().unwrap().rows_affected, 1);
    let error = order().unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::AlreadyApplied, Outcome::Refused)
    );
    assert_eq!(count(&mut connection), 1);
    assert_eq!(connection.forget_tokens(LONG).unwrap(), 0);
    let error = connection.with_transaction(|transaction| {
        transaction.execute("DELETE FROM t", ())?;
        transaction.execute("no statement", ())
    });
    assert_eq!(error.unwrap_err().outcome(), Outcome::Refused);
    assert_eq!(count(&mut connection), 1);
}

/// A schema may say that a conflict ends the transaction: what follows then runs on its own, and
/// nobody is told.
#[test]
fn a_schema_that_rolls_back_is_not_taken_for_a_refusal() {
    let (_cluster, mut connection) = one();
    let strict = "CREATE TABLE strict (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)";
    connection.execute(strict, ()).unwrap();
    connection
        .execute("INSERT INTO strict VALUES (1)", ())
        .unwrap();
    let conflict = "INSERT INTO strict VALUES (1)";

    // The caller gives up: refused, nothing of it is left, and it ran once.
    let mut runs = 0;
    let error = connection.with_transaction(|transaction| {
        runs += 1;
        transaction.execute("INSERT INTO t VALUES (1, 'before')", ())?;
        transaction.execute(conflict, ())
    });
    let error = error.unwrap_err();
    assert_eq!((runs, error.outcome()), (1, Outcome::Refused), "{error}");
    assert_eq!(count(&mut connection), 0);

    // The caller goes on: what ran behind the conflict stays, so the commit must not say that
    // nothing happened, and nothing is run again.
    let mut runs = 0;
    let result = connection.with_transaction(|transaction| {
        runs += 1;
        transaction.execute("INSERT INTO t VALUES (2, 'before')", ())?;
        transaction.execute(conflict, ()).unwrap_err();
        transaction.execute("INSERT INTO t VALUES (3, 'behind')", ())
    });
    let error = result.unwrap_err();
    assert_eq!((runs, error.outcome()), (1, Outcome::Unknown), "{error}");
    assert_eq!(count(&mut connection), 1, "what came behind");

    // By hand, and with a conflict that rolls nothing back.
    let mut transaction = connection.transaction().unwrap();
    transaction
        .execute("INSERT INTO t VALUES (4, 'kept')", ())
        .unwrap();
    transaction
        .execute("INSERT INTO t VALUES (4, 'again')", ())
        .unwrap_err();
    transaction.commit().unwrap();
    let mut transaction = connection.transaction().unwrap();
    transaction
        .execute("INSERT INTO t VALUES (5, 'undone')", ())
        .unwrap();
    transaction.execute(conflict, ()).unwrap_err();
    let error = transaction.commit().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused, "{error}");
    assert_eq!(count(&mut connection), 2);
}

/// A frozen leader answers nobody, is replaced, and wakes up in the middle of what it was doing.
#[test]
fn tokens_tell_what_a_frozen_leader_did_not() {
    let cluster = Cluster::start(EXECUTABLE.as_ref(), 3).unwrap();
    let config = config(&cluster).with_timeout(Duration::from_secs(1));
    let mut connection = Connection::open(&config).unwrap();
    connection
        .execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", ())
        .unwrap();
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let more = |than: u64| {
        let now = || done.load(Ordering::SeqCst);
        let what = format!("more than {than} transactions");
        await_that(&what, || if now() > than { Ok(now()) } else { Err(now()) }).unwrap()
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let policy = Policy::default().with_attempts(1000).with_timeout(LONG * 3);
            while !stop.load(Ordering::SeqCst) {
                let token = Token::random();
                connection
                    .with_transaction_as(&policy, Some(&token), |transaction| {
                        transaction.execute("INSERT INTO t (name) VALUES ('x')", ())
                    })
                    .unwrap();
                done.fetch_add(1, Ordering::SeqCst);
            }
            connection
        });
        for _ in 0..3 {
            let before = more(done.load(Ordering::SeqCst));
            let leader = cluster.wait_for_leader().unwrap();
            cluster.pause(leader).unwrap();
            // One may have been answered before; the others go on without the frozen one.
            more(before + 2);
            cluster.resume(leader).unwrap();
            more(done.load(Ordering::SeqCst));
        }
        stop.store(true, Ordering::SeqCst);
        let mut connection = writer.join().unwrap();
        let rows = connection
            .query_linearizable("SELECT count(*) FROM t", ())
            .unwrap();
        let stored = rows[0].get::<i64>(0).unwrap().unsigned_abs();
        assert_eq!(stored, done.load(Ordering::SeqCst));
    });
}

#[test]
fn transactions_and_linearizable_reads_survive_killed_leaders() {
    let cluster = Cluster::start(EXECUTABLE.as_ref(), 3).unwrap();
    let config = config(&cluster).with_timeout(Duration::from_secs(5));
    let mut connection = Connection::open(&config).unwrap();
    connection
        .execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", ())
        .unwrap();
    for round in 1..=3 {
        let leader = cluster.wait_for_leader().unwrap();
        cluster.kill(leader).unwrap();
        let policy = Policy::default().with_attempts(100);
        let token = Token::random();
        connection
            .with_transaction_as(&policy, Some(&token), |transaction| {
                transaction.execute("INSERT INTO t (name) VALUES ('x')", ())
            })
            .unwrap();
        let rows = connection
            .query_linearizable("SELECT count(*) FROM t", ())
            .unwrap();
        assert_eq!(rows[0].get::<i64>(0).unwrap(), round);
        cluster.start_node(leader).unwrap();
        cluster.wait_for_voters(3).unwrap();
    }
}
