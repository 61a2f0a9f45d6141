//! Stories of one connection.

mod support;

use std::sync::Arc;

use dqlite_proto::{
    Abandoned, Code, Columns, Event, Failure, Header, Limits, Params, ParamsRef, Progress,
    ProtocolError, Request, RequestKind, Response, RowsFrame, ServerClass, Session, Ticket,
    ValueRef, Violation,
};
use support::{Block, blocks};

const SELECT: Request<'static> = Request::QuerySql {
    sql: "SELECT 1",
    params: ParamsRef::NONE,
};
const INSERT: Request<'static> = Request::ExecSql {
    sql: "INSERT INTO t VALUES(1)",
    params: ParamsRef::NONE,
};

/// A session and the server at its other end, which answers what the test tells it to.
struct Story {
    session: Session,
    received: Vec<u8>,
}

impl Story {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self {
            session: Session::new(limits),
            received: Vec::new(),
        }
    }

    /// A connection with an open database and nothing outstanding.
    fn open() -> Self {
        let mut story = Self::new();
        story.ask(&Request::open("app"));
        story.send();
        story.answer(&Response::Db { id: 0 });
        assert!(story.session.is_open());
        story
    }

    fn ask(&mut self, request: &Request<'_>) -> Ticket {
        self.session
            .queue(request)
            .unwrap_or_else(|violation| panic!("{violation}"))
    }

    /// The driver's side of sending: everything.
    fn send(&mut self) {
        self.received.extend_from_slice(self.session.output());
        let all = self.session.output().len();
        self.session.sent(all);
    }

    /// The requests that the server has received whole, without the handshake.
    fn seen(&self) -> Vec<RequestKind> {
        let mut kinds = Vec::new();
        let mut rest = &self.received[8..];
        while let Some((header, behind)) = rest.split_first_chunk() {
            let header = Header::decode(*header);
            let body = usize::try_from(header.body_bytes()).expect("small");
            let Some(next) = behind.get(body..) else {
                break;
            };
            kinds.push(RequestKind(header.kind));
            rest = next;
        }
        kinds
    }

    /// The server writes a reply.
    fn reply(&mut self, response: &Response) {
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        self.session.input().extend_from_slice(&bytes);
    }

    fn answer(&mut self, response: &Response) -> Vec<Event> {
        self.reply(response);
        self.events()
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.session.event().expect("a server that keeps the rules") {
            events.push(event);
        }
        events
    }

    /// Prepares a statement with that id and number of parameters.
    fn prepare(&mut self, id: u32, params: u64) {
        self.ask(&Request::Prepare { sql: "x" });
        self.send();
        self.answer(&Response::Stmt {
            id,
            params,
            tail: None,
        });
        assert_eq!(self.session.statement(id), Some(params));
    }
}

fn rows(values: &[i64], done: bool) -> Response {
    let columns = Arc::new(Columns::new(&["a"]));
    let rows: Vec<_> = values
        .iter()
        .map(|value| vec![ValueRef::Integer(*value)])
        .collect();
    Response::Rows(RowsFrame::build(columns, &rows, done))
}

fn failure(code: u64, message: &str) -> Response {
    Response::Failure(Failure {
        code: Code(code),
        message: message.to_owned(),
    })
}

fn result() -> Response {
    Response::Result {
        last_insert_id: 1,
        rows_affected: 1,
    }
}

fn shape(event: &Event) -> (Ticket, &'static str) {
    match event {
        Event::Reply { ticket, .. } => (*ticket, "reply"),
        Event::Rows {
            ticket, done: true, ..
        } => (*ticket, "rows, done"),
        Event::Rows {
            ticket,
            done: false,
            ..
        } => (*ticket, "rows"),
        Event::Failed { ticket, .. } => (*ticket, "failed"),
    }
}

fn shapes(events: &[Event]) -> Vec<(Ticket, &'static str)> {
    events.iter().map(shape).collect()
}

