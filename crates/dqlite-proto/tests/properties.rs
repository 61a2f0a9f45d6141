//! What holds for all values, all bytes and all ways to cut them.

use std::sync::Arc;

use dqlite_proto::frame::{Piece, Scanner};
use dqlite_proto::guard::{Guard, Policy, Verdict};
use dqlite_proto::message::Asked;
use dqlite_proto::params::PARAMS_V0_MAX;
use dqlite_proto::wire::WORD;
use dqlite_proto::{
    Bytes, Code, Columns, Event, Failure, File, Header, Limits, Metadata, NodeInfo, Params,
    ParamsRef, Request, Response, Role, RowsFrame, Session, Value, ValueRef, sql,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,40}"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        // NaN is not equal to itself; its bits are covered by the fuzzers.
        any::<f64>()
            .prop_filter("a number", |v| !v.is_nan())
            .prop_map(Value::Float),
        text().prop_map(Value::Text),
        vec(any::<u8>(), 0..40).prop_map(Value::Blob),
        Just(Value::Null),
        any::<i64>().prop_map(Value::UnixTime),
        text().prop_map(Value::Iso8601),
        any::<u64>().prop_map(Value::Boolean),
    ]
}

fn parameters(most: usize) -> impl Strategy<Value = Vec<Value>> {
    let sendable = value().prop_filter("sendable", |v| !matches!(v, Value::UnixTime(_)));
    vec(sendable, 0..=most)
}

fn rows() -> impl Strategy<Value = (Vec<String>, Vec<Vec<Value>>)> {
    vec(text(), 1..20).prop_flat_map(|names| {
        let row = vec(value(), names.len());
        (Just(names), vec(row, 0..5))
    })
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Voter), Just(Role::StandBy), Just(Role::Spare)]
}

fn node() -> impl Strategy<Value = NodeInfo> {
    (any::<u64>(), text(), role()).prop_map(|(id, address, role)| NodeInfo { id, address, role })
}

fn file() -> impl Strategy<Value = File> {
    (text(), vec(any::<[u8; 8]>(), 0..10)).prop_map(|(name, words)| {
        let content = Bytes::from(words.concat());
        File { name, content }
    })
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        (0..=Code::MAX, text()).prop_map(|(code, message)| {
            Response::Failure(Failure {
                code: Code(code),
                message,
            })
        }),
        (any::<u64>(), text()).prop_map(|(id, address)| Response::Server { id, address }),
        any::<u64>().prop_map(|heartbeat_timeout_ms| Response::Welcome {
            heartbeat_timeout_ms
        }),
        vec(node(), 0..5).prop_map(Response::Servers),
        any::<u32>().prop_map(|id| Response::Db { id }),
        (any::<u32>(), any::<u64>(), any::<Option<u64>>())
            .prop_map(|(id, params, tail)| Response::Stmt { id, params, tail }),
        (any::<i64>(), any::<u32>()).prop_map(|(last_insert_id, rows)| Response::Result {
            last_insert_id,
            rows_affected: rows.into(),
        }),
        Just(Response::Empty),
        vec(file(), 0..4).prop_map(Response::Files),
        any::<(u64, u64)>().prop_map(|(failure_domain, weight)| Response::Metadata(Metadata {
            failure_domain,
            weight,
        })),
        rows().prop_map(|(names, rows)| Response::Rows(frame(&names, &rows, true))),
    ]
}

fn frame(names: &[String], rows: &[Vec<Value>], done: bool) -> RowsFrame {
    let rows: Vec<Vec<ValueRef<'_>>> = rows
        .iter()
        .map(|row| row.iter().map(Value::as_ref).collect())
        .collect();
    RowsFrame::build(Arc::new(Columns::new(names)), &rows, done)
}

fn params(values: &[Value]) -> Params {
    let mut params = Params::new();
    for value in values {
        params
            .push(value.as_ref())
            .expect("a value that can be sent");
    }
    params
}

fn split(bytes: &[u8]) -> (Header, &[u8]) {
    let (header, body) = bytes.split_first_chunk().expect("a header");
    let header = Header::decode(*header);
    assert_eq!(header.body_bytes(), body.len() as u64);
    (header, body)
}

/// Reads everything that a session would hand to its caller.
fn exhaust(session: &mut Session) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(Some(event)) = session.event() {
        if let Event::Rows { frame, .. } = &event {
            let mut values = Vec::new();
            let mut rows = frame.rows();
            while let Ok(true) = rows.next_into(&mut values) {
                assert_eq!(values.len(), frame.columns().len());
            }
        }
        events.push(event);
    }
    events
}

