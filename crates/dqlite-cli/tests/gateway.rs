//! The gateway before a real engine: what it refuses, in which order, and what it does to clients
//! that are slow, silent or too many.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use std::time::{Duration, Instant};

use dqlite::{Node, NodeBuilder};
use dqlite_proto::{Capabilities, Code, Params, Request, Response, ResponseKind, Role, ValueRef};
use dqlite_testkit::cluster::await_that;
use dqlite_testkit::raw::{Raw, encode, exec, query};
use dqlite_testkit::{ask, engine, ports};
use tempfile::TempDir;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_dqlite");

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
        Self {
            node,
            address,
            _directory: directory,
        }
    }

    fn open(&self) -> Raw {
        Raw::open(&self.address, "test").unwrap()
    }

    fn is_serving(&self) -> bool {
        ask::leader(&self.address).is_ok_and(|leader| leader.is_some())
    }
}

fn kinds(raw: &mut Raw, count: usize) -> Vec<(ResponseKind, u64)> {
    (0..count)
        .map(|_| {
            let reply = raw.reply().unwrap();
            (reply.kind(), reply.code())
        })
        .collect()
}

#[test]
fn refusals_keep_their_places_among_the_replies_of_the_engine() {
    let served = Served::start();
    let mut raw = Raw::dial(&served.address).unwrap();
    let memory = Request::Open {
        name: ":memory:",
        flags: 0,
        vfs: "",
    };
    let dead = Request::Finalize { statement: 7 };
    raw.send(&[
        Request::Leader,
        memory,
        Request::open("test"),
        Request::open("test"),
        exec("CREATE TABLE t(v)"),
        dead,
        query("SELECT 1"),
        Request::Describe { format: 1 },
        Request::Leader,
    ])
    .unwrap();
    let expected = [
        (ResponseKind::SERVER, 0),
        (ResponseKind::FAILURE, Code::ERROR.0),
        (ResponseKind::DB, 0),
        (ResponseKind::FAILURE, Code::BUSY.0),
        (ResponseKind::RESULT, 0),
        (ResponseKind::FAILURE, Code::NOTFOUND.0),
        (ResponseKind::ROWS, 0),
        (ResponseKind::FAILURE, Code::DQLITE_PARSE.0),
        (ResponseKind::SERVER, 0),
    ];
    assert_eq!(kinds(&mut raw, expected.len()), expected);
}

#[test]
fn many_refusals_and_replies_in_one_flight_come_in_order() {
    let served = Served::start();
    let mut raw = served.open();
    let flight: Vec<Request<'_>> = (0..600)
        .map(|index| match index % 3 {
            0 => query("SELECT 1"),
            1 => Request::open("test"),
            _ => Request::Leader,
        })
        .collect();
    raw.send(&flight).unwrap();
    for index in 0..flight.len() {
        let kind = raw.reply().unwrap().kind();
        let expected = [
            ResponseKind::ROWS,
            ResponseKind::FAILURE,
            ResponseKind::SERVER,
        ];
        assert_eq!(kind, expected[index % 3], "reply {index}");
    }
}

#[test]
fn a_message_that_is_none_is_answered_and_closes_behind_the_replies_before_it() {
    let served = Served::start();
    let empty = [0; 8];
    let mut huge = [0; 8];
    huge[..4].copy_from_slice(&0x1000_0001_u32.to_le_bytes());
    for (message, code) in [(empty, Code::DQLITE_PARSE), (huge, Code::ERROR)] {
        let mut raw = served.open();
        let mut bytes = encode(&[query("SELECT 1")]);
        bytes.extend(message);
        raw.send_bytes(&bytes).unwrap();
        assert_eq!(raw.reply().unwrap().kind(), ResponseKind::ROWS);
        assert_eq!(raw.reply().unwrap().code(), code.0);
        assert!(raw.is_closed().unwrap());
    }
    assert!(served.is_serving());
}

#[test]
fn the_gateway_says_what_it_can_do() {
    let served = Served::start();
    let mut raw = Raw::dial(&served.address).unwrap();
    let reply = raw.ask(&Request::Client { id: 1 }).unwrap();
    let Response::Welcome {
        heartbeat_timeout_ms,
    } = reply.decode().unwrap()
    else {
        panic!("{reply:?}");
    };
    assert_eq!(
        Capabilities::from_welcome(heartbeat_timeout_ms),
        Capabilities::OURS
    );
}

#[test]
fn large_parameters_and_results_pass_in_both_directions() {
    let served = Served::start();
    let mut raw = served.open();
    raw.run("CREATE TABLE b(v)").unwrap();
    let blob: Vec<u8> = (0..10_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let mut params = Params::new();
    params.push(ValueRef::Blob(&blob)).unwrap();
    let insert = Request::ExecSql {
        sql: "INSERT INTO b(v) VALUES (?)",
        params: params.as_ref(),
    };
    let equal = Request::QuerySql {
        sql: "SELECT count(*) FROM b WHERE v = ?",
        params: params.as_ref(),
    };
    raw.send(&[insert, equal, query("SELECT v FROM b"), Request::Leader])
        .unwrap();
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::RESULT);
    let counted = raw.reply().unwrap();
    let (words, _) = counted.body.as_chunks::<8>();
    assert_eq!(u64::from_le_bytes(words[words.len() - 2]), 1);
    let rows = raw.reply().unwrap();
    assert_eq!((rows.kind(), rows.code()), (ResponseKind::ROWS, 0));
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::SERVER);
}