#[test]
fn the_output_begins_with_the_handshake() {
    let session = Session::new(Limits::default());
    assert_eq!(session.output(), [1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(!session.is_idle());
}

#[test]
fn replies_find_their_requests_in_order() {
    let mut story = Story::new();
    let tickets = [
        story.ask(&Request::Leader),
        story.ask(&Request::open("app")),
        story.ask(&SELECT),
        story.ask(&INSERT),
    ];
    story.send();
    story.reply(&Response::Server {
        id: 1,
        address: "a:1".into(),
    });
    story.reply(&Response::Db { id: 0 });
    story.reply(&rows(&[1, 2], false));
    story.reply(&rows(&[3], true));
    story.reply(&failure(5, "database is locked"));
    let expected = [
        (tickets[0], "reply"),
        (tickets[1], "reply"),
        (tickets[2], "rows"),
        (tickets[2], "rows, done"),
        (tickets[3], "failed"),
    ];
    assert_eq!(shapes(&story.events()), expected);
    assert!(story.session.is_idle());
}

#[test]
fn replies_may_arrive_byte_by_byte() {
    let mut bytes = Vec::new();
    rows(&[1, 2], false).encode(&mut bytes);
    rows(&[], true).encode(&mut bytes);
    result().encode(&mut bytes);
    let run = |step: usize| {
        let mut story = Story::open();
        story.ask(&SELECT);
        story.ask(&INSERT);
        story.send();
        let mut events = Vec::new();
        for piece in bytes.chunks(step) {
            story.session.input().extend_from_slice(piece);
            events.extend(story.events());
        }
        events
    };
    let whole = run(bytes.len());
    assert_eq!(whole.len(), 3);
    for step in [1, 3, 7, 8, 9, 16] {
        assert_eq!(run(step), whole);
    }
}

#[test]
fn names_are_parsed_once_for_a_result_and_for_the_next_like_it() {
    let mut story = Story::open();
    story.ask(&SELECT);
    story.ask(&SELECT);
    story.send();
    story.reply(&rows(&[1], false));
    story.reply(&rows(&[2], true));
    story.reply(&rows(&[3], true));
    let columns: Vec<_> = story
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Rows { frame, .. } => Arc::clone(frame.columns()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(columns.iter().all(|other| Arc::ptr_eq(&columns[0], other)));
}

#[test]
fn names_that_change_within_a_result_end_the_connection() {
    let mut story = Story::open();
    story.ask(&SELECT);
    story.send();
    story.answer(&rows(&[1], false));
    let columns = Arc::new(Columns::new(&["b"]));
    story.reply(&Response::Rows(RowsFrame::build(columns, &[], true)));
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::Malformed { .. })
    ));
    assert_eq!(story.session.event(), Err(ProtocolError::Lost));
    assert_eq!(story.session.queue(&SELECT), Err(Violation::Lost));
}

#[test]
fn a_failure_may_follow_rows() {
    let mut story = Story::open();
    let ticket = story.ask(&SELECT);
    let next = story.ask(&SELECT);
    story.send();
    story.reply(&rows(&[1], false));
    let prefixed = golden("failure/prefix_two_rows");
    story.session.input().extend_from_slice(&prefixed.bytes);
    story.reply(&rows(&[], true));
    let events = story.events();
    assert_eq!(
        shapes(&events),
        [(ticket, "rows"), (ticket, "failed"), (next, "rows, done")]
    );
    let Event::Failed { failure, .. } = &events[1] else {
        panic!("{events:?}")
    };
    assert_eq!(failure.to_string(), "integer overflow (SQLITE_ERROR, 1)");
}

#[test]
fn an_empty_part_is_told_apart_so_that_the_socket_can_be_parked() {
    let mut story = Story::open();
    let ticket = story.ask(&SELECT);
    story.send();
    story.reply(&rows(&[], false));
    assert_eq!(story.session.event(), Err(ProtocolError::EmptyPart));
    assert_eq!(story.session.lose(), [(ticket, Progress::Sent)]);
}

#[test]
fn a_closing_server_may_end_a_query_with_empty() {
    let mut story = Story::open();
    let ticket = story.ask(&SELECT);
    story.send();
    let events = story.answer(&Response::Empty);
    assert_eq!(shapes(&events), [(ticket, "failed")]);
    assert!(story.session.is_lost());
}

#[test]
fn a_reply_of_the_wrong_kind_ends_the_connection() {
    let mut story = Story::open();
    story.ask(&INSERT);
    story.send();
    story.reply(&rows(&[1], true));
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::Unexpected { .. })
    ));
    assert!(story.session.is_lost());

    let mut story = Story::open();
    story.reply(&Response::Empty);
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::Unsolicited(_))
    ));
}

