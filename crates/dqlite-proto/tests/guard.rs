//! What a gateway refuses, lets through and repairs.

mod support;

use dqlite_proto::frame::{Piece, Scanner};
use dqlite_proto::guard::{Abilities, Guard, Policy, Reply, Rows, Verdict};
use dqlite_proto::params::ParamsRef;
use dqlite_proto::slots::Slots;
use dqlite_proto::tuple::TupleCheck;
use dqlite_proto::{
    Bytes, Code, Failure, Header, NodeInfo, Params, Request, Response, Role, ServerClass, ValueRef,
    rows,
};
use support::{Block, blocks};

/// A guard, and the engine behind it, which answers as the test says.
struct Gate {
    guard: Guard,
}

impl Gate {
    fn new() -> Self {
        Self::with(Policy::default())
    }

    fn with(policy: Policy) -> Self {
        Self {
            guard: Guard::new(policy),
        }
    }

    fn open() -> Self {
        let mut gate = Self::new();
        gate.passes(&Request::open("g.db"));
        gate.answers(&Response::Db { id: 0 });
        gate
    }

    fn asks(&mut self, request: &Request<'_>) -> Verdict {
        self.asks_with(request, 0)
    }

    fn asks_with(&mut self, request: &Request<'_>, schema: u8) -> Verdict {
        let mut bytes = Vec::new();
        request.encode(schema, &mut bytes).expect("a request");
        self.sends(&bytes)
    }

    fn sends(&mut self, message: &[u8]) -> Verdict {
        let (header, body) = message.split_first_chunk().expect("a header");
        self.guard.request(Header::decode(*header), body)
    }

    fn passes(&mut self, request: &Request<'_>) {
        let verdict = self.asks(request);
        assert!(
            matches!(verdict, Verdict::Pass { .. }),
            "{request:?}: {verdict:?}"
        );
    }

    /// The code with which a request is refused.
    fn refuses(&mut self, request: &Request<'_>) -> u64 {
        match self.asks(request) {
            Verdict::Refuse(failure) => failure.code.0,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    fn answers(&mut self, response: &Response) -> Reply {
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        self.replies(&bytes)
    }

    fn replies(&mut self, message: &[u8]) -> Reply {
        let (header, body) = message.split_first_chunk().expect("a header");
        self.guard.reply(Header::decode(*header), body)
    }

    fn prepared(&mut self, id: u32, sql: &str) {
        self.passes(&Request::Prepare { sql });
        let reply = self.answers(&Response::Stmt {
            id,
            params: 0,
            tail: None,
        });
        assert_eq!(reply, Reply::Forward);
    }
}

fn exec_sql(sql: &str) -> Request<'_> {
    Request::ExecSql {
        sql,
        params: ParamsRef::NONE,
    }
}

fn query_sql(sql: &str) -> Request<'_> {
    Request::QuerySql {
        sql,
        params: ParamsRef::NONE,
    }
}

fn exec(statement: u32) -> Request<'static> {
    Request::Exec {
        statement,
        params: ParamsRef::NONE,
    }
}

fn query(statement: u32) -> Request<'static> {
    Request::Query {
        statement,
        params: ParamsRef::NONE,
    }
}

fn failure(code: u64, message: &str) -> Response {
    Response::Failure(Failure {
        code: Code(code),
        message: message.to_owned(),
    })
}

fn golden(name: &str) -> Block {
    blocks()
        .into_iter()
        .find(|block| block.name == name)
        .expect(name)
}

#[test]
fn captured_poison_is_refused_as_stated() {
    let mut count = 0;
    for block in blocks() {
        let stated = block.key("guard").to_owned();
        if stated.is_empty() || block.name == "bad/dead_statement" {
            continue;
        }
        let mut gate = Gate::new();
        if block.key("before") == "open/g" {
            gate = Gate::open();
        }
        // Some blocks hold two messages; only the first is the poison.
        let (header, _) = block.bytes.split_first_chunk().expect("a header");
        let header = Header::decode(*header);
        let whole = usize::try_from(header.body_bytes()).map_or(8, |body| body + 8);
        let message = block.bytes.get(..whole).unwrap_or(&block.bytes);
        let (code, closes) = match gate.sends(message) {
            Verdict::Refuse(failure) => (failure.code.0, false),
            Verdict::Close(failure) => (failure.code.0, true),
            other => panic!("{}: {other:?}", block.name),
        };
        let words = stated.strip_prefix("FAILURE ").expect("a stated failure");
        let (number, then) = words.split_once(", ").unwrap_or((words, ""));
        assert_eq!(code.to_string(), number, "{}", block.name);
        assert_eq!(closes, then == "close", "{}", block.name);
        count += 1;
    }
    assert!(count >= 15, "{count} blocks");
}

