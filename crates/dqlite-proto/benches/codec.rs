//! How fast the codec is: `make bench-codec`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dqlite_proto::guard::{Guard, Policy};
use dqlite_proto::{
    Columns, Event, Header, Limits, Params, Request, Response, RowsFrame, Session, ValueRef, sql,
};

const ROWS: usize = 100_000;
/// As many rows as fit a page, which is what a server sends at a time.
const ROWS_PER_FRAME: usize = 50;

fn frames() -> Vec<u8> {
    let columns = Arc::new(Columns::new(&["id", "name", "score", "note", "data"]));
    let mut wire = Vec::new();
    for frame in 0..ROWS / ROWS_PER_FRAME {
        let rows: Vec<_> = (0..ROWS_PER_FRAME)
            .map(|row| {
                let id = i64::try_from(frame * ROWS_PER_FRAME + row).expect("small");
                vec![
                    ValueRef::Integer(id),
                    ValueRef::Text(b"somebody's name"),
                    ValueRef::Float(0.5),
                    if row % 2 == 0 {
                        ValueRef::Null
                    } else {
                        ValueRef::Text(b"note")
                    },
                    ValueRef::Blob(b"0123456789abcdef"),
                ]
            })
            .collect();
        let done = frame + 1 == ROWS / ROWS_PER_FRAME;
        Response::Rows(RowsFrame::build(Arc::clone(&columns), &rows, done)).encode(&mut wire);
    }
    wire
}

fn asking() -> Session {
    let mut session = Session::new(Limits::default());
    session.queue(&Request::open("bench")).expect("OPEN");
    let mut opened = Vec::new();
    Response::Db { id: 0 }.encode(&mut opened);
    session.input().extend_from_slice(&opened);
    session.event().expect("DB").expect("DB");
    session
        .queue(&Request::QuerySql {
            sql: "SELECT 1",
            params: Params::new().as_ref(),
        })
        .expect("QUERY_SQL");
    session
}

/// Everything between the socket and the borrowed values, fed as a socket would, 64 KiB at a time.
fn decode_rows(session: &mut Session, wire: &[u8]) -> usize {
    let mut values = 0;
    for chunk in wire.chunks(64 << 10) {
        session.input().extend_from_slice(chunk);
        while let Some(event) = session.event().expect("valid bytes") {
            let Event::Rows { frame, .. } = event else {
                continue;
            };
            let mut rows = frame.rows();
            while let Some(row) = rows.next_row().expect("a row") {
                for value in row {
                    black_box(value.expect("a value"));
                    values += 1;
                }
            }
        }
    }
    values
}

fn rows(c: &mut Criterion) {
    let wire = frames();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(wire.len() as u64));
    group.sample_size(20);
    group.bench_function("100000 rows of 5 columns", |b| {
        b.iter_batched_ref(
            asking,
            |session| assert_eq!(decode_rows(session, &wire), ROWS * 5),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn requests(c: &mut Criterion) {
    let sql = "SELECT name FROM people WHERE id = ?";
    let mut params = Params::new();
    let mut out = Vec::new();
    c.bench_function("encode a point query", |b| {
        b.iter(|| {
            out.clear();
            params.clear();
            params
                .push(ValueRef::Integer(black_box(42)))
                .expect("an integer");
            let request = Request::QuerySql {
                sql: black_box(sql),
                params: params.as_ref(),
            };
            request.encode(0, &mut out).expect("a request");
            black_box(&out);
        });
    });
    let mut answer = Vec::new();
    let columns = Arc::new(Columns::new(&["name"]));
    let frame = RowsFrame::build(columns, &[vec![ValueRef::Text(b"Ada")]], true);
    Response::Rows(frame).encode(&mut answer);
    let mut session = asking();
    session.input().extend_from_slice(&answer);
    session.event().expect("an answer").expect("an answer");
    c.bench_function("a point query through a session", |b| {
        b.iter(|| {
            params.clear();
            params
                .push(ValueRef::Integer(black_box(42)))
                .expect("an integer");
            let request = Request::QuerySql {
                sql,
                params: params.as_ref(),
            };
            session.queue(&request).expect("room");
            let sent = session.output().len();
            session.sent(sent);
            session.input().extend_from_slice(&answer);
            black_box(session.event().expect("an answer"));
        });
    });
    c.bench_function("lex a point query", |b| {
        b.iter(|| black_box(sql::statements(black_box(sql)).next()));
    });
}

fn guarding(c: &mut Criterion) {
    let mut guard = Guard::new(Policy::default());
    let mut book = |message: &[u8], reply: &[u8]| {
        let (header, body) = message.split_first_chunk().expect("a header");
        black_box(guard.request(Header::decode(*header), body));
        let (header, body) = reply.split_first_chunk().expect("a header");
        black_box(guard.reply(Header::decode(*header), body));
    };
    let encoded = |request: &Request<'_>| {
        let mut bytes = Vec::new();
        request.encode(0, &mut bytes).expect("a request");
        bytes
    };
    let answered = |response: &Response| {
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        bytes
    };
    let stmt = Response::Stmt {
        id: 0,
        params: 1,
        tail: None,
    };
    let result = answered(&Response::Result {
        last_insert_id: 1,
        rows_affected: 1,
    });
    book(
        &encoded(&Request::open("bench")),
        &answered(&Response::Db { id: 0 }),
    );
    book(
        &encoded(&Request::Prepare { sql: "SELECT ?" }),
        &answered(&stmt),
    );
    let mut params = Params::new();
    params.push(ValueRef::Integer(42)).expect("an integer");
    let params = params.as_ref();
    let prepared = encoded(&Request::Exec {
        statement: 0,
        params,
    });
    c.bench_function("guard a prepared statement and its reply", |b| {
        b.iter(|| book(black_box(&prepared), &result));
    });
    let text = encoded(&Request::ExecSql {
        sql: "DELETE FROM people WHERE id = ?",
        params,
    });
    c.bench_function("guard a statement as text and its reply", |b| {
        b.iter(|| book(black_box(&text), &result));
    });
}

criterion_group!(benches, rows, requests, guarding);
criterion_main!(benches);