#[test]
fn a_reply_out_of_place_is_refused_by_its_header() {
    // A dump may be large, but only where one was asked for.
    let dump = Header {
        words: 1 << 20,
        kind: 9,
        schema: 0,
    }
    .encode();
    let mut story = Story::with(Limits {
        reply_bytes_max: 4096,
        ..Limits::default()
    });
    story.ask(&Request::Dump { name: "app" });
    story.ask(&Request::Leader);
    story.send();
    story.session.input().extend_from_slice(&dump);
    assert_eq!(story.session.event(), Ok(None));
    let mut story = Story::open();
    story.ask(&SELECT);
    story.send();
    story.session.input().extend_from_slice(&dump);
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::Unexpected { .. })
    ));
    let mut story = Story::open();
    story.session.input().extend_from_slice(&dump);
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::Unsolicited(_))
    ));
}

#[test]
fn an_unsent_request_can_be_taken_back() {
    let mut story = Story::open();
    let first = story.ask(&INSERT);
    let second = story.ask(&SELECT);
    let third = story.ask(&INSERT);
    assert_eq!(story.session.abandon(second), Abandoned::NotSent);
    assert_eq!(story.session.abandon(second), Abandoned::Gone);
    story.send();
    let open_and = [
        RequestKind::OPEN,
        RequestKind::EXEC_SQL,
        RequestKind::EXEC_SQL,
    ];
    assert_eq!(story.seen(), open_and);
    story.reply(&result());
    story.reply(&result());
    assert_eq!(
        shapes(&story.events()),
        [(first, "reply"), (third, "reply")]
    );
}

#[test]
fn a_partly_sent_request_that_is_given_up_is_never_completed() {
    let mut story = Story::open();
    let first = story.ask(&SELECT);
    story.send();
    let second = story.ask(&INSERT);
    let third = story.ask(&INSERT);
    let part = story.session.output()[..9].to_vec();
    story.received.extend_from_slice(&part);
    story.session.sent(9);
    assert_eq!(story.session.progress(second), Some(Progress::Partial));
    assert_eq!(story.session.progress(third), Some(Progress::Unsent));
    assert_eq!(story.session.abandon(second), Abandoned::Cut);
    assert_eq!(story.session.progress(second), None);
    assert!(story.session.is_cut() && story.session.is_lost());
    assert_eq!(story.session.output(), [], "nor is anything behind it sent");
    assert_eq!(story.session.queue(&SELECT), Err(Violation::Lost));
    // What the server has got as a whole is answered.
    story.reply(&rows(&[1], true));
    assert_eq!(shapes(&story.events()), [(first, "rows, done")]);
    assert_eq!(story.session.lose(), [(third, Progress::Unsent)]);
    assert!(!story.session.is_cut());
}

#[test]
fn a_lost_session_sends_nothing_more() {
    let mut story = Story::open();
    let ticket = story.ask(&INSERT);
    story.session.sent(9);
    assert_eq!(story.session.lose(), [(ticket, Progress::Partial)]);
    assert_eq!(story.session.output(), []);
}

#[test]
fn an_abandoned_stream_is_drained_to_its_end() {
    let mut story = Story::open();
    let stream = story.ask(&SELECT);
    let next = story.ask(&INSERT);
    story.send();
    assert_eq!(
        shapes(&story.answer(&rows(&[1], false))),
        [(stream, "rows")]
    );
    assert_eq!(story.session.abandon(stream), Abandoned::Draining);
    assert_eq!(story.answer(&rows(&[2], false)), []);
    assert!(story.session.is_draining());
    assert_eq!(story.answer(&rows(&[3], true)), []);
    assert!(!story.session.is_draining());
    assert_eq!(shapes(&story.answer(&result())), [(next, "reply")]);
}

#[test]
fn an_abandoned_stream_may_also_end_in_a_failure() {
    let mut story = Story::open();
    let stream = story.ask(&SELECT);
    story.send();
    story.session.abandon(stream);
    assert_eq!(story.answer(&failure(1, "integer overflow")), []);
    assert!(story.session.is_idle());
}

