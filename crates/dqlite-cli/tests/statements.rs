//! Statements can be ended: by INTERRUPT, because their client is gone, and by their limit of time;
//! and nothing else suffers from it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::net::Shutdown;
use std::time::{Duration, Instant};

use dqlite::{Node, NodeBuilder};
use dqlite_proto::{Code, Request, ResponseKind};
use dqlite_testkit::raw::{Raw, exec, query};
use dqlite_testkit::{engine, ports};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");
const INTERRUPT: Request<'static> = Request::Interrupt;
const ENDLESS: &str = "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s) \
                       SELECT count(*) FROM s";
const ENDLESS_ROWS: &str = "WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s) \
                            SELECT x FROM s";
const ENDLESS_INSERT: &str = "INSERT INTO t(v) \
     WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s) SELECT x FROM s";
const ENDLESS_TABLE: &str = "CREATE TABLE u AS \
     WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s) SELECT x FROM s";
/// What a statement's end may take on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(5);

struct Served {
    node: Node,
    address: String,
    _directory: TempDir,
}

impl Served {
    fn start() -> Self {
        Self::start_with(|builder| builder)
    }

    fn start_with(options: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let directory = TempDir::new().unwrap();
        let address = ports::free_address().unwrap();
        let builder = Node::builder(address.clone(), directory.path().join("node"))
            .executable(EXECUTABLE)
            .engine(engine());
        let node = options(builder).start().unwrap();
        node.wait_ready(Duration::from_secs(30)).unwrap();
        let served = Self {
            node,
            address,
            _directory: directory,
        };
        served
            .open()
            .run("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
            .unwrap();
        served
    }

    fn open(&self) -> Raw {
        Raw::open(&self.address, "test").unwrap()
    }

    fn rows(&self) -> u64 {
        count(&mut self.open())
    }

    /// The same process serves, reads, writes, and stops in time.
    fn assert_unharmed(self, pid: Option<u32>) {
        let mut raw = self.open();
        raw.run("CREATE TABLE after(v)").unwrap();
        raw.run("INSERT INTO after(v) VALUES (1)").unwrap();
        assert_eq!(self.node.pid(), pid);
        self.node.stop().unwrap();
    }
}

/// `SELECT count(*) FROM t`, as the client sees it.
fn count(raw: &mut Raw) -> u64 {
    let reply = raw.ask(&query("SELECT count(*) FROM t")).unwrap();
    let (words, _) = reply.body.as_chunks::<8>();
    u64::from_le_bytes(words[words.len() - 2])
}

fn assert_interrupted(raw: &mut Raw) {
    let failure = raw.reply().unwrap().failure().unwrap();
    assert_eq!(failure.code, Code::INTERRUPT, "{failure}");
}

#[test]
fn an_interrupt_ends_what_runs_in_its_place_in_the_order_of_replies() {
    let served = Served::start();
    let pid = served.node.pid();
    let mut raw = served.open();
    for endless in [query(ENDLESS), exec(ENDLESS_INSERT), exec(ENDLESS_TABLE)] {
        raw.send(&[Request::Leader, endless]).unwrap();
        assert_eq!(raw.reply().unwrap().kind(), ResponseKind::SERVER);
        std::thread::sleep(Duration::from_millis(20));
        let began = Instant::now();
        raw.send(&[INTERRUPT, Request::Leader]).unwrap();
        assert_interrupted(&mut raw);
        assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
        assert_eq!(raw.reply().unwrap().kind(), ResponseKind::SERVER);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    raw.run("INSERT INTO t(v) VALUES (1)").unwrap();
    assert_eq!(count(&mut raw), 1);
    served.assert_unharmed(pid);
}

#[test]
fn half_of_all_interrupts_take_less_than_fifty_milliseconds() {
    let served = Served::start();
    let mut raw = served.open();
    let mut took: Vec<Duration> = (0..21)
        .map(|_| {
            raw.send(&[query(ENDLESS)]).unwrap();
            std::thread::sleep(Duration::from_millis(10));
            let began = Instant::now();
            raw.send(&[INTERRUPT]).unwrap();
            assert_interrupted(&mut raw);
            assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
            began.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[10] < Duration::from_millis(50), "{took:?}");
}

#[test]
fn an_interrupt_without_anything_to_end_touches_nothing() {
    let served = Served::start();
    let mut raw = served.open();
    for _ in 0..100 {
        raw.send(&[INTERRUPT, exec("INSERT INTO t(v) VALUES (1)"), INTERRUPT])
            .unwrap();
        assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
        let inserted = raw.reply().unwrap().code();
        assert!([0, Code::INTERRUPT.0].contains(&inserted), "{inserted}");
        assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
        // What comes behind an INTERRUPT is never its prey.
        raw.run("INSERT INTO t(v) VALUES (2)").unwrap();
    }
    assert!(count(&mut raw) >= 100);
}

#[test]
fn what_was_sent_before_an_interrupt_and_had_not_begun_does_nothing() {
    let served = Served::start();
    let mut raw = served.open();
    let insert = exec("INSERT INTO t(v) VALUES (1)");
    raw.send(&[
        query(ENDLESS),
        insert,
        insert,
        query(ENDLESS),
        INTERRUPT,
        insert,
    ])
    .unwrap();
    for _ in 0..4 {
        assert_interrupted(&mut raw);
    }
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::RESULT);
    assert_eq!(count(&mut raw), 1);
}

#[test]
fn an_interrupt_behind_requests_that_wait_for_their_ids_is_seen() {
    let served = Served::start();
    let mut raw = served.open();
    let prepared = raw.ask(&Request::Prepare {
        sql: "INSERT INTO t(v) VALUES (1)",
    });
    assert_eq!(prepared.unwrap().kind(), ResponseKind::STMT);
    let prepare = Request::Prepare { sql: "SELECT 1" };
    let run = Request::Exec {
        statement: 0,
        params: dqlite_proto::ParamsRef::NONE,
    };
    raw.send(&[query(ENDLESS), prepare, run, run, INTERRUPT])
        .unwrap();
    assert_interrupted(&mut raw);
    // Preparing may have come before.
    raw.reply().unwrap();
    assert_interrupted(&mut raw);
    assert_interrupted(&mut raw);
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
    assert_eq!(count(&mut raw), 0);
    raw.ask(&run).unwrap();
    assert_eq!(count(&mut raw), 1);
}

#[test]
fn an_interrupted_write_takes_its_transaction_back_and_lets_nothing_slip_behind_it() {
    let served = Served::start();
    let mut raw = served.open();
    raw.run("BEGIN").unwrap();
    raw.run("INSERT INTO t(v) VALUES (1)").unwrap();
    let behind = exec("INSERT INTO t(v) VALUES (2)");
    raw.send(&[exec(ENDLESS_INSERT), behind, INTERRUPT])
        .unwrap();
    assert_interrupted(&mut raw);
    assert_interrupted(&mut raw);
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
    assert!(raw.run("COMMIT").is_err(), "no transaction is left");
    assert_eq!(served.rows(), 0);
    raw.run("BEGIN").unwrap();
    raw.run("INSERT INTO t(v) VALUES (3)").unwrap();
    raw.send(&[query(ENDLESS), INTERRUPT]).unwrap();
    assert_interrupted(&mut raw);
    raw.reply().unwrap();
    raw.run("COMMIT").unwrap();
    assert_eq!(
        served.rows(),
        1,
        "a query that is ended leaves the transaction"
    );
}

#[test]
fn a_result_that_nobody_reads_on_is_ended_between_its_messages() {
    let served = Served::start();
    let pid = served.node.pid();
    let mut raw = served.open();
    raw.send(&[query(ENDLESS_ROWS)]).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    raw.send(&[INTERRUPT]).unwrap();
    assert_interrupted(&mut raw);
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::EMPTY);
    assert_eq!(count(&mut raw), 0);
    served.assert_unharmed(pid);
}

#[test]
fn statements_of_clients_that_vanish_are_ended() {
    let served = Served::start();
    let pid = served.node.pid();
    let endless = [
        query(ENDLESS),
        query(ENDLESS_ROWS),
        exec(ENDLESS_INSERT),
        exec(ENDLESS_TABLE),
    ];
    for statement in endless {
        let mut raw = served.open();
        raw.send(&[statement]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        raw.stream().shutdown(Shutdown::Both).unwrap();
    }
    // The writers' lock is free as soon as they are ended; the busy timeout is 5 s.
    let began = Instant::now();
    served.open().run("INSERT INTO t(v) VALUES (1)").unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(served.rows(), 1);
    served.assert_unharmed(pid);
}

#[test]
fn a_client_that_vanishes_behind_a_long_flight_is_noticed() {
    let served = Served::start();
    let mut raw = served.open();
    let long = format!("SELECT '{}'", "x".repeat(50_000));
    // More than the engine's socket and the gateway take while the first statement runs.
    raw.send(&[exec(ENDLESS_INSERT)]).unwrap();
    raw.send(&[query(&long); 8]).unwrap();
    drop(raw);
    let began = Instant::now();
    served.open().run("INSERT INTO t(v) VALUES (1)").unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn twenty_endless_queries_whose_clients_vanish_do_not_slow_another_client() {
    let served = Served::start();
    let mut other = served.open();
    let mut clients: Vec<Raw> = (0..20).map(|_| served.open()).collect();
    for client in &mut clients {
        client.send(&[query(ENDLESS)]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    drop(clients);
    std::thread::sleep(Duration::from_secs(1));
    let mut took: Vec<Duration> = (0..51)
        .map(|_| {
            let began = Instant::now();
            other.ask(&query("SELECT 1")).unwrap();
            began.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[25] < Duration::from_millis(10), "{took:?}");
}

#[test]
fn a_statement_ends_at_its_limit_of_time_and_says_so() {
    let served = Served::start_with(|builder| builder.option("statement_timeout", 0.2));
    let pid = served.node.pid();
    let mut raw = served.open();
    for endless in [query(ENDLESS), exec(ENDLESS_INSERT), exec(ENDLESS_TABLE)] {
        let began = Instant::now();
        raw.send(&[endless]).unwrap();
        let failure = raw.reply().unwrap().failure().unwrap();
        let took = began.elapsed();
        assert_eq!(failure.code, Code::INTERRUPT, "{failure}");
        assert!(failure.message.contains("statement_timeout"), "{failure}");
        assert!(failure.message.contains("0.2 s"), "{failure}");
        assert!(
            took >= Duration::from_millis(150) && took < SOON,
            "{took:?}"
        );
    }
    raw.run("INSERT INTO t(v) VALUES (1)").unwrap();
    // A transaction may last longer than any of its statements.
    raw.run("BEGIN").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    raw.run("INSERT INTO t(v) VALUES (2)").unwrap();
    raw.run("COMMIT").unwrap();
    assert_eq!(served.rows(), 2);
    served.assert_unharmed(pid);
}

#[test]
fn a_stop_does_not_wait_for_endless_statements() {
    let served = Served::start();
    let mut clients: Vec<Raw> = (0..4).map(|_| served.open()).collect();
    for client in &mut clients {
        client.send(&[query(ENDLESS)]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    let stopped = served.node.stop().unwrap();
    assert!(!stopped.killed, "{stopped:?}");
}