#[test]
fn everything_else_that_was_captured_passes() {
    // These are refused, or held back, for what they are.
    let refused = [
        "HEARTBEAT",
        "CONNECT",
        "FINALIZE",
        "EXEC",
        "QUERY",
        "(unknown)",
        "HANDSHAKE",
        "(several)",
    ];
    let texts = [
        "query_sql/tag9",
        "exec_sql/tag9",
        "cluster/v2",
        "open/second",
    ];
    for block in blocks()
        .into_iter()
        .filter(|block| block.key("dir") == "c2s")
    {
        let name = block.name.as_str();
        let mut gate = Gate::new();
        let long = name.starts_with("open/") && block.bytes.len() > 520;
        let known = refused.contains(&block.key("message")) || texts.contains(&name) || long;
        if known || block.keys.contains_key("guard") {
            continue;
        }
        let verdict = gate.sends(&block.bytes);
        assert!(
            matches!(verdict, Verdict::Pass { .. } | Verdict::Change),
            "{name}: {verdict:?}"
        );
    }
}

#[test]
fn names_that_harm_are_refused() {
    let names = [
        "",
        ":memory:",
        "file:x?mode=memory",
        "FILE:x",
        "a-wal",
        "a-journal",
        "a-shm",
    ];
    let long = "x".repeat(505);
    for name in names.into_iter().chain([long.as_str()]) {
        assert_eq!(Gate::new().refuses(&Request::open(name)), 1, "{name}");
        assert_eq!(Gate::new().refuses(&Request::Dump { name }), 1002, "{name}");
    }
    let mut gate = Gate::new();
    gate.passes(&Request::open(&"x".repeat(504)));
    assert_eq!(gate.refuses(&Request::open("other")), 5);
    gate.answers(&failure(14, "unable to open database file"));
    gate.passes(&Request::open("other"));
}

#[test]
fn dead_statement_ids_never_reach_the_engine() {
    let mut gate = Gate::open();
    gate.prepared(0, "SELECT 1");
    gate.prepared(1, "SELECT 2");
    gate.passes(&Request::Finalize { statement: 0 });
    for request in [
        exec(0),
        query(0),
        Request::Finalize { statement: 0 },
        exec(9),
    ] {
        assert_eq!(gate.refuses(&request), 12);
    }
    gate.passes(&exec(1));
}

#[test]
fn ids_wait_for_the_reply_that_gives_them_out() {
    let mut gate = Gate::open();
    gate.passes(&Request::Prepare { sql: "SELECT 1" });
    assert_eq!(gate.asks(&exec(0)), Verdict::Hold);
    gate.answers(&Response::Stmt {
        id: 0,
        params: 0,
        tail: None,
    });
    gate.passes(&exec(0));

    let mut gate = Gate::new();
    gate.passes(&Request::open("g.db"));
    assert_eq!(
        gate.asks(&Request::Finalize { statement: 0 }),
        Verdict::Hold
    );
    gate.answers(&Response::Db { id: 0 });
    assert_eq!(gate.refuses(&Request::Finalize { statement: 0 }), 12);
}

#[test]
fn a_session_that_is_lost_is_left_to_the_engine() {
    for (code, text) in [
        (10250, "not leader"),
        (10506, "x"),
        (12, "no database opened"),
    ] {
        let mut gate = Gate::open();
        gate.prepared(0, "SELECT 1");
        gate.passes(&exec_sql("x"));
        gate.answers(&failure(code, text));
        // The engine has no statements now and says so itself.
        gate.passes(&exec(7));
        gate.passes(&Request::open("g.db"));
    }
    // A statement that we interrupted leaves the others alive.
    let mut gate = Gate::open();
    gate.passes(&exec_sql("x"));
    gate.answers(&failure(9, "interrupted"));
    assert_eq!(gate.refuses(&exec(7)), 12);
}