#[test]
fn draining_is_bounded() {
    let limits = Limits {
        drain_bytes_max: 100,
        ..Limits::default()
    };
    let mut story = Story::with(limits);
    story.ask(&Request::open("app"));
    let stream = story.ask(&SELECT);
    story.send();
    story.answer(&Response::Db { id: 0 });
    story.session.abandon(stream);
    story.reply(&rows(&[1], false));
    story.reply(&rows(&[1, 2, 3, 4], false));
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::DrainLimit(_))
    ));
}

#[test]
fn an_abandoned_prepare_leaves_no_statement_behind() {
    let mut story = Story::open();
    let ticket = story.ask(&Request::Prepare { sql: "SELECT 1" });
    story.send();
    story.session.abandon(ticket);
    assert_eq!(
        story.answer(&Response::Stmt {
            id: 0,
            params: 0,
            tail: None
        }),
        []
    );
    assert_eq!(story.session.statement(0), None);
    story.send();
    assert_eq!(story.seen().last(), Some(&RequestKind::FINALIZE));
    assert_eq!(story.answer(&Response::Empty), []);
    assert!(story.session.is_idle());
}

#[test]
fn an_unsent_open_or_prepare_can_be_asked_again() {
    let mut story = Story::with(Limits {
        statements_max: 1,
        ..Limits::default()
    });
    let open = story.ask(&Request::open("app"));
    assert_eq!(story.session.abandon(open), Abandoned::NotSent);
    story.ask(&Request::open("other"));
    let prepare = story.ask(&Request::Prepare { sql: "x" });
    let again = story.session.queue(&Request::Prepare { sql: "x" });
    assert_eq!(again, Err(Violation::TooManyStatements(1)));
    assert_eq!(story.session.abandon(prepare), Abandoned::NotSent);
    story.ask(&Request::Prepare { sql: "x" });
}

#[test]
fn statement_ids_live_from_stmt_to_finalize() {
    let mut story = Story::open();
    let exec = Request::Exec {
        statement: 0,
        params: ParamsRef::NONE,
    };
    assert_eq!(story.session.queue(&exec), Err(Violation::DeadStatement(0)));
    story.prepare(0, 0);
    story.prepare(1, 2);
    story.ask(&exec);
    let none = Request::Query {
        statement: 1,
        params: ParamsRef::NONE,
    };
    let count = Violation::ParameterCount {
        expected: 2,
        given: 0,
    };
    assert_eq!(story.session.queue(&none), Err(count));
    story.ask(&Request::Finalize { statement: 0 });
    let dead = Err(Violation::DeadStatement(0));
    assert_eq!(story.session.queue(&exec), dead);
    assert_eq!(
        story.session.queue(&Request::Finalize { statement: 0 }),
        dead
    );
    story.send();
    story.reply(&result());
    story.reply(&Response::Empty);
    assert_eq!(story.events().len(), 2);
    // The lowest free id is given out again.
    story.prepare(0, 1);
    assert_eq!(
        story.session.queue(&exec),
        Err(Violation::ParameterCount {
            expected: 1,
            given: 0
        })
    );
}

#[test]
fn an_id_that_is_in_use_cannot_be_given_out() {
    let mut story = Story::open();
    story.prepare(0, 0);
    let ticket = story.ask(&Request::Prepare { sql: "x" });
    story.send();
    story.reply(&Response::Stmt {
        id: 0,
        params: 0,
        tail: None,
    });
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::Malformed { .. })
    ));
    assert_eq!(story.session.lose(), [(ticket, Progress::Sent)]);
}

#[test]
fn what_needs_a_database_waits_for_open() {
    let mut story = Story::new();
    assert_eq!(story.session.queue(&SELECT), Err(Violation::NotOpen));
    assert_eq!(story.session.queue(&INSERT), Err(Violation::NotOpen));
    let prepare = Request::Prepare { sql: "SELECT 1" };
    assert_eq!(story.session.queue(&prepare), Err(Violation::NotOpen));
    for request in [Request::Leader, Request::cluster(), Request::describe()] {
        story.ask(&request);
    }
    // It may ride in the same flight, though.
    story.ask(&Request::open("app"));
    story.ask(&SELECT);
    assert_eq!(
        story.session.queue(&Request::open("app")),
        Err(Violation::AlreadyOpen)
    );
}