/// A session that waits for replies to one request of each sort.
fn waiting() -> Session {
    let mut session = Session::new(Limits::default());
    session.probe().expect("room");
    let query = Request::QuerySql {
        sql: "SELECT 1",
        params: ParamsRef::NONE,
    };
    let requests = [
        Request::open("app"),
        Request::Leader,
        Request::Prepare { sql: "SELECT 1" },
        query,
        query,
        Request::cluster(),
        Request::Dump { name: "app" },
        query,
    ];
    for request in &requests {
        session.queue(request).expect("a request");
    }
    let all = session.output().len();
    session.sent(all);
    session
}

proptest! {
    #[test]
    fn requests_with_parameters_survive(
        sql in text(), values in parameters(300), statement in any::<u32>(), large in any::<bool>(),
    ) {
        let params = params(&values);
        let schema = u8::from(large || values.len() > PARAMS_V0_MAX);
        let params = params.as_ref();
        let requests = [
            Request::ExecSql { sql: &sql, params },
            Request::QuerySql { sql: &sql, params },
            Request::Exec { statement, params },
            Request::Query { statement, params },
        ];
        for request in requests {
            let mut bytes = Vec::new();
            request.encode(schema, &mut bytes).expect("a request");
            let (header, body) = split(&bytes);
            prop_assert_eq!(body.len() % WORD, 0);
            let read = Request::decode(header, body).expect("our own bytes");
            prop_assert_eq!(read, request);
        }
        let read: Vec<_> = params.values().map(Value::from).collect();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn replies_survive(response in response()) {
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        let (header, body) = split(&bytes);
        let limits = Limits::default();
        let read = Response::decode(header, &Bytes::copy_from_slice(body), &Asked::new(&limits));
        prop_assert_eq!(read.expect("our own bytes"), response);
    }

    #[test]
    fn rows_survive((names, rows) in rows(), done in any::<bool>()) {
        prop_assume!(done || !rows.is_empty());
        let mut bytes = Vec::new();
        Response::Rows(frame(&names, &rows, done)).encode(&mut bytes);
        let body = Bytes::copy_from_slice(split(&bytes).1);
        let frame = RowsFrame::decode(&body, None, None).expect("our own bytes");
        prop_assert_eq!(frame.columns().names(), &names[..]);
        prop_assert_eq!(frame.is_done(), done);
        let mut cursor = frame.rows();
        let mut read = Vec::new();
        while let Some(row) = cursor.next_row().expect("our own bytes") {
            prop_assert_eq!(row.len(), names.len());
            read.push(row.map(|value| value.expect("our own").to_owned()).collect::<Vec<_>>());
        }
        prop_assert_eq!(&read, &rows);
        // Rows that are not read, or not to their end, do not disturb the next ones.
        let mut cursor = frame.rows();
        for row in &rows {
            let read = cursor.next_row().expect("a row").expect("a row");
            for (value, expected) in read.take(1).zip(row) {
                prop_assert_eq!(&value.expect("a value").to_owned(), expected);
            }
        }
        prop_assert!(cursor.next_row().expect("the end").is_none());
    }

    #[test]
    fn a_failure_is_found_behind_whatever_was_written_before(
        code in 0..=Code::MAX, message in text(), prefix in response(),
    ) {
        let failure = Failure { code: Code(code), message };
        let mut bytes = Vec::new();
        prefix.encode(&mut bytes);
        Response::Failure(failure.clone()).encode(&mut bytes);
        // Without the two headers: what the server leaves behind, then code and text.
        let (_, prefix_body) = bytes.split_at(WORD);
        let mut plain = Vec::new();
        Response::Failure(failure.clone()).encode(&mut plain);
        let kept = prefix_body.len() - plain.len();
        let body = [&prefix_body[..kept], &plain[WORD..]].concat();
        let read = dqlite_proto::reply::failure(&body, usize::MAX).expect("a failure");
        prop_assert_eq!(read, failure);
    }

    #[test]
    fn events_do_not_depend_on_how_bytes_arrive(
        replies in vec(response(), 0..10), cuts in vec(1_usize..64, 1..50),
    ) {
        let mut bytes = Vec::new();
        for response in &replies {
            response.encode(&mut bytes);
        }
        let mut at_once = waiting();
        at_once.input().extend_from_slice(&bytes);
        let whole = exhaust(&mut at_once);

        let mut piecewise = waiting();
        let mut events = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            piecewise.input().extend_from_slice(piece);
            events.extend(exhaust(&mut piecewise));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(events, whole);
        prop_assert_eq!(piecewise.pending(), at_once.pending());
        prop_assert_eq!(piecewise.is_lost(), at_once.is_lost());
    }

    #[test]
    fn no_bytes_panic(words in vec(word(), 0..60), cut in 1_usize..40) {
        let bytes = words.concat();
        let mut session = waiting();
        for piece in bytes.chunks(cut) {
            session.input().extend_from_slice(piece);
            exhaust(&mut session);
            // A length is only a claim: nothing is set aside for it.
            prop_assert!(session.input().capacity() <= 4096 + 4 * bytes.len());
        }
        session.lose();

        if let Some((header, body)) = bytes.split_first_chunk() {
            let header = Header::decode(*header);
            let _ = Request::decode(header, body);
            for roles in [false, true] {
                let limits = Limits::default();
                let asked = Asked { roles, legacy: !roles, ..Asked::new(&limits) };
                let _ = Response::decode(header, &Bytes::copy_from_slice(body), &asked);
            }
        }
    }

    #[test]
    fn the_scanner_sees_the_same_messages_however_they_are_cut(
        statements in vec(text(), 0..10), cuts in vec(1_usize..40, 1..50),
    ) {
        let mut session = Session::new(Limits::default());
        session.queue(&Request::open("app")).expect("OPEN");
        for sql in &statements {
            let params = Params::new();
            session.queue(&Request::ExecSql { sql, params: params.as_ref() }).expect("room");
        }
        let stream = session.output().to_vec();
        let mut scanner = Scanner::requests(1 << 20);
        let mut again = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            let (mut piece, behind) = rest.split_at((*cut).min(rest.len()));
            while let Some(piece) = scanner.next(&mut piece).expect("our own bytes") {
                match piece {
                    Piece::Handshake(version) => again.extend_from_slice(&version.to_le_bytes()),
                    Piece::Header(header) => again.extend_from_slice(&header.encode()),
                    Piece::Body { bytes, .. } => again.extend_from_slice(bytes),
                }
            }
            prop_assert!(piece.is_empty());
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(again, stream);
        prop_assert!(scanner.is_between_messages());
    }

    #[test]
    fn the_guard_refuses_what_the_lexer_finds(
        words in vec(select(SQL_WORDS), 0..12),
        separator in select(&["", " "][..]),
    ) {
        let text = words.join(separator);
        let statements: Vec<_> = sql::statements(&text).collect();
        let returning = statements.iter().any(|statement| statement.returning);
        let optimize = statements.iter().filter_map(|statement| statement.pragma);
        let optimize = optimize.into_iter().any(|pragma| pragma.is("optimize"));
        let refused = |request: Request<'_>| {
            let mut bytes = Vec::new();
            request.encode(0, &mut bytes).expect("a request");
            let (header, body) = split(&bytes);
            let verdict = Guard::new(Policy::default()).request(header, body);
            matches!(verdict, Verdict::Refuse(_))
        };
        let params = ParamsRef::NONE;
        prop_assert_eq!(refused(Request::ExecSql { sql: &text, params }), returning);
        prop_assert_eq!(refused(Request::QuerySql { sql: &text, params }), optimize);
    }

    #[test]
    fn statements_do_not_overlap_and_lose_no_token(
        text in "[a-zA-Z;'\"`()?:@$/*\\[\\]. \n-]{0,80}",
    ) {
        let mut end = 0;
        let mut tokens = 0;
        for statement in sql::statements(&text) {
            prop_assert!(statement.start >= end);
            prop_assert_eq!(&text.as_bytes()[statement.start..statement.end()], statement.text);
            end = statement.end();
            let inside = sql::Tokens::new(statement.text);
            tokens += inside.filter(|token| token.kind != sql::TokenKind::Comment).count();
        }
        let all = sql::Tokens::new(text.as_bytes());
        let lone = all.filter(|token| token.kind != sql::TokenKind::Comment).count();
        prop_assert!(tokens <= lone);
    }
}

/// Words as they occur on the wire, and any others.
fn word() -> impl Strategy<Value = [u8; 8]> {
    prop_oneof![
        (0_u32..6, 0_u8..12, 0_u8..2).prop_map(|(words, kind, schema)| {
            Header {
                words,
                kind,
                schema,
            }
            .encode()
        }),
        (0_u64..5).prop_map(u64::to_le_bytes),
        Just([0xff; 8]),
        Just([0xee; 8]),
        Just(*b"text\0\0\0\0"),
        Just(*b"longtext"),
        any::<[u8; 8]>(),
    ]
}

const SQL_WORDS: &[&str] = &[
    "INSERT INTO t VALUES(1)",
    " RETURNING ",
    " retUrning",
    "returnin",
    "g",
    "PRAGMA ",
    "optimize",
    "oPTIMIZe",
    "optimi",
    "z",
    "id",
    ";",
    "'",
    "--",
    "\n",
];