#[test]
fn statements_that_wedge_are_refused_where_they_do() {
    let returning = "INSERT INTO t VALUES(1) RETURNING id";
    let optimize = "PRAGMA optimize";
    let mut gate = Gate::open();
    assert_eq!(gate.refuses(&exec_sql(returning)), 1);
    let script = format!("SELECT 1; {returning}");
    assert_eq!(gate.refuses(&exec_sql(&script)), 1);
    assert_eq!(gate.refuses(&query_sql(optimize)), 1);
    gate.passes(&query_sql(returning));
    gate.passes(&exec_sql(optimize));
    gate.passes(&exec_sql("INSERT INTO t VALUES('RETURNING id')"));
    let mut gate = Gate::open();
    gate.prepared(0, returning);
    gate.prepared(1, optimize);
    assert_eq!(gate.refuses(&exec(0)), 1);
    assert_eq!(gate.refuses(&query(1)), 1);
    gate.passes(&query(0));
    gate.passes(&exec(1));
    gate.passes(&Request::Finalize { statement: 0 });

    let mut old = Gate::with(Policy {
        class: ServerClass::C,
        ..Policy::default()
    });
    assert_eq!(old.refuses(&query_sql(returning)), 1);
}

#[test]
fn only_the_first_statement_of_a_prepare_with_tail_counts() {
    let sql = "SELECT 1; INSERT INTO t VALUES(1) RETURNING id";
    for (schema, refused) in [(1, false), (0, true)] {
        let mut gate = Gate::open();
        let verdict = gate.asks_with(&Request::Prepare { sql }, schema);
        assert!(matches!(verdict, Verdict::Pass { .. }));
        gate.answers(&Response::Stmt {
            id: 0,
            params: 0,
            tail: None,
        });
        assert_eq!(matches!(gate.asks(&exec(0)), Verdict::Refuse(_)), refused);
    }
}

#[test]
fn membership_is_checked_and_can_be_closed() {
    let mut gate = Gate::new();
    assert_eq!(
        gate.refuses(&Request::Add {
            id: 0,
            address: "a:1"
        }),
        1
    );
    assert_eq!(gate.refuses(&Request::Add { id: 2, address: "" }), 1);
    let changes = [
        Request::Add {
            id: 2,
            address: "a:1",
        },
        Request::Promote { id: 2 },
        Request::Assign {
            id: 2,
            role: Role::Spare,
        },
        Request::Remove { id: 2 },
        Request::Transfer { id: 0 },
    ];
    for change in changes {
        assert_eq!(gate.asks(&change), Verdict::Change, "{change:?}");
    }
    assert_eq!(gate.refuses(&Request::Describe { format: 1 }), 1005);
    assert_eq!(gate.refuses(&Request::Cluster { format: 2 }), 1005);
    assert_eq!(gate.refuses(&Request::Heartbeat { timestamp: 0 }), 1005);

    let mut closed = Gate::with(Policy {
        membership: false,
        ..Policy::default()
    });
    let asks = [
        Request::Add {
            id: 2,
            address: "a:1",
        },
        Request::Remove { id: 2 },
        Request::Transfer { id: 2 },
        Request::Weight { weight: 1 },
        Request::Dump { name: "app" },
    ];
    for request in asks {
        assert_eq!(closed.refuses(&request), 23, "{request:?}");
    }
    closed.passes(&Request::cluster());
    closed.passes(&Request::Leader);
}

#[test]
fn only_the_first_message_may_become_a_raft_stream() {
    let connect = Request::Connect {
        id: 2,
        address: "a:1",
    };
    let expected = Verdict::Connect {
        id: 2,
        address: "a:1".to_owned(),
    };
    assert_eq!(Gate::new().asks(&connect), expected);
    let mut gate = Gate::new();
    gate.passes(&Request::Leader);
    assert!(matches!(gate.asks(&connect), Verdict::Close(_)));
}