#[test]
fn a_refused_open_can_be_repeated() {
    let mut story = Story::new();
    story.ask(&Request::open("app"));
    story.send();
    let events = story.answer(&failure(14, "unable to open database file"));
    assert_eq!(events.len(), 1);
    assert!(!story.session.is_open() && !story.session.is_lost());
    story.ask(&Request::open("app"));
}

#[test]
fn harmful_requests_are_refused() {
    let mut story = Story::open();
    let harmful = [
        Request::Heartbeat { timestamp: 0 },
        Request::Connect {
            id: 1,
            address: "a:1",
        },
        Request::Cluster { format: 2 },
        Request::Describe { format: 1 },
    ];
    for request in harmful {
        let refused = story.session.queue(&request);
        assert!(matches!(refused, Err(Violation::Harmful(_))), "{request:?}");
    }
    let names = [
        "",
        ":memory:",
        "FILE:x?mode=memory",
        "a-wal",
        "a-journal",
        "a\0b",
        "a\nb",
    ];
    for name in names.into_iter().chain([&*"x".repeat(505)]) {
        let refused = story.session.queue(&Request::Dump { name });
        assert!(matches!(refused, Err(Violation::DatabaseName(_))), "{name}");
        let refused = Session::new(Limits::default()).queue(&Request::open(name));
        assert!(matches!(refused, Err(Violation::DatabaseName(_))), "{name}");
    }
    let nul = Request::ExecSql {
        sql: "SELECT '\0'",
        params: ParamsRef::NONE,
    };
    assert_eq!(story.session.queue(&nul), Err(Violation::Nul));
    assert_eq!(story.session.pending(), 0);
    story.send();
    assert_eq!(story.seen(), [RequestKind::OPEN]);
}

#[test]
fn values_that_cannot_be_sent_are_refused_one_by_one() {
    let mut params = Params::new();
    params.push(ValueRef::Integer(1)).expect("an integer");
    assert_eq!(params.push(ValueRef::Text(b"a\0b")), Err(Violation::Nul));
    assert_eq!(
        params.push(ValueRef::Text(b"\xff")),
        Err(Violation::NotUtf8)
    );
    assert_eq!(params.push(ValueRef::UnixTime(0)), Err(Violation::UnixTime));
    params.push(ValueRef::Blob(b"a\0b\xff")).expect("a blob");
    assert_eq!(params.len(), 2);
    let values: Vec<_> = params.as_ref().values().collect();
    assert_eq!(values, [ValueRef::Integer(1), ValueRef::Blob(b"a\0b\xff")]);
}

#[test]
fn the_flight_is_bounded() {
    let limits = Limits {
        requests_in_flight_max: 3,
        ..Limits::default()
    };
    let mut story = Story::with(limits);
    for _ in 0..3 {
        story.ask(&Request::Leader);
    }
    assert_eq!(
        story.session.queue(&Request::Leader),
        Err(Violation::WindowFull)
    );
    story.ask(&Request::Interrupt);
    story.send();
    story.answer(&Response::Server {
        id: 0,
        address: String::new(),
    });
    story.answer(&Response::Server {
        id: 0,
        address: String::new(),
    });
    story.ask(&Request::Leader);

    let limits = Limits {
        bytes_in_flight_max: 200,
        ..Limits::default()
    };
    let mut story = Story::with(limits);
    story.ask(&Request::open("app"));
    story.send();
    story.answer(&Response::Db { id: 0 });
    let long = "x".repeat(300);
    let large = Request::ExecSql {
        sql: &long,
        params: ParamsRef::NONE,
    };
    story.ask(&large);
    assert_eq!(story.session.queue(&INSERT), Err(Violation::WindowFull));
    story.send();
    story.answer(&result());
    story.ask(&INSERT);
    assert_eq!(story.session.queue(&large), Err(Violation::WindowFull));
}

#[test]
fn oversized_requests_and_replies_are_refused() {
    let limits = Limits {
        request_bytes_max: 64,
        reply_bytes_max: 64,
        ..Limits::default()
    };
    let mut story = Story::with(limits);
    story.ask(&Request::open("app"));
    story.send();
    story.answer(&Response::Db { id: 0 });
    let long = "x".repeat(64);
    let request = Request::ExecSql {
        sql: &long,
        params: ParamsRef::NONE,
    };
    let refused = Err(Violation::RequestTooLarge { bytes: 80, max: 64 });
    assert_eq!(story.session.queue(&request), refused);
    story.ask(&SELECT);
    story.send();
    // The header alone is enough.
    let header = Header {
        words: 9,
        kind: 7,
        schema: 0,
    };
    story.session.input().extend_from_slice(&header.encode());
    assert!(matches!(
        story.session.event(),
        Err(ProtocolError::Frame(_))
    ));
}