/// A query with as many parameters as asked for, in schema 1.
fn with_parameters(sql: &str, count: usize) -> Vec<u8> {
    let sql = sql.replace("...", &",?".repeat(count - 1));
    let mut params = Params::new();
    for _ in 0..count {
        params.push(ValueRef::Integer(7)).unwrap();
    }
    let params = params.as_ref();
    let mut bytes = Vec::new();
    let request = Request::QuerySql { sql: &sql, params };
    request.encode(1, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_hundred_thousand_parameters_are_bound_or_refused_in_order() {
    let served = Served::start();
    let mut raw = served.open();
    let bound = with_parameters("SELECT 1 WHERE 7 IN (?...)", 100_000);
    let refused = with_parameters("SELECT ?...", 100_000);
    for flight in [bound, refused, encode(&[Request::Leader])] {
        raw.send_bytes(&flight).unwrap();
    }
    let expected = [
        (ResponseKind::ROWS, 0),
        (ResponseKind::FAILURE, Code::ERROR.0),
        (ResponseKind::SERVER, 0),
    ];
    assert_eq!(kinds(&mut raw, expected.len()), expected);
}

#[test]
fn a_large_request_that_turns_out_malformed_is_never_completed() {
    let served = Served::start();
    let mut raw = served.open();
    raw.run("CREATE TABLE b(v)").unwrap();
    let blob = vec![7; 1_000_000];
    let mut params = Params::new();
    params.push(ValueRef::Blob(&blob)).unwrap();
    params.push(ValueRef::Integer(1)).unwrap();
    let mut bytes = encode(&[
        Request::Leader,
        Request::ExecSql {
            sql: "INSERT INTO b(v) VALUES (?)",
            params: params.as_ref(),
        },
    ]);
    // The blob's length now leads past the end.
    let length = 1_000_000_u64.to_le_bytes();
    let at = bytes.windows(8).position(|seen| seen == length).unwrap();
    bytes[at..at + 8].copy_from_slice(&999_000_u64.to_le_bytes());
    raw.send_bytes(&bytes).unwrap();
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::SERVER);
    assert_eq!(raw.reply().unwrap().code(), Code::DQLITE_PARSE.0);
    let reply = served.open().ask(&query("SELECT v FROM b")).unwrap();
    assert!(reply.body.len() < 100, "nothing was stored");
}

#[test]
fn who_does_not_shake_hands_is_not_kept() {
    let served = Served::start_with(|builder| builder.option("handshake_timeout", 0.3));
    let began = Instant::now();
    let mut silent = Raw::silent(&served.address).unwrap();
    let mut half = Raw::silent(&served.address).unwrap();
    half.send_bytes(&[1, 0, 0]).unwrap();
    let mut wrong = Raw::silent(&served.address).unwrap();
    wrong.send_bytes(&[9; 8]).unwrap();
    assert!(wrong.is_closed().unwrap());
    assert!(silent.is_closed().unwrap() && half.is_closed().unwrap());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(served.is_serving());
}

#[test]
fn more_connections_than_allowed_are_closed_and_room_is_given_back() {
    let served = Served::start_with(|builder| builder.option("max_connections", 4));
    let mut clients: Vec<Raw> = (0..4).map(|_| served.open()).collect();
    let mut fifth = Raw::silent(&served.address).unwrap();
    assert!(fifth.is_closed().unwrap());
    clients.pop();
    await_that("room for a connection", || {
        let mut raw = Raw::dial(&served.address)?;
        raw.ask(&Request::Leader)
    })
    .unwrap();
}

#[test]
fn half_a_request_and_silence_are_closed_after_their_limits() {
    let served = Served::start_with(|builder| {
        builder
            .option("progress_timeout", 0.3)
            .option("idle_timeout", 1.0)
    });
    let mut half = served.open();
    let mut silent = served.open();
    let began = Instant::now();
    let bytes = encode(&[query("SELECT 1")]);
    half.send_bytes(&bytes[..bytes.len() - 1]).unwrap();
    assert!(half.is_closed().unwrap());
    assert!(silent.is_closed().unwrap());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_transaction_left_open_is_closed_and_taken_back() {
    let served = Served::start_with(|builder| builder.option("idle_in_transaction_timeout", 0.3));
    let mut holder = served.open();
    let mut idle = served.open();
    holder.run("CREATE TABLE t(v)").unwrap();
    holder.run("BEGIN IMMEDIATE").unwrap();
    holder.run("INSERT INTO t(v) VALUES (1)").unwrap();
    // It waits for the lock in the engine's queue, for at most 5 s.
    idle.run("INSERT INTO t(v) VALUES (2)").unwrap();
    assert!(holder.is_closed().unwrap());
    let reply = idle.ask(&query("SELECT v FROM t")).unwrap();
    assert_eq!(reply.body.len(), 8 + 8 + 16 + 8, "one row: {reply:?}");
}

#[test]
fn too_much_sql_and_too_large_requests_are_refused_by_name() {
    let served = Served::start_with(|builder| builder.option("max_frame_bytes", 8 << 20));
    let mut raw = served.open();
    let long = format!("SELECT '{}'", "x".repeat(5 << 20));
    raw.send(&[query(&long), Request::Leader]).unwrap();
    let failure = raw.reply().unwrap().failure().unwrap();
    assert!(failure.message.contains("too long"), "{failure}");
    assert_eq!(raw.reply().unwrap().kind(), ResponseKind::SERVER);
    let longer = format!("SELECT '{}'", "x".repeat(9 << 20));
    // The node closes while this is still being written.
    let _ = raw.send(&[query(&longer)]);
    let refused = raw.reply();
    assert!(refused.map_or(true, |reply| reply.code() == Code::ERROR.0));
    assert!(served.is_serving());
}

#[test]
fn a_database_and_a_row_over_the_limit_are_refused_and_nothing_else() {
    let served = Served::start_with(|builder| {
        builder
            .option("max_reply_bytes", 64 << 20)
            .option("max_frame_bytes", 1 << 20)
    });
    let pid = served.node.pid();
    let mut raw = served.open();
    raw.run("CREATE TABLE b(x)").unwrap();
    let dump = Request::Dump { name: "test" };
    for _ in 0..2 {
        let reply = Raw::dial(&served.address).unwrap().ask(&dump).unwrap();
        assert!(reply.body.len() < 64 << 20);
        raw.run("INSERT INTO b VALUES (zeroblob(34000000))")
            .unwrap();
    }
    let mut dumping = Raw::dial(&served.address).unwrap();
    dumping.send(&[dump, Request::Leader]).unwrap();
    let failure = dumping.reply().unwrap().failure().unwrap();
    assert_eq!(failure.code, Code::TOOBIG);
    assert!(failure.message.contains("max_reply_bytes"), "{failure}");
    assert_eq!(dumping.reply().unwrap().kind(), ResponseKind::SERVER);
    let row = query("SELECT x, x, x FROM b LIMIT 1");
    assert!(raw.ask(&row).is_err());
    // A result of many messages is as long as it likes.
    let rows = query("SELECT x FROM b, (VALUES (1), (2), (3))");
    assert!(raw.ask(&rows).unwrap().messages >= 6);
    raw.run("INSERT INTO b VALUES (1)").unwrap();
    assert_eq!(served.node.pid(), pid);
    let status = served.node.status(Duration::from_secs(10)).unwrap();
    assert_eq!(status["guard"]["dump"], 1);
}

#[test]
fn the_last_voter_stays_one() {
    let served = Served::start();
    let member = ask::members(&served.address).unwrap().remove(0);
    let mut raw = served.open();
    let spare = Request::Assign {
        id: member.id,
        role: Role::Spare,
    };
    let add = |id, address| Request::Add { id, address };
    raw.send(&[
        Request::Leader,
        spare,
        Request::Remove { id: member.id },
        add(0, "127.0.0.1:9"),
        add(7, ""),
        add(7, "@nowhere"),
        Request::Leader,
    ])
    .unwrap();
    let codes: Vec<u64> = kinds(&mut raw, 7)
        .into_iter()
        .map(|(_, code)| code)
        .collect();
    assert_eq!(codes, [0, 1, 1, 1, 1, 1, 0]);
    raw.run("CREATE TABLE t(v)").unwrap();
    assert!(served.is_serving());
    served.node.stop().unwrap();
}

#[test]
fn a_member_of_another_cluster_is_not_added() {
    let served = Served::start();
    let other = Served::start();
    let mut raw = Raw::dial(&served.address).unwrap();
    let add = Request::Add {
        id: 77,
        address: &other.address,
    };
    let refused = raw.ask(&add).unwrap_err().to_string();
    assert!(refused.contains("another cluster"), "{refused}");
    assert_eq!(ask::members(&served.address).unwrap().len(), 1);
}

#[test]
fn a_stranger_opens_no_stream_between_nodes() {
    let served = Served::start();
    let own = ask::members(&served.address).unwrap().remove(0);
    for (id, address) in [(5, "127.0.0.1:1"), (own.id + 1, own.address.as_str())] {
        let mut raw = Raw::dial(&served.address).unwrap();
        raw.send(&[Request::Connect { id, address }]).unwrap();
        // Entries of a later term: the engine would follow whoever sends them.
        let words = [1_u64, 40, 200, 0, 0, 0, 0];
        let entries: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let _ = raw.send_bytes(&entries);
        assert!(raw.is_closed().unwrap_or(true));
    }
    let mut late = served.open();
    late.send(&[Request::Connect {
        id: own.id,
        address: &own.address,
    }])
    .unwrap();
    assert_eq!(late.reply().unwrap().code(), Code::DQLITE_PARSE.0);
    assert!(served.is_serving());
}