#[test]
fn a_head_is_enough_when_it_ends_behind_the_text() {
    let mut params = Params::new();
    params.push(ValueRef::Blob(&[1; 1000])).expect("a blob");
    let request = Request::ExecSql {
        sql: "INSERT INTO t VALUES(?)",
        params: params.as_ref(),
    };
    let mut bytes = Vec::new();
    request.encode(0, &mut bytes).expect("a request");
    let (header, body) = bytes.split_first_chunk().expect("a header");
    let header = Header::decode(*header);
    let mut gate = Gate::open();
    for cut in 0..40 {
        let verdict = gate.guard.request(header, &body[..cut]);
        assert_eq!(
            verdict,
            if cut < 32 {
                Verdict::More
            } else {
                Verdict::Pass { judged: 32 }
            }
        );
        if cut >= 32 {
            gate = Gate::open();
        }
    }
    // The rest is followed while it passes.
    for step in [1, 7, 8, 100, 2000] {
        let tuple = &body[32..];
        let mut check = TupleCheck::new(0, tuple.len() as u64);
        for piece in tuple.chunks(step) {
            check.feed(piece).expect("our own bytes");
        }
        check.finish().expect("our own bytes");
    }
}

#[test]
fn text_without_an_end_is_bounded() {
    let mut gate = Gate::with(Policy {
        sql_bytes_max: 64,
        ..Policy::default()
    });
    let header = Header {
        words: 1000,
        kind: 8,
        schema: 0,
    };
    assert_eq!(gate.guard.request(header, &[b'x'; 72]), Verdict::More);
    assert!(matches!(
        gate.guard.request(header, &[b'x'; 80]),
        Verdict::Refuse(_)
    ));
    let header = Header {
        words: 0x1000_0001,
        kind: 9,
        schema: 0,
    };
    assert!(matches!(gate.guard.request(header, &[]), Verdict::Close(_)));
}

#[test]
fn a_dump_that_does_not_fit_is_refused_with_advice() {
    let mut gate = Gate::open();
    let failed = failure(3, "failed to dump main database file");
    gate.passes(&Request::Dump { name: "test" });
    let Reply::Replace(failure) = gate.answers(&failed) else {
        panic!("it is told in other words");
    };
    assert_eq!(failure.code, Code::TOOBIG);
    assert!(failure.message.contains("max_reply_bytes"), "{failure}");
    gate.passes(&query_sql("SELECT 1"));
    assert_eq!(gate.answers(&failed), Reply::Forward);
}

#[test]
fn prefixed_failures_become_plain_and_the_mask_falls() {
    let mut gate = Gate::open();
    gate.passes(&query_sql("SELECT abs(a) FROM t"));
    let Reply::Replace(failure) = gate.replies(&golden("failure/prefix_two_rows").bytes) else {
        panic!("it is prefixed");
    };
    assert_eq!(
        (failure.code.0, failure.message.as_str()),
        (1, "integer overflow")
    );
    gate.passes(&query_sql("SELECT 1"));
    assert_eq!(
        gate.answers(&self::failure(1, "no such table: x")),
        Reply::Forward
    );

    let tail = self::failure(1, "nonempty statement tail");
    gate.passes(&query_sql("SELECT 1"));
    let Reply::Replace(failure) = gate.answers(&tail) else {
        panic!("it is masked")
    };
    assert_eq!(failure.code, Code::BUSY);
    gate.passes(&query_sql("SELECT 1; SELECT 2"));
    assert_eq!(gate.answers(&tail), Reply::Forward);
    gate.passes(&Request::Prepare {
        sql: "SELECT 1; SELECT 2",
    });
    assert_eq!(gate.answers(&tail), Reply::Forward);
}