#[test]
fn many_parameters_need_a_server_that_can_read_them() {
    let mut story = Story::open();
    let mut params = Params::new();
    for value in 0..256 {
        params.push(ValueRef::Integer(value)).expect("an integer");
    }
    let request = Request::ExecSql {
        sql: "x",
        params: params.as_ref(),
    };
    let refused = Err(Violation::TooManyParameters {
        count: 256,
        max: 255,
    });
    assert_eq!(story.session.queue(&request), refused);
    story.session.assume(ServerClass::B);
    story.ask(&request);
    story.send();
}

#[test]
fn probes_tell_the_class_and_stay_out_of_sight() {
    let cases = [
        (
            (12, "no database opened"),
            (12, "no database opened"),
            ServerClass::A,
        ),
        (
            (1005, "unrecognized schema version"),
            (1005, "x"),
            ServerClass::B,
        ),
        (
            (1, "unrecognized schema version"),
            (1005, "x"),
            ServerClass::C,
        ),
        ((1, "unrecognized schema version"), (1, "x"), ServerClass::D),
        (
            (0, "empty statement"),
            (10250, "not leader"),
            ServerClass::A,
        ),
    ];
    for (prepare, query, class) in cases {
        let mut story = Story::new();
        story.session.probe().expect("room");
        let open = story.ask(&Request::open("app"));
        story.send();
        let mut frames: Vec<_> = blocks()
            .into_iter()
            .filter(|block| block.name == "flight/probes")
            .collect();
        assert_eq!(frames.remove(0).key("frames").split(", ").count(), 3);
        assert_eq!(
            story.seen(),
            [
                RequestKind::PREPARE,
                RequestKind::QUERY_SQL,
                RequestKind::OPEN
            ]
        );
        assert_eq!(story.answer(&failure(prepare.0, prepare.1)), []);
        assert_eq!(story.session.class(), None);
        assert_eq!(story.answer(&failure(query.0, query.1)), []);
        assert_eq!(story.session.class(), Some(class));
        assert_eq!(
            shapes(&story.answer(&Response::Db { id: 0 })),
            [(open, "reply")]
        );
        assert!(story.session.is_open(), "a probe is not a loss");
    }
}

#[test]
fn probes_are_the_captured_ones() {
    let mut session = Session::new(Limits::default());
    session.probe().expect("room");
    let probes = [
        golden("prepare/probe").bytes,
        golden("query_sql/probe").bytes,
    ]
    .concat();
    assert_eq!(session.output()[8..], probes);
}

#[test]
fn a_known_class_makes_prepare_report_its_tail() {
    let mut story = Story::open();
    story.session.assume(ServerClass::D);
    let ticket = story.ask(&Request::Prepare {
        sql: "SELECT 1; SELECT 2",
    });
    assert_eq!(story.session.output(), golden("prepare/two_v1").bytes);
    story.send();
    let stmt = Response::Stmt {
        id: 0,
        params: 0,
        tail: Some(9),
    };
    assert_eq!(
        story.answer(&stmt),
        [Event::Reply {
            ticket,
            response: stmt.clone()
        }]
    );
}

#[test]
fn losing_leadership_ends_the_session_but_not_the_flight() {
    let codes = [
        (10250, "not leader"),
        (10506, "leadership lost"),
        (10506, "disk I/O error"),
        (8202, "not leader"),
        (8458, "x"),
        (9, "interrupted"),
        (12, "no database opened"),
        (12, "no statement with the given id"),
    ];
    for (code, text) in codes {
        let mut story = Story::open();
        story.prepare(0, 0);
        let first = story.ask(&INSERT);
        let second = story.ask(&SELECT);
        story.send();
        assert_eq!(
            shapes(&story.answer(&failure(code, text))),
            [(first, "failed")]
        );
        assert!(
            story.session.is_lost() && !story.session.is_open(),
            "{code}"
        );
        assert_eq!(story.session.statement(0), None);
        assert_eq!(story.session.queue(&SELECT), Err(Violation::Lost));
        assert_eq!(
            story.session.queue(&Request::open("app")),
            Err(Violation::Lost)
        );
        // What was sent before is still answered.
        let events = story.answer(&failure(10250, "not leader"));
        assert_eq!(shapes(&events), [(second, "failed")]);
        assert!(story.session.is_idle());
    }
}

