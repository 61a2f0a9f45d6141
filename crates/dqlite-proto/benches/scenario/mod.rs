//! What is measured, by time in `codec` and by instructions in `counts`.

use std::hint::black_box;
use std::sync::Arc;

use dqlite_proto::guard::{Guard, Policy};
use dqlite_proto::{
    Columns, Event, Header, Limits, Params, Request, Response, RowsFrame, Session, ValueRef,
};

pub(crate) const POINT_QUERY: &str = "SELECT name FROM people WHERE id = ?";
/// As many rows as fit a page, which is what a server sends at a time.
const ROWS_PER_FRAME: usize = 50;

/// A session that waits for rows, and the rows as they come from a socket.
pub(crate) struct Decode {
    session: Session,
}

impl Decode {
    pub(crate) fn new() -> Self {
        let mut session = opened();
        session
            .queue(&Request::QuerySql {
                sql: "SELECT 1",
                params: Params::new().as_ref(),
            })
            .expect("QUERY_SQL");
        Self { session }
    }

    /// Frames of five columns; `count` is a multiple of the rows of a frame.
    pub(crate) fn wire(count: usize) -> Vec<u8> {
        let columns = Arc::new(Columns::new(&["id", "name", "score", "note", "data"]));
        let mut wire = Vec::new();
        for frame in 0..count / ROWS_PER_FRAME {
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
            let done = frame + 1 == count / ROWS_PER_FRAME;
            Response::Rows(RowsFrame::build(Arc::clone(&columns), &rows, done)).encode(&mut wire);
        }
        wire
    }

    /// Everything between the socket, which gives 64 KiB at a time, and the borrowed values.
    pub(crate) fn run(&mut self, wire: &[u8]) -> usize {
        let mut values = 0;
        for chunk in wire.chunks(64 << 10) {
            self.session.input().extend_from_slice(chunk);
            while let Some(event) = self.session.event().expect("valid bytes") {
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
}

/// A query of one row by its key, as bytes only.
#[derive(Default)]
pub(crate) struct Encode {
    params: Params,
    out: Vec<u8>,
}

impl Encode {
    pub(crate) fn run(&mut self) {
        self.out.clear();
        black_box(point_query(&mut self.params))
            .encode(0, &mut self.out)
            .expect("a request");
        black_box(&self.out);
    }
}

/// The same through a session, and its answer.
pub(crate) struct Ask {
    session: Session,
    params: Params,
    answer: Vec<u8>,
}

impl Ask {
    pub(crate) fn new() -> Self {
        let columns = Arc::new(Columns::new(&["name"]));
        let frame = RowsFrame::build(columns, &[vec![ValueRef::Text(b"Ada")]], true);
        Self {
            session: opened(),
            params: Params::new(),
            answer: encoded(&Response::Rows(frame)),
        }
    }

    pub(crate) fn run(&mut self) {
        let request = point_query(&mut self.params);
        self.session.queue(&request).expect("room");
        let sent = self.session.output().len();
        self.session.sent(sent);
        self.session.input().extend_from_slice(&self.answer);
        black_box(self.session.event().expect("an answer"));
    }
}

/// A guard before a database with one prepared statement, a request and its reply.
pub(crate) struct Watch {
    guard: Guard,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Watch {
    pub(crate) fn prepared() -> Self {
        let mut params = Params::new();
        params.push(ValueRef::Integer(42)).expect("an integer");
        Self::new(&Request::Exec {
            statement: 0,
            params: params.as_ref(),
        })
    }

    pub(crate) fn text(sql: &str) -> Self {
        let mut params = Params::new();
        params.push(ValueRef::Integer(42)).expect("an integer");
        Self::new(&Request::ExecSql {
            sql,
            params: params.as_ref(),
        })
    }

    fn new(request: &Request<'_>) -> Self {
        let mut watch = Self {
            guard: Guard::new(Policy::default()),
            request: Vec::new(),
            reply: Vec::new(),
        };
        let stmt = Response::Stmt {
            id: 0,
            params: 1,
            tail: None,
        };
        let result = Response::Result {
            last_insert_id: 1,
            rows_affected: 1,
        };
        watch.set(&Request::open("bench"), &Response::Db { id: 0 });
        watch.run();
        watch.set(&Request::Prepare { sql: "SELECT ?" }, &stmt);
        watch.run();
        watch.set(request, &result);
        watch
    }

    fn set(&mut self, request: &Request<'_>, reply: &Response) {
        self.request.clear();
        request.encode(0, &mut self.request).expect("a request");
        self.reply = encoded(reply);
    }

    /// Both frames.
    pub(crate) fn run(&mut self) {
        let (header, body) = self.request.split_first_chunk().expect("a header");
        black_box(self.guard.request(Header::decode(*header), black_box(body)));
        let (header, body) = self.reply.split_first_chunk().expect("a header");
        black_box(self.guard.reply(Header::decode(*header), black_box(body)));
    }
}

fn opened() -> Session {
    let mut session = Session::new(Limits::default());
    session.queue(&Request::open("bench")).expect("OPEN");
    session
        .input()
        .extend_from_slice(&encoded(&Response::Db { id: 0 }));
    session.event().expect("DB").expect("DB");
    session
}

fn point_query(params: &mut Params) -> Request<'_> {
    params.clear();
    params
        .push(ValueRef::Integer(black_box(42)))
        .expect("an integer");
    Request::QuerySql {
        sql: black_box(POINT_QUERY),
        params: params.as_ref(),
    }
}

fn encoded(response: &Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    response.encode(&mut bytes);
    bytes
}