#[test]
fn an_engine_that_knows_of_no_members_is_noticed_where_roles_are_asked_for() {
    let mut gate = Gate::new();
    let nobody = Response::Servers(Vec::new());
    let somebody = Response::Servers(vec![NodeInfo {
        id: 1,
        address: "h:1".to_owned(),
        role: Role::Voter,
    }]);
    for (format, reply, wanted) in [
        (1, &nobody, Reply::NoMembers),
        (1, &somebody, Reply::Forward),
        (0, &nobody, Reply::Forward),
    ] {
        gate.passes(&Request::Cluster { format });
        assert_eq!(gate.answers(reply), wanted, "{format}");
    }
}

#[test]
fn rows_are_followed_by_their_last_word() {
    let mut gate = Gate::open();
    gate.passes(&query_sql("SELECT 1"));
    assert_eq!(gate.guard.rows(rows::PART, false), Rows::Part);
    assert_eq!(gate.guard.rows(rows::PART, true), Rows::EmptyPart);
    assert_eq!(gate.guard.rows(7, false), Rows::Broken);
    assert_eq!(gate.guard.slots().owed_by_engine(), 1);
    assert_eq!(gate.guard.rows(rows::DONE, true), Rows::Done);
    assert!(gate.guard.slots().is_empty());
    assert_eq!(gate.guard.rows(rows::DONE, true), Rows::Broken);
    assert_eq!(gate.answers(&Response::Empty), Reply::Broken);
}

#[test]
fn local_replies_leave_in_their_turn() {
    let mut slots = Slots::default();
    slots.answer(Bytes::from_static(b"a"));
    assert_eq!(slots.due().as_deref(), Some(&b"a"[..]));
    slots.expect(1);
    slots.answer(Bytes::from_static(b"b"));
    slots.answer(Bytes::from_static(b"c"));
    slots.expect(2);
    assert_eq!(slots.due(), None);
    assert_eq!(slots.asked(), Some(&mut 1));
    assert_eq!(slots.settle(), Some(1));
    assert_eq!(slots.settle(), None, "b is due first");
    assert_eq!(slots.due().as_deref(), Some(&b"b"[..]));
    assert_eq!(slots.due().as_deref(), Some(&b"c"[..]));
    assert_eq!(slots.due(), None);
    assert_eq!((slots.len(), slots.owed_by_engine()), (1, 1));
    assert_eq!(slots.settle(), Some(2));
    assert!(slots.is_empty());
}

#[test]
fn captured_flights_can_be_followed_by_a_scanner() {
    let all = blocks();
    let replies: Vec<_> = all
        .iter()
        .filter(|block| block.key("dir") == "s2c")
        .collect();
    let wellformed = replies
        .iter()
        .filter(|block| block.key("message") != "(malformed)");
    let stream: Vec<u8> = wellformed.flat_map(|block| block.bytes.clone()).collect();
    for step in [1, 5, 8, 64, 4096] {
        let mut scanner = Scanner::replies(1 << 20);
        let mut again = Vec::new();
        for mut piece in stream.chunks(step) {
            while let Some(piece) = scanner.next(&mut piece).expect("captured bytes") {
                match piece {
                    Piece::Header(header) => again.extend_from_slice(&header.encode()),
                    Piece::Body { bytes, .. } => again.extend_from_slice(bytes),
                    Piece::Handshake(_) => panic!("servers send none"),
                }
            }
        }
        assert_eq!(again, stream);
    }
}

#[test]
fn what_an_engine_can_do_is_not_refused() {
    let mut gate = Gate::with(Policy {
        abilities: Abilities {
            exec_returning: true,
            query_optimize: true,
        },
        ..Policy::default()
    });
    gate.passes(&exec_sql("INSERT INTO t DEFAULT VALUES RETURNING id"));
    gate.passes(&query_sql("PRAGMA optimize"));
}

#[test]
fn what_the_gateway_asks_itself_is_no_answer_for_the_client() {
    let mut gate = Gate::new();
    gate.passes(&Request::open("g.db"));
    gate.guard.asks_itself();
    gate.passes(&Request::Leader);
    assert_eq!(gate.answers(&Response::Db { id: 0 }), Reply::Forward);
    assert_eq!(gate.answers(&failure(0, "empty statement")), Reply::Drop);
    assert!(gate.guard.revoke());
    assert!(!gate.guard.revoke());
    assert!(gate.guard.slots().is_empty());
}