#[test]
fn other_failures_leave_the_session_alone() {
    let codes = [
        (1, "x"),
        (5, "database is locked"),
        (12, "x"),
        (2067, "x"),
        (1005, "x"),
        (10, "x"),
    ];
    for (code, text) in codes {
        let mut story = Story::open();
        story.ask(&INSERT);
        story.send();
        story.answer(&failure(code, text));
        assert!(story.session.is_open(), "{code}");
    }
    // Membership needs no session: being told that somebody else leads ends nothing.
    let mut story = Story::new();
    story.ask(&Request::Remove { id: 2 });
    story.send();
    story.answer(&failure(10250, "not leader"));
    assert!(!story.session.is_lost());
}

#[test]
fn an_interrupt_of_ours_ends_one_statement_only() {
    let mut story = Story::open();
    let query = story.ask(&SELECT);
    let interrupt = story.ask(&Request::Interrupt);
    story.send();
    story.reply(&failure(9, "interrupted"));
    story.reply(&Response::Empty);
    assert_eq!(
        shapes(&story.events()),
        [(query, "failed"), (interrupt, "reply")]
    );
    assert!(story.session.is_open());
}

#[test]
fn a_lost_connection_tells_how_far_each_request_got() {
    let mut story = Story::open();
    let streaming = story.ask(&SELECT);
    let sent = story.ask(&INSERT);
    let unwanted = story.ask(&SELECT);
    story.send();
    story.answer(&rows(&[1], false));
    story.session.abandon(unwanted);
    let partial = story.ask(&INSERT);
    let unsent = story.ask(&INSERT);
    story.session.sent(12);
    let expected = [
        (streaming, Progress::Streaming),
        (sent, Progress::Sent),
        (partial, Progress::Partial),
        (unsent, Progress::Unsent),
    ];
    assert_eq!(story.session.lose(), expected);
    assert_eq!(story.session.lose(), []);
    assert!(story.session.is_lost());
    assert_eq!(story.session.queue(&SELECT), Err(Violation::Lost));
    assert_eq!(story.session.event(), Err(ProtocolError::Lost));
}

#[test]
fn output_may_leave_in_any_pieces() {
    let mut whole = Story::open();
    let mut pieces = Story::open();
    for _ in 0..100 {
        whole.ask(&INSERT);
        pieces.ask(&INSERT);
        for _ in 0..3 {
            let some = pieces.session.output().len().min(17);
            pieces
                .received
                .extend_from_slice(&pieces.session.output()[..some]);
            pieces.session.sent(some);
        }
    }
    whole.send();
    pieces.send();
    assert_eq!(whole.received, pieces.received);
    assert_eq!(pieces.seen().len(), 101);
}

#[test]
fn captured_flights_are_answered_as_captured() {
    let all = blocks();
    let find = |name: &str| {
        all.iter()
            .find(|block| block.name == name)
            .expect(name)
            .clone()
    };
    for name in ["flight/connect_burst", "flight/error_in_the_middle"] {
        let flight = find(name);
        let mut story = if name == "flight/connect_burst" {
            Story::new()
        } else {
            Story::open()
        };
        let requests: Vec<_> = flight.key("frames").split(", ").map(find).collect();
        let mut tickets = Vec::new();
        for block in &requests {
            let (header, body) = block.bytes.split_first_chunk().expect("a header");
            let request = Request::decode(Header::decode(*header), body).expect(&block.name);
            tickets.push(story.ask(&request));
        }
        story.send();
        for block in flight.key("reply").split(", ").map(find) {
            story.session.input().extend_from_slice(&block.bytes);
        }
        let answered: Vec<_> = story.events().iter().map(|event| shape(event).0).collect();
        assert_eq!(answered, tickets, "{name}");
        assert!(story.session.is_idle());
    }
}

fn golden(name: &str) -> Block {
    blocks()
        .into_iter()
        .find(|block| block.name == name)
        .expect(name)
}
